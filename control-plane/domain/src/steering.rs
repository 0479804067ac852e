//! What operators have put in place of the breakers' judgement: for which upstream, until when, by whom and why.

use crate::Millis;
use optimizer_proto::v1::BreakerCommand;
use optimizer_proto::v1::breaker_command::Action;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A word without an end holds in an Envoy for so long after the control plane was last heard; it is said again well before.
pub const LEASE_MS: u64 = 5 * 60_000;
/// Longest a word with an end may last.
pub const LONGEST_MS: u64 = 86_400_000;
/// Entries of the audit log kept.
const MAX_ENTRIES: usize = 1_000;

/// What an operator can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Refuse every call.
    ForceOpen,
    /// Let every call pass.
    ForceClose,
    /// Judge and count, refuse nothing.
    DryRun,
    /// Back to the breaker's own judgement, from closed.
    Reset,
}

impl Word {
    /// Every word as written in paths.
    pub const ALL: [(&'static str, Self); 4] = [
        ("force-open", Self::ForceOpen),
        ("force-close", Self::ForceClose),
        ("dry-run", Self::DryRun),
        ("reset", Self::Reset),
    ];

    /// Reads a word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(name, _)| *name == text)
            .map(|(_, word)| word)
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

/// A word said, as the audit log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Said {
    /// When.
    pub at: Millis,
    /// About which breaker: an upstream, or `upstream/route`.
    pub upstream: String,
    /// What.
    pub action: Word,
    /// When it ends by itself; absent = when it is taken back, or soon after the control plane is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
    /// By whom.
    pub who: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

impl Said {
    /// The command for an Envoy at this time.
    #[must_use]
    pub fn command(&self, now_ms: Millis) -> BreakerCommand {
        let expires_in_ms = match (self.action, self.until) {
            (Word::Reset, _) => 0,
            (_, Some(until)) => until.saturating_sub(now_ms).max(1),
            (_, None) => LEASE_MS,
        };
        BreakerCommand {
            upstream: self.upstream.clone(),
            action: self.action.action().into(),
            expires_in_ms,
        }
    }

    fn holds(&self, now_ms: Millis) -> bool {
        self.until.is_none_or(|until| until > now_ms)
    }
}

/// The words in force and the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steering {
    in_force: BTreeMap<String, Said>,
    log: VecDeque<Said>,
}

impl Steering {
    /// Takes a word in; it replaces what was said before about the same breaker. Replicas hear of words in different orders: one
    /// that was said before another about the same breaker changes nothing any more. False when it was known.
    pub fn say(&mut self, said: Said) -> bool {
        if self.log.contains(&said) {
            return false;
        }
        let place = self.log.partition_point(|other| other.at <= said.at);
        let overruled = self.log.iter().skip(place).any(|other| other.upstream == said.upstream);
        if !overruled && said.action == Word::Reset {
            self.in_force.remove(&said.upstream);
        } else if !overruled {
            self.in_force.insert(said.upstream.clone(), said.clone());
        }
        self.log.insert(place, said);
        if self.log.len() > MAX_ENTRIES {
            self.log.pop_front();
        }
        true
    }

    /// The last word about a breaker.
    #[must_use]
    pub fn last(&self, upstream: &str) -> Option<&Said> {
        self.log.iter().rev().find(|said| said.upstream == upstream)
    }

    /// What holds now, by breaker.
    pub fn in_force(&self, now_ms: Millis) -> impl Iterator<Item = &Said> {
        self.in_force.values().filter(move |said| said.holds(now_ms))
    }

    /// What must be said again from time to time, because it has no end.
    pub fn to_renew(&self) -> impl Iterator<Item = &Said> {
        self.in_force.values().filter(|said| said.until.is_none())
    }

    /// Everything said, the newest last.
    pub fn log(&self) -> impl Iterator<Item = &Said> {
        self.log.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(upstream: &str, action: Word, until: Option<Millis>) -> Said {
        Said {
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
        let mut steering = Steering::default();
        steering.say(said("a", Word::ForceClose, None));
        steering.say(said("a", Word::ForceOpen, Some(5_000)));
        steering.say(said("b", Word::DryRun, None));
        let holding = |steering: &Steering, now_ms| {
            steering
                .in_force(now_ms)
                .map(|said| (said.upstream.clone(), said.action))
                .collect::<Vec<_>>()
        };
        let (open, dry) = (("a".to_owned(), Word::ForceOpen), ("b".to_owned(), Word::DryRun));
        assert_eq!(holding(&steering, 4_999), [open, dry.clone()]);
        assert_eq!(holding(&steering, 5_000), [dry]);
        assert_eq!(steering.to_renew().count(), 1);
        steering.say(said("b", Word::Reset, None));
        assert!(holding(&steering, 5_000).is_empty());
        assert_eq!(steering.log().count(), 4);
    }

    #[test]
    fn replicas_that_hear_words_in_any_order_end_alike() {
        let mut words = vec![
            said("a", Word::ForceOpen, None),
            said("a", Word::Reset, None),
            said("a", Word::DryRun, None),
            said("b", Word::ForceOpen, None),
            said("b", Word::Reset, None),
        ];
        (1..).zip(&mut words).for_each(|(at, word)| word.at = at);
        let heard = |words: &[Said]| {
            let mut steering = Steering::default();
            words.iter().for_each(|word| assert!(steering.say(word.clone())));
            steering
        };
        let usual = heard(&words);
        assert_eq!(usual.in_force(9).count(), 1);
        for turn in 1..words.len() {
            words.rotate_left(1);
            assert_eq!(heard(&words), usual, "{turn}");
        }
        words.reverse();
        assert_eq!(heard(&words), usual);
    }

    #[test]
    fn an_envoy_is_told_how_long_it_still_holds() {
        let ends = |word: Said, now_ms| word.command(now_ms).expires_in_ms;
        assert_eq!(ends(said("a", Word::ForceOpen, Some(5_000)), 2_000), 3_000);
        assert_eq!(ends(said("a", Word::ForceOpen, None), 2_000), LEASE_MS);
        assert_eq!(ends(said("a", Word::Reset, None), 2_000), 0);
    }

    #[test]
    fn the_log_is_bounded_and_survives_its_json() {
        let mut steering = Steering::default();
        for at in 0..MAX_ENTRIES as u64 + 10 {
            let mut word = said("a", Word::DryRun, None);
            word.at = at;
            assert!(steering.say(word.clone()) && !steering.say(word));
        }
        assert_eq!(steering.log().count(), MAX_ENTRIES);
        let text = serde_json::to_string(&steering).unwrap();
        assert_eq!(serde_json::from_str::<Steering>(&text).unwrap(), steering);
    }
}
