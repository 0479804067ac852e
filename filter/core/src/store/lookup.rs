//! Finding a response: the page, then exactly one slot.

use super::codec::{Tick, key_hash, page_of};
use super::entry::{EntryId, Found};
use super::hot::Name;
use super::invalidation_log::PurgeGeneration;
use super::page::records_of;
use super::record::Record;
use super::slot::{Fit, fit};
use super::store::Store;
use super::vary::VaryNames;
use crate::Millis;
use crate::shared_map::{SharedMap, keys};
use eviction::is_saturated;

/// Different `Vary` sets of one key whose variant hash is kept during a lookup.
const MEMO: usize = 4;

/// A response not written ten seconds after its record appeared never will be: its worker died.
const ABANDONED_TICKS: u32 = 10_000 / 16;

impl Store {
    /// Finds the response for a key: two reads when there is one (one where this worker keeps it), one when there is none (two more
    /// when a race was lost). Of a page this worker knows only the version is read.
    ///
    /// `variant` hashes the request's values of the named fields; it is called once for each different `Vary` set stored
    /// under the key (more often when there are many), not for a response without `Vary`. It must give what it gave to
    /// [`insert`](Self::insert) for the same values. Among several matches the last stored one is returned.
    pub fn lookup(
        &mut self,
        map: &impl SharedMap,
        key: &[u8],
        mut variant: impl FnMut(VaryNames<'_>) -> u64,
        now_ms: Millis,
    ) -> Option<Found> {
        let hash = key_hash(key);
        let number = page_of(hash);
        self.passed_over = false;
        let mut seen = None;
        for _ in 0..2 {
            let bytes = self.known.read(map, number, now_ms)?;
            let record = self.newest_match(map, &bytes, hash, &mut variant, now_ms)?;
            if seen == Some(record.generation) {
                if record.stored_age(Tick::at(now_ms)) > ABANDONED_TICKS {
                    self.discard(map, EntryId::new(number, &record, true));
                }
                return None;
            }
            seen = Some(record.generation);
            let idle = record.accessed.age(Tick::at(now_ms));
            let id = EntryId::new(number, &record, is_saturated(self.policy, record.marks(), idle));
            let name = Name::of(number, &record);
            let found = |value, len, checked| Found {
                id,
                purge_generation: PurgeGeneration(record.purge_generation),
                stored_ms: record.stored_ms(),
                name,
                value,
                len,
                checked,
            };
            if let Some((value, len)) = self.hot.get(name) {
                return Some(found(value, len, true));
            }
            let value = map.lend(&keys::slot(number, record.slot)).map(|(value, _)| value);
            match value.as_ref().map_or(Fit::Other, |value| fit(value, number, &record)) {
                Fit::Own(len) => {
                    return Some(found(value?, len, false));
                }
                // Being written or just replaced by another worker: the page tells on a second look.
                Fit::Other => {
                    self.events.races += 1;
                    self.known.forget(number);
                }
                Fit::Corrupt => {
                    self.discard_corrupt(map, id);
                    return None;
                }
            }
        }
        None
    }

    /// Whether the last lookup passed over responses of the key that other selecting values had chosen.
    #[must_use]
    pub fn passed_over_variants(&self) -> bool {
        self.passed_over
    }

    fn newest_match(
        &mut self,
        map: &impl SharedMap,
        page: &[u8],
        hash: u64,
        variant: &mut impl FnMut(VaryNames<'_>) -> u64,
        now_ms: Millis,
    ) -> Option<Record> {
        let Some(records) = records_of(page, hash) else {
            self.events.corrupt += 1;
            return None;
        };
        let mut memo = [(0_u16, 0_u32); MEMO];
        let mut known = 0;
        let mut best: Option<Record> = None;
        for record in records {
            if record.is_expired(now_ms) || best.is_some_and(|b| b.stored > record.stored) {
                continue;
            }
            let computed = memo
                .iter()
                .take(known)
                .find(|(vary, _)| *vary == record.vary)
                .map(|(_, hash)| *hash);
            let wanted = match computed {
                _ if record.vary == 0 => 0,
                Some(wanted) => wanted,
                None => {
                    let Some(names) = self.vary.names(map, record.vary) else {
                        continue;
                    };
                    let wanted = fold(variant(names));
                    if let Some(place) = memo.get_mut(known) {
                        *place = (record.vary, wanted);
                        known += 1;
                    }
                    wanted
                }
            };
            if record.variant == wanted {
                best = Some(record);
            } else {
                self.passed_over = true;
            }
        }
        best
    }
}

/// A variant hash as records keep it. A collision is found out by the comparison of the selecting values.
pub(super) fn fold(variant: u64) -> u32 {
    (variant ^ (variant >> 32)) as u32
}
