//! Storing a response: reserve in the ledger, claim in the page, write the slot, look again.
//!
//! In this order a worker that dies on the way leaves nothing behind but a reservation, which the next sweep takes back, or a
//! record without a response, which misses until it is replaced or evicted.

use super::account::{self, Account};
use super::codec::{key_hash, page_of};
use super::directory::erase_orphan;
use super::entry::{Entry, EntryId, Inserted, StoreError, TRAILER_LEN};
use super::known_pages;
use super::ledger::Counts;
use super::lookup::fold;
use super::page::{Page, has_record};
use super::plan::{Place, Plan};
use super::record::{Record, seconds_up, weight_of};
use super::slot::seal;
use super::store::Store;
use super::vary::VaryNames;
use crate::Millis;
use crate::shared_map::{Cas, SetError, SharedMap, keys};

/// Attempts against other workers on the same page or ledger.
const TRIES: usize = 64;
/// Steps of making room for one insertion.
const ROOM_STEPS: usize = 512;

impl Store {
    /// Stores a response, replacing the one with the same key and variant, evicting others where needed. When it returns, the
    /// limits hold.
    ///
    /// # Errors
    /// When it was not stored; an older response with the same key may then be gone too.
    pub fn insert(
        &mut self,
        map: &impl SharedMap,
        entry: Entry<'_>,
        variant: impl FnOnce(VaryNames<'_>) -> u64,
        now_ms: Millis,
    ) -> Result<Inserted, StoreError> {
        let record = self.prepare(map, &entry, variant, now_ms)?;
        let mut evicted = 0;
        let result = self.place(map, record, entry.value, &mut evicted, now_ms);
        self.account.settle(map);
        result.map(|(id, replaced)| Inserted { id, replaced, evicted })
    }

    fn prepare(
        &mut self,
        map: &impl SharedMap,
        entry: &Entry<'_>,
        variant: impl FnOnce(VaryNames<'_>) -> u64,
        now_ms: Millis,
    ) -> Result<Record, StoreError> {
        let limit = usize::try_from(self.limits.object_bytes).unwrap_or(usize::MAX);
        let weight = weight_of(entry.value.len().saturating_add(TRAILER_LEN)).ok_or(StoreError::TooLarge)?;
        if entry.value.len() > limit || u64::from(weight) > self.limits.bytes / 4 {
            return Err(StoreError::TooLarge);
        }
        if entry.usable_until_ms <= now_ms {
            return Err(StoreError::Expired);
        }
        let vary = self.vary.intern(map, entry.vary)?;
        let variant = if vary == 0 {
            0
        } else {
            self.vary.names(map, vary).map_or(0, |names| fold(variant(names)))
        };
        let mut record = Record::new(key_hash(entry.key), vary, variant, now_ms);
        record.weight = weight;
        record.set_cost(entry.fetch_ms);
        record.usable_until = seconds_up(entry.usable_until_ms);
        record.purge_generation = entry.purge_generation.0;
        Ok(record)
    }

    fn place(
        &mut self,
        map: &impl SharedMap,
        record: Record,
        mut value: Vec<u8>,
        evicted: &mut u32,
        now_ms: Millis,
    ) -> Result<(EntryId, bool), StoreError> {
        let number = page_of(record.key);
        for _ in 0..TRIES {
            let (mut page, cas) = self.load(map, number).ok_or(StoreError::Host)?;
            let Some(plan) = Plan::of(&page, record, self.page_capacity()) else {
                *evicted += self.evict_from_page(map, number, (page, cas), now_ms)?;
                continue;
            };
            if !self.reserve(map, number, &page, &plan, evicted, now_ms)? {
                continue;
            }
            let Some(claimed) = self.claim(map, number, &mut page, cas, &plan)? else {
                continue;
            };
            seal(&mut value, number, &claimed);
            self.write_slot(map, number, &claimed, &value)?;
            self.account.release(page.epoch, plan.surplus);
            self.confirm(map, number, &claimed)?;
            return Ok((
                EntryId::new(number, &claimed, false),
                matches!(plan.place, Place::Replace(_)),
            ));
        }
        Err(StoreError::Contended)
    }

    /// Enters the plan's change into the ledger, evicting until the limits hold with it. False when the page itself changed in doing
    /// so.
    fn reserve(
        &mut self,
        map: &impl SharedMap,
        number: u16,
        page: &Page,
        plan: &Plan,
        evicted: &mut u32,
        now_ms: Millis,
    ) -> Result<bool, StoreError> {
        let (mut ledger, mut cas) = Account::read(map)?;
        for _ in 0..ROOM_STEPS {
            let mut current = self.account.applied(&ledger);
            let total = plan.change.apply(current.total);
            if total.fits(&self.limits) {
                account::reserve(&mut current, &plan.change, page.epoch);
                current.set_occupied(number, true);
                if self.account.write(map, &current, cas)? {
                    return Ok(true);
                }
                (ledger, cas) = Account::read(map)?;
                continue;
            }
            if matches!(plan.place, Place::Append(_)) && self.is_crowded(page) {
                let own = self.load(map, number).ok_or(StoreError::Host)?;
                *evicted += self.evict_from_page(map, number, own, now_ms)?;
                return Ok(false);
            }
            let step = self.evict_from_sample(map, &current, self.excess_entries(&total), now_ms)?;
            *evicted = evicted.saturating_add(step.evicted);
            match step.changed {
                Some(changed) if changed == number => return Ok(false),
                Some(_) => {}
                None => (ledger, cas) = Account::read(map)?,
            }
        }
        Err(StoreError::NoSpace)
    }

    /// About how many entries have to go until the limits hold.
    pub(super) fn excess_entries(&self, total: &Counts) -> usize {
        let (live, residue) = total.memory();
        let bytes = (live + residue.min(self.limits.bytes / 2)).saturating_sub(self.limits.bytes);
        let mean = live / total.entries.max(1);
        let entries = total.entries.saturating_sub(u64::from(self.limits.entries));
        usize::try_from(entries.max(bytes / mean.max(1))).unwrap_or(usize::MAX)
    }

    /// Puts the record into the page. `None` when another worker changed the page: the reservation is undone then.
    fn claim(
        &mut self,
        map: &impl SharedMap,
        number: u16,
        page: &mut Page,
        cas: Cas,
        plan: &Plan,
    ) -> Result<Option<Record>, StoreError> {
        let claimed = plan.carry_out(page);
        match known_pages::write(map, number, &page.encode(), cas) {
            Ok(()) => Ok(Some(claimed)),
            Err(error) => {
                self.account.undo(page.epoch, &plan.change);
                self.events.races += 1;
                if error == SetError::Host {
                    Err(StoreError::Host)
                } else {
                    Ok(None)
                }
            }
        }
    }

    fn write_slot(
        &mut self,
        map: &impl SharedMap,
        number: u16,
        record: &Record,
        value: &[u8],
    ) -> Result<(), StoreError> {
        if map.set(&keys::slot(number, record.slot), value, None).is_ok() {
            return Ok(());
        }
        self.discard(map, EntryId::new(number, record, false));
        Err(StoreError::Host)
    }

    /// A worker held up between claim and write may have written into a slot that was evicted meanwhile, where nobody would
    /// account for it: then the slot is erased.
    fn confirm(&mut self, map: &impl SharedMap, number: u16, record: &Record) -> Result<(), StoreError> {
        let Some((bytes, _)) = map.get(&keys::page(number)) else {
            return Ok(());
        };
        if has_record(&bytes, record.key, record.slot, record.generation) {
            return Ok(());
        }
        self.events.races += 1;
        erase_orphan(map, number, record.slot);
        Err(StoreError::Contended)
    }
}
