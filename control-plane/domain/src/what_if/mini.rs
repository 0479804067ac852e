//! A miniature cache (Waldspurger et al., USENIX ATC 2017): a cache of another size, scaled down as the keys are, under the policy that
//! it stands for.
//!
//! It is a reduced model of the filter's store: entries lie in pages by the hash of their key, some pages are looked at when room is
//! needed, the most willing one gives up an entry. The pages are scaled down too, so each holds as many entries as the real one.

use super::keys::{Key, KeyId, Keys};
use super::page::{self, MiniPage};
use super::slot::{Now, Slot};
use eviction::sample::{LEAST_PAGES, PAGES, best_page, is_enough};
use eviction::{Policy, excess_ghosts, from_probation, rank, victim};

/// One miniature cache.
#[derive(Debug, Clone)]
pub(super) struct Mini {
    policy: Policy,
    /// Entries of the cache it stands for.
    size: u64,
    /// Entries it may hold. `None` where it has room for every key that is followed.
    capacity: Option<usize>,
    pages: u16,
    /// What the policy knows of each key.
    states: Vec<u8>,
    /// By page; in each the oldest of the queue first.
    slots: Vec<Slot>,
    ghosts: Vec<Slot>,
    /// Most entries each page ever had (S3-FIFO), or its hand (SIEVE).
    marks: Vec<u16>,
    hand: u16,
    held: u64,
    held_bytes: u64,
    probation_bytes: u64,
}

impl Mini {
    pub(super) fn new(policy: Policy, size: u64, share: f64, most: usize) -> Self {
        let mut mini = Self {
            policy,
            size,
            capacity: None,
            pages: 1,
            states: Vec::new(),
            slots: Vec::new(),
            ghosts: Vec::new(),
            marks: Vec::new(),
            hand: 0,
            held: 0,
            held_bytes: 0,
            probation_bytes: 0,
        };
        mini.scale(share, most);
        mini
    }

    fn scale(&mut self, share: f64, most: usize) {
        let capacity = (self.size as f64 * share).round().max(1.0) as usize;
        self.capacity = (capacity < most).then_some(capacity);
        self.pages = (f64::from(PAGES) * share).round().max(1.0) as u16;
    }

    /// Entries it holds, and their bytes without what the store takes for each of them.
    pub(super) fn held(&self) -> (u64, u64) {
        (self.held, self.held_bytes)
    }

    fn state(&self, key: KeyId) -> u8 {
        self.states.get(usize::from(key)).copied().unwrap_or(0)
    }

    fn set_state(&mut self, key: KeyId, state: u8) {
        let at = usize::from(key);
        if at >= self.states.len() {
            self.states.resize(at + 1, 0);
        }
        if let Some(own) = self.states.get_mut(at) {
            *own = state;
        }
    }

    /// Looks a key up; true for a hit. What is missing is fetched and stored, if it can be.
    pub(super) fn look_up(&mut self, id: KeyId, key: &Key, now: &Now<'_>) -> bool {
        let state = self.state(id);
        if !page::is_resident(self.policy, state) {
            if key.bytes > 0 {
                self.admit(id, key, now);
            }
            return false;
        }
        let fresh = key.fresh_until > now.ms;
        if fresh {
            self.set_state(id, page::hit(self.policy, state, now.ms.saturating_sub(key.used_ms)));
        }
        fresh
    }

    /// A response was stored under a key, where it was missing.
    pub(super) fn admit(&mut self, id: KeyId, key: &Key, now: &Now<'_>) {
        let known = self.state(id);
        if page::is_resident(self.policy, known) {
            return;
        }
        let page = self.page_of(key.hash);
        if let Some(capacity) = self.capacity {
            while self.slots.len() >= capacity && self.evict(now) {}
            let end = self.slots.partition_point(|slot| slot.page <= page);
            let slot = Slot {
                page,
                key: id,
                since: now.at,
            };
            self.slots.insert(end, slot);
        }
        let state = page::stored(self.policy, known);
        if known > 0 {
            self.ghosts.retain(|ghost| ghost.key != id);
        }
        self.set_state(id, state);
        self.held += 1;
        self.held_bytes += u64::from(key.bytes);
        if page::is_probation(self.policy, state) {
            self.probation_bytes += u64::from(key.bytes);
        }
        self.mark_most(page);
    }

    /// A stored response was replaced by one of another size.
    pub(super) fn resized(&mut self, id: KeyId, before: u32, after: u32) {
        let state = self.state(id);
        if !page::is_resident(self.policy, state) {
            return;
        }
        let change = |sum: u64| (sum + u64::from(after)).saturating_sub(u64::from(before));
        self.held_bytes = change(self.held_bytes);
        if page::is_probation(self.policy, state) {
            self.probation_bytes = change(self.probation_bytes);
        }
    }

    fn page_of(&self, hash: u64) -> u16 {
        let spread = (hash & u64::from(u32::MAX)) * u64::from(self.pages);
        u16::try_from(spread >> 32).unwrap_or(0)
    }

    fn page(&self, page: u16) -> std::ops::Range<usize> {
        let start = self.slots.partition_point(|slot| slot.page < page);
        let rest = self.slots.get(start..).unwrap_or_default();
        start..start + rest.partition_point(|slot| slot.page == page)
    }

    fn mark_most(&mut self, page: u16) {
        if self.policy != Policy::S3Fifo || self.capacity.is_none() {
            return;
        }
        let most = u16::try_from(self.page(page).len()).unwrap_or(u16::MAX);
        if let Some(mark) = self.mark(page) {
            *mark = (*mark).max(most);
        }
    }

    fn mark(&mut self, page: u16) -> Option<&mut u16> {
        if self.marks.is_empty() {
            self.marks = vec![0; usize::from(self.pages)];
        }
        self.marks.get_mut(usize::from(page))
    }

    /// Takes one entry out; false when there is none.
    fn evict(&mut self, now: &Now<'_>) -> bool {
        let sample = self.sample();
        let expired = |at: &std::ops::Range<usize>| {
            let slots = self.slots.get(at.clone()).unwrap_or_default();
            slots
                .iter()
                .position(|slot| now.keys.get(slot.key).usable_until <= now.ms)
        };
        if let Some(at) = sample.iter().find_map(|range| Some(range.start + expired(range)?)) {
            self.take_out(at, now, false);
            return true;
        }
        let (policy, from_probation) = (self.policy, from_probation(self.probation_bytes, self.held_bytes));
        let ranks = sample.iter().map(|range| {
            let page = self.page_at(range.clone(), now)?;
            rank(policy, &page, from_probation)
        });
        let ranks: Vec<Option<u64>> = ranks.collect();
        let chosen = best_page(ranks.into_iter()).and_then(|at| sample.into_iter().nth(at));
        chosen.is_some_and(|range| self.take_victim(range, from_probation, now))
    }

    fn take_victim(&mut self, range: std::ops::Range<usize>, from_probation: bool, now: &Now<'_>) -> bool {
        let (start, policy) = (range.start, self.policy);
        let Some(mut page) = self.page_at(range, now) else {
            return false;
        };
        let Some(victim) = victim(policy, &mut page, from_probation) else {
            return false;
        };
        let (hand, promoted) = (page.hand, page.promoted);
        self.probation_bytes = self.probation_bytes.saturating_sub(promoted);
        if policy == Policy::Sieve
            && let Some(number) = self.slots.get(start).map(|slot| slot.page)
            && let Some(mark) = self.mark(number)
        {
            *mark = u16::try_from(hand).unwrap_or(0);
        }
        self.take_out(start + victim, now, true);
        true
    }

    fn page_at<'m, 'k>(&'m mut self, range: std::ops::Range<usize>, now: &'m Now<'k>) -> Option<MiniPage<'m, 'k>> {
        let hand = self.slots.get(range.start).and_then(|slot| self.mark_of(slot.page));
        Some(MiniPage {
            slots: self.slots.get_mut(range)?,
            states: &mut self.states,
            hand: usize::from(hand.unwrap_or(0)),
            now,
            promoted: 0,
        })
    }

    fn mark_of(&self, page: u16) -> Option<u16> {
        self.marks.get(usize::from(page)).copied()
    }

    /// Removes an entry; a victim may leave a ghost.
    fn take_out(&mut self, at: usize, now: &Now<'_>, evicted: bool) {
        if at >= self.slots.len() {
            return;
        }
        let slot = self.slots.remove(at);
        let (state, bytes) = (self.state(slot.key), u64::from(now.keys.get(slot.key).bytes));
        self.held = self.held.saturating_sub(1);
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
        if page::is_probation(self.policy, state) {
            self.probation_bytes = self.probation_bytes.saturating_sub(bytes);
        }
        let left = if evicted { page::evicted(self.policy, state) } else { 0 };
        self.set_state(slot.key, left);
        if left > 0 {
            self.add_ghost(slot);
        }
    }

    fn add_ghost(&mut self, slot: Slot) {
        let end = self.ghosts.partition_point(|ghost| ghost.page <= slot.page);
        self.ghosts.insert(end, slot);
        let start = self.ghosts.partition_point(|ghost| ghost.page < slot.page);
        let most = self.mark_of(slot.page).unwrap_or(1);
        if excess_ghosts(end + 1 - start, most) > 0 && start < self.ghosts.len() {
            let oldest = self.ghosts.remove(start);
            self.set_state(oldest.key, 0);
        }
    }

    /// Pages to choose from, going round from the hand.
    fn sample(&mut self) -> Vec<std::ops::Range<usize>> {
        let mut sample: Vec<std::ops::Range<usize>> = Vec::with_capacity(LEAST_PAGES);
        let mut candidates = 0;
        let mut at = self.slots.partition_point(|slot| slot.page < self.hand);
        while !is_enough(sample.len(), candidates) {
            if at >= self.slots.len() {
                at = 0;
            }
            let Some(page) = self.slots.get(at).map(|slot| slot.page) else {
                break;
            };
            let rest = self.slots.get(at..).unwrap_or_default();
            // Pages are small, mostly.
            let end = at + rest.iter().take_while(|slot| slot.page == page).count();
            if sample.iter().any(|range| range.start == at) {
                break;
            }
            self.hand = page.saturating_add(1);
            candidates += end - at;
            sample.push(at..end);
            at = end;
        }
        sample
    }

    /// Some keys are followed no more; the others are a smaller share now.
    pub(super) fn forget(&mut self, gone: &[KeyId], keys: &Keys, share: f64, most: usize) {
        for key in gone {
            self.set_state(*key, 0);
        }
        let was_bounded = self.capacity.is_some();
        self.scale(share, most);
        self.hand = 0;
        self.marks = Vec::new();
        let (policy, states) = (self.policy, std::mem::take(&mut self.states));
        let state = |key: KeyId| states.get(usize::from(key)).copied().unwrap_or(0);
        if !was_bounded && self.capacity.is_some() {
            let all = (0..=KeyId::MAX).take(states.len());
            let residents = all.filter(|key| page::is_resident(policy, state(*key)));
            let slot = |key: KeyId| Slot {
                page: 0,
                key,
                since: keys.get(key).used,
            };
            self.slots = residents.map(slot).collect();
        }
        let placed = |slots: &[Slot], pages: &Self| -> Vec<Slot> {
            let there = slots.iter().filter(|slot| state(slot.key) > 0);
            let mut there: Vec<Slot> = there
                .map(|slot| Slot {
                    page: pages.page_of(keys.get(slot.key).hash),
                    ..*slot
                })
                .collect();
            there.sort_by_key(|slot| (slot.page, slot.since));
            there
        };
        (self.slots, self.ghosts) = (placed(&self.slots, self), placed(&self.ghosts, self));
        self.states = states;
        self.count_again(keys);
    }

    fn count_again(&mut self, keys: &Keys) {
        (self.held, self.held_bytes, self.probation_bytes) = (0, 0, 0);
        for (key, state) in (0..=KeyId::MAX).zip(&self.states) {
            let bytes = u64::from(keys.get(key).bytes);
            if page::is_resident(self.policy, *state) {
                self.held += 1;
                self.held_bytes += bytes;
            }
            if page::is_probation(self.policy, *state) {
                self.probation_bytes += bytes;
            }
        }
        let pages: Vec<u16> = self.slots.iter().map(|slot| slot.page).collect();
        for page in pages {
            self.mark_most(page);
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.states.capacity()
            + (self.slots.capacity() + self.ghosts.capacity()) * size_of::<Slot>()
            + self.marks.capacity() * size_of::<u16>()
    }
}
