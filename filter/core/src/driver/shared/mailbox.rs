//! From every VM's recorder to the one report of the Envoy.
//!
//! Each VM merges what it recorded into one of a fixed set of mailboxes in shared data; the leader collects them all into the
//! outbox, which holds one report until the control plane has acknowledged it. So nothing is lost with a stream or a control
//! plane, nothing is counted twice, and the space is bounded because deltas merge. A VM that dies takes with it what it had not posted, or
//! had collected and not put into the outbox: a second or two of counts at most.
//!
//! For a moment two VMs may both believe to lead. So a number is taken by comparison before anything is collected, and the outbox is filled
//! and emptied by comparison.

use crate::shared_map::{Cas, SharedMap, keys};
use optimizer_proto::telemetry::delta;
use optimizer_proto::v1::{TelemetryDelta, TelemetryReport};
use prost::Message;

/// Mailboxes: few enough to collect each second, enough that VMs seldom collide.
const MAILBOXES: u64 = 8;
const RETRIES: usize = 16;
/// Bytes of delta in one report; the rest of a message is small beside it.
const REPORT_BYTES: usize = optimizer_proto::MAX_MESSAGE_BYTES / 2;

/// An empty mailbox or outbox. Not an empty value: of that the host tells no version, so two VMs could overwrite each other's first post.
const NOTHING: &[u8] = &[0];

/// Creates the mailboxes, which two VMs must not create at once.
pub(crate) fn seed(map: &impl SharedMap) {
    for number in 0..MAILBOXES {
        let key = mailbox_key(number);
        if map.get(&key).is_none() {
            let _ = map.set(&key, NOTHING, None);
        }
    }
    for key in [keys::OUTBOX, keys::SEQUENCE] {
        if map.get(key).is_none() {
            let _ = map.set(key, NOTHING, None);
        }
    }
}

fn mailbox_key(number: u64) -> [u8; 6] {
    keys::mailbox(u8::try_from(number % MAILBOXES).unwrap_or(0))
}

/// Merges a VM's delta into its mailbox. On failure the delta comes back, to be merged with the next one.
///
/// # Errors
/// The delta itself, when the host refused or others kept winning the race.
pub fn post(map: &impl SharedMap, vm: u64, posted: TelemetryDelta) -> Result<(), Box<TelemetryDelta>> {
    let key = mailbox_key(vm);
    for _ in 0..RETRIES {
        let (merged, cas) = match map.get(&key) {
            Some((bytes, cas)) => {
                // What cannot be read cannot be kept either: a newer filter's format, or damage.
                let mut present = TelemetryDelta::decode(bytes.as_slice()).unwrap_or_default();
                delta::merge(&mut present, &posted);
                (present, Some(cas))
            }
            None => (posted.clone(), None),
        };
        if map.set(&key, &merged.encode_to_vec(), cas).is_ok() {
            return Ok(());
        }
    }
    Err(Box::new(posted))
}

fn collect(map: &impl SharedMap) -> TelemetryDelta {
    let mut all = TelemetryDelta::default();
    for number in 0..MAILBOXES {
        let key = mailbox_key(number);
        for _ in 0..RETRIES {
            let Some((bytes, cas)) = map.get(&key).filter(|(bytes, _)| bytes != NOTHING) else {
                break;
            };
            if map.set(&key, NOTHING, Some(cas)).is_ok() {
                if let Ok(posted) = TelemetryDelta::decode(bytes.as_slice()) {
                    delta::merge(&mut all, &posted);
                }
                break;
            }
        }
    }
    all
}

/// The report that waits for its acknowledgement.
pub fn waiting(map: &impl SharedMap) -> Option<TelemetryReport> {
    outbox(map).0
}

/// What is in the outbox, and its version.
fn outbox(map: &impl SharedMap) -> (Option<TelemetryReport>, Option<Cas>) {
    let Some((bytes, cas)) = map.get(keys::OUTBOX) else {
        return (None, None);
    };
    let report = Some(bytes).filter(|bytes| bytes != NOTHING);
    let report = report.and_then(|bytes| TelemetryReport::decode(bytes.as_slice()).ok());
    (report, Some(cas))
}

/// Takes the next number. Before anything is collected under it: whatever happens then, nobody else uses it. Numbers may be left out.
fn take_number(map: &impl SharedMap) -> Option<u64> {
    for _ in 0..RETRIES {
        let (last, cas) = match map.get(keys::SEQUENCE) {
            Some((bytes, cas)) => (bytes.try_into().map_or(0, u64::from_le_bytes), Some(cas)),
            None => (0, None),
        };
        let next = last.saturating_add(1);
        if map.set(keys::SEQUENCE, &next.to_le_bytes(), cas).is_ok() {
            return Some(next);
        }
    }
    None
}

/// Closes a new report over all mailboxes and keeps it in the outbox; `report` carries everything but sequence and delta. Where one waits
/// there already, it is that one. `None` when the host refuses to keep it, or another leader was first (the delta then goes back
/// to a mailbox).
pub fn close_report(map: &impl SharedMap, mut report: TelemetryReport) -> Option<TelemetryReport> {
    let (held, cas) = outbox(map);
    if held.is_some() {
        return held;
    }
    report.sequence = take_number(map)?;
    let mut collected = collect(map);
    report.delta = Some(delta::take_bounded(&mut collected, REPORT_BYTES));
    if !delta::is_empty(&collected) {
        // What is too much for one message goes with the next.
        let _ = post(map, 0, collected);
    }
    if map.set(keys::OUTBOX, &report.encode_to_vec(), cas).is_err() {
        let _ = post(map, 0, report.delta.take().unwrap_or_default());
        return None;
    }
    Some(report)
}

/// Forgets the report that the control plane has acknowledged.
pub fn acknowledged(map: &impl SharedMap, sequence: u64) {
    if let (Some(report), cas) = outbox(map)
        && report.sequence == sequence
    {
        // If this loses a race, somebody else has forgotten it.
        let _ = map.set(keys::OUTBOX, NOTHING, cas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_map::MemoryMap;
    use optimizer_proto::v1::CacheCounters;

    fn lookups(lookups: u64) -> TelemetryDelta {
        TelemetryDelta {
            cache: Some(CacheCounters {
                lookups,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn counted(report: &TelemetryReport) -> u64 {
        report
            .delta
            .as_ref()
            .and_then(|delta| delta.cache.as_ref())
            .map_or(0, |cache| cache.lookups)
    }

    #[test]
    fn what_all_vms_post_is_reported_exactly_once() {
        let map = MemoryMap::default();
        for vm in 0..20 {
            post(&map, vm, lookups(1)).unwrap();
        }
        let first = close_report(&map, TelemetryReport::default()).unwrap();
        assert_eq!((first.sequence, counted(&first)), (1, 20));
        post(&map, 3, lookups(5)).unwrap();
        assert_eq!(waiting(&map), Some(first), "the same report until it is acknowledged");
        acknowledged(&map, 7);
        assert!(waiting(&map).is_some(), "another report's acknowledgement");
        acknowledged(&map, 1);
        assert!(waiting(&map).is_none());
        let second = close_report(&map, TelemetryReport::default()).unwrap();
        assert_eq!((second.sequence, counted(&second)), (2, 5));
    }

    #[test]
    fn threads_lose_nothing() {
        let map = MemoryMap::default();
        seed(&map);
        let back = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|vm| {
                    let map = &map;
                    scope.spawn(move || {
                        let mut carried = TelemetryDelta::default();
                        for _ in 0..200 {
                            delta::merge(&mut carried, &lookups(1));
                            carried =
                                post(map, vm % 2, carried).map_or_else(|back| *back, |()| TelemetryDelta::default());
                        }
                        carried.cache.map_or(0, |cache| cache.lookups)
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum::<u64>()
        });
        let report = close_report(&map, TelemetryReport::default()).unwrap();
        assert_eq!(counted(&report) + back, 800);
    }

    #[test]
    fn a_host_in_trouble_gives_the_delta_back() {
        let map = MemoryMap::default();
        map.fail_all(true);
        assert_eq!(*post(&map, 1, lookups(2)).unwrap_err(), lookups(2));
        assert!(close_report(&map, TelemetryReport::default()).is_none());
    }
}
