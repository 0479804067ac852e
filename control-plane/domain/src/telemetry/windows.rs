//! What was reported lately: telemetry merged into slots of ten seconds, kept for an hour.

use crate::Millis;
use optimizer_proto::telemetry::delta;
use optimizer_proto::v1::TelemetryDelta;
use prost::Message as _;
use std::borrow::Cow;
use std::collections::VecDeque;

/// Length of a slot.
pub const SLOT_MS: u64 = 10_000;
/// Slots kept: one hour.
pub const SLOTS: usize = 360;
/// Where memory counts, slots older than five minutes are joined to minutes.
const FINE: u64 = 30;
const SLOTS_PER_MINUTE: u64 = 6;

/// The time a delta covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its beginning.
    pub from_ms: Millis,
    /// Its end, which decides on the slot.
    pub at_ms: Millis,
}

/// The delta of a slot. As a message it takes a fraction of the memory: most bins of a sketch are zero or small.
#[derive(Debug, Clone, PartialEq)]
enum Content {
    Open(Box<TelemetryDelta>),
    Packed(Box<[u8]>),
}

impl Content {
    fn delta(&self) -> Cow<'_, TelemetryDelta> {
        match self {
            Self::Open(delta) => Cow::Borrowed(delta),
            // It was encoded by `pack`, so it can be read.
            Self::Packed(bytes) => Cow::Owned(TelemetryDelta::decode(bytes.as_ref()).unwrap_or_default()),
        }
    }

    fn merge(&mut self, more: &TelemetryDelta) {
        match self {
            Self::Open(delta) => delta::merge_counts(delta, more),
            Self::Packed(_) => {
                let mut delta = self.delta().into_owned();
                delta::merge_counts(&mut delta, more);
                *self = Self::Packed(delta.encode_to_vec().into());
            }
        }
    }

    fn pack(&mut self) {
        if let Self::Open(delta) = self {
            *self = Self::Packed(delta.encode_to_vec().into());
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Slot {
    number: u64,
    /// The last one joined to it; its own number where none is.
    last: u64,
    /// Earlier than the slot's own beginning where a report covered a longer time, as the first one after an outage does.
    from_ms: Millis,
    // Beside the content, so that questions about every Envoy of a fleet need not unpack it.
    requests: u64,
    lookups: u64,
    hits: u64,
    content: Content,
}

impl Slot {
    fn count(&mut self, delta: &TelemetryDelta) {
        let requests = delta.requests.iter().map(|series| series.count);
        self.requests = requests.fold(self.requests, u64::saturating_add);
        let cache = delta.cache.unwrap_or_default();
        self.lookups = self.lookups.saturating_add(cache.lookups);
        self.hits = self.hits.saturating_add(cache.hits);
    }
}

/// The windows of one Envoy, or of the whole fleet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Windows {
    slots: VecDeque<Slot>,
    packed: bool,
    /// When the first delta began.
    since_ms: Option<Millis>,
    /// Hits and lookups of the newest slot that had any and is no longer kept.
    last_expired: Option<(u64, u64)>,
}

impl Windows {
    /// Windows that are seldom read and many: all slots but the newest are kept small, and those older than five minutes joined to
    /// minutes. A longer window then begins with a whole minute.
    #[must_use]
    pub fn packed() -> Self {
        Self {
            packed: true,
            ..Self::default()
        }
    }

    /// Merges the counts of a delta into the slot of its end. One older than the hour is left out.
    pub fn add(&mut self, delta: &TelemetryDelta, span: Span) {
        self.since_ms = Some(self.since_ms.map_or(span.from_ms, |since| since.min(span.from_ms)));
        let number = span.at_ms / SLOT_MS;
        let newest = self.slots.back().map_or(number, |slot| slot.number.max(number));
        if newest - number >= SLOTS as u64 {
            return;
        }
        let from_ms = span.from_ms.min(number * SLOT_MS);
        let place = self.slots.partition_point(|slot| slot.last < number);
        match self.slots.get_mut(place) {
            Some(slot) if slot.number <= number => {
                slot.from_ms = slot.from_ms.min(from_ms);
                slot.content.merge(delta);
                slot.count(delta);
            }
            _ => self.open(place, number, from_ms, delta),
        }
        self.expire(newest);
    }

    fn open(&mut self, place: usize, number: u64, from_ms: Millis, delta: &TelemetryDelta) {
        let mut counts = Box::<TelemetryDelta>::default();
        delta::merge_counts(&mut counts, delta);
        let mut slot = Slot {
            number,
            last: number,
            from_ms,
            requests: 0,
            lookups: 0,
            hits: 0,
            content: Content::Open(counts),
        };
        slot.count(delta);
        self.slots.insert(place, slot);
        if self.packed {
            let newest = self.slots.len() - 1;
            // From the newest backwards all but a few are packed already.
            for slot in self.slots.iter_mut().take(newest).rev() {
                match slot.content {
                    Content::Open(_) => slot.content.pack(),
                    Content::Packed(_) => break,
                }
            }
            self.join_old();
        }
    }

    /// Joins the slots that have just become old to the minute they belong to.
    fn join_old(&mut self) {
        let newest = self.slots.back().map_or(0, |slot| slot.number);
        let old = self.slots.partition_point(|slot| slot.last + FINE <= newest);
        for place in (1..old).rev() {
            let minute = |slot: Option<&Slot>| slot.map(|slot| slot.number / SLOTS_PER_MINUTE);
            if minute(self.slots.get(place)) != minute(self.slots.get(place - 1)) {
                return;
            }
            let Some(slot) = self.slots.remove(place) else { return };
            if let Some(into) = self.slots.get_mut(place - 1) {
                into.last = slot.last;
                into.from_ms = into.from_ms.min(slot.from_ms);
                into.requests = into.requests.saturating_add(slot.requests);
                into.lookups = into.lookups.saturating_add(slot.lookups);
                into.hits = into.hits.saturating_add(slot.hits);
                into.content.merge(&slot.content.delta());
            }
        }
    }

    fn expire(&mut self, newest: u64) {
        let old = |slot: &Slot| newest.saturating_sub(slot.last) >= SLOTS as u64;
        while self.slots.front().is_some_and(old) {
            if let Some(slot) = self.slots.pop_front().filter(|slot| slot.lookups > 0) {
                self.last_expired = Some((slot.hits, slot.lookups));
            }
        }
    }

    fn slots(&self, window_ms: Millis, now_ms: Millis) -> impl DoubleEndedIterator<Item = &Slot> {
        let first = now_ms.saturating_sub(window_ms) / SLOT_MS;
        let last = now_ms / SLOT_MS;
        self.slots
            .iter()
            .filter(move |slot| slot.last >= first && slot.number <= last)
    }

    /// Everything in the slots that touch the last `window_ms`, each with the end of its slot.
    pub fn recent(&self, window_ms: Millis, now_ms: Millis) -> impl Iterator<Item = (Millis, Cow<'_, TelemetryDelta>)> {
        self.slots(window_ms, now_ms)
            .map(move |slot| (((slot.last + 1) * SLOT_MS).min(now_ms), slot.content.delta()))
    }

    /// Requests in these slots.
    #[must_use]
    pub fn requests(&self, window_ms: Millis, now_ms: Millis) -> u64 {
        self.slots(window_ms, now_ms)
            .fold(0, |sum, slot| sum.saturating_add(slot.requests))
    }

    /// Hits and lookups in these slots.
    #[must_use]
    pub fn hits_and_lookups(&self, window_ms: Millis, now_ms: Millis) -> (u64, u64) {
        self.slots(window_ms, now_ms).fold((0, 0), |(hits, lookups), slot| {
            (hits.saturating_add(slot.hits), lookups.saturating_add(slot.lookups))
        })
    }

    /// The time these slots speak of: from the beginning of the first, but not from before anything was known, until now. Rates
    /// are per this time. At least a second.
    #[must_use]
    pub fn covered_ms(&self, window_ms: Millis, now_ms: Millis) -> Millis {
        let begins = now_ms.saturating_sub(window_ms) / SLOT_MS * SLOT_MS;
        let known = begins.max(self.since_ms.unwrap_or(begins));
        let earliest = self.slots(window_ms, now_ms).map(|slot| slot.from_ms).min();
        // A slot's own beginning may lie before anything was known; only what reaches beyond the window counts.
        let from = earliest
            .filter(|from| *from < begins)
            .map_or(known, |from| known.min(from));
        now_ms.saturating_sub(from).max(1_000)
    }

    /// The end of the newest slot up to now with lookups, for an idle cache's hit ratio.
    #[must_use]
    pub fn last_lookups(&self, now_ms: Millis) -> Option<Millis> {
        let slot = self.slots(now_ms, now_ms).rev().find(|slot| slot.lookups > 0)?;
        Some(((slot.last + 1) * SLOT_MS - 1).min(now_ms))
    }

    /// Hits and lookups of the newest slot that had any and is older than what is kept.
    #[must_use]
    pub fn last_expired(&self) -> Option<(u64, u64)> {
        self.last_expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::sum::Sum;
    use optimizer_proto::v1::{CacheCounters, RequestSeries};

    fn lookups(lookups: u64) -> TelemetryDelta {
        TelemetryDelta {
            requests: vec![RequestSeries {
                count: lookups,
                ..Default::default()
            }],
            cache: Some(CacheCounters {
                lookups,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn second(at_ms: Millis) -> Span {
        Span {
            from_ms: at_ms.saturating_sub(1_000),
            at_ms,
        }
    }

    fn seen(windows: &Windows, window_ms: u64, now_ms: u64) -> u64 {
        let mut sum = Sum::default();
        windows.recent(window_ms, now_ms).for_each(|(_, delta)| sum.add(&delta));
        assert_eq!(sum.cache.lookups, windows.requests(window_ms, now_ms));
        assert_eq!((0, sum.cache.lookups), windows.hits_and_lookups(window_ms, now_ms));
        sum.cache.lookups
    }

    #[test]
    fn a_window_sees_its_own_slots_in_any_order_of_arrival() {
        for mut windows in [Windows::default(), Windows::packed()] {
            for at_ms in [3_600_000, 3_000_000, 3_590_000, 3_600_500, 3_000_100] {
                windows.add(&lookups(1), second(at_ms));
            }
            assert_eq!(seen(&windows, 60_000, 3_601_000), 3);
            assert_eq!(seen(&windows, 3_600_000, 3_601_000), 5);
            assert_eq!(seen(&windows, 60_000, 9_000_000), 0);
        }
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let mut windows = Windows::default();
        for slot in 0..1_000 {
            windows.add(&lookups(1), second(slot * SLOT_MS));
        }
        assert_eq!(windows.slots.len(), SLOTS);
        assert_eq!(windows.last_expired(), Some((0, 1)));
        windows.add(&lookups(1), second(0));
        assert_eq!(windows.slots.len(), SLOTS, "too late for a slot");
    }

    #[test]
    fn old_slots_of_packed_windows_are_joined_to_minutes_and_nothing_is_lost() {
        let (mut packed, mut whole) = (Windows::packed(), Windows::default());
        for slot in 0..1_000 {
            for windows in [&mut packed, &mut whole] {
                windows.add(&lookups(slot), second(slot * SLOT_MS + 5_000));
                // One in ten has a second report that comes half an hour late.
                if slot >= 180 && slot % 10 == 0 {
                    windows.add(&lookups(1), second((slot - 180) * SLOT_MS));
                }
            }
        }
        assert!(packed.slots.len() < 120, "{}", packed.slots.len());
        let now_ms = 999 * SLOT_MS + 5_000;
        assert_eq!(seen(&packed, 240_000, now_ms), seen(&whole, 240_000, now_ms), "fine");
        for window_ms in [900_000, 3_000_000] {
            let (joined, exact) = (seen(&packed, window_ms, now_ms), seen(&whole, window_ms, now_ms));
            let (longer, shorter) = (
                packed.covered_ms(window_ms, now_ms),
                whole.covered_ms(window_ms, now_ms),
            );
            assert!(
                joined >= exact && longer >= shorter && longer < shorter + 60_000,
                "{window_ms}"
            );
            assert_eq!(
                joined,
                seen(&whole, longer - 1, now_ms),
                "just what the covered time holds"
            );
        }
    }

    #[test]
    fn rates_are_per_the_time_that_is_covered() {
        let mut windows = Windows::default();
        windows.add(&lookups(1), second(100_000));
        assert_eq!(windows.covered_ms(300_000, 105_000), 6_000, "known for six seconds");
        assert_eq!(windows.covered_ms(60_000, 405_000), 65_000, "whole slots");
        let outage = Span {
            from_ms: 405_000,
            at_ms: 1_005_000,
        };
        windows.add(&lookups(600), outage);
        assert_eq!(
            windows.covered_ms(60_000, 1_005_000),
            600_000,
            "what came late covers its own time"
        );
        assert_eq!(windows.last_lookups(2_000_000), Some(1_009_999));
        assert_eq!(windows.last_lookups(500_000), Some(109_999));
    }
}
