use super::*;

fn hash(at: u64) -> u64 {
    let mixed = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// A skewed choice of one of `keys` keys, and every eighth request one of a scan.
fn trace(keys: u64, lookups: u64) -> impl Iterator<Item = u64> {
    let mut state = 88_172_645_463_325_252_u64;
    (0..lookups).map(move |at| {
        if at % 8 == 0 {
            return 1_000_000_000 + at;
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let unit = (state >> 11) as f64 / (1_u64 << 53) as f64;
        // Inverse of a power law: a Zipf-like skew without tables.
        ((keys as f64).powf(unit) - 1.0) as u64
    })
}

/// Least recently used, or first stored, out first.
fn hit_ratio(recency: bool, size: usize, keys: u64, lookups: u64) -> f64 {
    let (mut last, mut order) = (std::collections::HashMap::new(), std::collections::BTreeMap::new());
    let mut hits = 0;
    for (at, key) in trace(keys, lookups).enumerate() {
        let held = last.contains_key(&key);
        hits += u64::from(held);
        if held && !recency {
            continue;
        }
        if let Some(before) = last.insert(key, at) {
            order.remove(&before);
        }
        order.insert(at, key);
        if last.len() > size {
            let (_, victim) = order.pop_first().unwrap();
            last.remove(&victim);
        }
    }
    hits as f64 * 100.0 / lookups as f64
}

fn none() -> KeySamples {
    KeySamples {
        threshold: EVERY_KEY,
        ..KeySamples::default()
    }
}

fn lookup(key: u64) -> Event {
    Event {
        key,
        ..Event::default()
    }
}

fn store(key: u64, seconds: u32) -> Event {
    Event {
        key,
        bytes: 1_000,
        usable_s: seconds,
        fresh_s: seconds,
        fetch_ms: 0,
    }
}

fn counted(lookups: u64) -> CacheCounters {
    CacheCounters {
        lookups,
        ..CacheCounters::default()
    }
}

fn followed(keys: u64, lookups: u64) -> WhatIf {
    let mut what_if = WhatIf::default();
    let mut seen = std::collections::HashSet::new();
    let all: Vec<u64> = trace(keys, lookups).map(hash).collect();
    for second in all.chunks(1_000) {
        let mut samples = none();
        for key in second {
            samples.push(lookup(*key));
            if seen.insert(*key) {
                samples.push(store(*key, 3_600));
            }
        }
        what_if.take(Some(&samples), Some(&counted(second.len() as u64)), MOST_KEYS, 1_000);
    }
    what_if
}

#[test]
fn predictions_are_within_two_points_of_the_whole_cache() {
    let (keys, lookups) = (5_000, 40_000);
    let what_if = followed(keys, lookups);
    assert!(what_if.share() < 0.5, "a sample, not everything");
    for size in [250, 500, 1_000, 2_000] {
        for (policy, recency) in [(EvictionPolicy::Lru, true), (EvictionPolicy::Fifo, false)] {
            let real = hit_ratio(recency, size, keys, lookups);
            let prediction = what_if.curve(policy).predict(size as u64, u64::MAX);
            assert!(
                (real - prediction.hit_ratio).abs() <= 2.0,
                "{policy:?}, size {size}: {real} and {prediction:?}"
            );
        }
        let of = |policy| what_if.curve(policy).predict(size as u64, u64::MAX).hit_ratio;
        assert!(of(EvictionPolicy::S3Fifo) > of(EvictionPolicy::Fifo));
    }
}

#[test]
fn what_memory_has_room_for_decides_where_it_is_less() {
    let what_if = followed(5_000, 20_000);
    let curve = what_if.curve(EvictionPolicy::S3Fifo);
    let of_entries = curve.predict(500, u64::MAX).hit_ratio;
    let of_memory = curve.predict(1_000_000, 500 * (1_000 + 374)).hit_ratio;
    assert!((of_entries - of_memory).abs() < 1.0, "{of_entries} and {of_memory}");
}

#[test]
fn what_is_followed_takes_less_than_a_megabyte() {
    let mut what_if = WhatIf::default();
    for round in 0..60_u64 {
        let mut samples = none();
        for at in 0..600 {
            let key = hash(round * 300 + at);
            samples.push(lookup(key));
            samples.push(store(key, 60));
        }
        what_if.take(Some(&samples), Some(&counted(600)), MOST_KEYS, round * 1_000);
    }
    assert!(what_if.keys.len() <= MOST_KEYS && what_if.threshold < EVERY_KEY);
    assert!(what_if.memory() < 1 << 20, "{} bytes", what_if.memory());
}

#[test]
fn what_is_idle_makes_room_and_the_sample_stays_as_large() {
    let mut what_if = WhatIf::default();
    for hour in 0..10_u64 {
        let mut samples = none();
        (0..1_000).for_each(|at| samples.push(lookup(hash(hour * 1_000 + at))));
        what_if.take(Some(&samples), None, MOST_KEYS, (hour + 1) * 2 * IDLE_MS);
    }
    assert_eq!(what_if.threshold, EVERY_KEY);
}

#[test]
fn what_has_expired_is_a_miss_whatever_the_size() {
    let mut what_if = WhatIf::default();
    for second in 0..100_u64 {
        let mut samples = none();
        samples.push(lookup(7));
        samples.push(Event {
            usable_s: 300,
            ..store(7, 5)
        });
        what_if.take(Some(&samples), Some(&counted(1)), MOST_KEYS, second * 10_000);
    }
    for (_, policy) in EvictionPolicy::WORDS {
        assert!(what_if.curve(policy).predict(1_000_000, u64::MAX).hit_ratio < 1.0);
    }
}
