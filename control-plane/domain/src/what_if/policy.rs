//! The eviction policies of the filter's store on the pages of a miniature cache: who goes first, and what is remembered of whom.

use super::keys::KeyId;
use super::slot::{Now, Slot};
use optimizer_proto::settings::EvictionPolicy;
use optimizer_proto::worth::worth;

const RESIDENT: u8 = 1;
/// In the main queue (S3-FIFO).
const MAIN: u8 = 2;
/// Used since the hand last passed (SIEVE).
const VISITED: u8 = 2;
const WARM: u8 = 4;
const WARM_MAX: u8 = 3;
/// Evicted without having proved itself (S3-FIFO).
const GHOST: u8 = 16;
/// Hits that a newcomer needs to stay.
const PROMOTION: u8 = 1;
/// Idle time after which a frequency counts half, milliseconds.
const HALF_LIFE_MS: u64 = 600_000;

/// What a policy is told besides the page.
pub(super) struct EvictionContext<'n, 'k> {
    pub(super) policy: EvictionPolicy,
    /// The newcomers of S3-FIFO hold more than their share.
    pub(super) from_probation: bool,
    pub(super) now: &'n Now<'k>,
}

pub(super) fn is_resident(policy: EvictionPolicy, state: u8) -> bool {
    match policy {
        // The hits, plus one.
        EvictionPolicy::Lfu | EvictionPolicy::Gdsf => state > 0,
        _ => state & RESIDENT != 0,
    }
}

pub(super) fn is_probation(policy: EvictionPolicy, state: u8) -> bool {
    policy == EvictionPolicy::S3Fifo && state & (RESIDENT | MAIN) == RESIDENT
}

/// The state of what was stored just now.
pub(super) fn stored(policy: EvictionPolicy, before: u8) -> u8 {
    match policy {
        EvictionPolicy::S3Fifo if before & GHOST != 0 => RESIDENT | MAIN,
        _ => RESIDENT,
    }
}

/// The state of what was evicted.
pub(super) fn left(policy: EvictionPolicy, state: u8) -> u8 {
    if is_probation(policy, state) { GHOST } else { 0 }
}

/// The state after a hit that came so long after the one before.
pub(super) fn hit(policy: EvictionPolicy, state: u8, idle_ms: u64) -> u8 {
    match policy {
        EvictionPolicy::S3Fifo => with_warmth(state, warmth(state) + 1),
        EvictionPolicy::Sieve => state | VISITED,
        EvictionPolicy::Lfu | EvictionPolicy::Gdsf => 1_u8.saturating_add(frequency(state, idle_ms)).saturating_add(1),
        EvictionPolicy::Lru | EvictionPolicy::Fifo => state,
    }
}

fn frequency(state: u8, idle_ms: u64) -> u8 {
    let halvings = u32::try_from(idle_ms / HALF_LIFE_MS).unwrap_or(u32::MAX);
    state.saturating_sub(1).checked_shr(halvings).unwrap_or(0)
}

fn warmth(state: u8) -> u8 {
    state / WARM % (WARM_MAX + 1)
}

fn with_warmth(state: u8, warmth: u8) -> u8 {
    (state & (RESIDENT | MAIN)) | (warmth.min(WARM_MAX) * WARM)
}

fn state(states: &[u8], key: KeyId) -> u8 {
    states.get(usize::from(key)).copied().unwrap_or(0)
}

fn set(states: &mut [u8], key: KeyId, state: u8) {
    if let Some(own) = states.get_mut(usize::from(key)) {
        *own = state;
    }
}

fn age(slot: &Slot, scene: &EvictionContext<'_, '_>) -> u64 {
    u64::from(scene.now.at.wrapping_sub(slot.since))
}

/// How good a victim the page offers; greater goes first. `None` for an empty page.
pub(super) fn willingness(slots: &[Slot], states: &[u8], hand: usize, scene: &EvictionContext<'_, '_>) -> Option<u64> {
    match scene.policy {
        EvictionPolicy::S3Fifo => {
            let is_main = |slot: &&Slot| state(states, slot.key) & MAIN != 0;
            let warm = |slot: &&Slot| warmth(state(states, slot.key));
            let newcomer = slots.iter().find(|slot| !is_main(slot) && warm(slot) < PROMOTION);
            let settled = slots.iter().find(|slot| is_main(slot) && warm(slot) == 0);
            let (first, second) = if scene.from_probation {
                (newcomer, settled)
            } else {
                (settled, newcomer)
            };
            first
                .map(|slot| (2 << 32) | age(slot, scene))
                .or_else(|| second.map(|slot| (1 << 32) | age(slot, scene)))
                .or_else(|| slots.first().map(|slot| age(slot, scene)))
        }
        EvictionPolicy::Sieve => {
            let round = || slots.iter().skip(hand).chain(slots.iter().take(hand));
            let unused = round().find(|slot| state(states, slot.key) & VISITED == 0);
            let slot = unused.or_else(|| round().next())?;
            Some((u64::from(unused.is_some()) << 32) | age(slot, scene))
        }
        _ => ranked(slots, states, scene).map(|(_, rank)| rank),
    }
}

/// The place in the page of the entry that goes; `promoted` hears who reached the main queue on the way.
pub(super) fn victim(
    slots: &mut [Slot],
    states: &mut [u8],
    hand: &mut usize,
    scene: &EvictionContext<'_, '_>,
    mut promoted: impl FnMut(KeyId),
) -> usize {
    match scene.policy {
        EvictionPolicy::S3Fifo => {
            let first = scene
                .from_probation
                .then(|| newcomer(slots, states, scene, &mut promoted))
                .flatten();
            first
                .or_else(|| settled(slots, states, scene))
                .or_else(|| newcomer(slots, states, scene, &mut promoted))
                .or_else(|| settled(slots, states, scene))
                .unwrap_or(0)
        }
        EvictionPolicy::Sieve => passed_by(slots, states, hand),
        _ => ranked(slots, states, scene).map_or(0, |(at, _)| at),
    }
}

fn newcomer(
    slots: &mut [Slot],
    states: &mut [u8],
    scene: &EvictionContext<'_, '_>,
    promoted: &mut impl FnMut(KeyId),
) -> Option<usize> {
    for _ in 0..slots.len() {
        let at = slots.iter().position(|slot| state(states, slot.key) & MAIN == 0)?;
        let key = slots.get(at)?.key;
        if warmth(state(states, key)) < PROMOTION {
            return Some(at);
        }
        set(states, key, RESIDENT | MAIN);
        promoted(key);
        to_the_end(slots, at, scene);
    }
    None
}

fn settled(slots: &mut [Slot], states: &mut [u8], scene: &EvictionContext<'_, '_>) -> Option<usize> {
    for _ in 0..=(usize::from(WARM_MAX) + 1) * slots.len() {
        let at = slots.iter().position(|slot| state(states, slot.key) & MAIN != 0)?;
        let key = slots.get(at)?.key;
        let own = state(states, key);
        if warmth(own) == 0 {
            return Some(at);
        }
        set(states, key, with_warmth(own, warmth(own) - 1));
        to_the_end(slots, at, scene);
    }
    None
}

fn to_the_end(slots: &mut [Slot], at: usize, scene: &EvictionContext<'_, '_>) {
    if let Some(rest) = slots.get_mut(at..) {
        rest.rotate_left(1);
    }
    if let Some(slot) = slots.last_mut() {
        slot.since = scene.now.at;
    }
}

fn passed_by(slots: &[Slot], states: &mut [u8], hand: &mut usize) -> usize {
    for _ in 0..=2 * slots.len() {
        if *hand >= slots.len() {
            *hand = 0;
        }
        let Some(slot) = slots.get(*hand) else { break };
        let own = state(states, slot.key);
        if own & VISITED == 0 {
            break;
        }
        set(states, slot.key, own & !VISITED);
        *hand += 1;
    }
    *hand
}

/// The entry that goes first, the older one among equals, and its rank.
fn ranked(slots: &[Slot], states: &[u8], scene: &EvictionContext<'_, '_>) -> Option<(usize, u64)> {
    let rank = |slot: &Slot| {
        let key = scene.now.keys.get(slot.key);
        let idle = u64::from(scene.now.at.wrapping_sub(key.used));
        let hits = || frequency(state(states, slot.key), scene.now.ms.saturating_sub(key.used_ms));
        match scene.policy {
            EvictionPolicy::Fifo => age(slot, scene),
            EvictionPolicy::Lfu => (u64::from(u8::MAX - hits()) << 32) | idle,
            EvictionPolicy::Gdsf => u64::MAX - worth(u16::from(hits()), key.cost, key.bytes),
            _ => idle,
        }
    };
    let ranks = slots.iter().map(rank).enumerate();
    ranks.reduce(|best, other| if other.1 > best.1 { other } else { best })
}
