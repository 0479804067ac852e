//! Where a stream stands between two callbacks. Only this file changes it:
//!
//! | from | to | by |
//! |---|---|---|
//! | passing | parked | [`Phase::park`] |
//! | parked | passing | [`Phase::unpark`] |
//! | passing | forwarded | [`Phase::forward`] |
//! | forwarded | judged | [`Phase::begin_judging`] |
//! | judged | forwarded | [`Phase::end_judging`], unless it was answered meanwhile |
//! | passing, judged, answered | answered | [`Phase::answer`] |
//! | any | passing | [`Phase::end`] |

use super::Forwarded;
use super::lifecycle::{Reason, Stage, TicketId};
use super::sent::Sent;

/// Where a stream stands.
#[derive(Debug)]
pub(crate) struct Phase(State);

#[derive(Debug)]
enum State {
    /// Nothing decided: before the request's headers, or passed untouched. Also while a request is being decided.
    Passing,
    /// Paused. What it holds is with its ticket.
    Parked { ticket: TicketId, reason: Reason },
    /// On its way to the upstream and back.
    Forwarded(Box<Forwarded>),
    /// The upstream's response, or Envoy's in its place, is being judged: a reply now takes its place, and no filter sees it.
    Judged,
    /// Answered by the filter; with a stored response, until that is on its way.
    Answered(Option<Sent>),
}

impl Phase {
    pub(super) const fn new() -> Self {
        Self(State::Passing)
    }

    /// The stage by which the life of a request goes on.
    pub(crate) fn stage(&self) -> Stage {
        match &self.0 {
            State::Passing | State::Judged => Stage::New,
            State::Answered(_) => Stage::Answered,
            State::Parked { reason, .. } => Stage::Parked(*reason),
            State::Forwarded(_) => Stage::Forwarded,
        }
    }

    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.0, State::Passing)
    }

    pub(crate) fn is_judged(&self) -> bool {
        matches!(self.0, State::Judged)
    }

    /// The ticket of a paused request.
    pub(crate) fn ticket(&self) -> Option<TicketId> {
        match self.0 {
            State::Parked { ticket, .. } => Some(ticket),
            _ => None,
        }
    }

    /// The forwarded request.
    pub(crate) fn forwarded(&mut self) -> Option<&mut Forwarded> {
        match &mut self.0 {
            State::Forwarded(forwarded) => Some(forwarded),
            _ => None,
        }
    }

    /// The reply of a request that the filter has answered, until it is on its way.
    pub(crate) fn sent(&mut self) -> Option<&mut Option<Sent>> {
        match &mut self.0 {
            State::Answered(sent) => Some(sent),
            _ => None,
        }
    }

    /// The request waits.
    pub(crate) fn park(&mut self, ticket: TicketId, reason: Reason) {
        debug_assert!(self.is_passing(), "{self:?} is parked");
        self.0 = State::Parked { ticket, reason };
    }

    /// The request waits no longer; its ticket.
    pub(crate) fn unpark(&mut self) -> Option<TicketId> {
        let ticket = self.ticket()?;
        self.0 = State::Passing;
        Some(ticket)
    }

    /// The request goes to the upstream.
    pub(crate) fn forward(&mut self, forwarded: Box<Forwarded>) {
        debug_assert!(self.is_passing(), "{self:?} is forwarded");
        self.0 = State::Forwarded(forwarded);
    }

    /// The response head came; hands out the forwarded request until [`Self::end_judging`].
    pub(crate) fn begin_judging(&mut self) -> Option<Box<Forwarded>> {
        self.take_forwarded(State::Judged)
    }

    /// The response goes on to the client. Gives the forwarded request back where the filter has answered in its place.
    pub(crate) fn end_judging(&mut self, forwarded: Box<Forwarded>) -> Option<Box<Forwarded>> {
        if !self.is_judged() {
            return Some(forwarded);
        }
        self.0 = State::Forwarded(forwarded);
        None
    }

    /// The filter has answered.
    pub(crate) fn answer(&mut self, sent: Option<Sent>) {
        let may_be_answered = matches!(self.0, State::Passing | State::Judged | State::Answered(_));
        debug_assert!(may_be_answered, "{self:?} is answered");
        self.0 = State::Answered(sent);
    }

    /// The stream is over; what was forwarded.
    pub(crate) fn end(&mut self) -> Option<Box<Forwarded>> {
        let forwarded = self.take_forwarded(State::Passing);
        self.0 = State::Passing;
        forwarded
    }

    fn take_forwarded(&mut self, then: State) -> Option<Box<Forwarded>> {
        if !matches!(self.0, State::Forwarded(_)) {
            return None;
        }
        match std::mem::replace(&mut self.0, then) {
            State::Forwarded(forwarded) => Some(forwarded),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_request_goes_on_once() {
        let mut phase = Phase::new();
        phase.park(TicketId(7), Reason::Slot);
        assert_eq!(
            (phase.ticket(), phase.stage()),
            (Some(TicketId(7)), Stage::Parked(Reason::Slot))
        );
        assert_eq!(phase.unpark(), Some(TicketId(7)));
        assert!(phase.is_passing() && phase.unpark().is_none());
    }

    #[test]
    fn only_what_was_forwarded_is_judged_and_an_answer_stays() {
        let mut phase = Phase::new();
        assert!(phase.begin_judging().is_none() && phase.is_passing());
        phase.answer(None);
        assert!(phase.begin_judging().is_none() && phase.unpark().is_none());
        assert_eq!(phase.stage(), Stage::Answered);
        assert!(phase.end().is_none() && phase.is_passing());
    }

    #[test]
    #[should_panic(expected = "is parked")]
    fn what_was_answered_is_not_paused() {
        let mut phase = Phase::new();
        phase.answer(None);
        phase.park(TicketId(1), Reason::Tier);
    }
}
