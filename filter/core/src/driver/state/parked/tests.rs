use super::*;
use crate::collapse::FetchOutcome;

fn stored() -> Arrival {
    Arrival::Landed(Outcome {
        fetched: FetchOutcome::Stored,
        second: false,
    })
}

fn slot() -> Lane {
    Lane::Slot("api".to_owned())
}

struct Fixture {
    parked: Parked,
    exchange: SharedExchange,
}

impl Fixture {
    fn new() -> Self {
        Self {
            parked: Parked::default(),
            exchange: SharedExchange::default(),
        }
    }

    fn park(&mut self, lane: Lane, since_ms: Millis, until_ms: Millis) -> TicketId {
        let stream = Stream {
            context: 1,
            exchange: &self.exchange,
        };
        let pending = Pending::new(b"map".to_vec());
        self.parked.park(stream, pending, lane, since_ms, until_ms)
    }

    fn ready(&mut self) -> Vec<TicketId> {
        std::iter::from_fn(|| self.parked.pop_ready().map(|(id, ..)| id)).collect()
    }
}

#[test]
fn a_lane_goes_in_the_order_of_its_coming_and_nobody_goes_twice() {
    let mut fixture = Fixture::new();
    let [first, second, third] = [0, 1, 2].map(|at| fixture.park(slot(), at, 1_000));
    let other = fixture.park(Lane::Flight(7), 0, 1_000);
    assert_eq!(fixture.parked.first(&slot()), Some(first));
    assert_eq!(
        (fixture.parked.waiting(&slot()), fixture.parked.waiting_for_place("api")),
        (3, 3)
    );
    assert!(fixture.parked.make_ready(first, stored()).is_ok());
    assert!(
        fixture.parked.make_ready(first, stored()).is_err(),
        "its wait is over already"
    );
    assert_eq!(fixture.parked.all(&slot()), [second, third]);
    assert!(fixture.parked.make_ready(other, stored()).is_ok());
    assert_eq!(fixture.ready(), [first, other]);
    assert!(fixture.parked.make_ready(first, stored()).is_err(), "it has gone on");
    assert_eq!(fixture.parked.upstreams(), ["api"]);
}

#[test]
fn whoever_leaves_hands_back_what_had_come() {
    let mut fixture = Fixture::new();
    let (waits, goes) = (fixture.park(slot(), 0, 1_000), fixture.park(slot(), 0, 1_000));
    assert!(fixture.parked.make_ready(goes, Arrival::Place { placed: true }).is_ok());
    let (_, arrival) = fixture.parked.leave(goes).unwrap();
    assert!(matches!(arrival, Some(Arrival::Place { placed: true })));
    let (ticket, arrival) = fixture.parked.leave(waits).unwrap();
    assert!(arrival.is_none() && ticket.pending.request == b"map" && *ticket.lane() == slot());
    assert!(fixture.parked.leave(waits).is_none() && !fixture.parked.has_ready());
    assert!(fixture.parked.overdue(u64::MAX).is_empty() && fixture.parked.upstreams().is_empty());
}

#[test]
fn deadlines_are_one_queue_for_all_lanes() {
    let mut fixture = Fixture::new();
    let late = fixture.park(slot(), 0, 300);
    let early = fixture.park(Lane::Flight(7), 0, 100);
    let tier = fixture.park(Lane::Tier, 0, 200);
    assert!(fixture.parked.overdue(99).is_empty());
    assert_eq!(fixture.parked.overdue(100), [early]);
    assert_eq!(fixture.parked.overdue(250), [early, tier], "until somebody ends it");
    fixture.parked.all_wait_on(&Lane::Flight(7), 400, 250);
    assert!(fixture.parked.make_ready(tier, Arrival::Overdue).is_ok());
    assert!(fixture.parked.overdue(250).is_empty());
    assert_eq!(fixture.parked.overdue(500), [late, early]);
}

#[test]
fn to_wait_on_never_shortens_a_wait() {
    let mut fixture = Fixture::new();
    let [short, long] = [100, 900].map(|until| fixture.park(Lane::Flight(7), 0, until));
    fixture.parked.all_wait_on(&Lane::Flight(7), 500, 150);
    assert_eq!(fixture.parked.overdue(500), [short]);
    assert_eq!(fixture.parked.overdue(900), [short, long]);
}

#[test]
fn a_clock_that_jumps_ends_waits_and_does_not_prolong_them() {
    let mut fixture = Fixture::new();
    let old = fixture.park(slot(), 1_000, 6_000);
    assert!(
        fixture.parked.overdue(990).is_empty(),
        "set right by a few milliseconds"
    );
    let ahead = fixture.park(slot(), 1_000_000, 1_005_000);
    assert!(
        fixture.parked.overdue(5_000).contains(&ahead),
        "it began to wait at a time that is ahead now"
    );
    assert!(!fixture.parked.overdue(5_001).contains(&old));
    fixture.parked.all_wait_on(&slot(), 9_000, 5_001);
    assert!(fixture.parked.overdue(5_002).is_empty());
    assert_eq!(
        fixture.parked.overdue(10_000_000),
        [old, ahead],
        "ahead: every wait is over"
    );
    fixture.parked.leave(ahead);
    let again = fixture.park(slot(), 10_000_001, 10_005_000);
    assert_eq!(fixture.parked.overdue(2_000), [again], "back once more");
}

#[test]
fn there_is_room_for_so_many() {
    let mut fixture = Fixture::new();
    for _ in 0..MAX_PARKED {
        assert!(fixture.parked.has_space());
        fixture.park(Lane::Flight(7), 0, 1_000);
    }
    assert!(!fixture.parked.has_space());
    fixture.parked.leave(TicketId(1));
    assert!(fixture.parked.has_space());
}
