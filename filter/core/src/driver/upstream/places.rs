//! Places within the concurrency limits: who gets one, who waits, and who is refused.

use crate::driver::exchange::lifecycle::TicketId;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::shared::wake::Wake;
use crate::driver::state::parked::{Arrival, Lane};
use crate::driver::vm::Vm;
use crate::limit::Place;
use std::rc::Rc;

impl Vm {
    /// A place for a call to this upstream.
    pub(crate) fn take_place(&mut self, ctx: Ctx<'_, impl Host>, name: &str, may_wait: bool) -> Place {
        let policies = Rc::clone(&self.policies);
        let waiting = may_wait.then(|| self.parked.waiting_for_place(name));
        self.upstreams
            .limiter
            .take(ctx.host, name, self.uid, &policies.limit, waiting, ctx.now_ms)
    }

    /// The call is over; whoever waits gets its place. `took_ms` is absent when it was never made.
    pub(crate) fn give_place(&mut self, host: &impl Host, name: &str, took_ms: Option<u64>) {
        self.upstreams
            .limiter
            .give(name, took_ms, &self.policies.limit, self.membership.sharers());
        // Another stream may only go on from a root callback, and another worker only gets what this one gives back.
        let wake = if self.upstreams.limiter.is_wanted(|| host.now_ns() / 1_000_000) {
            Wake::Free
        } else if self.parked.waiting_for_place(name) > 0 {
            Wake::Place
        } else {
            return;
        };
        let _ = host.enqueue(self.queue, &[wake.byte()]);
    }

    /// Somebody waits for a place: the other workers are asked for those that they do not need, now or after their calls.
    pub(crate) fn ask_for_places(&self, ctx: Ctx<'_, impl Host>) {
        self.wake_others(ctx, Wake::Share);
    }

    /// Requests wait for places in other workers: gives them what is not in use. Those that wait here ask anew, behind them.
    pub(crate) fn share_places(&mut self, ctx: Ctx<'_, impl Host>) {
        self.renew_places(ctx, true);
        if self.parked.waits_for_place() {
            let _ = ctx.host.enqueue(self.queue, &[Wake::Place.byte()]);
        }
    }

    /// Renews what is leased; with `generous` everything not in use is given back. Root callbacks only.
    pub(crate) fn renew_places(&mut self, ctx: Ctx<'_, impl Host>, generous: bool) {
        let policies = Rc::clone(&self.policies);
        let freed =
            self.upstreams
                .limiter
                .renew(ctx.host, self.uid, &policies.limit, generous, &self.parked, ctx.now_ms);
        if generous && freed {
            self.wake_others(ctx, Wake::Place);
        }
    }

    /// Gives those who wait what places there are.
    pub(crate) fn grant_places(&mut self, ctx: Ctx<'_, impl Host>) {
        let policies = Rc::clone(&self.policies);
        for name in self.parked.upstreams() {
            let lane = Lane::Slot(name.clone());
            while let Some(first) = self.parked.first(&lane) {
                let policy = &policies.limit;
                // Where the limit was switched off nobody waits any longer.
                let placed = policy.enabled;
                if placed
                    && !self
                        .upstreams
                        .limiter
                        .take_free(ctx.host, &name, self.uid, policy, ctx.now_ms)
                {
                    break;
                }
                if self.parked.make_ready(first, Arrival::Place { placed }).is_err() {
                    break;
                }
            }
        }
    }

    /// A request has waited for its place for too long.
    pub(crate) fn refuse_place(&mut self, id: TicketId, name: &str) {
        if self.parked.make_ready(id, Arrival::Overdue).is_ok() {
            self.upstreams.limiter.refused(name);
        }
    }
}
