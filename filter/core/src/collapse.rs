//! One fetch for many: who of all workers fetches a key, and who may wait for it.
//!
//! A flight is a lease on a key's hash, kept in a fixed set of records in shared data. Two keys that share a record only lose
//! the collapsing between them, never correctness: whoever waited looks its own key up afterwards.

use crate::Millis;
use crate::shared_map::{Cas, SharedMap};

/// Records. Two of a thousand keys in flight at once seldom meet.
const RECORDS: u64 = 4096;
/// A flight nobody lands ends by itself: its VM trapped, or its origin hangs.
pub const FLIGHT_MS: u64 = 10_000;
/// For so long nobody waits for a key whose response turned out not to be shareable.
pub const ALONE_MS: u64 = 10_000;
const RETRIES: usize = 8;
/// Keys a VM remembers as not shareable: 16 KB.
const UNSHARED: usize = 1024;

/// Creates all records: of two workers that create one at once, both would lead. 4096 writes of 32 bytes, once per process.
pub fn seed(map: &impl SharedMap) {
    if map.get(&record_key(RECORDS - 1)).is_some() {
        return;
    }
    for record in 0..RECORDS {
        // A record that cannot be created now is created by its first flight, with the race described above.
        let _ = map.set(&record_key(record), &encode(Flight::default()), None);
    }
}

/// What a request for a key shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boarding {
    /// Fetch it, then [`land`].
    Lead,
    /// Another fetches it; whoever lands it will say so.
    Follow,
    /// What comes of it may not be shared: fetch it alone, and until this time without asking.
    Unshared(Millis),
    /// No telling; fetch it alone.
    Alone,
}

/// Keys a VM knows not to be shareable, so that it need not ask. A table with one place per key and no search: what is pushed out is
/// asked for again.
#[derive(Debug, Default)]
pub struct Unshared {
    places: Vec<(u64, Millis)>,
}

impl Unshared {
    /// Whether the key with this hash is known not to be shareable.
    #[must_use]
    pub fn knows(&self, hash: u64, now_ms: Millis) -> bool {
        // A time far ahead comes from a clock that has since jumped back.
        self.places.get(place(hash)).is_some_and(|(known, until)| {
            *known == hash && *until > now_ms && *until <= now_ms.saturating_add(2 * ALONE_MS)
        })
    }

    /// Remembers it until then.
    pub fn note(&mut self, hash: u64, until: Millis) {
        if self.places.is_empty() {
            self.places.resize(UNSHARED, (0, 0));
        }
        if let Some(place) = self.places.get_mut(place(hash)) {
            *place = (hash, until);
        }
    }
}

fn place(hash: u64) -> usize {
    usize::try_from(hash % UNSHARED as u64).unwrap_or(0)
}

/// What came of a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landing {
    /// The response is stored: followers find it.
    Stored,
    /// The response may not be shared: everyone fetches for himself, for a while without asking.
    NotShareable,
    /// The fetch failed: one of the followers leads next.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Flight {
    hash: u64,
    /// 0: nobody; the record then says that the key is not shareable.
    vm: u64,
    until: Millis,
    followed: bool,
}

impl Flight {
    fn is_on(&self, now_ms: Millis) -> bool {
        // A time far ahead comes from a clock that has since jumped back.
        self.until > now_ms && self.until <= now_ms.saturating_add(2 * FLIGHT_MS)
    }
}

/// Asks for the flight of the key with this hash. `vm` is the asking VM, not 0.
pub fn board(map: &impl SharedMap, hash: u64, vm: u64, now_ms: Millis) -> Boarding {
    let key = record_key(hash);
    for _ in 0..RETRIES {
        let (flight, cas) = read(map, &key);
        if flight.is_on(now_ms) {
            if flight.hash != hash {
                return Boarding::Alone;
            }
            if flight.vm == 0 {
                return Boarding::Unshared(flight.until);
            }
            if flight.followed
                || map
                    .set(
                        &key,
                        &encode(Flight {
                            followed: true,
                            ..flight
                        }),
                        cas,
                    )
                    .is_ok()
            {
                return Boarding::Follow;
            }
            continue;
        }
        let lead = Flight {
            hash,
            vm,
            until: now_ms.saturating_add(FLIGHT_MS),
            followed: false,
        };
        if map.set(&key, &encode(lead), cas).is_ok() {
            return Boarding::Lead;
        }
    }
    Boarding::Alone
}

/// Ends a flight; true when somebody follows it and wants to know.
pub fn land(map: &impl SharedMap, hash: u64, vm: u64, landing: Landing, now_ms: Millis) -> bool {
    let key = record_key(hash);
    for _ in 0..RETRIES {
        let (flight, cas) = read(map, &key);
        if flight.hash != hash || flight.vm != vm {
            return false;
        }
        let after = match landing {
            Landing::NotShareable => Flight {
                hash,
                vm: 0,
                until: now_ms.saturating_add(ALONE_MS),
                followed: false,
            },
            Landing::Stored | Landing::Failed => Flight::default(),
        };
        if map.set(&key, &encode(after), cas).is_ok() {
            return flight.followed;
        }
    }
    true
}

fn read(map: &impl SharedMap, key: &[u8]) -> (Flight, Option<Cas>) {
    match map.get(key) {
        Some((bytes, cas)) => (decode(&bytes).unwrap_or_default(), Some(cas)),
        None => (Flight::default(), None),
    }
}

fn record_key(hash: u64) -> [u8; 6] {
    let [low, high, ..] = (hash % RECORDS).to_le_bytes();
    [b'a', b'o', b'1', b'f', low, high]
}

fn encode(flight: Flight) -> Vec<u8> {
    let words = [flight.hash, flight.vm, flight.until, u64::from(flight.followed)];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Option<Flight> {
    let word = |at: usize| {
        bytes
            .get(at..at + 8)
            .and_then(|part| part.try_into().ok())
            .map(u64::from_le_bytes)
    };
    Some(Flight {
        hash: word(0)?,
        vm: word(8)?,
        until: word(16)?,
        followed: word(24)? != 0,
    })
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
        assert!(!land(&map, 9, 2, Landing::Stored, 1001), "only the leader lands");
        assert_eq!(board(&map, 9, 2, 1002), Boarding::Follow);
        assert!(land(&map, 9, 1, Landing::Stored, 1003), "followed");
        assert_eq!(board(&map, 9, 2, 1003), Boarding::Lead);
        assert!(!land(&map, 9, 2, Landing::Failed, 1004), "nobody followed");
    }

    #[test]
    fn nobody_waits_for_what_is_not_shareable() {
        let map = MemoryMap::default();
        board(&map, 9, 1, 1000);
        land(&map, 9, 1, Landing::NotShareable, 1000);
        assert_eq!(board(&map, 9, 2, 1001), Boarding::Unshared(1000 + ALONE_MS));
        assert_eq!(
            board(&map, 9, 2, 1001 + ALONE_MS),
            Boarding::Lead,
            "tried again after a while"
        );
    }

    #[test]
    fn a_vm_remembers_what_is_not_shareable_as_long_as_that_holds() {
        let mut unshared = Unshared::default();
        assert!(!unshared.knows(9, 1000));
        unshared.note(9, 11_000);
        assert!(unshared.knows(9, 10_999) && !unshared.knows(9, 11_000));
        unshared.note(9, 1_000_000);
        assert!(!unshared.knows(9, 1000), "the clock went back");
        unshared.note(9, 11_000);
        assert!(!unshared.knows(9 + UNSHARED as u64, 1000));
        unshared.note(9 + UNSHARED as u64, 11_000);
        assert!(!unshared.knows(9, 1000), "pushed out");
    }

    #[test]
    fn a_leader_that_died_is_replaced() {
        let map = MemoryMap::default();
        board(&map, 9, 1, 1000);
        assert_eq!(board(&map, 9, 2, 1000 + FLIGHT_MS), Boarding::Lead);
        assert_eq!(board(&map, 10, 1, 1_000_000_000), Boarding::Lead);
        assert_eq!(board(&map, 10, 2, 5), Boarding::Lead, "the clock went back");
    }

    #[test]
    fn keys_that_share_a_record_do_not_wait_for_each_other() {
        let map = MemoryMap::default();
        board(&map, 9, 1, 1000);
        assert_eq!(board(&map, 9 + RECORDS, 1, 1000), Boarding::Alone);
    }

    #[test]
    fn of_many_threads_one_leads_and_it_learns_of_followers() {
        let map = MemoryMap::default();
        seed(&map);
        let boardings: Vec<Boarding> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..=8)
                .map(|vm| {
                    let map = &map;
                    scope.spawn(move || board(map, 9, vm, 1000))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(
            boardings.iter().filter(|boarding| **boarding == Boarding::Lead).count(),
            1
        );
    }

    #[test]
    fn a_host_in_trouble_lets_everyone_go_alone() {
        let map = MemoryMap::default();
        map.fail_all(true);
        assert_eq!(board(&map, 9, 1, 1000), Boarding::Alone);
        assert!(!land(&map, 9, 1, Landing::Stored, 1000));
    }
}
