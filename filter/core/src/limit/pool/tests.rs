use super::*;
use crate::shared_map::MemoryMap;

const TOLD: PoolDemand = PoolDemand {
    waiting: 0,
    limit: 0,
    refused: 0,
};

#[test]
fn workers_together_never_exceed_the_limit() {
    let map = MemoryMap::default();
    let (mut one, mut two) = (Pool::default(), Pool::default());
    let taken = (0..200).filter(|_| one.take(&map, "api", 1, 100, 0)).count();
    assert_eq!(taken, 100);
    assert!(!two.take(&map, "api", 2, 100, 0));
    (0..50).for_each(|_| one.give());
    assert!(!two.take(&map, "api", 2, 100, 0), "still leased by the first");
    assert!(one.renew(&map, "api", 1, 100, true, TOLD, 0));
    assert_eq!((0..100).filter(|_| two.take(&map, "api", 2, 100, 0)).count(), 50);
    assert!(two.take(&map, "other", 2, 100, 0), "each upstream has its own");
}

#[test]
fn most_calls_ask_nobody() {
    let map = MemoryMap::default();
    let mut pool = Pool::default();
    for _ in 0..100 {
        assert!(pool.take(&map, "api", 1, 1024, 0));
        pool.give();
    }
    assert_eq!(map.writes(), 1, "one lease for all");
}

#[test]
fn places_of_a_worker_that_died_come_back() {
    let map = MemoryMap::default();
    let (mut dead, mut alive) = (Pool::default(), Pool::default());
    assert_eq!((0..20).filter(|_| dead.take(&map, "api", 1, 10, 0)).count(), 10);
    assert!(!alive.take(&map, "api", 2, 10, 4_999));
    assert!(alive.take(&map, "api", 2, 10, 5_000));
}

#[test]
fn a_lowered_limit_is_reached_as_calls_end() {
    let map = MemoryMap::default();
    let mut pool = Pool::default();
    assert!((0..20).all(|_| pool.take(&map, "api", 1, 20, 0)));
    pool.renew(&map, "api", 1, 5, false, TOLD, 0);
    (0..16).for_each(|_| pool.give());
    pool.renew(&map, "api", 1, 5, false, TOLD, 0);
    pool.renew(&map, "api", 1, 5, false, TOLD, 0);
    assert_eq!(
        (0..20).filter(|_| pool.take(&map, "api", 1, 5, 0)).count(),
        1,
        "four are in flight"
    );
}

#[test]
fn a_lowered_limit_is_reached_under_load_that_never_pauses() {
    let map = MemoryMap::default();
    let (mut one, mut two) = (Pool::default(), Pool::default());
    for pool in 0..20 {
        let (pool, uid) = if pool % 2 == 0 { (&mut one, 1) } else { (&mut two, 2) };
        assert!(pool.take(&map, "api", uid, 1_024, 0));
    }
    let mut at_most = Vec::new();
    for round in 0..200 {
        // Of each worker a call ends, and another one wants to begin at once; once a second they renew.
        for (pool, uid) in [(&mut one, 1), (&mut two, 2)] {
            if round % 50 == 0 {
                pool.renew(&map, "api", uid, 4, false, TOLD, 0);
            }
            pool.give();
            while pool.take(&map, "api", uid, 4, 0) {}
        }
        at_most.push(one.in_use() + two.in_use());
    }
    let late = at_most.get(100..).unwrap_or_default();
    assert!(late.iter().all(|in_use| *in_use <= 4), "{at_most:?}");
    // Nothing that is free is withheld for long.
    assert!(late.iter().all(|in_use| *in_use >= 2), "{at_most:?}");
}

#[test]
fn without_shared_data_nothing_is_refused() {
    let map = MemoryMap::default();
    map.fail_all(true);
    let mut pool = Pool::default();
    assert_eq!((0..50).filter(|_| pool.take(&map, "api", 1, 10, 0)).count(), 50);
}

#[test]
fn threads_never_exceed_the_limit_together() {
    let map = MemoryMap::default();
    seed(&map);
    let taken: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=4)
            .map(|uid| {
                let map = &map;
                scope.spawn(move || {
                    let mut pool = Pool::default();
                    (0..100).filter(|_| pool.take(map, "api", uid, 64, 0)).count()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(taken, 64);
    assert_eq!(all(&map, 64, 0).first().map(|standing| standing.limit), Some(64));
}
