//! A page of a miniature cache as the eviction policies see it, and how what they know of a key is stored in a byte.

use super::keys::Key;
use super::slot::{Now, Slot};
use eviction::{Entry, HALF_LIFE_MS, Marks, Policy, Queue, aged, leaves_ghost};
use optimizer_proto::settings::EvictionPolicy;

/// The state of a key under the policies that count hits is their number and one more; under the others it is [`Marks`] and these.
const RESIDENT: u8 = 16;
/// Evicted, and remembered (S3-FIFO).
const GHOST: u8 = 32;

pub(super) fn of(policy: EvictionPolicy) -> Policy {
    match policy {
        EvictionPolicy::S3Fifo => Policy::S3Fifo,
        EvictionPolicy::Sieve => Policy::Sieve,
        EvictionPolicy::Lru => Policy::Lru,
        EvictionPolicy::Lfu => Policy::Lfu,
        EvictionPolicy::Fifo => Policy::Fifo,
        EvictionPolicy::Gdsf => Policy::Gdsf,
    }
}

const fn counts_hits(policy: Policy) -> bool {
    matches!(policy, Policy::Lfu | Policy::Gdsf)
}

pub(super) fn is_resident(policy: Policy, state: u8) -> bool {
    if counts_hits(policy) {
        state > 0
    } else {
        state & RESIDENT != 0
    }
}

pub(super) fn is_probation(policy: Policy, state: u8) -> bool {
    policy == Policy::S3Fifo && state & RESIDENT != 0 && !Marks::from_bits(state).is_main()
}

/// The state of what was stored just now.
pub(super) fn stored(policy: Policy, before: u8) -> u8 {
    if counts_hits(policy) {
        1
    } else {
        RESIDENT | Marks::of_new(before & GHOST != 0).bits()
    }
}

/// The state of what was evicted.
pub(super) fn evicted(policy: Policy, state: u8) -> u8 {
    if leaves_ghost(policy, Marks::from_bits(state)) {
        GHOST
    } else {
        0
    }
}

/// The state after a hit that came so long after the one before.
pub(super) fn hit(policy: Policy, state: u8, idle_ms: u64) -> u8 {
    if counts_hits(policy) {
        let hits = frequency(state, idle_ms).saturating_add(1);
        u8::try_from(hits.saturating_add(1)).unwrap_or(u8::MAX)
    } else {
        state & !Marks::MASK | Marks::from_bits(state).after_hits(1).bits()
    }
}

fn frequency(state: u8, idle_ms: u64) -> u16 {
    let half_lives = u32::try_from(idle_ms / u64::from(HALF_LIFE_MS)).unwrap_or(u32::MAX);
    aged(u16::from(state.saturating_sub(1)), half_lives)
}

fn state(states: &[u8], slot: &Slot) -> u8 {
    states.get(usize::from(slot.key)).copied().unwrap_or(0)
}

/// The slots of a page, with what is known of all keys.
pub(super) struct MiniPage<'m, 'k> {
    pub(super) slots: &'m mut [Slot],
    pub(super) states: &'m mut [u8],
    pub(super) hand: usize,
    pub(super) now: &'m Now<'k>,
    /// Bytes of the entries that were promoted into the main queue so far.
    pub(super) promoted: u64,
}

struct MiniEntry {
    state: u8,
    key: Key,
    /// Lookups since it entered its queue.
    age: u32,
    now_at: u32,
    now_ms: u64,
}

impl Entry for MiniEntry {
    fn marks(&self) -> Marks {
        Marks::from_bits(self.state)
    }

    fn idle(&self) -> u32 {
        self.now_at.wrapping_sub(self.key.used)
    }

    fn stored_age(&self) -> u32 {
        // Only S3-FIFO moves entries, and it does not ask.
        self.age
    }

    fn queued_age(&self) -> u32 {
        self.age
    }

    fn frequency(&self) -> u16 {
        frequency(self.state, self.now_ms.saturating_sub(self.key.used_ms))
    }

    fn cost(&self) -> u8 {
        self.key.cost
    }

    fn bytes(&self) -> u32 {
        self.key.bytes
    }
}

impl Queue for MiniPage<'_, '_> {
    fn entry(&self, index: usize) -> Option<impl Entry> {
        let slot = self.slots.get(index)?;
        Some(MiniEntry {
            state: state(self.states, slot),
            key: self.now.keys.get(slot.key),
            age: self.now.at.wrapping_sub(slot.since),
            now_at: self.now.at,
            now_ms: self.now.ms,
        })
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    fn set_marks(&mut self, index: usize, marks: Marks) {
        let Some(slot) = self.slots.get(index) else { return };
        if let Some(state) = self.states.get_mut(usize::from(slot.key)) {
            if marks.is_main() && !Marks::from_bits(*state).is_main() {
                self.promoted += u64::from(self.now.keys.get(slot.key).bytes);
            }
            *state = *state & !Marks::MASK | marks.bits();
        }
    }

    fn requeue(&mut self, index: usize) {
        if let Some(rest) = self.slots.get_mut(index..) {
            rest.rotate_left(1);
        }
        if let Some(slot) = self.slots.last_mut() {
            slot.since = self.now.at;
        }
    }

    fn hand(&self) -> usize {
        self.hand
    }

    fn set_hand(&mut self, index: usize) {
        self.hand = index;
    }
}
