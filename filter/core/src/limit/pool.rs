//! Leases on the limit. A worker takes a handful of places from the record all workers share, and hands them out without asking
//! again: most calls cost no access to shared data. What all hold together never exceeds the limit.

use crate::Millis;
use crate::shared_map::{Cas, SetError, SharedMap, keys, seed_places};

/// Records: upstreams that are limited. One beyond these goes without a limit.
const PLACES: u64 = 128;
const TRIES: u64 = 8;
const RETRIES: usize = 32;
/// A worker not heard of for so long is gone, and its places with it. It renews once a second.
const GONE_AFTER_MS: u64 = 5_000;
/// Part of the limit taken at a time: small enough that eight workers seldom keep places from one another.
const SHARE: u32 = 32;
const MAX_HOLDERS: usize = 512;

/// Creates the places; see [`seed_places`].
pub fn seed(map: &impl SharedMap) {
    seed_places(map, PLACES, place_key);
}

/// What one worker holds of one upstream's limit.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pool {
    leased: u32,
    in_use: u32,
    /// All workers together hold more than the limit, which was lowered: what becomes free is given back.
    over: bool,
}

/// An upstream's limit as all workers together use it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolStatus {
    /// Whose.
    pub upstream: String,
    /// Calls in flight, as of each worker's last renewal.
    pub in_use: u64,
    /// Calls allowed, as of the last renewal.
    pub limit: u64,
    /// Requests waiting.
    pub waiting: u64,
    /// Requests refused since the Envoy started.
    pub refused: u64,
}

/// One worker's line in the record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Holder {
    uid: u64,
    seen_ms: Millis,
    leased: u32,
    in_use: u32,
    waiting: u32,
    limit: u32,
    refused: u64,
}

/// What a worker tells with each renewal.
#[derive(Debug, Clone, Copy, Default)]
pub struct PoolDemand {
    /// Requests waiting in it.
    pub waiting: u32,
    /// Its own limit, where it is adaptive.
    pub limit: u32,
    /// Requests it has refused.
    pub refused: u64,
}

impl Pool {
    /// Calls of this worker in flight.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.in_use
    }

    /// Whether it holds more than is in use.
    #[must_use]
    pub fn has_spare(&self) -> bool {
        self.leased > self.in_use
    }

    /// Takes a place. False when the limit is reached.
    pub fn take(&mut self, map: &impl SharedMap, upstream: &str, uid: u64, limit: u32, now_ms: Millis) -> bool {
        if self.in_use >= self.leased {
            let want = (limit / SHARE).max(1);
            match self.lease(map, upstream, uid, want, limit, now_ms) {
                Some(0) => return false,
                Some(granted) => self.leased += granted,
                // No shared data, no count: the call goes, as it would without a limit.
                None => self.leased += 1,
            }
        }
        self.in_use += 1;
        true
    }

    /// Gives a place back.
    pub fn give(&mut self) {
        self.in_use = self.in_use.saturating_sub(1);
        if self.over {
            self.leased = self.leased.min(self.in_use);
        }
    }

    /// Gives back what is leased and not in use, but for one handful when nobody waits for it. Answers whether others gained.
    #[allow(clippy::too_many_arguments)]
    pub fn renew(
        &mut self,
        map: &impl SharedMap,
        upstream: &str,
        uid: u64,
        limit: u32,
        generous: bool,
        demand: PoolDemand,
        now_ms: Millis,
    ) -> bool {
        let keep = if generous || self.over {
            0
        } else {
            (limit / SHARE).max(1)
        };
        let leased = self.leased.min(self.in_use.saturating_add(keep));
        let freed = leased < self.leased;
        self.leased = leased;
        let (in_use, share) = (self.in_use, leased);
        let mut total = 0;
        let written = update(map, upstream, now_ms, |holders| {
            holders.retain(|holder| holder.uid != uid);
            if share > 0 || demand.waiting > 0 || demand.refused > 0 {
                holders.push(Holder {
                    uid,
                    seen_ms: now_ms,
                    leased: share,
                    in_use,
                    waiting: demand.waiting,
                    limit: demand.limit,
                    refused: demand.refused,
                });
            }
            total = sum(holders);
            true
        });
        if written == Ok(true) {
            self.over = total > u64::from(limit);
        }
        freed
    }

    /// Asks the record for more places. What this worker has given up meanwhile is in the record with it.
    fn lease(
        &mut self,
        map: &impl SharedMap,
        upstream: &str,
        uid: u64,
        want: u32,
        limit: u32,
        now_ms: Millis,
    ) -> Option<u32> {
        let (mut granted, mut taken) = (0, 0);
        let written = update(map, upstream, now_ms, |holders| {
            let own = holders.iter().position(|holder| holder.uid == uid);
            let mut holder = own.map_or_else(Holder::default, |at| holders.swap_remove(at));
            let before = holder.leased;
            taken = sum(holders).saturating_add(u64::from(self.leased));
            let free = u64::from(limit).saturating_sub(taken);
            granted = u32::try_from(free).unwrap_or(u32::MAX).min(want);
            holder.uid = uid;
            holder.seen_ms = now_ms;
            holder.leased = self.leased.saturating_add(granted);
            let changes = holder.leased != before;
            holders.push(holder);
            changes
        });
        if written.is_ok() {
            self.over = taken > u64::from(limit);
        }
        match written {
            Ok(_) => Some(granted),
            // Whoever loses every race has seen the others take places: it waits, rather than exceed the limit.
            Err(SetError::CasMismatch) => Some(0),
            Err(SetError::Host) => None,
        }
    }
}

fn sum(holders: &[Holder]) -> u64 {
    holders.iter().map(|holder| u64::from(holder.leased)).sum()
}

/// Changes a record by compare-and-swap; `change` answers whether there is anything to write, and so does the result.
fn update(
    map: &impl SharedMap,
    upstream: &str,
    now_ms: Millis,
    mut change: impl FnMut(&mut Vec<Holder>) -> bool,
) -> Result<bool, SetError> {
    for _ in 0..RETRIES {
        let Some((key, mut holders, cas)) = find(map, upstream) else {
            // More upstreams than places: unlimited.
            return Err(SetError::Host);
        };
        holders.retain(|holder| holder.seen_ms.abs_diff(now_ms) < GONE_AFTER_MS);
        if !change(&mut holders) {
            return Ok(false);
        }
        holders.truncate(MAX_HOLDERS);
        match map.set(&key, &encode(upstream, &holders), cas) {
            Ok(()) => return Ok(true),
            Err(SetError::CasMismatch) => {}
            Err(SetError::Host) => return Err(SetError::Host),
        }
    }
    Err(SetError::CasMismatch)
}

/// All upstreams that were called lately.
pub fn all(map: &impl SharedMap, limit: u32, now_ms: Millis) -> Vec<PoolStatus> {
    let mut found: Vec<PoolStatus> = (0..PLACES)
        .filter_map(|place| {
            let (bytes, _) = map.get(&place_key(place))?;
            let (name, mut holders) = decode(&bytes)?;
            holders.retain(|holder| holder.seen_ms.abs_diff(now_ms) < GONE_AFTER_MS);
            let adaptive: u64 = holders.iter().map(|holder| u64::from(holder.limit)).sum();
            (!holders.is_empty()).then(|| PoolStatus {
                upstream: name.to_owned(),
                in_use: holders.iter().map(|holder| u64::from(holder.in_use)).sum(),
                limit: if adaptive == 0 {
                    u64::from(limit)
                } else {
                    adaptive.min(u64::from(limit))
                },
                waiting: holders.iter().map(|holder| u64::from(holder.waiting)).sum(),
                refused: holders.iter().map(|holder| holder.refused).sum(),
            })
        })
        .collect();
    found.sort_by(|a, b| a.upstream.cmp(&b.upstream));
    found
}

fn place_key(place: u64) -> [u8; 5] {
    keys::limit(u8::try_from(place).unwrap_or(0))
}

type Located = ([u8; 5], Vec<Holder>, Option<Cas>);

fn find(map: &impl SharedMap, upstream: &str) -> Option<Located> {
    let hash = xxhash_rust::xxh3::xxh3_64(upstream.as_bytes());
    for step in 0..TRIES {
        let key = place_key(hash.wrapping_add(step) % PLACES);
        let Some((bytes, cas)) = map.get(&key) else {
            return Some((key, Vec::new(), None));
        };
        match decode(&bytes) {
            Some((name, holders)) if name == upstream => return Some((key, holders, Some(cas))),
            Some(_) => {}
            None => return Some((key, Vec::new(), Some(cas))),
        }
    }
    None
}

const HOLDER: usize = 40;

fn encode(upstream: &str, holders: &[Holder]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2 + upstream.len() + holders.len() * HOLDER);
    bytes.extend_from_slice(&u16::try_from(upstream.len()).unwrap_or(0).to_le_bytes());
    bytes.extend_from_slice(upstream.as_bytes());
    for holder in holders {
        bytes.extend_from_slice(&holder.uid.to_le_bytes());
        bytes.extend_from_slice(&holder.seen_ms.to_le_bytes());
        bytes.extend_from_slice(&holder.refused.to_le_bytes());
        for count in [holder.leased, holder.in_use, holder.waiting, holder.limit] {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<(&str, Vec<Holder>)> {
    let (size, rest) = bytes.split_at_checked(2)?;
    let size = u16::from_le_bytes(size.try_into().ok()?);
    let (name, rest) = rest.split_at_checked(usize::from(size))?;
    let long = |part: &[u8], at: usize| part.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let short = |part: &[u8], at: usize| part.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let holders = rest
        .chunks_exact(HOLDER)
        .filter_map(|part| {
            Some(Holder {
                uid: long(part, 0)?,
                seen_ms: long(part, 8)?,
                refused: long(part, 16)?,
                leased: short(part, 24)?,
                in_use: short(part, 28)?,
                waiting: short(part, 32)?,
                limit: short(part, 36)?,
            })
        })
        .collect();
    Some((std::str::from_utf8(name).ok()?, holders))
}

#[cfg(test)]
mod tests;
