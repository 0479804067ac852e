//! What is measured, in time by `parts` and in instructions by `instructions`.

mod decision;

use filter_core::breaker::{self, BreakerPolicy, Call, OutcomeClass, Watch};
use filter_core::shared_map::MemoryMap;
use filter_core::store::{Entry, Eviction, InvalidationLog, Limits, Store};
use filter_core::telemetry::Recorder;
use optimizer_proto::telemetry::Sketch;
use std::hint::black_box;

const NOW: u64 = 1_800_000_000_000;
const ENTRIES: u32 = 1_000;

/// A part of the product, made ready, to be called any number of times.
pub(crate) type Part = Box<dyn FnMut()>;

/// A part's name, and what makes it.
pub(crate) type Named = (&'static str, fn() -> Part);

/// All parts by name.
pub(crate) const PARTS: [Named; 8] = [
    ("hit decision, 15 fields, 1 kB", || Box::new(decision::hits())),
    ("store: lookup of 1 kB", || Box::new(lookup())),
    ("store: insertion that evicts", || Box::new(insertion())),
    ("sketch: record", || Box::new(record())),
    ("sketch: merge", || Box::new(merge())),
    ("breaker: admit and resolve", || Box::new(breaker())),
    ("sample: a lookup that is told", || Box::new(told())),
    ("sample: one of much traffic", || Box::new(of_much_traffic())),
];

/// A key's hash, different each time.
fn hash(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Little traffic: every lookup is told, and handed over with the tick.
fn told() -> impl FnMut() {
    let (mut recorder, mut number) = (Recorder::default(), 0);
    move || {
        number += 1;
        recorder.looked_up(hash(number));
        if number % 64 == 0 {
            black_box(recorder.drain());
        }
    }
}

/// Much traffic: about one lookup in a hundred is told.
fn of_much_traffic() -> impl FnMut() {
    let (mut recorder, mut number) = (Recorder::default(), 0);
    for _ in 0..40 {
        for _ in 0..20_000 {
            number += 1;
            recorder.looked_up(hash(number));
        }
        recorder.cache.lookups += 20_000;
        recorder.drain();
    }
    move || {
        number += 1;
        recorder.looked_up(hash(number));
    }
}

fn key(number: u32) -> [u8; 32] {
    let mut key = *b"https://api.example/products/000";
    key[28..].copy_from_slice(&number.to_le_bytes());
    key
}

fn insert(store: &mut Store, map: &MemoryMap, invalidation_log: &mut InvalidationLog, number: u32) {
    let mut value = Vec::with_capacity(1_100);
    value.resize(1_024, b'x');
    let entry = Entry {
        key: &key(number),
        vary: &[],
        usable_until_ms: NOW + 3_600_000,
        fetch_ms: 0,
        purge_generation: invalidation_log.purge_generation(),
        value,
    };
    store.insert(map, entry, |_| 0, NOW).expect("room for it");
}

fn filled() -> (Store, MemoryMap, InvalidationLog) {
    let map = MemoryMap::default();
    Store::seed(&map);
    let limits = Limits {
        entries: ENTRIES,
        ..Limits::default()
    };
    let (mut store, mut invalidation_log) = (Store::new(limits, Eviction::default()), InvalidationLog::default());
    for number in 0..ENTRIES {
        insert(&mut store, &map, &mut invalidation_log, number);
    }
    (store, map, invalidation_log)
}

fn lookup() -> impl FnMut() {
    let (mut store, map, mut invalidation_log) = filled();
    insert(&mut store, &map, &mut invalidation_log, 7);
    move || {
        let found = store.lookup(&map, &key(7), |_| 0, NOW).expect("stored last");
        black_box(found.value());
    }
}

fn insertion() -> impl FnMut() {
    let (mut store, map, mut invalidation_log) = filled();
    let mut number = ENTRIES;
    move || {
        number += 1;
        insert(&mut store, &map, &mut invalidation_log, number);
    }
}

fn record() -> impl FnMut() {
    let mut sketch = Sketch::new();
    let mut value = 1_u64;
    move || {
        // Over five decades, always the same.
        value = value * 7 % 99_991 + 1;
        sketch.record(black_box(value));
    }
}

fn merge() -> impl FnMut() {
    let mut from = Sketch::new();
    (1..500_u64).for_each(|value| from.record(value * value));
    let mut into = from.clone();
    move || into.merge(black_box(&from))
}

fn breaker() -> impl FnMut() {
    let (map, policy) = (MemoryMap::default(), BreakerPolicy::default());
    breaker::seed(&map);
    let mut breakers = Watch::default();
    let call = Call {
        holder: 1,
        can_wait: false,
    };
    let mut now = NOW;
    move || {
        now += 1;
        let decided = breakers.acquire(&map, "catalogue", &policy, &call, now, || 1);
        if let Ok(Some(permit)) = decided.leave {
            black_box(breakers.resolve(&map, permit, &policy, OutcomeClass::Status(200), 3, now, || 1));
        }
    }
}
