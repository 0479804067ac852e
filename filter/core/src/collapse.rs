//! One fetch for many: who of all workers fetches a key, and who may wait for it.
//!
//! A flight is a lease on a key's hash, kept in a fixed set of records in shared data. Two keys that share a record only lose
//! the collapsing between them, never correctness: whoever waits looks its own key up afterwards.

use crate::Millis;
use crate::shared_map::SharedMap;

/// Records. Two of a thousand keys in flight at once seldom meet.
const RECORDS: u64 = 4096;
/// A flight nobody lands ends by itself: its VM trapped, or its origin hangs.
pub const FLIGHT_MS: u64 = 10_000;

/// What a request for a key shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boarding {
    /// Fetch it, then [`land`].
    Lead,
    /// Another fetches it.
    Follow,
    /// No telling; fetch it alone.
    Alone,
}

/// Asks for the flight of the key with this hash. `vm` is the asking VM.
pub fn board(map: &impl SharedMap, hash: u64, vm: u64, now_ms: Millis) -> Boarding {
    let key = record_key(hash);
    let present = map.get(&key);
    let cas = present.as_ref().map(|(_, cas)| *cas);
    if let Some(flight) = present.as_ref().and_then(|(bytes, _)| decode(bytes))
        && flight.until > now_ms
        && flight.until <= now_ms.saturating_add(2 * FLIGHT_MS)
    {
        return if flight.hash == hash { Boarding::Follow } else { Boarding::Alone };
    }
    let flight = Flight { hash, vm, until: now_ms.saturating_add(FLIGHT_MS) };
    match map.set(&key, &encode(flight), cas) {
        Ok(()) => Boarding::Lead,
        // Somebody was quicker; whose key it is shows the next reading.
        Err(_) => match map.get(&key).and_then(|(bytes, _)| decode(&bytes)) {
            Some(flight) if flight.hash == hash && flight.until > now_ms => Boarding::Follow,
            _ => Boarding::Alone,
        },
    }
}

/// Ends a flight, whatever came of it.
pub fn land(map: &impl SharedMap, hash: u64, vm: u64) {
    let key = record_key(hash);
    if let Some((bytes, cas)) = map.get(&key)
        && decode(&bytes).is_some_and(|flight| flight.hash == hash && flight.vm == vm)
    {
        // Losing the race means that the flight had run out and another took the record.
        let _ = map.set(&key, &encode(Flight { hash: 0, vm: 0, until: 0 }), Some(cas));
    }
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    hash: u64,
    vm: u64,
    until: Millis,
}

fn record_key(hash: u64) -> [u8; 6] {
    let [low, high, ..] = (hash % RECORDS).to_le_bytes();
    [b'a', b'o', b'1', b'f', low, high]
}

fn encode(flight: Flight) -> Vec<u8> {
    [flight.hash, flight.vm, flight.until].iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Option<Flight> {
    let word = |at: usize| bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map(u64::from_le_bytes);
    Some(Flight { hash: word(0)?, vm: word(8)?, until: word(16)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_map::MemoryMap;

    #[test]
    fn one_leads_until_it_lands() {
        let map = MemoryMap::default();
        assert_eq!(board(&map, 9, 1, 1000), Boarding::Lead);
        assert_eq!(board(&map, 9, 2, 1001), Boarding::Follow);
        land(&map, 9, 2);
        assert_eq!(board(&map, 9, 2, 1002), Boarding::Follow, "only the leader lands");
        land(&map, 9, 1);
        assert_eq!(board(&map, 9, 2, 1003), Boarding::Lead);
    }

    #[test]
    fn a_leader_that_died_is_replaced() {
        let map = MemoryMap::default();
        board(&map, 9, 1, 1000);
        assert_eq!(board(&map, 9, 2, 1000 + FLIGHT_MS), Boarding::Lead);
    }

    #[test]
    fn keys_that_share_a_record_do_not_wait_for_each_other() {
        let map = MemoryMap::default();
        board(&map, 9, 1, 1000);
        assert_eq!(board(&map, 9 + RECORDS, 1, 1000), Boarding::Alone);
    }

    #[test]
    fn of_many_threads_one_leads() {
        let map = MemoryMap::default();
        map.set(&record_key(9), &encode(Flight { hash: 0, vm: 0, until: 0 }), None).unwrap();
        let leaders = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=8)
                .map(|vm| {
                    let map = &map;
                    scope.spawn(move || board(map, 9, vm, 1000) == Boarding::Lead)
                })
                .collect();
            threads.into_iter().filter(|_| true).map(|thread| usize::from(thread.join().unwrap())).sum::<usize>()
        });
        assert_eq!(leaders, 1);
    }

    #[test]
    fn a_host_in_trouble_lets_everyone_go_alone() {
        let map = MemoryMap::default();
        map.fail_all(true);
        assert_eq!(board(&map, 9, 1, 1000), Boarding::Alone);
        land(&map, 9, 1);
    }
}
