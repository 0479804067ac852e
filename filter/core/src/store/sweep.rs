//! Housekeeping on the tick: shrinking, and a sweep that goes round all pages, removes what is of no use and counts anew.

use super::account::Account;
use super::codec::PAGES;
use super::directory::{erase_orphan, take_where};
use super::entry::StoreError;
use super::invalidation_log::InvalidationLog;
use super::ledger::Counts;
use super::page::Page;
use super::record::Record;
use super::store::Store;
use crate::Millis;
use crate::shared_map::{Cas, SharedMap};

/// A page as the sweep will write it.
struct Swept {
    number: u16,
    page: Page,
    cas: Cas,
    /// What the page held, with `gone`.
    sum: Counts,
    gone: Vec<Record>,
    expired: u64,
}

/// Pages of a step of a whole round.
const SWEEP_STEP: usize = 256;

impl Store {
    /// Bounded housekeeping for a tick: shrinks to the limits, removes what expired or was purged as a whole, recounts the
    /// totals. Reads at most about `2 * budget` pages; true when the limits are still exceeded and another call should follow.
    /// Any worker may call it, one is enough: a call goes on where the last one ended, whoever made it.
    pub fn maintain(
        &mut self,
        map: &impl SharedMap,
        invalidation_log: &InvalidationLog,
        budget: usize,
        now_ms: Millis,
    ) -> bool {
        let exceeded = self.shrink(map, budget, now_ms).unwrap_or(false);
        // A host in trouble or a lost race: the next tick tries again.
        let _ = self.sweep(map, invalidation_log, budget, now_ms);
        self.account.settle(map);
        exceeded
    }

    /// One whole round at once, on an operator's override: every page is read, a few milliseconds of one worker.
    pub fn sweep_all(&mut self, map: &impl SharedMap, invalidation_log: &InvalidationLog, now_ms: Millis) {
        // One step more than a round has, since a round may have begun somewhere.
        for _ in 0..=usize::from(PAGES).div_ceil(SWEEP_STEP) {
            let _ = self.sweep(map, invalidation_log, SWEEP_STEP, now_ms);
        }
        self.account.settle(map);
    }

    fn shrink(&mut self, map: &impl SharedMap, budget: usize, now_ms: Millis) -> Result<bool, StoreError> {
        let (mut ledger, _) = Account::read(map)?;
        let mut pages = 0;
        loop {
            let current = self.account.applied(&ledger);
            let exceeded = !current.total.fits(&self.limits) && current.total.entries > 0;
            if !exceeded || pages >= budget {
                self.account.settle(map);
                return Ok(exceeded);
            }
            let step = self.evict_from_sample(map, &current, self.excess_entries(&current.total), now_ms)?;
            pages += step.pages.max(1);
            if step.changed.is_none() {
                (ledger, _) = Account::read(map)?;
            }
        }
    }

    /// Counts the next `budget` pages. Their sums go into the recount before the pages are marked as counted, and the cursor moves
    /// after that: whatever is interrupted in between is counted twice at worst.
    fn sweep(
        &mut self,
        map: &impl SharedMap,
        invalidation_log: &InvalidationLog,
        budget: usize,
        now_ms: Millis,
    ) -> Result<(), StoreError> {
        let (ledger, _) = Account::read(map)?;
        let (epoch, start) = (ledger.epoch, ledger.cursor);
        let end = u16::try_from(budget).map_or(PAGES, |budget| start.saturating_add(budget).min(PAGES));
        let mut counted = Vec::new();
        let mut occupied = Vec::new();
        let mut reached = end;
        for number in start..end {
            let Some(swept) = self.inspect(map, invalidation_log, number, now_ms) else {
                reached = number;
                break;
            };
            occupied.push((number, !swept.page.records.is_empty()));
            if swept.page.epoch != epoch {
                counted.push(swept);
            } else if !swept.gone.is_empty() {
                self.write_swept(map, &swept)?;
            }
        }
        let sum = counted.iter().fold(Counts::default(), |sum, swept| sum.plus(swept.sum));
        let valid = self.account.commit(map, |ledger| {
            if ledger.epoch == epoch {
                ledger.recount = ledger.recount.plus(sum);
            }
            ledger.epoch == epoch
        })?;
        if !valid {
            return Ok(());
        }
        for mut swept in counted {
            swept.page.epoch = epoch;
            if !self.write_swept(map, &swept).unwrap_or(false) {
                self.account.uncount(epoch, swept.sum);
                reached = reached.min(swept.number);
            }
        }
        self.account.commit(map, |ledger| {
            if ledger.epoch != epoch || ledger.cursor != start {
                return;
            }
            for (number, occupied) in &occupied {
                ledger.set_occupied(*number, *occupied);
            }
            ledger.cursor = reached;
            if reached >= PAGES {
                ledger.finish_sweep();
            }
        })
    }

    fn inspect(
        &mut self,
        map: &impl SharedMap,
        invalidation_log: &InvalidationLog,
        number: u16,
        now_ms: Millis,
    ) -> Option<Swept> {
        let (mut page, cas) = self.load(map, number)?;
        // A worker that died between taking a record out and erasing its response left the response behind.
        page.free_slots().for_each(|slot| erase_orphan(map, number, slot));
        let sum = page.counts();
        let mut gone = take_where(&mut page, |record| record.is_expired(now_ms));
        let expired = gone.len() as u64;
        gone.extend(take_where(&mut page, |record| {
            invalidation_log.all_purged_since(record.purge_generation)
        }));
        Some(Swept {
            number,
            page,
            cas,
            sum,
            gone,
            expired,
        })
    }

    fn write_swept(&mut self, map: &impl SharedMap, swept: &Swept) -> Result<bool, StoreError> {
        let written = self.commit_removal(map, swept.number, &swept.page, swept.cas, &swept.gone)?;
        if written {
            self.events.expirations += swept.expired;
            self.events.purged += (swept.gone.len() as u64).saturating_sub(swept.expired);
        }
        Ok(written)
    }
}
