//! The filter's store and the miniature caches from which the control plane predicts evict by the same rules. One trace of requests
//! through both shows that they also use them alike: in sampling, ageing and counting.

use control_domain::what_if::{MOST_KEYS, WhatIf};
use filter_core::shared_map::MemoryMap;
use filter_core::store::{Entry, Eviction, InvalidationLog, Limits, PurgeGeneration, Store, TRAILER_LEN};
use optimizer_proto::settings::EvictionPolicy;
use optimizer_proto::telemetry::samples::{EVERY_KEY, Event};
use optimizer_proto::v1::{CacheCounters, KeySamples};
use std::collections::BTreeSet;

const KEYS: u64 = 5_000;
const LOOKUPS: u64 = 40_000;
const START_MS: u64 = 1_800_000_000_000;
const CONTENT: usize = 1_000;
/// What a prediction may be off, points of the hit ratio.
const TOLERANCE: f64 = 2.5;

/// A skewed choice of keys, and every eighth request one of a scan; 10 ms apart.
fn trace() -> impl Iterator<Item = (u64, u64)> {
    let mut state = 88_172_645_463_325_252_u64;
    (0..LOOKUPS).map(move |at| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let unit = (state >> 11) as f64 / (1_u64 << 53) as f64;
        let skewed = ((KEYS as f64).powf(unit) - 1.0) as u64;
        let key = if at % 8 == 0 { 1_000_000_000 + at } else { skewed };
        (key, START_MS + at * 10)
    })
}

/// How long the origin takes.
fn fetch_ms(key: u64) -> u64 {
    4 << (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61)
}

/// Hits of the filter's store, percent of all lookups.
fn in_the_store(policy: Eviction, entries: u32) -> f64 {
    let map = MemoryMap::default();
    Store::seed(&map);
    let limits = Limits {
        entries,
        bytes: 1 << 32,
        object_bytes: 1 << 20,
    };
    let (mut store, invalidation_log, mut hits) = (Store::new(limits, policy), InvalidationLog::default(), 0_u64);
    for (at, (key, now_ms)) in trace().enumerate() {
        if at % 20 == 0 {
            store.flush(&map, 64);
            store.maintain(&map, &invalidation_log, 8, now_ms);
        }
        let name = key.to_le_bytes();
        if let Some(found) = store.lookup(&map, &name, |_| 0, now_ms) {
            hits += 1;
            store.touch(found.id, now_ms);
            continue;
        }
        let mut value = Vec::with_capacity(CONTENT + TRAILER_LEN);
        value.resize(CONTENT, 0);
        let entry = Entry {
            key: &name,
            vary: &[],
            usable_until_ms: START_MS + 1_000_000_000,
            fetch_ms: fetch_ms(key),
            purge_generation: PurgeGeneration::default(),
            value,
        };
        store.insert(&map, entry, |_| 0, now_ms).unwrap();
    }
    hits as f64 * 100.0 / LOOKUPS as f64
}

/// What the control plane makes of the same lookups.
fn followed() -> WhatIf {
    let (mut what_if, mut known) = (WhatIf::default(), BTreeSet::new());
    let all: Vec<(u64, u64)> = trace().collect();
    for part in all.chunks(100) {
        let mut samples = KeySamples {
            threshold: EVERY_KEY,
            ..KeySamples::default()
        };
        for (key, _) in part {
            let mixed = (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let hash = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let lookup = Event {
                key: hash,
                ..Event::default()
            };
            samples.push(lookup);
            if known.insert(*key) {
                samples.push(Event {
                    bytes: CONTENT as u32,
                    usable_s: 100_000,
                    fresh_s: 100_000,
                    fetch_ms: fetch_ms(*key) as u32,
                    ..lookup
                });
            }
        }
        let counted = CacheCounters {
            lookups: part.len() as u64,
            ..CacheCounters::default()
        };
        let now_ms = part.last().map_or(START_MS, |(_, now_ms)| *now_ms);
        what_if.take(Some(&samples), Some(&counted), MOST_KEYS, now_ms);
    }
    what_if
}

#[test]
fn the_store_does_what_is_predicted_by_every_policy() {
    let what_if = followed();
    let mut off = Vec::new();
    for (name, policy) in EvictionPolicy::WORDS {
        let in_filter = match policy {
            EvictionPolicy::S3Fifo => Eviction::S3Fifo,
            EvictionPolicy::Sieve => Eviction::Sieve,
            EvictionPolicy::Lru => Eviction::Lru,
            EvictionPolicy::Lfu => Eviction::Lfu,
            EvictionPolicy::Fifo => Eviction::Fifo,
            EvictionPolicy::Gdsf => Eviction::Gdsf,
        };
        for entries in [250, 1_000] {
            let real = in_the_store(in_filter, entries);
            let predicted = what_if.curve(policy).predict(u64::from(entries), u64::MAX).hit_ratio;
            println!("{name}, {entries}: {real:.2} and {predicted:.2}");
            if (real - predicted).abs() > TOLERANCE {
                off.push(format!(
                    "{name}, {entries}: {real:.2} in the store, {predicted:.2} predicted"
                ));
            }
        }
    }
    assert!(off.is_empty(), "{off:#?}");
}
