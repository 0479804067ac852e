//! What operators have put in place of the breakers' judgement: for which upstream, until when, by whom and why.

use crate::Millis;
use optimizer_proto::v1::breaker_command::Action;
use optimizer_proto::v1::{BreakerCommand, BreakerGauge};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// An override without an end time expires in an Envoy this long after the control plane was last heard; it is renewed
/// well before.
pub const LEASE_MS: u64 = 5 * 60_000;
/// Longest duration of an override with an end time.
pub const LONGEST_MS: u64 = 86_400_000;
/// An override younger than this is still on its way to the Envoys, or their reports of it are on their way back.
const ON_ITS_WAY_MS: u64 = 15_000;
/// Entries of the audit log kept.
const MAX_ENTRIES: usize = 1_000;

/// What an operator can do to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OverrideAction {
    /// Refuse every call.
    ForceOpen,
    /// Let every call pass.
    ForceClose,
    /// Judge and count, refuse nothing.
    DryRun,
    /// Back to the breaker's own judgement, from closed.
    Reset,
}

impl OverrideAction {
    /// Every action as written in paths.
    pub const ALL: [(&'static str, Self); 4] = [
        ("force-open", Self::ForceOpen),
        ("force-close", Self::ForceClose),
        ("dry-run", Self::DryRun),
        ("reset", Self::Reset),
    ];

    /// Parses an action.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(name, _)| *name == text)
            .map(|(_, action)| action)
    }

    /// The override that puts a breaker into this state, as an Envoy reports it.
    fn shown_as(state: &str) -> Option<Self> {
        match state {
            "forced_open" => Some(Self::ForceOpen),
            "forced_closed" => Some(Self::ForceClose),
            "dry_run" => Some(Self::DryRun),
            _ => None,
        }
    }

    fn action(self) -> Action {
        match self {
            Self::ForceOpen => Action::ForceOpen,
            Self::ForceClose => Action::ForceClose,
            Self::DryRun => Action::DryRun,
            Self::Reset => Action::Reset,
        }
    }
}

/// An override, as the audit log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BreakerOverride {
    /// When it was made, milliseconds since 1970.
    pub at: Millis,
    /// About which breaker: an upstream, or `upstream/route`.
    pub upstream: String,
    /// What was done to the breaker.
    pub action: OverrideAction,
    /// When it ends by itself; absent = when it is taken back, or soon after the control plane is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
    /// Who made it.
    pub who: String,
    /// Reason that was given.
    #[serde(default)]
    pub reason: String,
}

impl BreakerOverride {
    /// The command for an Envoy at this time.
    #[must_use]
    pub fn command(&self, now_ms: Millis) -> BreakerCommand {
        let expires_in_ms = match (self.action, self.until) {
            (OverrideAction::Reset, _) => 0,
            (_, Some(until)) => until.saturating_sub(now_ms).max(1),
            (_, None) => LEASE_MS,
        };
        BreakerCommand {
            upstream: self.upstream.clone(),
            action: self.action.action().into(),
            expires_in_ms,
        }
    }

    /// The order of overrides, the same at every replica whatever arrives first: by time, and within one millisecond by
    /// any other difference.
    fn order(&self) -> (Millis, u8, &str, &str, Option<Millis>) {
        (self.at, self.action as u8, &self.who, &self.reason, self.until)
    }

    fn holds(&self, now_ms: Millis) -> bool {
        self.until.is_none_or(|until| until > now_ms)
    }
}

/// The overrides in force and the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerOverrides {
    in_force: BTreeMap<String, BreakerOverride>,
    log: VecDeque<BreakerOverride>,
}

impl BreakerOverrides {
    /// Adds an override, which replaces an earlier one of the same breaker. Replicas receive overrides in different
    /// orders: one that is older than the known one of that breaker changes nothing. False when it was known.
    pub fn apply(&mut self, entry: BreakerOverride) -> bool {
        if self.log.contains(&entry) {
            return false;
        }
        let place = self.log.partition_point(|other| other.order() <= entry.order());
        let overruled = self
            .log
            .iter()
            .skip(place)
            .any(|other| other.upstream == entry.upstream);
        if !overruled && entry.action == OverrideAction::Reset {
            self.in_force.remove(&entry.upstream);
        } else if !overruled {
            self.in_force.insert(entry.upstream.clone(), entry.clone());
        }
        self.log.insert(place, entry);
        if self.log.len() > MAX_ENTRIES {
            self.log.pop_front();
        }
        true
    }

    /// The time of an override that is made now: after every known override of this breaker, whatever the clock of the
    /// replica that made it.
    #[must_use]
    pub fn moment(&self, upstream: &str, now_ms: Millis) -> Millis {
        let last = self.last(upstream).map_or(0, |entry| entry.at);
        now_ms.max(last.saturating_add(1))
    }

    /// The overrides to send to an Envoy that has reported these breakers: it may lack the last override of one, as it
    /// was away or did not accept it. Left out are overrides that were sent a moment ago, and those that end within
    /// that time.
    #[must_use]
    pub fn unheard(&self, breakers: &[BreakerGauge], now_ms: Millis) -> Vec<&BreakerOverride> {
        let settled = |entry: &&BreakerOverride| {
            let age_ms = now_ms.saturating_sub(entry.at);
            let ends = entry.until.is_some_and(|until| until.abs_diff(now_ms) < ON_ITS_WAY_MS);
            age_ms >= ON_ITS_WAY_MS && !ends
        };
        let mut upstreams: Vec<&str> = self.log.iter().map(|entry| entry.upstream.as_str()).collect();
        upstreams.sort_unstable();
        upstreams.dedup();
        let last = upstreams.into_iter().filter_map(|upstream| self.last(upstream));
        last.filter(settled)
            .filter(|entry| {
                let gauge = breakers.iter().find(|gauge| gauge.upstream == entry.upstream);
                let forced = gauge.filter(|gauge| gauge.forced_until_ms > 0);
                let held = forced.and_then(|gauge| OverrideAction::shown_as(&gauge.state));
                let wanted = Some(entry.action).filter(|word| *word != OverrideAction::Reset && entry.holds(now_ms));
                // Where nothing is forced, and nothing is to be, there is nothing to tell.
                held != wanted
            })
            .collect()
    }

    /// The last override of a breaker.
    #[must_use]
    pub fn last(&self, upstream: &str) -> Option<&BreakerOverride> {
        self.log.iter().rev().find(|entry| entry.upstream == upstream)
    }

    /// What holds now, by breaker.
    pub fn in_force(&self, now_ms: Millis) -> impl Iterator<Item = &BreakerOverride> {
        self.in_force.values().filter(move |entry| entry.holds(now_ms))
    }

    /// The overrides to renew from time to time, because they have no end time.
    pub fn to_renew(&self) -> impl Iterator<Item = &BreakerOverride> {
        self.in_force.values().filter(|entry| entry.until.is_none())
    }

    /// All overrides ever made, the newest last.
    pub fn log(&self) -> impl Iterator<Item = &BreakerOverride> {
        self.log.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(upstream: &str, action: OverrideAction, until: Option<Millis>) -> BreakerOverride {
        BreakerOverride {
            at: 1_000,
            upstream: upstream.to_owned(),
            action,
            until,
            who: "me".to_owned(),
            reason: String::new(),
        }
    }

    #[test]
    fn the_last_word_holds_until_its_end_or_until_it_is_taken_back() {
        let mut breaker_overrides = BreakerOverrides::default();
        let apply = |breaker_overrides: &mut BreakerOverrides, mut word: BreakerOverride| {
            word.at = breaker_overrides.moment(&word.upstream, word.at);
            assert!(breaker_overrides.apply(word));
        };
        apply(&mut breaker_overrides, entry("a", OverrideAction::ForceClose, None));
        apply(
            &mut breaker_overrides,
            entry("a", OverrideAction::ForceOpen, Some(5_000)),
        );
        apply(&mut breaker_overrides, entry("b", OverrideAction::DryRun, None));
        let holding = |breaker_overrides: &BreakerOverrides, now_ms| {
            breaker_overrides
                .in_force(now_ms)
                .map(|entry| (entry.upstream.clone(), entry.action))
                .collect::<Vec<_>>()
        };
        let (open, dry) = (
            ("a".to_owned(), OverrideAction::ForceOpen),
            ("b".to_owned(), OverrideAction::DryRun),
        );
        assert_eq!(holding(&breaker_overrides, 4_999), [open, dry.clone()]);
        assert_eq!(holding(&breaker_overrides, 5_000), [dry]);
        assert_eq!(breaker_overrides.to_renew().count(), 1);
        apply(&mut breaker_overrides, entry("b", OverrideAction::Reset, None));
        assert!(holding(&breaker_overrides, 5_000).is_empty());
        assert_eq!(breaker_overrides.log().count(), 4);
    }

    #[test]
    fn replicas_that_hear_words_in_any_order_end_alike() {
        let mut words = vec![
            entry("a", OverrideAction::ForceOpen, None),
            entry("a", OverrideAction::Reset, None),
            entry("a", OverrideAction::DryRun, None),
            entry("b", OverrideAction::ForceOpen, None),
            entry("b", OverrideAction::Reset, None),
        ];
        (1..).zip(&mut words).for_each(|(at, word)| word.at = at);
        let after = |words: &[BreakerOverride]| {
            let mut breaker_overrides = BreakerOverrides::default();
            words
                .iter()
                .for_each(|word| assert!(breaker_overrides.apply(word.clone())));
            breaker_overrides
        };
        let usual = after(&words);
        assert_eq!(usual.in_force(9).count(), 1);
        for turn in 1..words.len() {
            words.rotate_left(1);
            assert_eq!(after(&words), usual, "{turn}");
        }
        words.reverse();
        assert_eq!(after(&words), usual);
    }

    #[test]
    fn an_envoy_is_told_how_long_it_still_holds() {
        let ends = |word: BreakerOverride, now_ms| word.command(now_ms).expires_in_ms;
        assert_eq!(ends(entry("a", OverrideAction::ForceOpen, Some(5_000)), 2_000), 3_000);
        assert_eq!(ends(entry("a", OverrideAction::ForceOpen, None), 2_000), LEASE_MS);
        assert_eq!(ends(entry("a", OverrideAction::Reset, None), 2_000), 0);
    }

    #[test]
    fn the_log_is_bounded_and_survives_its_json() {
        let mut breaker_overrides = BreakerOverrides::default();
        for at in 0..MAX_ENTRIES as u64 + 10 {
            let mut word = entry("a", OverrideAction::DryRun, None);
            word.at = at;
            assert!(breaker_overrides.apply(word.clone()) && !breaker_overrides.apply(word));
        }
        assert_eq!(breaker_overrides.log().count(), MAX_ENTRIES);
        let text = serde_json::to_string(&breaker_overrides).unwrap();
        assert_eq!(
            serde_json::from_str::<BreakerOverrides>(&text).unwrap(),
            breaker_overrides
        );
    }

    #[test]
    fn words_of_one_millisecond_and_clocks_that_differ_leave_one_order() {
        let (open, close) = (
            entry("a", OverrideAction::ForceOpen, None),
            entry("a", OverrideAction::ForceClose, None),
        );
        let after = |words: [&BreakerOverride; 2]| {
            let mut breaker_overrides = BreakerOverrides::default();
            words
                .iter()
                .for_each(|word| assert!(breaker_overrides.apply((*word).clone())));
            breaker_overrides
        };
        assert_eq!(after([&open, &close]), after([&close, &open]));
        let breaker_overrides = after([&open, &close]);
        assert_eq!(
            breaker_overrides.moment("a", 400),
            1_001,
            "after what is known, on a slow clock"
        );
        assert_eq!(breaker_overrides.moment("a", 5_000), 5_000);
        assert_eq!(breaker_overrides.moment("b", 400), 400);
    }

    #[test]
    fn an_envoy_whose_reports_do_not_show_the_last_word_is_told_again() {
        const NOW: Millis = 100_000;
        let gauge = |state: &str, forced_until_ms| BreakerGauge {
            upstream: "a".to_owned(),
            state: state.to_owned(),
            forced_until_ms,
            ..BreakerGauge::default()
        };
        let (open, closed, none) = (gauge("forced_open", 1), gauge("forced_closed", 1), gauge("closed", 0));
        for (word, until, reported, told) in [
            (OverrideAction::ForceOpen, None, vec![open.clone()], false),
            (OverrideAction::ForceOpen, None, vec![closed.clone()], true),
            (OverrideAction::ForceOpen, None, vec![none.clone()], true),
            (OverrideAction::ForceOpen, None, vec![], true),
            (OverrideAction::ForceOpen, Some(NOW + ON_ITS_WAY_MS), vec![], true),
            (OverrideAction::ForceOpen, Some(NOW + ON_ITS_WAY_MS - 1), vec![], false),
            (
                OverrideAction::ForceOpen,
                Some(NOW - ON_ITS_WAY_MS),
                vec![open.clone()],
                true,
            ),
            (
                OverrideAction::ForceOpen,
                Some(NOW - ON_ITS_WAY_MS),
                vec![none.clone()],
                false,
            ),
            (OverrideAction::Reset, None, vec![open.clone()], true),
            (OverrideAction::Reset, None, vec![gauge("dry_run", 0)], false),
            (OverrideAction::Reset, None, vec![], false),
        ] {
            let mut breaker_overrides = BreakerOverrides::default();
            breaker_overrides.apply(entry("a", word, until));
            let unheard = breaker_overrides.unheard(&reported, NOW);
            assert_eq!(!unheard.is_empty(), told, "{word:?} {until:?} {reported:?}");
            assert!(
                breaker_overrides
                    .unheard(&reported, 1_000 + ON_ITS_WAY_MS - 1)
                    .is_empty(),
                "on its way"
            );
        }
    }
}
