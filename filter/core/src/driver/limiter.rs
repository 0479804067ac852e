//! The concurrency limit in front of every upstream: places for calls, and the short queue of requests that wait for one.

use super::brownout::Shed;
use super::collapsing::Lead;
use super::ctx::Ctx;
use super::exchange::{Exchange, Flow, Phase, SharedExchange};
use super::host::Host;
use super::on_request::Onward;
use super::registry;
use super::vm::Vm;
use super::waiting::RELEASED_AT_ONCE;
use super::wake::Wake;
use crate::Millis;
use crate::collapse::Landing;
use crate::limit::{Gradient, LimitPolicy, Pool, Told};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// Upstreams a VM keeps apart; one beyond these goes without a limit.
const MAX_UPSTREAMS: usize = 128;

#[derive(Debug)]
struct Queued {
    context: u32,
    exchange: SharedExchange,
    until_ms: Millis,
}

#[derive(Debug, Default)]
struct Upstream {
    pool: Pool,
    gradient: Option<Gradient>,
    queue: VecDeque<Queued>,
    refused: u64,
}

/// The limits of one VM, by upstream.
#[derive(Debug, Default)]
pub struct Limiter {
    upstreams: HashMap<String, Upstream>,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It may, and its place must be given back.
    Taken,
    /// It may; nobody counts.
    Free,
    /// The limit is reached, and there is room to wait.
    Wait,
    /// The limit is reached, and so is that of those who wait.
    Full,
}

impl Limiter {
    fn take(
        &mut self,
        host: &impl Host,
        name: &str,
        uid: u64,
        policy: &LimitPolicy,
        may_wait: bool,
        now_ms: Millis,
    ) -> Place {
        if !policy.enabled || name.is_empty() {
            return Place::Free;
        }
        if !self.upstreams.contains_key(name) {
            if self.upstreams.len() >= MAX_UPSTREAMS {
                return Place::Free;
            }
            self.upstreams.insert(name.to_owned(), Upstream::default());
        }
        let Some(upstream) = self.upstreams.get_mut(name) else {
            return Place::Free;
        };
        // Whoever came first goes first.
        let overtakes = may_wait && !upstream.queue.is_empty();
        let own = upstream.gradient.as_ref().map_or(u32::MAX, Gradient::limit);
        if !overtakes && upstream.pool.in_use() < own && upstream.pool.take(host, name, uid, policy.limit, now_ms) {
            return Place::Taken;
        }
        if may_wait && upstream.queue.len() < policy.queue {
            return Place::Wait;
        }
        upstream.refused += 1;
        Place::Full
    }
}

impl Vm {
    /// A place for a call to the exchange's upstream.
    pub(super) fn take_place(&mut self, ctx: Ctx<'_, impl Host>, name: &str, may_wait: bool) -> Place {
        let policies = Rc::clone(&self.policies);
        self.limiter
            .take(ctx.host, name, self.uid, &policies.limit, may_wait, ctx.now_ms)
    }

    /// The call is over; whoever waits gets its place. `took_ms` is absent when it was never made.
    pub(super) fn give_place(&mut self, host: &impl Host, name: &str, took_ms: Option<u64>) {
        let policy = &self.policies.limit;
        let Some(upstream) = self.limiter.upstreams.get_mut(name) else {
            return;
        };
        let in_flight = upstream.pool.in_use();
        upstream.pool.give();
        if let (true, Some(took_ms)) = (policy.adaptive, took_ms) {
            let workers = self.workers.max(1);
            upstream
                .gradient
                .get_or_insert_with(|| Gradient::new((policy.limit / workers).max(1)))
                .sample(took_ms, in_flight, (policy.minimum / workers).max(1), policy.limit);
        } else if !policy.adaptive {
            upstream.gradient = None;
        }
        if !upstream.queue.is_empty() {
            // Another stream may only go on from a root callback.
            let _ = host.enqueue(self.queue, &[Wake::Place.byte()]);
        }
    }

    /// Lets a request wait; the other workers are asked for places they do not need.
    pub(super) fn queue_for_place(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        context: u32,
        shared: &SharedExchange,
        name: &str,
    ) {
        let until_ms = ctx.now_ms.saturating_add(self.policies.limit.queue_ms);
        let Some(upstream) = self.limiter.upstreams.get_mut(name) else {
            return;
        };
        let first = upstream.queue.is_empty();
        upstream.queue.push_back(Queued {
            context,
            exchange: Rc::clone(shared),
            until_ms,
        });
        if first {
            self.tell_others(ctx, Wake::Share);
        }
    }

    /// Wakes the other VMs.
    pub(super) fn tell_others(&self, ctx: Ctx<'_, impl Host>, what: Wake) {
        for vm in registry::vms(ctx.host, ctx.now_ms)
            .iter()
            .filter(|vm| vm.uid != self.uid)
        {
            // One that cannot be woken looks at its next tick.
            let _ = ctx.host.enqueue(vm.queue, &[what.byte()]);
        }
    }

    /// Renews what is leased; with `generous` everything not in use is given back. Root callbacks only.
    pub(super) fn renew_places(&mut self, ctx: Ctx<'_, impl Host>, generous: bool) {
        let policies = Rc::clone(&self.policies);
        let mut freed = false;
        for (name, upstream) in &mut self.limiter.upstreams {
            let told = Told {
                waiting: u32::try_from(upstream.queue.len()).unwrap_or(u32::MAX),
                limit: upstream.gradient.as_ref().map_or(0, Gradient::limit),
                refused: upstream.refused,
            };
            freed |= upstream.pool.renew(
                ctx.host,
                name,
                self.uid,
                policies.limit.limit,
                generous,
                told,
                ctx.now_ms,
            );
        }
        if generous && freed {
            self.tell_others(ctx, Wake::Place);
        }
    }

    /// Sends on whoever waits while there are places, and refuses whoever has waited too long. Root callbacks only.
    pub(super) fn serve_queues(&mut self, ctx: Ctx<'_, impl Host>) {
        let waiting: Vec<String> = self
            .limiter
            .upstreams
            .iter()
            .filter(|(_, upstream)| !upstream.queue.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        for name in waiting {
            self.serve_queue(ctx, &name);
        }
    }

    fn serve_queue(&mut self, ctx: Ctx<'_, impl Host>, name: &str) {
        for _ in 0..RELEASED_AT_ONCE {
            let Some(front) = self
                .limiter
                .upstreams
                .get_mut(name)
                .and_then(|upstream| upstream.queue.pop_front())
            else {
                return;
            };
            // A clock that jumped far ahead or back ends the wait as well.
            let overdue = front.until_ms <= ctx.now_ms || front.until_ms.saturating_sub(ctx.now_ms) > 2 * 60_000;
            let place = if overdue {
                Place::Full
            } else {
                self.take_place(ctx, name, false)
            };
            match place {
                Place::Taken | Place::Free => self.set_off(ctx, &front, place),
                Place::Full | Place::Wait if overdue => self.give_up(ctx, &front),
                Place::Full | Place::Wait => {
                    if let Some(upstream) = self.limiter.upstreams.get_mut(name) {
                        // Counted by `take`, but it goes on waiting.
                        upstream.refused = upstream.refused.saturating_sub(1);
                        upstream.queue.push_front(front);
                    }
                    return;
                }
            }
        }
        // Who is left is looked at in a callback of its own, or at the next tick.
        let _ = ctx.host.enqueue(self.queue, &[Wake::Place.byte()]);
    }

    fn set_off(&mut self, ctx: Ctx<'_, impl Host>, queued: &Queued, place: Place) {
        let sent = self.with_queued(ctx.host, queued, |vm, exchange, request, onward, flight| {
            vm.forward_placed(ctx, exchange, request, onward, flight, place)
        });
        match sent {
            Some(Flow::Continue) => drop(ctx.host.resume_request()),
            Some(Flow::Pause) => {}
            // The client has gone meanwhile.
            None => {
                let name = queued
                    .exchange
                    .try_borrow()
                    .map(|exchange| exchange.upstream.clone())
                    .unwrap_or_default();
                if place == Place::Taken {
                    self.give_place(ctx.host, &name, None);
                }
            }
        }
    }

    fn give_up(&mut self, ctx: Ctx<'_, impl Host>, queued: &Queued) {
        let flow = self.with_queued(ctx.host, queued, |vm, exchange, request, onward, mut flight| {
            if let Some(upstream) = vm.limiter.upstreams.get_mut(&exchange.upstream) {
                upstream.refused += 1;
            }
            vm.land(ctx, &mut flight, Landing::Released);
            vm.shed(ctx, exchange, &request, &onward, &Shed::over_limit())
        });
        if flow == Some(Flow::Continue) {
            // The host refused the answer; better late than never.
            let _ = ctx.host.resume_request();
        }
    }

    fn with_queued(
        &mut self,
        host: &impl Host,
        queued: &Queued,
        work: impl FnOnce(&mut Self, &mut Exchange, Vec<u8>, Onward, Option<Lead>) -> Flow,
    ) -> Option<Flow> {
        host.enter(queued.context).ok()?;
        let mut exchange = queued.exchange.try_borrow_mut().ok()?;
        match std::mem::replace(&mut exchange.phase, Phase::Passing) {
            Phase::Queued {
                request,
                onward,
                flight,
            } => Some(work(self, &mut exchange, request, *onward, flight)),
            other => {
                exchange.phase = other;
                None
            }
        }
    }

    /// The client of a request in the queue has gone.
    pub(super) fn leave_queue(&mut self, ctx: Ctx<'_, impl Host>, exchange: &mut Exchange, context: u32) {
        if !matches!(exchange.phase, Phase::Queued { .. }) {
            return;
        }
        if let Some(upstream) = self.limiter.upstreams.get_mut(&exchange.upstream) {
            upstream.queue.retain(|queued| queued.context != context);
        }
        if let Phase::Queued { mut flight, .. } = std::mem::replace(&mut exchange.phase, Phase::Passing) {
            self.land(ctx, &mut flight, Landing::Left);
        }
    }
}
