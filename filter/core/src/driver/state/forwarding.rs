//! What Envoy does with a request after the filter has passed it on: routes rewrite paths and hosts and add fields, filters behind this
//! one do what they like. A filter sees the final head only in the access log's callback, so it is learned there, for each cluster
//! and route, and kept in shared data.

mod record;

use crate::Millis;
use crate::driver::exchange::destination::{Destination, Routed};
use crate::driver::host::{Clock, LogLevel};
use crate::reason::Reason;
use crate::shared_map::{Cas, SharedMap, keys};
use record::Record;
use rustc_hash::FxHashMap;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Pairs of cluster and route that are learned. The rest count as changed: their requests are asked for as their clients sent them.
const MAX_PAIRS: usize = 512;
/// Longest names of a pair together that are learned.
const MAX_NAMES: usize = 1_024;
const RETRIES: usize = 8;
/// For so long it counts that requests of a pair leave as they came. A route may be given another meaning under its name, and nobody
/// tells a filter; then a client's request has to show it.
const UNCHANGED_MS: u64 = 30_000;
/// For so long responses of a pair are refreshed by clients' requests, after one fetched otherwise differed.
const DIFFERED_MS: u64 = 600_000;
/// For so long those of a key, after a request of our own has failed.
const FAILED_MS: u64 = 600_000;
/// Keys remembered for that.
const FAILED: usize = 1_024;

/// What is known of a cluster and route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// Nothing yet.
    Unknown,
    /// Requests leave as they came.
    Unchanged,
    /// They do not.
    Changed,
}

/// What is known of all of them, as this VM has last read it.
#[derive(Debug, Default)]
pub struct Forwarding {
    record: Record,
    seen: Option<Cas>,
    differed: FxHashMap<Vec<u8>, Millis>,
    failed: Vec<(u64, Millis)>,
    /// Until when it counts that requests of a pair were last seen to leave as they came.
    seen_unchanged: FxHashMap<Vec<u8>, Millis>,
    /// The operator was told that a route has no name.
    unnamed_reported: Cell<bool>,
    last: RefCell<Option<Rc<Destination>>>,
}

impl Forwarding {
    /// Where a request is sent. Mostly where the one before it was.
    pub(crate) fn routed(&self, cluster: Vec<u8>, route: Vec<u8>, authority: &[u8]) -> Routed {
        let mut last = self.last.borrow_mut();
        let same = last
            .as_ref()
            .filter(|last| last.cluster == cluster && last.route == route);
        let to = same
            .map(Rc::clone)
            .unwrap_or_else(|| Rc::new(Destination::new(cluster, route)));
        *last = Some(Rc::clone(&to));
        Routed::to(to, authority)
    }

    pub(crate) fn of(&self, pair: &[u8]) -> Knowledge {
        match self.record.pairs.get(pair) {
            Some(true) => Knowledge::Changed,
            Some(false) => Knowledge::Unchanged,
            None if pair.len() > MAX_NAMES || self.record.pairs.len() >= MAX_PAIRS => Knowledge::Changed,
            None => Knowledge::Unknown,
        }
    }

    /// Everything that is known: cluster, route, whether its requests are changed.
    pub(crate) fn known(&self) -> Vec<(Vec<u8>, Vec<u8>, bool)> {
        let mut known: Vec<_> = self
            .record
            .pairs
            .iter()
            .map(|(pair, changed)| {
                let at = pair.iter().position(|byte| *byte == 0).unwrap_or(pair.len());
                let (cluster, rest) = pair.split_at(at);
                (cluster.to_vec(), rest.get(1..).unwrap_or_default().to_vec(), *changed)
            })
            .collect();
        known.sort();
        known
    }

    /// Whether replies of the filter are rewritten on their way out.
    pub(crate) fn rewrites_replies(&self) -> bool {
        self.record.rewritten
    }

    /// Why a response of this pair and key is refreshed by a client's request, and not by one of our own; `None` where it is not.
    pub(crate) fn foreground(&self, pair: &[u8], hash: u64, now_ms: Millis) -> Option<Reason> {
        let unseen = || (!self.is_lately_unchanged(pair, now_ms)).then_some(Reason::NotYetKnown);
        self.usual_foreground(pair, hash, now_ms).or_else(unseen)
    }

    /// As [`Self::foreground`], but for the one request that is to show, from time to time, that it still leaves as it came.
    pub(crate) fn usual_foreground(&self, pair: &[u8], hash: u64, now_ms: Millis) -> Option<Reason> {
        match self.of(pair) {
            // A request of our own was made by nobody who connected to any address.
            _ if self.is_by_destination(pair) => Some(Reason::RequestChanged),
            Knowledge::Changed => Some(Reason::RequestChanged),
            Knowledge::Unknown => Some(Reason::NotYetKnown),
            Knowledge::Unchanged
                if self
                    .differed
                    .get(pair)
                    .is_some_and(|until| is_on(*until, DIFFERED_MS, now_ms)) =>
            {
                Some(Reason::ResponseChanged)
            }
            Knowledge::Unchanged if self.has_failed(hash, now_ms) => Some(Reason::BackgroundFailed),
            Knowledge::Unchanged => None,
        }
    }

    fn is_lately_unchanged(&self, pair: &[u8], now_ms: Millis) -> bool {
        let until = self.seen_unchanged.get(pair);
        until.is_some_and(|until| is_on(*until, UNCHANGED_MS, now_ms))
    }

    /// Why the cache has no part in the requests of this pair; `None` where it has.
    pub(crate) fn unsound(&self, pair: &[u8]) -> Option<Reason> {
        if self.record.unsound.is_empty() {
            return None;
        }
        self.record.unsound.get(pair).copied()
    }

    /// The cache is to have no part in the requests of this pair; true when this was news.
    pub(crate) fn distrust(&mut self, map: &impl SharedMap, pair: &[u8], reason: Reason) -> bool {
        self.change(map, |record| {
            if record.unsound.contains_key(pair) || record.unsound.len() >= MAX_PAIRS {
                return false;
            }
            record.unsound.insert(pair.to_vec(), reason);
            true
        })
    }

    /// Whether requests of this pair go where their clients connected to, which no route tells.
    pub(crate) fn is_by_destination(&self, pair: &[u8]) -> bool {
        !self.record.by_destination.is_empty() && self.record.by_destination.contains(pair)
    }

    /// A request of this pair has gone where its client connected to; true when this was news.
    pub(crate) fn went_by_destination(&mut self, map: &impl SharedMap, pair: &[u8]) -> bool {
        self.change(map, |record| {
            record.by_destination.len() < MAX_PAIRS && record.by_destination.insert(pair.to_vec())
        })
    }

    fn has_failed(&self, hash: u64, now_ms: Millis) -> bool {
        self.failed
            .get(place(hash))
            .is_some_and(|(known, until)| *known == hash && is_on(*until, FAILED_MS, now_ms))
    }

    /// A request of our own for this key did not bring what a client's would.
    pub(crate) fn background_failed(&mut self, hash: u64, now_ms: Millis) {
        if self.failed.is_empty() {
            self.failed.resize(FAILED, (0, 0));
        }
        if let Some(place) = self.failed.get_mut(place(hash)) {
            *place = (hash, now_ms.saturating_add(FAILED_MS));
        }
    }

    /// A response of this pair had other fields than one that came by a client's request.
    pub(crate) fn response_differed(&mut self, pair: &[u8], now_ms: Millis) {
        if self.differed.len() >= MAX_PAIRS {
            self.differed.clear();
        }
        self.differed.insert(pair.to_vec(), now_ms.saturating_add(DIFFERED_MS));
    }

    /// Logs once that a route has no name, and what that costs.
    pub(crate) fn log_unnamed(&self, host: &impl Clock, cluster: &str) {
        if !self.unnamed_reported.replace(true) {
            let message = format!(
                "a route to cluster {cluster} has no name: what is stored is shared only by requests with the same head; give each route a name of its own"
            );
            host.log(LogLevel::Warn, &message);
        }
    }

    /// Takes over what the Envoy knows.
    pub(crate) fn refresh(&mut self, map: &impl SharedMap) {
        let Some((bytes, cas)) = map.get(keys::FORWARDING) else {
            return;
        };
        if self.seen != Some(cas) {
            self.record = Record::decode(&bytes);
            self.seen = Some(cas);
        }
    }

    /// Changes the record; true when there was something to change.
    pub(crate) fn change(&mut self, map: &impl SharedMap, change: impl Fn(&mut Record) -> bool) -> bool {
        for _ in 0..RETRIES {
            let (mut record, cas) = match map.get(keys::FORWARDING) {
                Some((bytes, cas)) => (Record::decode(&bytes), Some(cas)),
                None => (Record::default(), None),
            };
            let changed = change(&mut record);
            if !changed || map.set(keys::FORWARDING, &record.encode(), cas).is_ok() {
                self.record = record;
                // Read anew at the next look: the version of what was just written is not told.
                self.seen = None;
                return changed;
            }
        }
        false
    }

    /// A request of the pair was seen to leave. True when what was seen is news. A pair whose requests were changed once counts as changed for good.
    pub(crate) fn learn(&mut self, map: &impl SharedMap, pair: &[u8], changed: bool, now_ms: Millis) -> bool {
        if self.seen_unchanged.len() >= MAX_PAIRS {
            self.seen_unchanged.clear();
        }
        if !changed {
            self.seen_unchanged
                .insert(pair.to_vec(), now_ms.saturating_add(UNCHANGED_MS));
        }
        let known = self.of(pair);
        if known == Knowledge::Changed || known == Knowledge::Unchanged && !changed {
            return false;
        }
        self.change(map, |record| {
            if record.pairs.get(pair).is_some_and(|known| *known || !changed) || record.pairs.len() >= MAX_PAIRS {
                return false;
            }
            record.pairs.insert(pair.to_vec(), changed);
            true
        })
    }
}

/// A time far ahead comes from a clock that has since jumped back.
fn is_on(until: Millis, lasts_ms: u64, now_ms: Millis) -> bool {
    until > now_ms && until <= now_ms.saturating_add(2 * lasts_ms)
}

fn place(hash: u64) -> usize {
    usize::try_from(hash % FAILED as u64).unwrap_or(0)
}

/// Creates the record, which two workers must not create at once.
pub(crate) fn seed(map: &impl SharedMap) {
    if map.get(keys::FORWARDING).is_none() {
        let _ = map.set(keys::FORWARDING, &Record::default().encode(), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::exchange::destination::pair;
    use crate::shared_map::MemoryMap;
    use rustc_hash::FxHashSet;

    #[test]
    fn what_is_learned_is_known_to_all_and_changed_is_for_good() {
        let (map, mut one, mut other) = (MemoryMap::default(), Forwarding::default(), Forwarding::default());
        seed(&map);
        let name = pair(b"c", b"r");
        assert_eq!(one.of(&name), Knowledge::Unknown);
        assert!(one.learn(&map, &name, false, 1_000) && !one.learn(&map, &name, false, 1_000));
        other.refresh(&map);
        assert_eq!(other.of(&name), Knowledge::Unchanged);
        assert!(other.learn(&map, &name, true, 1_000));
        assert!(
            !one.learn(&map, &name, false, 1_000),
            "no news to a VM that has not looked since"
        );
        one.refresh(&map);
        assert_eq!(one.of(&name), Knowledge::Changed);
        assert_eq!(one.of(&pair(b"c", b"")), Knowledge::Unknown);
        assert_eq!(one.known(), [(b"c".to_vec(), b"r".to_vec(), true)]);
        assert!(one.change(&map, |record| !std::mem::replace(&mut record.rewritten, true)));
        other.refresh(&map);
        assert!(other.rewrites_replies() && other.of(&name) == Knowledge::Changed);
    }

    #[test]
    fn the_record_is_bounded_and_what_does_not_fit_counts_as_changed() {
        let (map, mut one) = (MemoryMap::default(), Forwarding::default());
        for number in 0..2 * MAX_PAIRS {
            one.learn(&map, &pair(b"c", number.to_string().as_bytes()), false, 1_000);
        }
        assert_eq!(one.record.pairs.len(), MAX_PAIRS);
        assert_eq!(one.of(&pair(b"c", b"1")), Knowledge::Unchanged);
        assert_eq!(one.of(&pair(b"new", b"")), Knowledge::Changed);
        assert_eq!(Forwarding::default().of(&[b'x'; MAX_NAMES + 1]), Knowledge::Changed);
    }

    #[test]
    fn damaged_bytes_are_an_empty_record() {
        for bytes in [&b""[..], b"\0", b"\0\x01", b"\0\x01\xff\xff", b"\0\x01\x01\0"] {
            assert_eq!(Record::decode(bytes), Record::default(), "{bytes:?}");
        }
        let record = Record {
            rewritten: true,
            pairs: FxHashMap::from_iter([(pair(b"a", b"b"), true), (pair(b"", b""), false)]),
            unsound: FxHashMap::from_iter([
                (pair(b"a", b"b"), Reason::GuardBehind),
                (pair(b"c", b""), Reason::RoutedAnew),
            ]),
            by_destination: FxHashSet::from_iter([pair(b"a", b"b")]),
        };
        assert_eq!(Record::decode(&record.encode()), record);
    }

    #[test]
    fn marks_end_by_themselves() {
        let (map, mut one) = (MemoryMap::default(), Forwarding::default());
        let name = pair(b"c", b"");
        assert_eq!(one.foreground(&name, 1, 1_000), Some(Reason::NotYetKnown));
        one.learn(&map, &name, false, 1_000);
        assert_eq!(one.foreground(&name, 1, 1_000), None);
        one.background_failed(1, 1_000);
        assert_eq!(one.foreground(&name, 1, 1_001), Some(Reason::BackgroundFailed));
        assert_eq!(one.foreground(&name, 2, 1_001), None);
        one.learn(&map, &name, false, FAILED_MS);
        assert_eq!(one.foreground(&name, 1, 1_000 + FAILED_MS), None);
        one.response_differed(&name, 1_000_000_000);
        assert_eq!(one.foreground(&name, 2, 1_000_000_001), Some(Reason::ResponseChanged));
        one.learn(&map, &name, false, 1_000);
        assert_eq!(one.foreground(&name, 2, 1_000), None, "the clock went back");
        let later = Some(Reason::NotYetKnown);
        assert_eq!(
            one.foreground(&name, 2, 1_000 + UNCHANGED_MS),
            later,
            "not seen for long"
        );
        assert_eq!(one.usual_foreground(&name, 2, 1_000 + UNCHANGED_MS), None);
    }
}
