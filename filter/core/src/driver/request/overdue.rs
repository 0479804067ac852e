//! Waits that took too long.

use crate::Millis;
use crate::collapse::{self, Beside};
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::state::parked::{Arrival, Lane, Ticket};
use crate::driver::vm::Vm;
use std::collections::HashSet;

/// A fetch that somebody else watches, in another VM, is looked at again after this.
const LOOK_AGAIN_MS: Millis = 200;

impl Vm {
    /// Ends waits that took too long: where a fetch has been silent for a deadline, one of those who follow it fetches beside it; the
    /// limit refuses; the tier counts as silent; content that is not whole is not waited for.
    pub(crate) fn end_overdue_waits(&mut self, ctx: Ctx<'_, impl Host>) {
        let mut looked_at = HashSet::new();
        for id in self.parked.overdue(ctx.now_ms) {
            match self.parked.ticket(id).map(Ticket::lane).cloned() {
                Some(Lane::Flight(hash)) if looked_at.insert(hash) => self.look_at_flight(ctx, hash),
                Some(Lane::Flight(_)) | None => {}
                Some(Lane::Slot(upstream)) => self.refuse_place(id, &upstream),
                Some(Lane::Tier) => self.tier_is_silent(ctx, id),
                Some(Lane::Content) => {
                    let _ = self.parked.make_ready(id, Arrival::Overdue);
                }
            }
        }
    }

    fn look_at_flight(&mut self, ctx: Ctx<'_, impl Host>, hash: u64) {
        let deadline_ms = self.policies.settings.request_collapsing.timeout_ms;
        let lane = Lane::Flight(hash);
        match collapse::beside(ctx.host, hash, deadline_ms, ctx.now_ms) {
            Beside::Wait => self
                .parked
                .all_wait_on(&lane, ctx.now_ms.saturating_add(LOOK_AGAIN_MS), ctx.now_ms),
            Beside::Go(ticket) => {
                if let Some(first) = self.parked.first(&lane) {
                    let permit = self.flights.permit(ticket, 0, 0);
                    let _ = self.parked.make_ready(first, Arrival::Beside(permit));
                }
                self.parked
                    .all_wait_on(&lane, ctx.now_ms.saturating_add(deadline_ms), ctx.now_ms);
            }
            // Its VM has trapped, or a wake-up was lost: the followers look again.
            Beside::Over => {
                for id in self.parked.all(&lane) {
                    let _ = self.parked.make_ready(id, Arrival::FlightOver);
                }
            }
        }
    }
}
