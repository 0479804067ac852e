//! The life of a request as a table: what is done next, by where it stands and what has happened. It knows no host and no state of the
//! VM, and does nothing itself.
//!
//! ```text
//! New ── Decide ──┬─ keyed by its content ──► Park(Content) ── whole ──► Decide
//!        ▲  │     ├─ answered ───────────────────────────────► Stop
//!        ▲  │     ├─ another fetches ──► Park(Flight) ─┐
//!        │  │     ├─ the tier may have it ► Park(Tier) ─┼─┐
//!        └──┼─────┼──── landed, silent or over ◄────────┘ │
//!           │     ▼                                       │
//!           │  TakePlace ◄──────── no answer ◄── ReadTier ◄┘
//!           │     ├─ full ──► Park(Slot) ── granted ─┐
//!           │     ▼                                  │
//!           │  AskBreaker ◄──────────────────────────┘
//!           ▼     ▼
//!          Send ──► Forwarded ── head ──► Judge ── end ──► Settle
//! ```
//!
//! Whatever is parked can end at any time: its client leaves.

use crate::Millis;
use crate::breaker;
use crate::collapse::{Failed, FetchOutcome, Outcome};
use crate::limit::Place;

/// Whether Envoy shall go on with the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop here: the stream is answered, or waits.
    Pause,
    /// Stop here, and show the request's content as it comes.
    Collect,
}

/// The number under which a paused request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TicketId(pub(crate) u64);

/// A request that follows another's fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Follower {
    /// The flight's hash.
    pub(crate) hash: u64,
    /// Since when it follows.
    pub(crate) since_ms: Millis,
    /// The fetch that it followed first has failed.
    pub(crate) retried: bool,
}

/// What a paused request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Another's fetch of the same key.
    Flight(Follower),
    /// A place for a call to its upstream.
    Slot,
    /// The shared tier's answer.
    Tier,
    /// The rest of its own content.
    Content,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing is known of it, or it passes without the filter.
    New,
    /// It is being looked up.
    Deciding,
    /// What the tier gave is being read.
    ReadingTier,
    /// It wants a place within its upstream's limit.
    Placing,
    /// It wants the breaker's leave.
    Admitting,
    /// It is refused.
    Refusing,
    /// It waits.
    Parked(Reason),
    /// It is on its way to the upstream and back.
    Forwarded,
    /// The filter has answered it.
    Answered,
}

/// What has happened to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its headers came, then; or its content, or it does not wait for that any longer.
    Came(Millis),
    /// It is answered, or passes as it is.
    Done(Flow),
    /// Another fetches what it wants.
    Follows(Follower),
    /// The fetch that was made for it has failed.
    FetchFailed(Failed),
    /// The tier may have what it wants.
    WantsTier,
    /// What it wants depends on its content.
    WantsContent,
    /// It is to be forwarded.
    Fetches,
    /// It is forwarded to renew what would have answered it, and has leave for that.
    Renews,
    /// What the limit said, or a place that it was given while it waited.
    Place(Place),
    /// It waited for too long.
    Overdue,
    /// The breaker admits the call.
    Admitted,
    /// The breaker refuses the call.
    TurnedAway(breaker::Refusal),
    /// The fetch that it followed has ended.
    Landed(Outcome),
    /// Nobody fetches what it wants any more.
    FlightOver,
    /// The fetch that it follows is silent, and it may fetch beside it.
    Beside,
    /// The tier has answered, or failed to.
    TierAnswered,
    /// The tier is asked again.
    TierAgain,
    /// The tier has nothing for it.
    TierMissed,
    /// A response head is on its way to the client.
    ResponseHead,
    /// The stream is over.
    Ended,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look it up: is it answered, does it follow, or fetch?
    Decide(Turn),
    /// Read what the tier gave.
    ReadTier,
    /// Ask for a place within the limit of its upstream.
    TakePlace,
    /// Ask the breaker.
    AskBreaker,
    /// Send it on.
    Send,
    /// Let it wait.
    Park(Reason),
    /// Answer it with something stale, or with why not.
    Refuse(Refusal),
    /// Nothing for now: Envoy goes on with the stream, or does not.
    Stop(Flow),
    /// Judge the response to what was forwarded.
    Judge,
    /// Make a reply of ours again what was sent.
    Restore,
    /// Count how the call ended.
    Settle,
    /// Take it out of the waiting ones: its client has gone.
    Leave,
    /// What happened does not concern it.
    Ignore,
}

/// At what point a request is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has just come, or what it followed was given up.
    First { since_ms: Millis, retried: bool },
    /// The fetch that it followed since then has brought a response.
    Landed { since_ms: Millis },
    /// What it followed cannot answer it.
    Alone,
    /// What it followed has failed, or, without a failure, its second attempt was given up.
    Retry { since_ms: Millis, failed: Option<Failed> },
    /// What it followed has failed for the last time.
    Failed(Failed),
    /// What it follows is silent: it fetches beside it.
    Beside,
}

/// Why a call is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The upstream's limit of calls in flight is reached.
    OverLimit,
    /// The breaker says no.
    Breaker(breaker::Refusal),
    /// The fetch that it followed has failed, and so has another one.
    FetchFailed(Failed),
}

/// What is done with a request that stands there when that has happened.
pub(crate) fn next(stage: Stage, event: Event) -> Step {
    match (stage, event) {
        (Stage::New | Stage::Parked(Reason::Content), Event::Came(since_ms)) => Step::Decide(Turn::First {
            since_ms,
            retried: false,
        }),
        (Stage::Deciding | Stage::ReadingTier | Stage::Admitting | Stage::Refusing, Event::Done(flow)) => {
            Step::Stop(flow)
        }
        (Stage::Deciding, Event::Follows(follower)) => Step::Park(Reason::Flight(follower)),
        (Stage::Deciding, Event::FetchFailed(failed)) => Step::Refuse(Refusal::FetchFailed(failed)),
        (Stage::Deciding, Event::WantsTier) | (Stage::ReadingTier, Event::TierAgain) => Step::Park(Reason::Tier),
        (Stage::Deciding, Event::WantsContent) => Step::Park(Reason::Content),
        (Stage::Deciding, Event::Fetches) | (Stage::ReadingTier, Event::TierMissed) => Step::TakePlace,
        (Stage::Deciding, Event::Renews) | (Stage::Admitting, Event::Admitted) => Step::Send,
        (Stage::Placing | Stage::Parked(Reason::Slot), Event::Place(Place::Taken | Place::Free)) => Step::AskBreaker,
        (Stage::Placing, Event::Place(Place::Wait)) => Step::Park(Reason::Slot),
        (Stage::Placing, Event::Place(Place::Full)) | (Stage::Parked(Reason::Slot), Event::Overdue) => {
            Step::Refuse(Refusal::OverLimit)
        }
        (Stage::Admitting, Event::TurnedAway(refusal)) => Step::Refuse(Refusal::Breaker(refusal)),
        (Stage::Parked(Reason::Flight(follower)), Event::Landed(outcome)) => {
            Step::Decide(Turn::after(outcome, &follower))
        }
        (Stage::Parked(Reason::Flight(follower)), Event::FlightOver) => Step::Decide(Turn::First {
            since_ms: follower.since_ms,
            retried: follower.retried,
        }),
        (Stage::Parked(Reason::Flight(_)), Event::Beside) => Step::Decide(Turn::Beside),
        (Stage::Parked(Reason::Tier), Event::TierAnswered) => Step::ReadTier,
        (Stage::Parked(_), Event::Ended) => Step::Leave,
        (Stage::Forwarded, Event::ResponseHead) => Step::Judge,
        (Stage::Answered, Event::ResponseHead) => Step::Restore,
        (Stage::Forwarded, Event::Ended) => Step::Settle,
        _ => Step::Ignore,
    }
}

impl Step {
    /// Where a request stands while this is done.
    pub(crate) fn stage(self) -> Stage {
        match self {
            Self::Decide(_) => Stage::Deciding,
            Self::ReadTier => Stage::ReadingTier,
            Self::TakePlace => Stage::Placing,
            Self::AskBreaker => Stage::Admitting,
            Self::Refuse(_) => Stage::Refusing,
            Self::Park(reason) => Stage::Parked(reason),
            Self::Send | Self::Judge => Stage::Forwarded,
            Self::Restore => Stage::Answered,
            Self::Stop(_) | Self::Settle | Self::Leave | Self::Ignore => Stage::New,
        }
    }
}

impl Turn {
    /// Of a follower, by what its flight came to.
    fn after(outcome: Outcome, follower: &Follower) -> Self {
        let (since_ms, retried) = (follower.since_ms, follower.retried);
        match outcome.fetched {
            FetchOutcome::Stored => Self::Landed { since_ms },
            FetchOutcome::NotShareable | FetchOutcome::Released => Self::Alone,
            FetchOutcome::Left if retried => Self::Retry { since_ms, failed: None },
            FetchOutcome::Left => Self::First { since_ms, retried },
            FetchOutcome::Failed(failed) if retried || outcome.second => Self::Failed(failed),
            FetchOutcome::Failed(failed) => Self::Retry {
                since_ms,
                failed: Some(failed),
            },
        }
    }

    /// Since when the request has followed another's fetch that has now brought a response.
    pub(crate) fn landed_since(self) -> Option<Millis> {
        match self {
            Self::Landed { since_ms } => Some(since_ms),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
