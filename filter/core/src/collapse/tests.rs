use super::*;
use crate::shared_map::MemoryMap;

const DEADLINE: u64 = 5_000;

fn lead(map: &MemoryMap, hash: u64, number: u64, now_ms: Millis) -> Ticket {
    match join_flight(map, hash, number, DEADLINE, now_ms) {
        FlightRole::Lead(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn status(status: u16) -> Failed {
    Failed {
        status,
        unreachable: status == 503,
    }
}

fn failed(code: u16) -> FetchOutcome {
    FetchOutcome::Failed(status(code))
}

fn told(fetched: FetchOutcome, second: bool) -> Option<Outcome> {
    Some(Outcome { fetched, second })
}

#[test]
fn one_leads_until_it_lands() {
    let map = MemoryMap::default();
    let ticket = lead(&map, 9, 1, 1000);
    assert_eq!(join_flight(&map, 9, 2, DEADLINE, 1001), FlightRole::Follow);
    let other = Ticket { hash: 9, number: 2 };
    assert_eq!(
        complete_fetch(&map, other, FetchOutcome::Stored, 1001),
        None,
        "only the flight lands"
    );
    assert_eq!(join_flight(&map, 9, 2, DEADLINE, 1002), FlightRole::Follow);
    assert_eq!(
        complete_fetch(&map, ticket, FetchOutcome::Stored, 1003),
        told(FetchOutcome::Stored, false)
    );
    let ticket = lead(&map, 9, 3, 1003);
    assert_eq!(complete_fetch(&map, ticket, failed(500), 1004), None, "nobody followed");
}

#[test]
fn nobody_waits_for_what_is_not_shareable_until_it_is() {
    let map = MemoryMap::default();
    let ticket = lead(&map, 9, 1, 1000);
    complete_fetch(&map, ticket, FetchOutcome::NotShareable, 1000);
    assert_eq!(
        join_flight(&map, 9, 2, DEADLINE, 1001),
        FlightRole::Unshared(1000 + ALONE_MS)
    );
    forget(&map, 9);
    let ticket = lead(&map, 9, 3, 1002);
    forget(&map, 9);
    assert_eq!(
        join_flight(&map, 9, 4, DEADLINE, 1003),
        FlightRole::Follow,
        "a flight is not forgotten"
    );
    complete_fetch(&map, ticket, FetchOutcome::NotShareable, 1004);
    lead(&map, 9, 5, 1004 + ALONE_MS);
}

#[test]
fn what_fails_is_tried_once_more_and_that_answers_all() {
    let map = MemoryMap::default();
    let first = lead(&map, 9, 1, 1000);
    join_flight(&map, 9, 2, DEADLINE, 1001);
    assert_eq!(complete_fetch(&map, first, failed(500), 1500), told(failed(500), false));
    let Retry::Lead(second) = retry(&map, 9, 2, 1001, DEADLINE, 1500) else {
        panic!("nobody tries again");
    };
    assert_eq!(retry(&map, 9, 3, 1001, DEADLINE, 1501), Retry::Follow);
    assert_eq!(complete_fetch(&map, second, failed(503), 2000), told(failed(503), true));
    assert_eq!(
        retry(&map, 9, 4, 1001, DEADLINE, 2001),
        Retry::Failed(status(503)),
        "released late: no third attempt"
    );
    let newer = lead(&map, 9, 5, 2001);
    assert_eq!(
        retry(&map, 9, 4, 1001, DEADLINE, 2001),
        Retry::Failed(status(503)),
        "also while a newer one is under way"
    );
    complete_fetch(&map, newer, failed(500), 2002);
    assert!(matches!(retry(&map, 9, 6, 2002, DEADLINE, 2003), Retry::Lead(_)));
}

#[test]
fn a_time_out_is_not_tried_again() {
    let map = MemoryMap::default();
    let first = lead(&map, 9, 1, 1000);
    join_flight(&map, 9, 2, DEADLINE, 1001);
    assert_eq!(complete_fetch(&map, first, failed(504), 1500), told(failed(504), true));
}

#[test]
fn one_more_per_deadline_goes_beside_a_silent_fetch_and_the_first_answers_all() {
    let map = MemoryMap::default();
    let leader = lead(&map, 9, 1, 1000);
    join_flight(&map, 9, 2, DEADLINE, 1001);
    assert_eq!(beside(&map, 9, DEADLINE, 5_999), Beside::Wait);
    let Beside::Go(second) = beside(&map, 9, DEADLINE, 6_000) else {
        panic!("nobody goes");
    };
    assert_eq!(beside(&map, 9, DEADLINE, 6_001), Beside::Wait, "one is enough");
    assert_eq!(
        complete_fetch(&map, second, FetchOutcome::Stored, 6_500),
        told(FetchOutcome::Stored, false)
    );
    assert_eq!(
        complete_fetch(&map, leader, FetchOutcome::Stored, 9_000),
        None,
        "it was not the first"
    );
    assert_eq!(beside(&map, 9, DEADLINE, 20_000), Beside::Over);
}

#[test]
fn a_fetch_that_fails_beside_another_leaves_it_to_that_one() {
    let map = MemoryMap::default();
    let leader = lead(&map, 9, 1, 1000);
    join_flight(&map, 9, 2, DEADLINE, 1001);
    let Beside::Go(second) = beside(&map, 9, DEADLINE, 6_000) else {
        panic!("nobody goes");
    };
    assert_eq!(complete_fetch(&map, leader, failed(503), 6_100), None);
    assert_eq!(
        complete_fetch(&map, second, failed(503), 6_200),
        told(failed(503), true)
    );
}

#[test]
fn a_leader_that_died_is_replaced() {
    let map = MemoryMap::default();
    lead(&map, 9, 1, 1000);
    lead(&map, 9, 2, 1000 + 2 * DEADLINE);
    lead(&map, 10, 1, 1_000_000_000);
    lead(&map, 10, 2, 5);
}

#[test]
fn keys_that_share_a_record_do_not_wait_for_each_other() {
    let map = MemoryMap::default();
    lead(&map, 9, 1, 1000);
    assert_eq!(join_flight(&map, 9 + 4096, 2, DEADLINE, 1000), FlightRole::Alone);
    assert_eq!(retry(&map, 9 + 4096, 3, 900, DEADLINE, 1000), Retry::Alone);
    assert_eq!(beside(&map, 9 + 4096, DEADLINE, 9000), Beside::Over);
}

#[test]
fn of_many_threads_one_leads_and_it_learns_of_followers() {
    let map = MemoryMap::default();
    seed(&map);
    let boardings: Vec<FlightRole> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=8)
            .map(|vm| {
                let map = &map;
                scope.spawn(move || join_flight(map, 9, vm, DEADLINE, 1000))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let leaders = boardings
        .iter()
        .filter(|role| matches!(role, FlightRole::Lead(_)))
        .count();
    assert_eq!(leaders, 1);
}

#[test]
fn a_host_in_trouble_lets_everyone_go_alone() {
    let map = MemoryMap::default();
    map.fail_all(true);
    assert_eq!(join_flight(&map, 9, 1, DEADLINE, 1000), FlightRole::Alone);
    assert_eq!(retry(&map, 9, 1, 900, DEADLINE, 1000), Retry::Alone);
    let ticket = Ticket { hash: 9, number: 1 };
    assert_eq!(complete_fetch(&map, ticket, FetchOutcome::Stored, 1000), None);
}

#[test]
fn outcomes_are_told_between_workers() {
    for fetched in [
        FetchOutcome::Stored,
        FetchOutcome::NotShareable,
        FetchOutcome::Released,
        FetchOutcome::Left,
        failed(503),
    ] {
        for second in [false, true] {
            let outcome = Outcome { fetched, second };
            let expected = if fetched == FetchOutcome::Released {
                Outcome { fetched, second: false }
            } else {
                outcome
            };
            assert_eq!(Outcome::decode(&outcome.encode()), expected);
        }
    }
    for garbage in [&b""[..], b"\x09\0\0\0", b"\x00"] {
        assert_eq!(Outcome::decode(garbage).fetched, FetchOutcome::Released);
    }
}
