//! Which VM of the Envoy speaks for it: a lease in shared data, taken by compare-and-swap.

use crate::Millis;
use crate::shared_map::{SharedMap, keys};

/// How long a lease holds without renewal. Three ticks: a busy worker that skips one keeps it.
pub const LEASE_MS: u64 = 600;

/// Creates the lease's key with nobody as holder. Done by the base VM, which runs alone before the workers: shared data cannot
/// express create-if-absent, so two workers creating the key at once could both believe they hold it.
pub fn seed(map: &impl SharedMap) {
    if map.get(keys::LEASE).is_none() {
        // A failure leaves the key absent; `hold` then works all the same, with the small race described above.
        let _ = map.set(keys::LEASE, &encode(0, 0), None);
    }
}

/// Takes or renews the lease for `me`; true when `me` holds it afterwards.
pub fn hold(map: &impl SharedMap, me: u64, now_ms: Millis) -> bool {
    let (holder, until, cas) = match map.get(keys::LEASE) {
        Some((value, cas)) => {
            let (holder, until) = decode(&value);
            (holder, until, Some(cas))
        }
        None => (0, 0, None),
    };
    let expired = is_over(until, now_ms);
    if holder != me && !expired {
        return false;
    }
    if holder == me && !expired && until.saturating_sub(now_ms) > LEASE_MS / 2 {
        return true;
    }
    map.set(keys::LEASE, &encode(me, now_ms.saturating_add(LEASE_MS)), cas)
        .is_ok()
}

/// Whether another than `me` holds it.
pub fn is_anothers(map: &impl SharedMap, me: u64, now_ms: Millis) -> bool {
    let Some((value, _)) = map.get(keys::LEASE) else {
        return false;
    };
    let (holder, until) = decode(&value);
    holder != 0 && holder != me && !is_over(until, now_ms)
}

/// A time far ahead comes from a clock that has since jumped back; nobody may hold the lease for that long.
fn is_over(until: Millis, now_ms: Millis) -> bool {
    until <= now_ms || until > now_ms.saturating_add(10 * LEASE_MS)
}

/// Gives the lease up, if `me` holds it, so that another VM need not wait for it to run out.
pub fn release(map: &impl SharedMap, me: u64) {
    if let Some((value, cas)) = map.get(keys::LEASE)
        && decode(&value).0 == me
    {
        // If this loses a race, somebody else has the lease already.
        let _ = map.set(keys::LEASE, &encode(0, 0), Some(cas));
    }
}

fn encode(holder: u64, until: Millis) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes
        .iter_mut()
        .zip(holder.to_le_bytes().into_iter().chain(until.to_le_bytes()))
    {
        *to = from;
    }
    bytes
}

fn decode(bytes: &[u8]) -> (u64, Millis) {
    let word = |at: usize| {
        bytes
            .get(at..at + 8)
            .and_then(|part| part.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    };
    (word(0), word(8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_map::MemoryMap;

    #[test]
    fn one_holder_until_it_stops_renewing() {
        let map = MemoryMap::default();
        seed(&map);
        assert!(hold(&map, 1, 1000));
        assert!(!hold(&map, 2, 1001));
        assert!(hold(&map, 1, 1500), "renewed");
        assert!(!hold(&map, 2, 1900));
        assert!(hold(&map, 2, 2101), "the first one is gone");
        assert!(!hold(&map, 1, 2102));
    }

    #[test]
    fn a_released_lease_is_free_at_once() {
        let map = MemoryMap::default();
        assert!(hold(&map, 1, 1000));
        release(&map, 2);
        assert!(!hold(&map, 2, 1001));
        release(&map, 1);
        assert!(hold(&map, 2, 1001));
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_lock_everyone_out() {
        let map = MemoryMap::default();
        assert!(hold(&map, 1, 1_000_000));
        assert!(hold(&map, 2, 1000));
    }

    #[test]
    fn a_host_in_trouble_elects_nobody() {
        let map = MemoryMap::default();
        map.fail_all(true);
        seed(&map);
        assert!(!hold(&map, 1, 1000));
    }
}
