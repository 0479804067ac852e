//! The one place where paused requests go on.

use crate::collapse::FetchOutcome;
use crate::driver::exchange::lifecycle::{self, Event, Flow, Reason, Stage, TicketId};
use crate::driver::exchange::{Exchange, SharedExchange};
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::shared::wake::Wake;
use crate::driver::state::parked::{Arrival, Lane, Stream, Ticket};
use crate::driver::vm::Vm;
use crate::limit::Place;
use crate::reason::Reason as NotKeyed;

/// Streams that one callback answers or resumes. Envoy does that when the callback returns, each from within the one before, and
/// calls the VM for each answer: some hundred nested like this are more than its stack holds.
pub(super) const RESUMED_AT_ONCE: usize = 16;

impl Vm {
    /// Lets some of those go on whose wait is over, and asks for another callback for the rest. Root callbacks only: in a stream's own
    /// callback Envoy would stop that stream.
    pub(crate) fn resume_ready(&mut self, ctx: Ctx<'_, impl Host>) {
        for _ in 0..RESUMED_AT_ONCE {
            let Some((id, ticket, arrival)) = self.parked.pop_ready() else {
                return;
            };
            self.resume(ctx, id, ticket, arrival);
        }
        if self.parked.has_ready() {
            // Without it the next tick goes on.
            let _ = ctx.host.enqueue(self.queue, &[Wake::Ready.byte()]);
        }
    }

    fn resume(&mut self, ctx: Ctx<'_, impl Host>, id: TicketId, ticket: Ticket, arrival: Arrival) {
        let shared = std::rc::Rc::clone(&ticket.exchange);
        let stream = Stream {
            context: ticket.context,
            exchange: &shared,
        };
        if ctx.host.enter(ticket.context).is_err() {
            return self.give_up(ctx, ticket, Some(arrival));
        }
        let Ok(mut exchange) = shared.try_borrow_mut() else {
            return self.give_up(ctx, ticket, Some(arrival));
        };
        let stage = exchange.phase.stage();
        if exchange.phase.ticket() != Some(id) {
            return self.give_up(ctx, ticket, Some(arrival));
        }
        exchange.phase.unpark();
        let mut pending = *ticket.pending;
        // What was purged while it waited is not validated, and bridges no failure.
        if pending
            .plan
            .stored
            .as_ref()
            .is_some_and(|held| !self.still_serves(held))
        {
            pending.plan.stored = None;
        }
        let event = match arrival {
            Arrival::Landed(outcome) => Event::Landed(outcome),
            Arrival::FlightOver => Event::FlightOver,
            Arrival::Beside(permit) => {
                pending.holds.flight = Some(permit);
                Event::Beside
            }
            Arrival::Place { placed } => {
                pending.holds.leave.placed = placed;
                Event::Place(if placed { Place::Taken } else { Place::Free })
            }
            Arrival::Overdue if stage == Stage::Parked(Reason::Content) => {
                pending.content = None;
                self.refuse_content(&mut exchange, NotKeyed::ContentSlow);
                Event::Came(ctx.now_ms)
            }
            Arrival::Overdue => Event::Overdue,
            Arrival::Tier(answer) => {
                pending.answer = Some(answer);
                Event::TierAnswered
            }
        };
        if self.run(ctx, stream, &mut exchange, pending, lifecycle::next(stage, event)) == Flow::Continue {
            // Where the host refused an answer: better late than never.
            let _ = ctx.host.resume_request();
        }
    }

    /// The content of a paused request has come, or is not waited for any longer. In a callback of its own stream.
    pub(super) fn go_on(
        &mut self,
        host: &impl Host,
        (shared, context): (&SharedExchange, u32),
        exchange: &mut Exchange,
        ticket: Ticket,
    ) -> Flow {
        let began_ns = host.now_ns();
        let ctx = Ctx::new(host, began_ns / 1_000_000);
        self.join(ctx);
        exchange.phase.unpark();
        let mut pending = *ticket.pending;
        pending.content = None;
        let stream = Stream {
            context,
            exchange: shared,
        };
        let step = lifecycle::next(Stage::Parked(Reason::Content), Event::Came(ctx.now_ms));
        let flow = self.run(ctx, stream, exchange, pending, step);
        exchange.note_inside(host, began_ns);
        flow
    }

    /// The client of a paused request has gone, or Envoy has answered it.
    pub(super) fn leave(&mut self, ctx: Ctx<'_, impl Host>, exchange: &mut Exchange) {
        let Some(id) = exchange.phase.unpark() else {
            return;
        };
        if let Some((ticket, arrival)) = self.parked.leave(id) {
            self.give_up(ctx, ticket, arrival);
        }
    }

    /// Gives back what a paused request holds, and what has come for it.
    fn give_up(&mut self, ctx: Ctx<'_, impl Host>, mut ticket: Ticket, arrival: Option<Arrival>) {
        self.complete_fetch(ctx, &mut ticket.pending.holds.flight, FetchOutcome::Left);
        match arrival {
            Some(Arrival::Beside(permit)) => self.complete_fetch(ctx, &mut Some(permit), FetchOutcome::Left),
            Some(Arrival::Place { placed: true }) => {
                if let Lane::Slot(upstream) = ticket.lane() {
                    self.give_place(ctx.host, upstream, None);
                }
            }
            Some(Arrival::Tier(answer)) => self.tier_landed(ctx.host, answer.question.key.hash(), FetchOutcome::Left),
            _ => {}
        }
    }
}
