//! The breakers of an Envoy in shared data: a fixed set of records, found by the upstream's name.

use super::machine::Pass;
use super::policy::BreakerPolicy;
use super::record::{Cause, Forced, Record, State};
use super::{OutcomeClass, Permit};
use crate::Millis;
use crate::shared_map::{Cas, SetError, SharedMap};

/// Records. An Envoy with more upstreams than this goes without a breaker for the rest.
const PLACES: u64 = 256;
/// Places tried for a name.
const TRIES: u64 = 8;
/// Races lost in a row before a sample is given up.
const RETRIES: usize = 32;
/// When to try again after losing every race.
const BUSY_RETRY_MS: Millis = 1_000;
/// Longest a forced state lasts without being renewed: 24 hours.
pub(super) const FORCED_MAX_MS: u64 = 86_400_000;

/// A call refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// When to try again, milliseconds from now.
    pub retry_after_ms: Millis,
    /// Why the breaker is open; [`Cause::None`] when an operator opened it.
    pub cause: Cause,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Whose.
    pub upstream: String,
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// Why it opened.
    pub cause: Cause,
    /// When.
    pub at_ms: Millis,
}

/// A breaker as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Whose.
    pub upstream: String,
    /// `closed`, `open`, `half_open`, `forced_open`, `forced_closed`, `dry_run`.
    pub state: &'static str,
    /// Since when.
    pub since_ms: Millis,
    /// Calls, failures and slow calls in the window.
    pub window: (u64, u64, u64),
    /// Calls refused since the Envoy started.
    pub refused: u64,
    /// When the next probe may pass; 0 unless open.
    pub next_probe_ms: Millis,
    /// Why it opened.
    pub cause: Cause,
    /// Probes under way.
    pub probes: u32,
}

/// Creates the records' keys that must not be created by two workers at once. There are none: a record is created by its first
/// sample, and of two first samples one may be lost.
pub fn seed(_map: &impl SharedMap) {}

/// Asks for leave to call. Reads once and writes nothing while the breaker is closed.
///
/// # Errors
/// The refusal, with when to try again.
pub fn acquire(
    map: &impl SharedMap,
    upstream: &str,
    policy: &BreakerPolicy,
    now_ms: Millis,
    random: u64,
) -> Result<(Option<Permit>, Option<Transition>), Refusal> {
    if !policy.enabled {
        return Ok((None, None));
    }
    let mut refused = None;
    for _ in 0..RETRIES {
        let Some((key, mut record, cas)) = find(map, upstream) else {
            return Ok((None, None));
        };
        let from = record.state;
        let (pass, changed) = record.begin(policy, now_ms, random);
        if changed {
            match map.set(&key, &named(upstream, &record), cas) {
                Ok(()) => {}
                Err(SetError::CasMismatch) => {
                    refused = Some(Refusal {
                        retry_after_ms: BUSY_RETRY_MS,
                        cause: record.cause,
                    });
                    continue;
                }
                // Without shared data nobody may judge: the call goes.
                Err(SetError::Host) => return Ok((None, None)),
            }
        }
        let transition = transition(upstream, from, &record, now_ms);
        return match pass {
            Pass::Refused { retry_after_ms } => Err(Refusal {
                retry_after_ms,
                cause: record.cause,
            }),
            Pass::Free => Ok((Some(permit(upstream, &record, None)), transition)),
            Pass::Probe(id) => Ok((Some(permit(upstream, &record, Some(id))), transition)),
        };
    }
    // A record is only fought over while it is not closed: then a call that cannot be counted as a probe must not be made.
    refused.map_or(Ok((None, None)), Err)
}

/// Takes in how a call ended.
pub fn resolve(
    map: &impl SharedMap,
    permit: Permit,
    policy: &BreakerPolicy,
    class: OutcomeClass,
    took_ms: Millis,
    now_ms: Millis,
    random: u64,
) -> Option<Transition> {
    for _ in 0..RETRIES {
        let (key, mut record, cas) = find(map, &permit.upstream)?;
        let from = record.state;
        if !record.end(policy, &permit, class, took_ms, now_ms, random) {
            return None;
        }
        match map.set(&key, &named(&permit.upstream, &record), cas) {
            Ok(()) => return transition(&permit.upstream, from, &record, now_ms),
            Err(SetError::CasMismatch) => {}
            Err(SetError::Host) => return None,
        }
    }
    None
}

/// Puts an operator's word in place of the breaker's judgement, for at most 24 hours; [`Forced::None`] takes it back and closes
/// the breaker. False when it could not be written.
pub fn steer(map: &impl SharedMap, upstream: &str, forced: Forced, until_ms: Millis, now_ms: Millis) -> bool {
    for _ in 0..RETRIES {
        let Some((key, mut record, cas)) = find(map, upstream) else {
            return false;
        };
        record.forced = forced;
        record.forced_until_ms = until_ms.min(now_ms.saturating_add(FORCED_MAX_MS));
        if forced == Forced::None {
            record.enter(State::Closed, now_ms);
            record.attempts = 0;
            record.cause = Cause::None;
        }
        match map.set(&key, &named(upstream, &record), cas) {
            Ok(()) => return true,
            Err(SetError::CasMismatch) => {}
            Err(SetError::Host) => return false,
        }
    }
    false
}

/// All breakers that have seen a call, by name.
pub fn all(map: &impl SharedMap, policy: &BreakerPolicy, now_ms: Millis) -> Vec<View> {
    let mut views: Vec<View> = (0..PLACES)
        .filter_map(|place| {
            let (bytes, _) = map.get(&place_key(place))?;
            let (name, record) = read(&bytes)?;
            Some(view(name, &record, policy, now_ms))
        })
        .collect();
    views.sort_by(|a, b| a.upstream.cmp(&b.upstream));
    views
}

fn view(upstream: &str, record: &Record, policy: &BreakerPolicy, now_ms: Millis) -> View {
    let state = match (record.forced_now(now_ms), record.state) {
        (Forced::Open, _) => "forced_open",
        (Forced::Closed, _) => "forced_closed",
        (Forced::DryRun, _) => "dry_run",
        (Forced::None, State::Closed) => "closed",
        (Forced::None, State::Open) => "open",
        (Forced::None, State::HalfOpen) => "half_open",
    };
    View {
        upstream: upstream.to_owned(),
        state,
        since_ms: record.since_ms,
        window: record.window(policy, now_ms),
        refused: record.refused,
        next_probe_ms: if record.state == State::Open {
            record.wait_until_ms
        } else {
            0
        },
        cause: record.cause,
        probes: u32::try_from(record.probes.len()).unwrap_or(u32::MAX),
    }
}

fn permit(upstream: &str, record: &Record, probe: Option<u64>) -> Permit {
    Permit {
        upstream: upstream.to_owned(),
        generation: record.generation,
        probe,
    }
}

fn transition(upstream: &str, from: State, record: &Record, now_ms: Millis) -> Option<Transition> {
    (from != record.state).then(|| Transition {
        upstream: upstream.to_owned(),
        from,
        to: record.state,
        cause: record.cause,
        at_ms: now_ms,
    })
}

fn place_key(place: u64) -> [u8; 5] {
    let [low, ..] = place.to_le_bytes();
    [b'a', b'o', b'1', b'b', low]
}

/// The place of an upstream: its own record, or the first free one of those its name may take.
fn find(map: &impl SharedMap, upstream: &str) -> Option<([u8; 5], Record, Option<Cas>)> {
    let hash = xxhash_rust::xxh3::xxh3_64(upstream.as_bytes());
    for step in 0..TRIES {
        let key = place_key(hash.wrapping_add(step) % PLACES);
        let Some((bytes, cas)) = map.get(&key) else {
            return Some((key, Record::default(), None));
        };
        match read(&bytes) {
            Some((name, record)) if name == upstream => return Some((key, record, Some(cas))),
            Some(_) => {}
            None => return Some((key, Record::default(), Some(cas))),
        }
    }
    None
}

fn named(upstream: &str, record: &Record) -> Vec<u8> {
    let mut bytes = u16::try_from(upstream.len()).unwrap_or(0).to_le_bytes().to_vec();
    bytes.extend_from_slice(upstream.as_bytes());
    bytes.extend_from_slice(&record.encode());
    bytes
}

fn read(bytes: &[u8]) -> Option<(&str, Record)> {
    let (size, rest) = bytes.split_at_checked(2)?;
    let size = u16::from_le_bytes(size.try_into().ok()?);
    let (name, record) = rest.split_at_checked(usize::from(size))?;
    Some((std::str::from_utf8(name).ok()?, Record::decode(record)))
}
