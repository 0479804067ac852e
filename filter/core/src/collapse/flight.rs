//! The records of fetches that others may follow.

use super::{ALONE_MS, Outcome, expires_ms};
use crate::Millis;
use crate::shared_map::{Cas, SharedMap, keys};

/// Records. Two of a thousand keys in flight at once seldom meet.
const RECORDS: u64 = 4096;
const RETRIES: usize = 8;

/// Creates all records: of two workers that create one at once, both would lead. 4096 writes of 64 bytes, once per process.
pub fn seed(map: &impl SharedMap) {
    if map.get(&record_key(RECORDS - 1)).is_some() {
        return;
    }
    for record in 0..RECORDS {
        // A record that cannot be created now is created by its first flight, with the race described above.
        let _ = map.set(&record_key(record), &encode(Flight::default()), None);
    }
}

/// A part in a flight: its holder must call [`complete_fetch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// What the flight's requests have in common.
    pub hash: u64,
    /// Tells the flight from earlier ones of the same hash.
    pub number: u64,
}

/// What a request shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlightRole {
    /// Fetch, then [`complete_fetch`].
    Lead(Ticket),
    /// Another fetches; whoever completes that fetch wakes the followers.
    Follow,
    /// What comes of it may not be shared: fetch alone, and until this time without asking.
    Unshared(Millis),
    /// The record is in use for another key, or cannot be changed: fetch alone.
    Alone,
}

/// What a request whose flight has failed shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Make the second attempt for all.
    Lead(Ticket),
    /// Another makes it; follow that.
    Follow,
    /// Another has tried, and this is the outcome.
    Failed(Failed),
    /// It cannot be followed: fetch alone.
    Alone,
}

/// What one of those who have waited for a deadline shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Fetch beside the silent one.
    Go(Ticket),
    /// Another does; wait on.
    Wait,
    /// There is no flight any more.
    Over,
}

/// How a fetch ended, for those who follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchOutcome {
    /// The response is stored: followers find it.
    Stored,
    /// The response may not be shared: everyone fetches for himself, for a while without asking.
    NotShareable,
    /// Nothing is known of the response, as it was not asked for: everyone goes on for himself.
    Released,
    /// The client of the fetch went away: another one fetches.
    Left,
    /// The fetch failed.
    Failed(Failed),
}

/// How a fetch failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failed {
    /// What its client was answered.
    pub status: u16,
    /// The upstream did not answer at all.
    pub unreachable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Flight {
    hash: u64,
    /// 0: nobody; the record then says that it is not shareable, until then.
    number: u64,
    until: Millis,
    /// Fetches under way: that of the leader, and those beside it.
    fetches: u16,
    followed: bool,
    /// An attempt has failed already.
    second: bool,
    /// When one more may fetch beside it.
    beside_ms: Millis,
    /// When a second attempt of an earlier flight of this hash failed, and how.
    failed_ms: Millis,
    failed: Failed,
}

impl Flight {
    fn is_on(&self, now_ms: Millis) -> bool {
        self.until > now_ms
    }

    fn led(self, ticket: Ticket, second: bool, deadline_ms: u64, now_ms: Millis) -> Self {
        let previous = if self.hash == ticket.hash {
            self
        } else {
            Self::default()
        };
        Self {
            hash: ticket.hash,
            number: ticket.number,
            until: expires_ms(deadline_ms, now_ms),
            fetches: 1,
            followed: false,
            second,
            beside_ms: now_ms.saturating_add(deadline_ms),
            failed_ms: previous.failed_ms,
            failed: previous.failed,
        }
    }
}

/// Asks for part in the flight of this hash. `number` is one that no other call has given, not 0.
pub fn join_flight(map: &impl SharedMap, hash: u64, number: u64, deadline_ms: u64, now_ms: Millis) -> FlightRole {
    let ticket = Ticket { hash, number };
    let key = record_key(hash);
    for _ in 0..RETRIES {
        let (flight, cas) = read(map, &key, deadline_ms, now_ms);
        if !flight.is_on(now_ms) {
            if write(map, &key, flight.led(ticket, false, deadline_ms, now_ms), cas) {
                return FlightRole::Lead(ticket);
            }
            continue;
        }
        match follow(map, &key, hash, flight, cas) {
            Some(role) => return role,
            None => continue,
        }
    }
    FlightRole::Alone
}

/// As [`join_flight`], for a request that has waited `since_ms` for an attempt that failed.
pub fn retry(
    map: &impl SharedMap,
    hash: u64,
    number: u64,
    since_ms: Millis,
    deadline_ms: u64,
    now_ms: Millis,
) -> Retry {
    let ticket = Ticket { hash, number };
    let key = record_key(hash);
    for _ in 0..RETRIES {
        let (flight, cas) = read(map, &key, deadline_ms, now_ms);
        if flight.hash == hash && flight.failed_ms >= since_ms && flight.failed_ms > 0 {
            return Retry::Failed(flight.failed);
        }
        if !flight.is_on(now_ms) {
            if write(map, &key, flight.led(ticket, true, deadline_ms, now_ms), cas) {
                return Retry::Lead(ticket);
            }
            continue;
        }
        match follow(map, &key, hash, flight, cas) {
            Some(FlightRole::Follow) => return Retry::Follow,
            Some(_) => return Retry::Alone,
            None => continue,
        }
    }
    Retry::Alone
}

fn follow(map: &impl SharedMap, key: &[u8], hash: u64, flight: Flight, cas: Option<Cas>) -> Option<FlightRole> {
    if flight.hash != hash {
        return Some(FlightRole::Alone);
    }
    if flight.number == 0 {
        return Some(FlightRole::Unshared(flight.until));
    }
    let followed = Flight {
        followed: true,
        ..flight
    };
    (flight.followed || write(map, key, followed, cas)).then_some(FlightRole::Follow)
}

/// Asks whether one of those who have waited for a deadline shall fetch beside the silent one.
pub fn beside(map: &impl SharedMap, hash: u64, deadline_ms: u64, now_ms: Millis) -> Beside {
    let key = record_key(hash);
    for _ in 0..RETRIES {
        let (flight, cas) = read(map, &key, deadline_ms, now_ms);
        if flight.hash != hash || flight.number == 0 || !flight.is_on(now_ms) {
            return Beside::Over;
        }
        if flight.beside_ms > now_ms {
            return Beside::Wait;
        }
        let after = Flight {
            until: expires_ms(deadline_ms, now_ms),
            beside_ms: now_ms.saturating_add(deadline_ms),
            fetches: flight.fetches.saturating_add(1),
            ..flight
        };
        if write(map, &key, after, cas) {
            return Beside::Go(Ticket {
                hash,
                number: flight.number,
            });
        }
    }
    Beside::Wait
}

/// Ends a fetch. Returns what its followers are to be told, if there are any and this fetch decides for them.
pub fn complete_fetch(map: &impl SharedMap, ticket: Ticket, fetched: FetchOutcome, now_ms: Millis) -> Option<Outcome> {
    let key = record_key(ticket.hash);
    for _ in 0..RETRIES {
        let (flight, cas) = read_any(map, &key);
        if flight.hash != ticket.hash || flight.number != ticket.number {
            return None;
        }
        let (after, told) = landed(flight, fetched, now_ms);
        if write(map, &key, after, cas) {
            return told.filter(|_| flight.followed);
        }
    }
    Some(Outcome { fetched, second: false })
}

/// The record after a fetch has ended, and what its followers are told.
fn landed(flight: Flight, fetched: FetchOutcome, now_ms: Millis) -> (Flight, Option<Outcome>) {
    let in_vain = matches!(
        fetched,
        FetchOutcome::Failed(_) | FetchOutcome::Left | FetchOutcome::Released
    );
    if in_vain && flight.fetches > 1 {
        // Another one is still under way, and is the second attempt.
        let after = Flight {
            fetches: flight.fetches - 1,
            second: flight.second || matches!(fetched, FetchOutcome::Failed(_)),
            ..flight
        };
        return (after, None);
    }
    // A time-out is not tried again: whoever waited has waited for it.
    let timed_out = matches!(fetched, FetchOutcome::Failed(Failed { status: 504, .. }));
    let outcome = Outcome {
        fetched,
        second: flight.second || timed_out,
    };
    let failed_flight = Flight {
        hash: flight.hash,
        failed_ms: flight.failed_ms,
        failed: flight.failed,
        ..Flight::default()
    };
    let after = match fetched {
        FetchOutcome::NotShareable => Flight {
            until: now_ms.saturating_add(ALONE_MS),
            ..failed_flight
        },
        FetchOutcome::Failed(failed) if outcome.second => Flight {
            failed_ms: now_ms,
            failed,
            ..failed_flight
        },
        _ => failed_flight,
    };
    (after, Some(outcome))
}

/// The response of this hash turned out to be shareable after all.
pub fn forget(map: &impl SharedMap, hash: u64) {
    let key = record_key(hash);
    let (flight, cas) = read_any(map, &key);
    if flight.hash == hash && flight.number == 0 && flight.until > 0 {
        // Whoever writes at the same moment knows better.
        let _ = write(map, &key, Flight::default(), cas);
    }
}

/// A record; one with a time far ahead, from a clock that has since jumped back, counts as none.
fn read(map: &impl SharedMap, key: &[u8], deadline_ms: u64, now_ms: Millis) -> (Flight, Option<Cas>) {
    let (flight, cas) = read_any(map, key);
    let ahead = flight.until > expires_ms(deadline_ms, now_ms).saturating_add(ALONE_MS);
    (if ahead { Flight::default() } else { flight }, cas)
}

fn read_any(map: &impl SharedMap, key: &[u8]) -> (Flight, Option<Cas>) {
    match map.get(key) {
        Some((bytes, cas)) => (decode(&bytes).unwrap_or_default(), Some(cas)),
        None => (Flight::default(), None),
    }
}

fn write(map: &impl SharedMap, key: &[u8], flight: Flight, cas: Option<Cas>) -> bool {
    map.set(key, &encode(flight), cas).is_ok()
}

fn record_key(hash: u64) -> [u8; 6] {
    keys::flight(u16::try_from(hash % RECORDS).unwrap_or(0))
}

fn encode(flight: Flight) -> Vec<u8> {
    let flags = u64::from(flight.fetches) | u64::from(flight.followed) << 16 | u64::from(flight.second) << 17;
    let words = [
        flight.hash,
        flight.number,
        flight.until,
        flags,
        flight.beside_ms,
        flight.failed_ms,
        u64::from(flight.failed.status) | u64::from(flight.failed.unreachable) << 16,
    ];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Option<Flight> {
    let word = |index: usize| {
        bytes
            .get(index * 8..index * 8 + 8)
            .and_then(|part| part.try_into().ok())
            .map(u64::from_le_bytes)
    };
    let (flags, failed) = (word(3)?, word(6)?);
    Some(Flight {
        hash: word(0)?,
        number: word(1)?,
        until: word(2)?,
        fetches: u16::try_from(flags & 0xffff).ok()?,
        followed: flags & 1 << 16 != 0,
        second: flags & 1 << 17 != 0,
        beside_ms: word(4)?,
        failed_ms: word(5)?,
        failed: Failed {
            status: u16::try_from(failed & 0xffff).ok()?,
            unreachable: failed & 1 << 16 != 0,
        },
    })
}
