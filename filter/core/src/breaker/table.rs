//! The breakers of an Envoy in shared data: a fixed set of records, found by the upstream's name.

use super::machine::Pass;
use super::policy::BreakerPolicy;
use super::record::{Cause, Evidence, Forced, Record, State};
use super::{BreakerState, Call, OutcomeClass, Permit, Refusal, Transition, Why};
use crate::Millis;
use crate::shared_map::{Cas, SetError, SharedMap, keys, seed_places};

/// Records. An Envoy with more upstreams than this goes without a breaker for the rest.
const PLACES: u64 = 256;
/// Places tried for a name.
const TRIES: u64 = 8;
/// Races lost in a row before a sample is given up.
pub(super) const RETRIES: usize = 32;
/// When to try again after losing every race.
const BUSY_RETRY_MS: Millis = 1_000;
/// Longest a forced state lasts without being renewed: 24 hours.
pub(super) const FORCED_MAX_MS: u64 = 86_400_000;

/// Versions of records: several share one, and a change of one of them then has the others read again.
const VERSIONS: u64 = 64;

/// Creates the places, see [`seed_places`], and the versions: without one a record is read for each call.
pub fn seed(map: &impl SharedMap) {
    seed_places(map, PLACES, place_key);
    for version in 0..VERSIONS {
        let key = nth_version_key(version);
        if map.version(&key).is_none() {
            map.bump(&key);
        }
    }
}

/// What a closed breaker says to every call alike, for as long as nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ordinary {
    pub(super) generation: u64,
}

impl Ordinary {
    /// Absent where a call changes something, or the next may fare otherwise.
    fn of(record: &Record) -> Option<Self> {
        let ordinary = record.state == State::Closed
            && record.forced == Forced::None
            && record.connect_failures == 0
            && !record.ramp.is_under_way();
        ordinary.then_some(Self {
            generation: record.generation,
        })
    }
}

/// A decision about a call.
#[derive(Debug)]
pub struct Decided {
    /// The permit, or the refusal; `None` where calls are not counted.
    pub leave: Result<Option<Permit>, Refusal>,
    /// The state may have changed, refused or not.
    pub transition: Option<Transition>,
    /// How the breaker stands after it, if nothing is the matter.
    pub(super) ordinary: Option<Ordinary>,
}

impl Decided {
    /// Nobody may judge, or counts: the call goes.
    pub(super) fn uncounted() -> Self {
        Self {
            leave: Ok(None),
            transition: None,
            ordinary: None,
        }
    }

    pub(super) fn ordinary(upstream: &str, ordinary: Ordinary) -> Self {
        Self {
            leave: Ok(Some(permit(upstream, ordinary.generation, None))),
            transition: None,
            ordinary: Some(ordinary),
        }
    }
}

/// Asks for a permit. Reads once and writes nothing while the breaker is closed and the upstream not just recovering.
pub fn acquire(
    map: &impl SharedMap,
    upstream: &str,
    policy: &BreakerPolicy,
    call: &Call,
    now_ms: Millis,
    random: u64,
) -> Decided {
    if !policy.enabled {
        return Decided::uncounted();
    }
    let mut refused = None;
    for _ in 0..RETRIES {
        let Some((key, mut record, cas)) = find(map, upstream) else {
            return Decided::uncounted();
        };
        let before = StatusBefore::of(&record, policy);
        let lapsed = record.lapse(policy, now_ms);
        let (pass, changed) = record.begin(policy, call, now_ms, random);
        if lapsed || changed {
            match write(map, upstream, &key, &record, cas, before.ordinary) {
                Ok(()) => {}
                Err(SetError::CasMismatch) => {
                    refused = match pass {
                        Pass::Free => None,
                        Pass::Probe(_) => Some(Refusal {
                            retry_after_ms: BUSY_RETRY_MS,
                            why: Why::HalfOpen,
                        }),
                        Pass::Refused { retry_after_ms, why } => Some(Refusal { retry_after_ms, why }),
                    };
                    continue;
                }
                // Without shared data nobody may judge: the call goes.
                Err(SetError::Host) => return Decided::uncounted(),
            }
        }
        let transition = before.transition(
            upstream,
            &record,
            policy,
            lapsed.then_some(Cause::OverrideExpired),
            now_ms,
        );
        let leave = match pass {
            Pass::Refused { retry_after_ms, why } => Err(Refusal { retry_after_ms, why }),
            Pass::Free => Ok(Some(permit(upstream, record.generation, None))),
            Pass::Probe(id) => Ok(Some(permit(upstream, record.generation, Some(id)))),
        };
        return Decided {
            leave,
            transition,
            ordinary: Ordinary::of(&record),
        };
    }
    // What was decided each time holds, though it could not be counted. A probe that cannot be counted must not be made.
    Decided {
        leave: refused.map_or(Ok(None), Err),
        ..Decided::uncounted()
    }
}

/// Takes in how a call ended, and before it so many others of the same generation that ended well.
#[allow(clippy::too_many_arguments)]
pub fn resolve(
    map: &impl SharedMap,
    permit: Permit,
    policy: &BreakerPolicy,
    class: OutcomeClass,
    took_ms: Millis,
    others: u32,
    now_ms: Millis,
    random: u64,
) -> Option<Transition> {
    for _ in 0..RETRIES {
        let (key, mut record, cas) = find(map, &permit.upstream)?;
        let before = StatusBefore::of(&record, policy);
        let counted = record.end_well(policy, permit.generation, others, now_ms);
        if !record.end(policy, &permit, class, took_ms, now_ms, random) && !counted {
            return None;
        }
        match write(map, &permit.upstream, &key, &record, cas, before.ordinary) {
            Ok(()) => return before.transition(&permit.upstream, &record, policy, None, now_ms),
            Err(SetError::CasMismatch) => {}
            Err(SetError::Host) => return None,
        }
    }
    None
}

/// Takes in calls that ended well.
pub(super) fn count_success(
    map: &impl SharedMap,
    upstream: &str,
    policy: &BreakerPolicy,
    generation: u64,
    calls: u32,
    now_ms: Millis,
) {
    for _ in 0..RETRIES {
        let Some((key, mut record, cas)) = find(map, upstream) else {
            return;
        };
        let before = Ordinary::of(&record);
        if !record.end_well(policy, generation, calls, now_ms)
            || write(map, upstream, &key, &record, cas, before) != Err(SetError::CasMismatch)
        {
            return;
        }
    }
}

/// Writes a record that was read with version `cas`. Whoever knows it as it was is told when it says something else to an ordinary
/// call.
pub(super) fn write(
    map: &impl SharedMap,
    upstream: &str,
    key: &[u8],
    record: &Record,
    cas: Option<Cas>,
    before: Option<Ordinary>,
) -> Result<(), SetError> {
    map.set(key, &named(upstream, record), cas)?;
    if before.is_none() || before != Ordinary::of(record) {
        map.bump(&version_key(upstream));
    }
    Ok(())
}

/// Puts an operator's override in place of the breaker's judgement, for at most 24 hours; [`Forced::None`] takes it back and closes
/// the breaker.
///
/// # Errors
/// It could not be written.
pub fn apply_override(
    map: &impl SharedMap,
    upstream: &str,
    policy: &BreakerPolicy,
    forced: Forced,
    until_ms: Millis,
    now_ms: Millis,
) -> Result<Option<Transition>, SetError> {
    for _ in 0..RETRIES {
        let Some((key, mut record, cas)) = find(map, upstream) else {
            return Err(SetError::Host);
        };
        let before = StatusBefore::of(&record, policy);
        let until_ms = until_ms.min(now_ms.saturating_add(FORCED_MAX_MS));
        record.force(policy, forced, until_ms, now_ms);
        match write(map, upstream, &key, &record, cas, before.ordinary) {
            Ok(()) => return Ok(before.transition(upstream, &record, policy, Some(Cause::Operator), now_ms)),
            Err(SetError::CasMismatch) => {}
            Err(SetError::Host) => return Err(SetError::Host),
        }
    }
    Err(SetError::CasMismatch)
}

/// Whether calls are refused at the moment, so that one that nobody waits for need not be tried.
pub fn is_resting(map: &impl SharedMap, upstream: &str, policy: &BreakerPolicy, now_ms: Millis) -> bool {
    if !policy.enabled {
        return false;
    }
    let Some((_, mut record, _)) = find(map, upstream) else {
        return false;
    };
    record.lapse(policy, now_ms);
    match record.shown(policy) {
        BreakerState::ForcedOpen => true,
        BreakerState::Open => !record.is_due(policy, now_ms),
        _ => false,
    }
}

/// All records, by name.
pub(super) fn records(map: &impl SharedMap) -> impl Iterator<Item = (String, Record)> {
    (0..PLACES).filter_map(|place| {
        let (bytes, _) = map.get(&place_key(place))?;
        let (name, record) = read(&bytes)?;
        Some((name.to_owned(), record))
    })
}

/// Where a breaker stood before something was done to it.
pub(super) struct StatusBefore {
    shown: BreakerState,
    judged: State,
    pub(super) ordinary: Option<Ordinary>,
}

impl StatusBefore {
    pub(super) fn of(record: &Record, policy: &BreakerPolicy) -> Self {
        Self {
            shown: record.shown(policy),
            judged: record.state,
            ordinary: Ordinary::of(record),
        }
    }

    /// What has changed since; `overridden`: an operator's override came or went.
    pub(super) fn transition(
        &self,
        upstream: &str,
        record: &Record,
        policy: &BreakerPolicy,
        overridden: Option<Cause>,
        now_ms: Millis,
    ) -> Option<Transition> {
        let shown = record.shown(policy);
        let overruled = shown == self.shown;
        if overruled && record.state == self.judged {
            return None;
        }
        let (from, to) = if overruled {
            (self.judged.into(), record.state.into())
        } else {
            (self.shown, shown)
        };
        let opened = record.state == State::Open && self.judged != State::Open;
        Some(Transition {
            upstream: upstream.to_owned(),
            from,
            to,
            overruled,
            cause: overridden.filter(|_| !overruled).unwrap_or(record.cause),
            evidence: if opened { record.evidence } else { Evidence::default() },
            at_ms: now_ms,
        })
    }
}

pub(super) fn permit(upstream: &str, generation: u64, probe: Option<u64>) -> Permit {
    Permit {
        upstream: upstream.to_owned(),
        generation,
        probe,
    }
}

/// Key of the version of an upstream's record.
pub(super) fn version_key(upstream: &str) -> [u8; 5] {
    nth_version_key(xxhash_rust::xxh3::xxh3_64(upstream.as_bytes()) % VERSIONS)
}

fn nth_version_key(version: u64) -> [u8; 5] {
    keys::breaker_version(u8::try_from(version).unwrap_or(0))
}

fn place_key(place: u64) -> [u8; 5] {
    keys::breaker(u8::try_from(place).unwrap_or(0))
}

/// The place of an upstream: its own record, or the first free one of those its name may take.
pub(super) fn find(map: &impl SharedMap, upstream: &str) -> Option<([u8; 5], Record, Option<Cas>)> {
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
