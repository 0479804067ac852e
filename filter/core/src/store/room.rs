//! Making room: a few pages are looked at, the most willing one gives up an entry.

use super::codec::{PAGES, Tick};
use super::directory::take_where;
use super::entry::StoreError;
use super::eviction::{self, EvictionContext};
use super::ledger::{Counts, Ledger};
use super::limits::Eviction;
use super::page::{Page, fingerprint};
use super::record::Record;
use super::store::Store;
use crate::Millis;
use crate::shared_map::{Cas, SharedMap};

/// Records to choose from, where pages are small.
const CANDIDATES: usize = 16;
/// Pages read at most for one choice.
const SAMPLE_PAGES: usize = 16;
/// The least pages looked at, where pages are large.
const MIN_PAGES: usize = 2;

/// What one step of making room did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Step {
    /// Pages read.
    pub(super) pages: usize,
    /// Entries removed to make room; expired ones are not counted here.
    pub(super) evicted: u32,
    /// The page changed; `None` when a race was lost.
    pub(super) changed: Option<u16>,
}

struct Sampled {
    number: u16,
    page: Page,
    cas: Cas,
}

impl Store {
    /// One step towards room for `wanted` entries. The ledger is the caller's copy, with everything pending entered.
    pub(super) fn make_room(
        &mut self,
        map: &impl SharedMap,
        ledger: &Ledger,
        wanted: usize,
        now_ms: Millis,
    ) -> Result<Step, StoreError> {
        let sample = self.sample(map, ledger);
        let pages = sample.len();
        let scene = scene(&ledger.total, now_ms);
        let expired = sample
            .iter()
            .position(|s| s.page.records.iter().any(|record| record.is_expired(now_ms)));
        let willing = || {
            let ranks = sample
                .iter()
                .map(|s| eviction::willingness(self.policy, &s.page, &scene));
            let best = ranks
                .enumerate()
                .filter_map(|(index, rank)| rank.map(|rank| (rank, std::cmp::Reverse(index))));
            best.max().map(|(_, index)| index.0)
        };
        let chosen = expired.or_else(willing).and_then(|index| sample.into_iter().nth(index));
        let Some(Sampled { number, mut page, cas }) = chosen else {
            return Err(StoreError::NoRoom);
        };
        let before = page.clone();
        let (gone, evicted) = self.take_expired_or_victims(&mut page, wanted, &scene, now_ms);
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

    /// Makes room within one page; how many were evicted.
    pub(super) fn make_room_in(
        &mut self,
        map: &impl SharedMap,
        number: u16,
        (mut page, cas): (Page, Cas),
        now_ms: Millis,
    ) -> Result<u32, StoreError> {
        let scene = EvictionContext {
            now: Tick::at(now_ms),
            from_probation: true,
        };
        let before = page.clone();
        let (gone, evicted) = self.take_expired_or_victims(&mut page, 1, &scene, now_ms);
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
        scene: &EvictionContext,
        now_ms: Millis,
    ) -> (Vec<Record>, usize) {
        let expired = take_where(page, |record| record.is_expired(now_ms));
        if !expired.is_empty() {
            return (expired, 0);
        }
        let victims = self.take_victims(page, wanted, scene);
        let count = victims.len();
        (victims, count)
    }

    fn take_victims(&mut self, page: &mut Page, wanted: usize, scene: &EvictionContext) -> Vec<Record> {
        // Of one page not more than a quarter: the others' entries would have gone first.
        let count = wanted.clamp(1, (page.records.len() / 4).max(1));
        let mut gone = Vec::with_capacity(count);
        for _ in 0..count {
            let victim = eviction::victim(self.policy, page, scene).and_then(|index| page.take(index));
            let Some(record) = victim else { break };
            if self.policy == Eviction::S3Fifo && !record.is_main() {
                page.add_ghost(fingerprint(record.key, record.variant));
            }
            gone.push(record);
        }
        gone
    }

    /// Entries promoted on the way no longer weigh on the probation queue; one may have been promoted and gone in one step.
    fn note_promotions(&mut self, before: &Page, after: &Page, gone: &[Record]) {
        let probation = |records: &[Record]| -> u64 { records.iter().map(|record| record.tally().probation).sum() };
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
        let mut sample: Vec<Sampled> = Vec::with_capacity(MIN_PAGES);
        let mut candidates = 0;
        let mut from = ledger.hand;
        for _ in 0..SAMPLE_PAGES {
            if sample.len() >= MIN_PAGES && candidates >= CANDIDATES {
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

fn scene(total: &Counts, now_ms: Millis) -> EvictionContext {
    EvictionContext {
        now: Tick::at(now_ms),
        from_probation: total.probation.saturating_mul(10) >= total.bytes,
    }
}
