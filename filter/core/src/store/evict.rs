//! Evicting: a few pages are sampled, and the one that offers the best victim gives it up. The rules are the crate `eviction`'s.

use super::codec::{PAGES, Tick};
use super::directory::take_where;
use super::entry::StoreError;
use super::ledger::{Counts, Ledger};
use super::page::{Page, fingerprint};
use super::page_queue::PageQueue;
use super::record::Record;
use super::store::Store;
use crate::Millis;
use crate::shared_map::{Cas, SharedMap};
use eviction::sample::{LEAST_PAGES, MOST_PAGES, best_page, is_enough};
use eviction::{from_probation, leaves_ghost, rank, victim};

/// What one step of evicting did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Step {
    /// Pages read.
    pub(super) pages: usize,
    /// Entries evicted; expired ones are not counted here.
    pub(super) evicted: u32,
    /// The page changed; `None` when a race was lost.
    pub(super) changed: Option<u16>,
}

/// What a decision depends on besides the page.
#[derive(Debug, Clone, Copy)]
struct Moment {
    now: Tick,
    from_probation: bool,
}

impl Moment {
    fn of(total: &Counts, now_ms: Millis) -> Self {
        Self {
            now: Tick::at(now_ms),
            from_probation: from_probation(total.probation, total.bytes),
        }
    }
}

struct Sampled {
    number: u16,
    page: Page,
    cas: Cas,
}

impl Store {
    /// One step towards space for `wanted` entries. The ledger is the caller's copy, with everything pending entered.
    pub(super) fn evict_from_sample(
        &mut self,
        map: &impl SharedMap,
        ledger: &Ledger,
        wanted: usize,
        now_ms: Millis,
    ) -> Result<Step, StoreError> {
        let mut sample = self.sample(map, ledger);
        let pages = sample.len();
        let moment = Moment::of(&ledger.total, now_ms);
        let expired = sample
            .iter()
            .position(|s| s.page.records.iter().any(|record| record.is_expired(now_ms)));
        let best = || {
            best_page(sample.iter_mut().map(|sampled| {
                let page = PageQueue {
                    page: &mut sampled.page,
                    now: moment.now,
                };
                rank(self.policy, &page, moment.from_probation)
            }))
        };
        let chosen = expired.or_else(best).and_then(|index| sample.into_iter().nth(index));
        let Some(Sampled { number, mut page, cas }) = chosen else {
            return Err(StoreError::NoSpace);
        };
        let before = page.clone();
        let (gone, evicted) = self.take_expired_or_victims(&mut page, wanted, moment, now_ms);
        let expired = gone.len() - evicted;
        if !self.commit_removal(map, number, &page, cas, &gone)? {
            return Ok(Step {
                pages,
                ..Step::default()
            });
        }
        self.note_promotions(&before, &page, &gone);
        self.touches.forget(number);
        self.events.evictions += evicted as u64;
        self.events.expirations += expired as u64;
        Ok(Step {
            pages,
            evicted: u32::try_from(evicted).unwrap_or(u32::MAX),
            changed: Some(number),
        })
    }

    /// Evicts from one page; how many entries.
    pub(super) fn evict_from_page(
        &mut self,
        map: &impl SharedMap,
        number: u16,
        (mut page, cas): (Page, Cas),
        now_ms: Millis,
    ) -> Result<u32, StoreError> {
        let moment = Moment {
            now: Tick::at(now_ms),
            from_probation: true,
        };
        let before = page.clone();
        let (gone, evicted) = self.take_expired_or_victims(&mut page, 1, moment, now_ms);
        if !self.commit_removal(map, number, &page, cas, &gone)? {
            return Ok(0);
        }
        self.note_promotions(&before, &page, &gone);
        self.events.evictions += evicted as u64;
        self.events.expirations += (gone.len() - evicted) as u64;
        Ok(u32::try_from(evicted).unwrap_or(u32::MAX))
    }

    /// Takes out what expired or else up to `wanted` victims; also how many are victims.
    fn take_expired_or_victims(
        &mut self,
        page: &mut Page,
        wanted: usize,
        moment: Moment,
        now_ms: Millis,
    ) -> (Vec<Record>, usize) {
        let expired = take_where(page, |record| record.is_expired(now_ms));
        if !expired.is_empty() {
            return (expired, 0);
        }
        let victims = self.take_victims(page, wanted, moment);
        let count = victims.len();
        (victims, count)
    }

    fn take_victims(&mut self, page: &mut Page, wanted: usize, moment: Moment) -> Vec<Record> {
        // Of one page not more than a quarter: the others' entries would have gone first.
        let count = wanted.clamp(1, (page.records.len() / 4).max(1));
        let mut gone = Vec::with_capacity(count);
        for _ in 0..count {
            let mut queue = PageQueue { page, now: moment.now };
            let index = victim(self.policy, &mut queue, moment.from_probation);
            let Some(record) = index.and_then(|index| page.take(index)) else {
                break;
            };
            if leaves_ghost(self.policy, record.marks()) {
                page.add_ghost(fingerprint(record.key, record.variant));
            }
            gone.push(record);
        }
        gone
    }

    /// Entries promoted on the way no longer weigh on the probation queue; one may have been promoted and gone in one step.
    fn note_promotions(&mut self, before: &Page, after: &Page, gone: &[Record]) {
        let probation = |records: &[Record]| -> u64 { records.iter().map(|record| record.counts().probation).sum() };
        let left = probation(&after.records).saturating_add(probation(gone));
        let promoted = probation(&before.records).saturating_sub(left);
        self.account.release(
            after.epoch,
            Counts {
                probation: promoted,
                ..Counts::default()
            },
        );
    }

    fn sample(&mut self, map: &impl SharedMap, ledger: &Ledger) -> Vec<Sampled> {
        let mut sample: Vec<Sampled> = Vec::with_capacity(LEAST_PAGES);
        let mut candidates = 0;
        let mut from = ledger.hand;
        for _ in 0..MOST_PAGES {
            if is_enough(sample.len(), candidates) {
                break;
            }
            let Some(number) = ledger.next_occupied(from) else {
                break;
            };
            if sample.iter().any(|s| s.number == number) {
                break;
            }
            from = (number + 1) % PAGES;
            match self.sampled(map, number) {
                Some(sampled) => {
                    candidates += sampled.page.records.len();
                    sample.push(sampled);
                }
                None => self.account.emptied(number),
            }
        }
        if candidates == 0 && ledger.total.entries > 0 {
            // The hint about occupied pages is wrong, until the sweep corrects it.
            sample.extend((0..PAGES).find_map(|number| self.sampled(map, number)));
        }
        self.account.move_hand(from);
        sample
    }

    fn sampled(&mut self, map: &impl SharedMap, number: u16) -> Option<Sampled> {
        let (mut page, cas) = self.load(map, number)?;
        self.touches.apply(number, &mut page);
        (!page.records.is_empty()).then_some(Sampled { number, page, cas })
    }
}
