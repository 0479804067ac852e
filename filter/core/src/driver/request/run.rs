//! What carries a request on: one step after the other, until it is answered, sent on or has to wait.

use super::content::WAIT_MS;
use crate::collapse::FetchOutcome;
use crate::driver::exchange::Exchange;
use crate::driver::exchange::lifecycle::{self, Event, Flow, Reason, Refusal, Step};
use crate::driver::exchange::plan::{Holdings, Pending};
use crate::driver::exchange::tier_client::LOST_MS;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::reply::brownout::Rejection;
use crate::driver::state::parked::{Lane, Stream};
use crate::driver::vm::Vm;
use crate::limit::Place;

impl Vm {
    /// Carries a request on from a step.
    pub(super) fn run(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        stream: Stream<'_>,
        exchange: &mut Exchange,
        mut pending: Pending,
        mut step: Step,
    ) -> Flow {
        loop {
            let event = match step {
                Step::Decide(turn) => self.decide(ctx, exchange, &mut pending, turn),
                Step::ReadTier => self.read_tier(ctx, exchange, &mut pending),
                Step::TakePlace => Event::Place(self.place_for(ctx, exchange, &mut pending.holds)),
                Step::AskBreaker => self.ask_leave(ctx, exchange, &mut pending),
                Step::Refuse(refusal) => self.refuse(ctx, exchange, &mut pending, refusal),
                Step::Send => {
                    self.send(ctx, exchange, pending);
                    return Flow::Continue;
                }
                Step::Park(reason) => {
                    self.park(ctx, stream, exchange, pending, reason);
                    return if reason == Reason::Content {
                        Flow::Collect
                    } else {
                        Flow::Pause
                    };
                }
                Step::Stop(flow) => {
                    // It was answered without a fetch.
                    self.complete_fetch(ctx, &mut pending.holds.flight, FetchOutcome::Released);
                    return flow;
                }
                Step::Judge | Step::Restore | Step::Settle | Step::Leave | Step::Ignore => return Flow::Continue,
            };
            step = lifecycle::next(step.stage(), event);
        }
    }

    fn park(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        stream: Stream<'_>,
        exchange: &mut Exchange,
        mut pending: Pending,
        reason: Reason,
    ) {
        let now_ms = ctx.now_ms;
        let policies = &self.policies;
        let (lane, since_ms, wait_ms) = match reason {
            Reason::Flight(follower) => {
                exchange.collapsed = true;
                (
                    Lane::Flight(follower.hash),
                    follower.since_ms,
                    policies.settings.request_collapsing.timeout_ms,
                )
            }
            Reason::Slot => (
                Lane::Slot(exchange.upstream.to_string()),
                now_ms,
                policies.limit.queue_ms,
            ),
            Reason::Content => {
                pending.content = Some(self.collecting.begin());
                (Lane::Content, now_ms, WAIT_MS)
            }
            Reason::Tier => {
                let holds = &mut pending.holds;
                if holds.question.is_none() {
                    let leads = holds.flight.is_some();
                    holds.question = self.first_question(&pending.plan, leads, &pending.request);
                }
                let timeout_ms = holds.question.as_ref().map_or(0, |question| question.timeout_ms);
                (Lane::Tier, now_ms, timeout_ms.saturating_add(LOST_MS))
            }
        };
        let first = self.parked.waiting(&lane) == 0;
        let question = pending.holds.question.take();
        let until_ms = since_ms.saturating_add(wait_ms);
        let ticket = self.parked.park(stream, pending, lane, since_ms, until_ms);
        exchange.phase.park(ticket, reason);
        match question {
            Some(question) => self.ask_tier(ctx, ticket, question),
            None if first && reason == Reason::Slot => self.ask_for_places(ctx),
            None => {}
        }
    }

    fn place_for(&mut self, ctx: Ctx<'_, impl Host>, exchange: &mut Exchange, holds: &mut Holdings) -> Place {
        if exchange.routed.is_none() {
            let cluster = ctx.host.property(b"xds\0cluster_name").unwrap_or_default();
            exchange.upstream = String::from_utf8_lossy(&cluster).into();
        }
        let place = self.take_place(ctx, &exchange.upstream, true);
        holds.leave.placed = place == Place::Taken;
        place
    }

    fn ask_leave(&mut self, ctx: Ctx<'_, impl Host>, exchange: &mut Exchange, pending: &mut Pending) -> Event {
        let Pending {
            request, plan, holds, ..
        } = pending;
        match self.admit_or_serve(ctx, exchange, request, plan) {
            Ok(permits) => {
                holds.leave.permits = permits;
                Event::Admitted
            }
            Err(turned) => {
                if std::mem::take(&mut holds.leave.placed) {
                    self.give_place(ctx.host, &exchange.upstream, None);
                }
                match turned {
                    Rejection::Answered(flow) => Event::Done(flow),
                    Rejection::Away(refusal) => Event::TurnedAway(refusal),
                }
            }
        }
    }

    fn refuse(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        pending: &mut Pending,
        refusal: Refusal,
    ) -> Event {
        let Pending {
            request, plan, holds, ..
        } = pending;
        self.complete_fetch(ctx, &mut holds.flight, FetchOutcome::Released);
        Event::Done(self.shed(ctx, exchange, request, plan, &refusal.into()))
    }
}
