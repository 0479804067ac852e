//! Workers interleaved call by call, by a seeded order or as threads run.

use super::*;
use crate::shared_map::{Cas, SetError};
use std::sync::{Condvar, Mutex};

/// Lets one worker at a time make one call of shared data; who is next comes from a seed.
struct Turnstile {
    state: Mutex<Turns>,
    changed: Condvar,
}

struct Turns {
    present: Vec<bool>,
    next: usize,
    random: u64,
}

impl Turns {
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn pass_on(&mut self) {
        let present: Vec<usize> = (0..self.present.len()).filter(|worker| self.present[*worker]).collect();
        if !present.is_empty() {
            self.next = present[self.draw() as usize % present.len()];
        }
    }
}

impl Turnstile {
    fn new(workers: usize, seed: u64) -> Self {
        let mut turns = Turns {
            present: vec![true; workers],
            next: 0,
            random: seed * 2 + 1,
        };
        turns.pass_on();
        Self {
            state: Mutex::new(turns),
            changed: Condvar::new(),
        }
    }

    fn call<R>(&self, me: usize, call: impl FnOnce() -> R) -> R {
        let mut turns = self
            .changed
            .wait_while(self.state.lock().unwrap(), |turns| turns.next != me)
            .unwrap();
        let result = call();
        turns.pass_on();
        self.changed.notify_all();
        result
    }

    fn leave(&self, me: usize) {
        let mut turns = self.state.lock().unwrap();
        turns.present[me] = false;
        if turns.next == me {
            turns.pass_on();
        }
        self.changed.notify_all();
    }
}

struct Leave<'a>(&'a Turnstile, usize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

struct Stepped<'a> {
    map: &'a MemoryMap,
    turns: &'a Turnstile,
    me: usize,
    /// Calls until this worker dies.
    left: std::cell::Cell<u64>,
}

impl Stepped<'_> {
    fn step<R>(&self, call: impl FnOnce() -> R) -> R {
        if self.left.get() == 0 {
            // Like a trap of the VM: no clean-up of the store's runs.
            std::panic::resume_unwind(Box::new("dies"));
        }
        self.left.set(self.left.get() - 1);
        self.turns.call(self.me, call)
    }
}

impl SharedMap for Stepped<'_> {
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)> {
        self.step(|| self.map.get(key))
    }

    fn version(&self, key: &[u8]) -> Option<Cas> {
        self.step(|| self.map.version(key))
    }

    fn set(&self, key: &[u8], value: &[u8], cas: Option<Cas>) -> Result<(), SetError> {
        self.step(|| {
            let result = self.map.set(key, value, cas);
            if !key.starts_with(b"ao/s") {
                assert_covered(self.map);
            }
            result
        })
    }
}

fn work(map: &impl SharedMap, me: usize, seed: u64, limit: Limits, rounds: u64) {
    let policies = [Eviction::S3Fifo, Eviction::Sieve, Eviction::Lru];
    let mut store = Store::new(limit, policies[seed as usize % 3]);
    let invalidation_log = InvalidationLog::default();
    let mut random = (seed + 1) * 0x9e37_79b9 + me as u64 * 77;
    for round in 0..rounds {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let n = (random >> 33) % 24;
        let now = START + round * 50;
        match (random >> 50) % 8 {
            0..4 => {
                let len = 60 + (random >> 40) as usize % 2000;
                let _ = store.insert(map, entry(&key(n), value(n, len)), |_| 0, now);
            }
            4 => drop(store.remove(map, &key(n))),
            5 => drop(store.maintain(map, &invalidation_log, 200, now)),
            6 => store.flush(map, 4),
            _ => {
                if let Some(found) = store.lookup(map, &key(n), |_| 0, now) {
                    assert_eq!(
                        found.value(),
                        value(n, found.value().len()),
                        "a torn or another's response"
                    );
                    store.touch(found.id, now);
                }
            }
        }
    }
    store.flush(map, 0);
}

fn interleave(workers: usize, seed: u64, deaths: bool) {
    let map = seeded();
    let limit = limits(12, 400 << 10);
    let turns = Turnstile::new(workers, seed);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|me| {
                let (map, turns) = (&map, &turns);
                scope.spawn(move || {
                    let _leave = Leave(turns, me);
                    let dies = deaths && me > 0;
                    let left = if dies {
                        20 + seed * 131 % 97 + me as u64 * 53
                    } else {
                        u64::MAX
                    };
                    let stepped = Stepped {
                        map,
                        turns,
                        me,
                        left: std::cell::Cell::new(left),
                    };
                    work(&stepped, me, seed, limit, 40);
                })
            })
            .collect();
        for (me, handle) in handles.into_iter().enumerate() {
            match handle.join() {
                Ok(()) => {}
                Err(cause) => assert_eq!(cause.downcast_ref::<&str>(), Some(&"dies"), "worker {me}, seed {seed}"),
            }
        }
    });
    assert_covered(&map);
    assert!(ledger(&map).total.fits(&limit), "seed {seed}: {:?}", ledger(&map));
    let mut store = Store::new(limit, Eviction::default());
    sweep_all(&mut store, &map, START);
    assert_eq!(ledger(&map).total, truth(&map), "seed {seed}");
    assert_eq!(orphans(&map), 0, "seed {seed}");
}

/// The seeds to run; `STORE_SEED=7` replays one, `STORE_SEED=100..500` runs many.
fn seeds(few: u64) -> std::ops::Range<u64> {
    let Ok(wanted) = std::env::var("STORE_SEED") else {
        return 0..few;
    };
    match wanted.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => wanted.parse().unwrap()..wanted.parse::<u64>().unwrap() + 1,
    }
}

#[test]
fn two_workers_in_any_order_keep_totals_and_responses_right() {
    seeds(8).for_each(|seed| interleave(2, seed, false));
}

#[test]
fn eight_workers_in_any_order_keep_totals_and_responses_right() {
    seeds(3).for_each(|seed| interleave(8, seed, false));
}

#[test]
fn workers_that_die_anywhere_leave_nothing_behind() {
    seeds(12).for_each(|seed| interleave(3, seed, true));
}

#[test]
fn threads_keep_totals_and_responses_right() {
    let map = seeded();
    let limit = limits(16, 500 << 10);
    std::thread::scope(|scope| {
        for me in 0..8 {
            let map = &map;
            scope.spawn(move || work(map, me, 5, limit, 3000));
        }
    });
    assert!(ledger(&map).total.fits(&limit));
    let mut store = Store::new(limit, Eviction::default());
    sweep_all(&mut store, &map, START);
    assert_eq!(ledger(&map).total, truth(&map));
    assert_eq!(orphans(&map), 0);
}
