use super::*;
use crate::breaker::{Refusal as Rejection, Why};

const FOLLOWER: Follower = Follower {
    hash: 9,
    since_ms: 100,
    retried: false,
};
const RETRIED: Follower = Follower {
    retried: true,
    ..FOLLOWER
};
const FAILED: Failed = Failed {
    status: 503,
    unreachable: true,
};
const OPEN: Rejection = Rejection {
    why: Why::Open,
    retry_after_ms: 1_000,
};

fn landed(fetched: FetchOutcome, second: bool) -> Event {
    Event::Landed(Outcome { fetched, second })
}

fn flight(follower: Follower) -> Stage {
    Stage::Parked(Reason::Flight(follower))
}

/// Every step that a request can be led to, by where it stands and what happens.
fn table() -> Vec<(Stage, Event, Step)> {
    let first = |retried| Step::Decide(Turn::First { since_ms: 100, retried });
    let retry = |failed| Step::Decide(Turn::Retry { since_ms: 100, failed });
    let slot = Stage::Parked(Reason::Slot);
    let tier = Stage::Parked(Reason::Tier);
    let content = Stage::Parked(Reason::Content);
    vec![
        (Stage::New, Event::Came(100), first(false)),
        // Looked up.
        (Stage::Deciding, Event::Done(Flow::Pause), Step::Stop(Flow::Pause)),
        (Stage::Deciding, Event::Done(Flow::Continue), Step::Stop(Flow::Continue)),
        (
            Stage::Deciding,
            Event::Follows(FOLLOWER),
            Step::Park(Reason::Flight(FOLLOWER)),
        ),
        (
            Stage::Deciding,
            Event::FetchFailed(FAILED),
            Step::Refuse(Refusal::FetchFailed(FAILED)),
        ),
        (Stage::Deciding, Event::WantsTier, Step::Park(Reason::Tier)),
        (Stage::Deciding, Event::WantsContent, Step::Park(Reason::Content)),
        (content, Event::Came(100), first(false)),
        (Stage::Deciding, Event::Fetches, Step::TakePlace),
        (Stage::Deciding, Event::Renews, Step::Send),
        // A place within the limit.
        (Stage::Placing, Event::Place(Place::Taken), Step::AskBreaker),
        (Stage::Placing, Event::Place(Place::Free), Step::AskBreaker),
        (Stage::Placing, Event::Place(Place::Wait), Step::Park(Reason::Slot)),
        (
            Stage::Placing,
            Event::Place(Place::Full),
            Step::Refuse(Refusal::OverLimit),
        ),
        (slot, Event::Place(Place::Taken), Step::AskBreaker),
        (slot, Event::Place(Place::Free), Step::AskBreaker),
        (slot, Event::Overdue, Step::Refuse(Refusal::OverLimit)),
        // The breaker's leave.
        (Stage::Admitting, Event::Admitted, Step::Send),
        (Stage::Admitting, Event::Done(Flow::Pause), Step::Stop(Flow::Pause)),
        (
            Stage::Admitting,
            Event::TurnedAway(OPEN),
            Step::Refuse(Refusal::Breaker(OPEN)),
        ),
        (Stage::Refusing, Event::Done(Flow::Pause), Step::Stop(Flow::Pause)),
        // Another's fetch: whoever follows goes on by what it came to.
        (
            flight(FOLLOWER),
            landed(FetchOutcome::Stored, false),
            Step::Decide(Turn::Landed { since_ms: 100 }),
        ),
        (
            flight(RETRIED),
            landed(FetchOutcome::Stored, true),
            Step::Decide(Turn::Landed { since_ms: 100 }),
        ),
        (
            flight(FOLLOWER),
            landed(FetchOutcome::NotShareable, false),
            Step::Decide(Turn::Alone),
        ),
        (
            flight(FOLLOWER),
            landed(FetchOutcome::Released, false),
            Step::Decide(Turn::Alone),
        ),
        (flight(FOLLOWER), landed(FetchOutcome::Left, false), first(false)),
        (flight(RETRIED), landed(FetchOutcome::Left, true), retry(None)),
        (
            flight(FOLLOWER),
            landed(FetchOutcome::Failed(FAILED), false),
            retry(Some(FAILED)),
        ),
        (
            flight(FOLLOWER),
            landed(FetchOutcome::Failed(FAILED), true),
            Step::Decide(Turn::Failed(FAILED)),
        ),
        (
            flight(RETRIED),
            landed(FetchOutcome::Failed(FAILED), false),
            Step::Decide(Turn::Failed(FAILED)),
        ),
        (flight(FOLLOWER), Event::FlightOver, first(false)),
        (flight(RETRIED), Event::FlightOver, first(true)),
        (flight(FOLLOWER), Event::Beside, Step::Decide(Turn::Beside)),
        // The tier.
        (tier, Event::TierAnswered, Step::ReadTier),
        (Stage::ReadingTier, Event::Done(Flow::Pause), Step::Stop(Flow::Pause)),
        (Stage::ReadingTier, Event::TierAgain, Step::Park(Reason::Tier)),
        (Stage::ReadingTier, Event::TierMissed, Step::TakePlace),
        // The response, and the end.
        (Stage::Forwarded, Event::ResponseHead, Step::Judge),
        (Stage::Answered, Event::ResponseHead, Step::Restore),
        (Stage::Forwarded, Event::Ended, Step::Settle),
        (flight(FOLLOWER), Event::Ended, Step::Leave),
        (slot, Event::Ended, Step::Leave),
        (tier, Event::Ended, Step::Leave),
        (content, Event::Ended, Step::Leave),
        // What does not concern it: late, or of Envoy's own making.
        (Stage::New, Event::ResponseHead, Step::Ignore),
        (Stage::New, Event::Ended, Step::Ignore),
        (Stage::Answered, Event::Ended, Step::Ignore),
        (slot, Event::ResponseHead, Step::Ignore),
        (Stage::Answered, landed(FetchOutcome::Stored, false), Step::Ignore),
        (Stage::Forwarded, Event::TierAnswered, Step::Ignore),
        (slot, Event::TierAnswered, Step::Ignore),
        (tier, Event::Overdue, Step::Ignore),
    ]
}

#[test]
fn each_event_leads_to_its_step() {
    for (stage, event, step) in table() {
        assert_eq!(next(stage, event), step, "{stage:?}, {event:?}");
    }
}

/// Number of the event's kind. A new event does not compile here until it has one, and then wants its rows in the table.
fn kind(event: &Event) -> usize {
    match event {
        Event::Came(_) => 0,
        Event::Done(_) => 1,
        Event::Follows(_) => 2,
        Event::FetchFailed(_) => 3,
        Event::WantsTier => 4,
        Event::Fetches => 5,
        Event::Renews => 6,
        Event::Place(_) => 7,
        Event::Overdue => 8,
        Event::Admitted => 9,
        Event::TurnedAway(_) => 10,
        Event::Landed(_) => 11,
        Event::FlightOver => 12,
        Event::Beside => 13,
        Event::TierAnswered => 14,
        Event::TierAgain => 15,
        Event::TierMissed => 16,
        Event::ResponseHead => 17,
        Event::Ended => 18,
        Event::WantsContent => 19,
    }
}

#[test]
fn every_event_leads_somewhere() {
    let mut kinds = [false; 20];
    for (_, event, _) in table().iter().filter(|(_, _, step)| *step != Step::Ignore) {
        kinds[kind(event)] = true;
    }
    assert_eq!(kinds, [true; 20]);
}

/// Where a request may stand after it was led through the table from its beginning.
fn reachable() -> Vec<Stage> {
    let mut found = vec![Stage::New];
    let mut at = 0;
    while let Some(stage) = found.get(at).copied() {
        at += 1;
        for (from, event, _) in table().into_iter().filter(|row| row.0 == stage) {
            let to = match next(from, event) {
                Step::Stop(Flow::Pause) => Stage::Answered,
                step => step.stage(),
            };
            if !found.contains(&to) {
                found.push(to);
            }
        }
    }
    found
}

#[test]
fn a_request_can_get_to_every_stage_and_out_of_every_wait() {
    let found = reachable();
    for stage in table()
        .iter()
        .map(|(stage, _, _)| *stage)
        .filter(|stage| *stage != flight(RETRIED))
    {
        assert!(found.contains(&stage), "{stage:?}");
    }
    for stage in found.iter().filter(|stage| matches!(stage, Stage::Parked(_))) {
        let onward = table()
            .into_iter()
            .filter(|(from, event, step)| from == stage && *event != Event::Ended && *step != Step::Ignore);
        assert!(onward.count() > 0, "nothing ends the wait {stage:?}");
        assert_eq!(next(*stage, Event::Ended), Step::Leave);
    }
}

#[test]
fn only_a_first_attempt_or_a_given_up_one_is_looked_up_as_new() {
    for (_, event, step) in table() {
        if let Step::Decide(turn @ Turn::First { .. }) = step {
            let new = matches!(event, Event::Came(_) | Event::FlightOver)
                || matches!(event, Event::Landed(outcome) if outcome.fetched == FetchOutcome::Left);
            assert!(new, "{event:?} {turn:?}");
        }
    }
}
