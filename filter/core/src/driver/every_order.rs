//! The shared cells of the driver, and the purge stamps, in every order of their users' calls, with a VM that may die between any two.

use super::shared::{lease, mailbox, registry, settings_cell};
use crate::shared_map::explore::{Stepped, WorkerState, explore};
use crate::shared_map::{MemoryMap, SharedMap};
use crate::store::{InvalidationLog, KeyParts, PurgeGeneration, Verdict};
use optimizer_proto::purge::PurgeTarget;
use optimizer_proto::v1::{CacheCounters, SettingsPush, TelemetryDelta, TelemetryReport};
use std::collections::BTreeMap;

const NOW_MS: u64 = 1_800_000_000_000;

fn seeded() -> MemoryMap {
    let map = MemoryMap::default();
    lease::seed(&map);
    registry::seed(&map);
    mailbox::seed(&map);
    settings_cell::seed(&map);
    InvalidationLog::seed(&map);
    map
}

fn lookups(lookups: u64) -> TelemetryDelta {
    TelemetryDelta {
        cache: Some(CacheCounters {
            lookups,
            ..CacheCounters::default()
        }),
        ..TelemetryDelta::default()
    }
}

fn counted(report: &TelemetryReport) -> u64 {
    let delta = report.delta.as_ref();
    delta
        .and_then(|delta| delta.cache.as_ref())
        .map_or(0, |cache| cache.lookups)
}

fn post(vm: u64, count: u64) -> impl Fn(&Stepped<'_>) -> String {
    move |map| match mailbox::post(map, vm, lookups(count)) {
        Ok(()) => String::new(),
        Err(_) => "back".to_owned(),
    }
}

/// A leader sends what waits, or closes a report: its number and what it counts.
fn lead(map: &Stepped<'_>) -> String {
    let report = mailbox::waiting(map).or_else(|| mailbox::close_report(map, TelemetryReport::default()));
    report.map_or_else(String::new, |report| {
        format!("{} {}", report.sequence, counted(&report))
    })
}

/// What was sent, by number: no number twice with another content.
fn sent(workers: &[WorkerState]) -> BTreeMap<u64, u64> {
    let mut sent = BTreeMap::new();
    for (number, count) in workers.iter().filter_map(|one| one.result()?.split_once(' ')) {
        let (number, count) = (number.parse().unwrap(), count.parse().unwrap());
        assert_eq!(
            *sent.entry(number).or_insert(count),
            count,
            "two reports of one number: {workers:?}"
        );
    }
    sent
}

/// Everything that is in shared data still, as later leaders send it, each report acknowledged.
fn drained(map: &impl SharedMap) -> BTreeMap<u64, u64> {
    let mut reports = BTreeMap::new();
    for _ in 0..4 {
        let report = mailbox::waiting(map).or_else(|| mailbox::close_report(map, TelemetryReport::default()));
        let Some(report) = report else { break };
        reports.insert(report.sequence, counted(&report));
        mailbox::acknowledged(map, report.sequence);
    }
    reports
}

#[test]
fn one_vm_holds_the_lease_in_every_order() {
    let map = seeded();
    let hold = |me: u64| move |map: &Stepped<'_>| lease::hold(map, me, NOW_MS).to_string();
    let (one, two, three) = (hold(1), hold(2), hold(3));
    let states = explore(&map, &[&one, &two, &three], 1, |_, workers| {
        let holders = workers.iter().filter(|one| one.result() == Some("true")).count();
        let dead = workers.contains(&WorkerState::Dead);
        assert!(holders == 1 || dead && holders == 0, "{workers:?}");
    });
    assert!(states > 50, "{states}");
    // Whoever gives it up after another has taken it over does not take it from that one.
    let give = |map: &Stepped<'_>| {
        lease::release(map, 1);
        String::new()
    };
    assert!(lease::hold(&map, 1, NOW_MS));
    let late = |map: &Stepped<'_>| lease::hold(map, 2, NOW_MS + 10 * lease::LEASE_MS).to_string();
    explore(&map, &[&give, &late], 0, |data, workers| {
        let held = workers[1].result() == Some("true");
        assert!(
            !held || !lease::hold(data, 3, NOW_MS + 10 * lease::LEASE_MS + 1),
            "{workers:?}"
        );
    });
}

#[test]
fn no_heartbeat_is_lost_in_any_order() {
    let map = seeded();
    let beat = |uid: u64| {
        move |map: &Stepped<'_>| {
            let me = registry::Member {
                uid,
                queue: 1,
                seen_ms: NOW_MS,
                epoch: 0,
                revision: 0,
                purges: 0,
            };
            registry::heartbeat(map, me).is_some().to_string()
        }
    };
    let (one, two, three) = (beat(1), beat(2), beat(3));
    explore(&map, &[&one, &two, &three], 1, |data, workers| {
        let listed: Vec<u64> = registry::vms(data, NOW_MS).iter().map(|vm| vm.uid).collect();
        for (at, one) in workers.iter().enumerate() {
            let told = one.result() == Some("true");
            assert!(!told || listed.contains(&(at as u64 + 1)), "{listed:?} {workers:?}");
        }
    });
}

#[test]
fn what_vms_count_is_reported_once_in_every_order() {
    let map = seeded();
    // Two VMs of one mailbox, and a leader at work meanwhile.
    let (one, two) = (post(0, 1), post(8, 2));
    let states = explore(&map, &[&one, &two, &lead], 0, |data, workers| {
        let mut reports = sent(workers);
        for (number, count) in drained(data) {
            assert_eq!(*reports.entry(number).or_insert(count), count, "{workers:?}");
        }
        assert_eq!(reports.values().sum::<u64>(), 3, "{reports:?} {workers:?}");
    });
    assert!(states > 100, "{states}");
}

#[test]
fn two_that_both_believe_to_lead_lose_no_report() {
    let map = seeded();
    mailbox::post(&map, 0, lookups(1)).unwrap();
    let more = post(1, 2);
    let states = explore(&map, &[&lead, &lead, &more], 0, |data, workers| {
        sent(workers);
        // Nothing was acknowledged: what a broken stream has lost is there still.
        let kept = drained(data);
        assert_eq!(kept.values().sum::<u64>(), 3, "{kept:?} {workers:?}");
    });
    assert!(states > 1_000, "{states}");
}

#[test]
fn a_leader_that_dies_leaves_no_number_that_is_used_twice() {
    let map = seeded();
    mailbox::post(&map, 0, lookups(1)).unwrap();
    let more = post(1, 2);
    explore(&map, &[&lead, &more, &lead], 1, |data, workers| {
        let mut reports = sent(workers);
        // What the dead one had closed may have been sent.
        reports.extend(mailbox::waiting(data).map(|report| (report.sequence, counted(&report))));
        for (number, count) in drained(data) {
            assert_eq!(
                *reports.entry(number).or_insert(count),
                count,
                "number {number} twice: {workers:?}"
            );
        }
        assert!(reports.values().sum::<u64>() <= 3, "{reports:?} {workers:?}");
    });
}

#[test]
fn an_acknowledgement_that_comes_twice_takes_no_other_report() {
    let map = seeded();
    mailbox::post(&map, 0, lookups(1)).unwrap();
    let first = mailbox::close_report(&map, TelemetryReport::default()).unwrap();
    mailbox::post(&map, 0, lookups(2)).unwrap();
    let done = |map: &Stepped<'_>| {
        mailbox::acknowledged(map, first.sequence);
        String::new()
    };
    explore(&map, &[&done, &done, &lead], 0, |data, workers| {
        let mut reports = sent(workers);
        reports.remove(&first.sequence);
        let kept = drained(data);
        for (number, count) in &reports {
            assert_eq!(kept.get(number), Some(count), "{kept:?} {workers:?}");
        }
        assert_eq!(kept.values().sum::<u64>(), 2, "{kept:?} {workers:?}");
    });
}

fn purged(invalidation_log: &InvalidationLog, path: &str) -> bool {
    let parts = KeyParts {
        host: b"a.example",
        path: path.as_bytes(),
    };
    invalidation_log.verdict(PurgeGeneration::default(), &parts, std::iter::empty()) == Verdict::Purged
}

#[test]
fn a_purge_that_is_recorded_is_seen_by_whoever_looks_afterwards() {
    let map = seeded();
    let purge = |path: &'static str| {
        move |map: &Stepped<'_>| {
            let target = PurgeTarget::path(b"a.example", path.as_bytes());
            InvalidationLog::default()
                .purge(map, &target, false, NOW_MS)
                .is_ok()
                .to_string()
        }
    };
    let look = |map: &Stepped<'_>| {
        let mut invalidation_log = InvalidationLog::default();
        invalidation_log.refresh(map, NOW_MS);
        String::new()
    };
    let (one, two) = (purge("/one"), purge("/two"));
    let states = explore(&map, &[&one, &two, &look], 1, |data, workers| {
        // One that has looked at every state before, and one that looks for the first time.
        let mut invalidation_log = InvalidationLog::default();
        invalidation_log.refresh(data, NOW_MS);
        for (workers, path) in workers.iter().zip(["/one", "/two"]) {
            let told = workers.result() == Some("true");
            assert!(!told || purged(&invalidation_log, path), "{path} {workers:?}");
        }
    });
    assert!(states > 50, "{states}");
}

#[test]
fn settings_are_whole_in_every_order() {
    let map = seeded();
    let publish = |revision: u64| {
        move |map: &Stepped<'_>| {
            let push = SettingsPush {
                revision,
                document: b"{}".to_vec(),
                epoch: "e".to_owned(),
            };
            format!("{:?}", settings_cell::publish(map, &push))
        }
    };
    let read = |map: &Stepped<'_>| {
        let found = settings_cell::changed(map, None);
        found.map_or_else(String::new, |(push, _)| push.revision.to_string())
    };
    let (one, two) = (publish(1), publish(2));
    explore(&map, &[&one, &two, &read], 1, |data, workers| {
        assert!(["", "1", "2"].contains(&workers[2].result().unwrap_or_default()));
        let told = |one: usize| workers[one].result() == Some("Done");
        let there = settings_cell::changed(data, None).map(|(push, _)| push.revision);
        assert!(!told(0) || there.is_some());
        assert!(!told(1) || there == Some(2), "a newer revision stays: {workers:?}");
    });
}
