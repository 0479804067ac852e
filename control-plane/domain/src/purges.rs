//! What was purged, and which Envoys have done it: the receipts, and what an Envoy that was away has missed.

use crate::Millis;
use optimizer_proto::purge::{PurgeTarget, Stored};
use optimizer_proto::url;
use optimizer_proto::v1::purge_command::Kind;
use optimizer_proto::v1::{PurgeCommand, PurgeCount};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Purges remembered. An Envoy that was away for longer than these go back is purged as a whole when it returns.
pub const REMEMBERED: usize = 2_000;
/// Bytes of what they name.
pub const MAX_BYTES: usize = 32 << 20;
/// Receipts of one purge.
pub const MAX_APPLIED: usize = 20_000;
/// Envoys that a purge waits for by name.
pub const MAX_AWAITED: usize = 1_000;
/// How far the clocks of an Envoy and the control plane may differ.
const SKEW_MS: u64 = 60_000;
/// Targets of one purge.
pub const MAX_TARGETS: usize = 64;
/// Longest name of a target.
pub const MAX_VALUE: usize = 8_192;

/// One thing to purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", content = "value", rename_all = "lowercase")]
pub enum Target {
    /// Everything.
    All,
    /// One host.
    Host(String),
    /// All paths on a host that begin so: `host/path`.
    Prefix(String),
    /// Everything with this tag or in this cache group.
    Tag(String),
    /// One URL.
    Url(String),
}

impl Target {
    fn parts(&self) -> (Kind, &str) {
        match self {
            Self::All => (Kind::All, ""),
            Self::Host(value) => (Kind::Host, value.as_str()),
            Self::Prefix(value) => (Kind::Prefix, value.as_str()),
            Self::Tag(value) => (Kind::Tag, value.as_str()),
            Self::Url(value) => (Kind::Url, value.as_str()),
        }
    }

    /// The command for an Envoy.
    #[must_use]
    pub fn command(&self, soft: bool) -> PurgeCommand {
        let (kind, value) = self.parts();
        PurgeCommand {
            kind: kind.into(),
            value: value.to_owned(),
            soft,
            counted: Vec::new(),
        }
    }

    /// What is meant here, where the policies of routes are not known: of a URL the path alone, as a route may leave out a part of
    /// the query. What does not read as it should means everything.
    #[must_use]
    pub fn meant(&self) -> PurgeTarget {
        let (kind, value) = self.parts();
        match PurgeTarget::read(kind, value) {
            Ok(PurgeTarget::Url { host, path }) => PurgeTarget::path(&host, &path),
            Ok(target) => target,
            Err(_) => PurgeTarget::All,
        }
    }

    /// Whether a stored response is meant.
    #[must_use]
    pub fn covers(&self, url: &str, tags: &[String]) -> bool {
        let Some((host, path)) = url::split(url.as_bytes()) else {
            return true;
        };
        let tags = tags.iter().map(String::as_bytes);
        self.meant().matches(&Stored::new(host, path), tags)
    }

    /// What is wrong with it, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let (kind, value) = self.parts();
        if value.len() > MAX_VALUE {
            return Some("at most 8 KiB");
        }
        PurgeTarget::fault(kind, value)
    }
}

/// How many stored responses of an Envoy a purge has matched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matched {
    /// At least so many.
    pub at_least: u64,
    /// All were counted: there were no more.
    pub all: bool,
}

impl Matched {
    /// The number, where it is known.
    #[must_use]
    pub fn known(self) -> Option<u64> {
        self.all.then_some(self.at_least)
    }

    /// The count of an Envoy, after what was counted before.
    #[must_use]
    pub fn plus(self, count: &PurgeCount) -> Self {
        Self {
            at_least: self.at_least.saturating_add(count.matched),
            // What is newer may have replaced what was meant.
            all: self.all && count.newer == 0,
        }
    }
}

/// One purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// Names it.
    pub id: String,
    /// When it was accepted.
    pub at: Millis,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What.
    pub targets: Vec<Target>,
    /// True: what is stored becomes stale instead of going.
    pub soft: bool,
    /// The client's key against doing it twice.
    pub idempotency_key: Option<String>,
    /// Envoy processes that have done it, and when.
    pub applied: BTreeMap<String, Millis>,
    /// How many stored responses it has matched, of the Envoys that have counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matched: BTreeMap<String, Matched>,
    /// Envoy processes that were there when it was accepted and have not done it: after a restart of the control plane nobody else knows of
    /// them before they return. A thousand at most.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub awaited: BTreeSet<String>,
}

impl Purge {
    /// Of all Envoys that have done it: how many stored responses it has matched. An Envoy that has not counted makes the sum unknown.
    #[must_use]
    pub fn matched(&self) -> Matched {
        let of = |envoy| self.matched.get(envoy).copied().unwrap_or_default();
        let counts = self.applied.keys().map(of);
        let none = Matched {
            at_least: 0,
            all: !self.applied.is_empty(),
        };
        counts.fold(none, |sum, one| Matched {
            at_least: sum.at_least.saturating_add(one.at_least),
            all: sum.all && one.all,
        })
    }

    /// Waits for these Envoys.
    #[must_use]
    pub fn awaiting<'e>(mut self, envoys: impl Iterator<Item = &'e str>) -> Self {
        let open = envoys.filter(|envoy| !self.applied.contains_key(*envoy));
        self.awaited = open.take(MAX_AWAITED).map(ToOwned::to_owned).collect();
        self
    }

    /// Whether an Envoy that started then (0 = not known) may hold what was purged.
    #[must_use]
    pub fn concerns(&self, started_ms: Millis) -> bool {
        self.at >= started_ms.saturating_sub(SKEW_MS)
    }

    /// What it takes to remember, receipts left out.
    fn bytes(&self) -> usize {
        let named = self.targets.iter().map(|target| match target {
            Target::All => 0,
            Target::Host(value) | Target::Prefix(value) | Target::Tag(value) | Target::Url(value) => value.len(),
        });
        named.sum::<usize>() + self.by.len() + self.reason.len() + self.idempotency_key.as_ref().map_or(0, String::len)
    }

    /// Whether it asks for the same as another.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.targets == other.targets && self.soft == other.soft
    }
}

/// All purges remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeLog {
    purges: VecDeque<Purge>,
    /// When the newest purge that is not remembered any more was accepted.
    forgotten_ms: Millis,
}

impl PurgeLog {
    /// Takes a purge in.
    ///
    /// # Errors
    /// The earlier one with the same id or idempotency key, if there is one.
    pub fn accept(&mut self, purge: Purge) -> Result<(), Box<Purge>> {
        let key = purge.idempotency_key.as_deref();
        let same =
            |earlier: &&Purge| earlier.id == purge.id || (key.is_some() && earlier.idempotency_key.as_deref() == key);
        if let Some(earlier) = self.purges.iter().find(same) {
            return Err(Box::new(earlier.clone()));
        }
        let mut bytes: usize = self.purges.iter().map(Purge::bytes).sum::<usize>() + purge.bytes();
        while (self.purges.len() >= REMEMBERED || bytes > MAX_BYTES)
            && let Some(forgotten) = self.purges.pop_front()
        {
            bytes = bytes.saturating_sub(forgotten.bytes());
            self.forgotten_ms = self.forgotten_ms.max(forgotten.at);
        }
        self.purges.push_back(purge);
        Ok(())
    }

    /// An Envoy has done it, and may have counted what it matched. Told once more it keeps its time.
    pub fn applied(&mut self, id: &str, envoy: &str, now_ms: Millis, matched: Option<Matched>) {
        let Some(purge) = self.purges.iter_mut().find(|purge| purge.id == id) else {
            return;
        };
        if purge.applied.len() < MAX_APPLIED {
            purge.applied.entry(envoy.to_owned()).or_insert(now_ms);
        }
        purge.awaited.remove(envoy);
        if let Some(matched) = matched
            && purge.applied.contains_key(envoy)
        {
            let held = purge.matched.entry(envoy.to_owned()).or_default();
            let better = (matched.all, matched.at_least) > (held.all, held.at_least);
            if better {
                *held = matched;
            }
        }
    }

    /// All Envoys have to do it once more.
    pub fn reopen(&mut self, id: &str) {
        if let Some(purge) = self.purges.iter_mut().find(|purge| purge.id == id) {
            let done = std::mem::take(&mut purge.applied);
            purge.awaited.extend(done.into_keys().take(MAX_AWAITED));
        }
    }

    /// The purges that an Envoy has yet to do: those accepted since it started (0 = not known) without its receipt. One that was
    /// away for longer than is remembered must forget everything: the answer is `None`.
    #[must_use]
    pub fn missing(&self, envoy: &str, started_ms: Millis) -> Option<Vec<Purge>> {
        let since = started_ms.saturating_sub(SKEW_MS);
        if self.forgotten_ms > 0 && self.forgotten_ms >= since && !self.knows(envoy) {
            return None;
        }
        let missing = self
            .purges
            .iter()
            .filter(|purge| purge.concerns(started_ms) && !purge.applied.contains_key(envoy));
        Some(missing.cloned().collect())
    }

    /// Whether an Envoy process has done one of them.
    #[must_use]
    pub fn knows(&self, envoy: &str) -> bool {
        self.purges.iter().any(|purge| purge.applied.contains_key(envoy))
    }

    /// One purge.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Purge> {
        self.purges.iter().find(|purge| purge.id == id)
    }

    /// All of them, the newest first.
    pub fn all(&self) -> impl Iterator<Item = &Purge> {
        self.purges.iter().rev()
    }

    /// Everything up to then is not remembered.
    #[must_use]
    pub fn forgotten_ms(&self) -> Millis {
        self.forgotten_ms
    }

    /// What is written down as forgotten is not remembered.
    pub fn forget_before(&mut self, at: Millis) {
        self.forgotten_ms = self.forgotten_ms.max(at);
    }

    /// All of them, the oldest first.
    pub fn oldest_first(&self) -> impl Iterator<Item = &Purge> {
        self.purges.iter()
    }

    /// Whether a response that was received at `response_ms` has been purged since, softly or not: what a soft purge made stale
    /// must not come back fresh.
    #[must_use]
    pub fn covers(&self, url: &str, tags: &[String], response_ms: Millis) -> bool {
        if response_ms <= self.forgotten_ms {
            return true;
        }
        self.purges
            .iter()
            .filter(|purge| purge.at >= response_ms)
            .any(|purge| purge.targets.iter().any(|target| target.covers(url, tags)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge(id: &str, at: Millis, target: Target) -> Purge {
        Purge {
            id: id.to_owned(),
            at,
            by: String::new(),
            reason: String::new(),
            targets: vec![target],
            soft: false,
            idempotency_key: None,
            applied: BTreeMap::new(),
            matched: BTreeMap::new(),
            awaited: BTreeSet::new(),
        }
    }

    #[test]
    fn an_envoy_that_was_away_is_told_what_it_missed_once() {
        let mut log = PurgeLog::default();
        log.accept(purge("1", 100_000, Target::All)).unwrap();
        log.accept(purge("2", 200_000, Target::Host("a".to_owned()))).unwrap();
        let ids = |log: &PurgeLog, envoy: &str, started| -> Vec<String> {
            log.missing(envoy, started)
                .unwrap()
                .into_iter()
                .map(|purge| purge.id)
                .collect()
        };
        assert_eq!(ids(&log, "x", 0), ["1", "2"]);
        assert_eq!(ids(&log, "x", 190_000), ["2"], "the first was before its time");
        log.applied("2", "x", 5, None);
        assert_eq!(ids(&log, "x", 0), ["1"]);
        assert_eq!(ids(&log, "y", 0), ["1", "2"]);
    }

    #[test]
    fn who_was_away_for_longer_than_is_remembered_forgets_everything() {
        let mut log = PurgeLog::default();
        for at in 0..=2_000 {
            log.accept(purge(&at.to_string(), 1_000_000 + at, Target::Tag("t".to_owned())))
                .unwrap();
        }
        assert_eq!(log.all().count(), 2_000);
        assert!(log.missing("x", 0).is_none());
        assert_eq!(log.missing("new", 2_000_000).unwrap().len(), 0);
        assert!(log.covers("http://a/b", &[], 1_000_000), "as old as what is forgotten");
        // Long ones sooner: 65 of these name more than 32 MB.
        let mut log = PurgeLog::default();
        for at in 0..80 {
            let mut long = purge(&at.to_string(), at, Target::All);
            long.targets = vec![Target::Tag("t".repeat(8_192)); 64];
            log.accept(long).unwrap();
        }
        assert!((60..=64).contains(&log.all().count()), "{}", log.all().count());
    }

    #[test]
    fn the_same_key_is_the_same_purge() {
        let mut log = PurgeLog::default();
        let mut first = purge("1", 1, Target::All);
        first.idempotency_key = Some("k".to_owned());
        log.accept(first.clone()).unwrap();
        let again = Purge {
            id: "2".to_owned(),
            ..first.clone()
        };
        assert_eq!(log.accept(again), Err(Box::new(first)));
    }

    #[test]
    fn what_a_purge_covers() {
        let tags = ["shop".to_owned(), "group:products".to_owned()];
        let url = "http://api.example/products/caf%c3%a9?x=1";
        for (target, covered) in [
            (Target::All, true),
            (Target::Host("API.example.:80".to_owned()), true),
            (Target::Host("other".to_owned()), false),
            (Target::Prefix("api.example/prod".to_owned()), true),
            (
                Target::Prefix("http://api.example:80/products/caf%C3%A".to_owned()),
                true,
            ),
            (Target::Prefix("/prod".to_owned()), true),
            (Target::Prefix("api.example/users".to_owned()), false),
            (Target::Tag("shop".to_owned()), true),
            (Target::Tag("products".to_owned()), true),
            (Target::Tag("group:products".to_owned()), true),
            (Target::Tag("hop".to_owned()), false),
            (Target::Tag("cart".to_owned()), false),
            (Target::Url("https://api.example/products/café?x=1".to_owned()), true),
            (
                Target::Url("http://api.example:80/products/caf%C3%A9?utm=1".to_owned()),
                true,
            ),
            (Target::Url("http://api.example/products/8".to_owned()), false),
            (Target::Url("http://other/products/café".to_owned()), false),
        ] {
            assert_eq!(target.covers(url, &tags), covered, "{target:?}");
        }
    }

    #[test]
    fn what_was_matched_is_known_when_all_have_counted() {
        let mut log = PurgeLog::default();
        log.accept(purge("1", 1, Target::All)).unwrap();
        let sum = |log: &PurgeLog| log.get("1").unwrap().matched();
        let of = |at_least, all| Some(Matched { at_least, all });
        assert_eq!(sum(&log).known(), None, "nobody has done it");
        log.applied("1", "a", 5, of(3, true));
        assert_eq!(sum(&log).known(), Some(3));
        log.applied("1", "b", 5, None);
        assert_eq!((sum(&log).known(), sum(&log).at_least), (None, 3));
        log.applied("1", "b", 9, of(2, false));
        assert_eq!((sum(&log).known(), sum(&log).at_least), (None, 5));
        log.applied("1", "b", 9, of(4, true));
        assert_eq!(sum(&log).known(), Some(7));
        log.applied("1", "b", 10, of(0, false));
        assert_eq!(sum(&log).known(), Some(7), "told again out of order");
        assert_eq!(log.get("1").unwrap().applied["b"], 5);
        let counted = Matched { at_least: 2, all: true };
        let newer = PurgeCount {
            newer: 1,
            ..PurgeCount::default()
        };
        assert_eq!(counted.plus(&newer).known(), None);
    }

    #[test]
    fn who_was_there_is_awaited_until_it_has_done_it() {
        let mut log = PurgeLog::default();
        let there = ["a", "b", "by-client"];
        let mut made = purge("1", 1_000_000, Target::All);
        made.applied.insert("by-client".to_owned(), 1_000_000);
        log.accept(made.awaiting(there.into_iter())).unwrap();
        let awaited = |log: &PurgeLog| log.get("1").unwrap().awaited.iter().cloned().collect::<Vec<_>>();
        assert_eq!(awaited(&log), ["a", "b"]);
        log.applied("1", "a", 1_000_001, None);
        assert_eq!(awaited(&log), ["b"]);
        assert!(log.knows("a") && !log.knows("b"));
        log.reopen("1");
        assert_eq!(awaited(&log), ["a", "b", "by-client"]);
        // What is written down is what is known after a restart; older journals do not name anybody.
        let written = serde_json::to_value(log.get("1").unwrap()).unwrap();
        assert_eq!(
            serde_json::from_value::<Purge>(written.clone()).unwrap(),
            *log.get("1").unwrap()
        );
        let mut older = written;
        older.as_object_mut().unwrap().remove("awaited");
        assert!(serde_json::from_value::<Purge>(older).unwrap().awaited.is_empty());
        let many: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
        let large = purge("2", 1, Target::All).awaiting(many.iter().map(String::as_str));
        assert_eq!(large.awaited.len(), MAX_AWAITED);
    }

    #[test]
    fn a_purge_concerns_who_was_there_before_it() {
        let purge = purge("1", 1_000_000, Target::All);
        for (started_ms, concerned) in [(0, true), (1_000_000, true), (1_060_000, true), (1_060_001, false)] {
            assert_eq!(purge.concerns(started_ms), concerned, "{started_ms}");
        }
    }
}
