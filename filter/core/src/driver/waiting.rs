//! Requests that wait for another's fetch of the same key, and their release.

use super::exchange::{Exchange, Flow, Phase, SharedExchange};
use super::host::Host;
use super::registry;
use super::vm::Vm;
use super::wake::Wake;
use crate::Millis;
use crate::collapse::{self, Landing};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// Longest wait. A paused request has no time-out of its own in Envoy.
const WAIT_MS: u64 = 5_000;
/// Streams that one callback answers or resumes. Envoy does that when the callback returns, each from within the one before, and
/// calls the VM for each answer: some hundred nested like this are more than its stack holds.
pub(super) const RELEASED_AT_ONCE: usize = 16;
/// Requests that wait in one VM at most; more go on their own.
const MAX_WAITING: usize = 20_000;

#[derive(Debug)]
struct Waiter {
    context: u32,
    exchange: SharedExchange,
    until_ms: Millis,
}

/// The waiting requests of one VM, by the key's hash.
#[derive(Debug, Default)]
pub struct Waiting {
    by_key: HashMap<u64, Vec<Waiter>>,
    count: usize,
    /// Those whose wait is over, and whether they may wait again.
    ready: VecDeque<(Waiter, bool)>,
}

impl Waiting {
    pub(super) fn has_room(&self) -> bool {
        self.count < MAX_WAITING
    }

    pub(super) fn add(&mut self, hash: u64, context: u32, exchange: &SharedExchange, now_ms: Millis) {
        let waiter = Waiter {
            context,
            exchange: Rc::clone(exchange),
            until_ms: now_ms.saturating_add(WAIT_MS),
        };
        self.by_key.entry(hash).or_default().push(waiter);
        self.count += 1;
    }

    fn take(&mut self, hash: u64) -> Vec<Waiter> {
        let taken = self.by_key.remove(&hash).unwrap_or_default();
        self.count -= taken.len().min(self.count);
        taken
    }

    fn forget(&mut self, hash: u64, context: u32) {
        if let Some(waiters) = self.by_key.get_mut(&hash) {
            let before = waiters.len();
            waiters.retain(|waiter| waiter.context != context);
            self.count -= (before - waiters.len()).min(self.count);
            if waiters.is_empty() {
                self.by_key.remove(&hash);
            }
        }
    }

    fn take_overdue(&mut self, now_ms: Millis) -> Vec<Waiter> {
        let mut overdue = Vec::new();
        self.by_key.retain(|_, waiters| {
            overdue.extend(waiters.extract_if(.., |waiter| {
                waiter.until_ms <= now_ms || waiter.until_ms > now_ms.saturating_add(2 * WAIT_MS)
            }));
            !waiters.is_empty()
        });
        self.count -= overdue.len().min(self.count);
        overdue
    }
}

impl Vm {
    /// Ends the flight this exchange leads, if it does, and tells the followers on all workers.
    pub(super) fn land(&mut self, host: &impl Host, flight: &mut Option<u64>, landing: Landing, now_ms: Millis) {
        let Some(hash) = flight.take() else { return };
        self.land_key(host, hash, landing, now_ms);
    }

    /// Ends the flight of a key.
    pub(super) fn land_key(&mut self, host: &impl Host, hash: u64, landing: Landing, now_ms: Millis) {
        self.tier_landed(host, hash, landing);
        if landing == Landing::NotShareable {
            self.unshared.note(hash, now_ms.saturating_add(collapse::ALONE_MS));
        }
        if !collapse::land(host, hash, self.uid, landing, now_ms) {
            return;
        }
        let mut item = vec![Wake::Landed.byte()];
        item.extend_from_slice(&hash.to_le_bytes());
        // Also to ourselves: another stream may only be answered from a root callback, else Envoy stops the current one.
        let vms = registry::vms(host, now_ms);
        let others = vms.iter().filter(|vm| vm.uid != self.uid).map(|vm| vm.queue);
        for queue in others.chain(std::iter::once(self.queue)) {
            // Whoever cannot be woken goes on at its deadline.
            let _ = host.enqueue(queue, &item);
        }
    }

    /// A flight has landed somewhere: the followers here look again.
    pub(super) fn end_wait(&mut self, hash: u64) {
        let followers = self.waiting.take(hash);
        self.waiting
            .ready
            .extend(followers.into_iter().map(|waiter| (waiter, true)));
    }

    /// Whoever has waited long enough goes alone.
    pub(super) fn end_overdue_waits(&mut self, now_ms: Millis) {
        let overdue = self.waiting.take_overdue(now_ms);
        self.waiting
            .ready
            .extend(overdue.into_iter().map(|waiter| (waiter, false)));
    }

    /// Lets some of those go on whose wait is over, and asks for another callback for the rest. Root callbacks only.
    pub(super) fn release_some(&mut self, host: &impl Host, now_ms: Millis) {
        for _ in 0..RELEASED_AT_ONCE {
            let Some((waiter, may_wait)) = self.waiting.ready.pop_front() else {
                return;
            };
            self.release(host, waiter, may_wait, now_ms);
        }
        if !self.waiting.ready.is_empty() {
            // Without it the next tick goes on.
            let _ = host.enqueue(self.queue, &[Wake::Ready.byte()]);
        }
    }

    fn release(&mut self, host: &impl Host, waiter: Waiter, may_wait: bool, now_ms: Millis) {
        if host.enter(waiter.context).is_err() {
            return;
        }
        let flow = {
            let Ok(mut exchange) = waiter.exchange.try_borrow_mut() else {
                return;
            };
            let Phase::Waiting { request, .. } = std::mem::replace(&mut exchange.phase, Phase::Passing) else {
                return;
            };
            self.answer_or_forward(host, &mut exchange, request, may_wait, now_ms)
        };
        match flow {
            Flow::Continue => drop(host.resume_request()),
            Flow::Pause => {
                self.wait_again(&waiter);
                self.queue_again(host, &waiter, now_ms);
                self.ask_tier(host, waiter.context, &waiter.exchange, now_ms);
            }
        }
    }

    fn wait_again(&mut self, waiter: &Waiter) {
        let Ok(exchange) = waiter.exchange.try_borrow() else {
            return;
        };
        if let Phase::Waiting { hash, .. } = exchange.phase {
            let again = Waiter {
                context: waiter.context,
                exchange: Rc::clone(&waiter.exchange),
                // The first deadline counts: a key that keeps failing must not hold anybody for ever.
                until_ms: waiter.until_ms,
            };
            self.waiting.by_key.entry(hash).or_default().push(again);
            self.waiting.count += 1;
        }
    }

    /// It needs no other's fetch any more, but a place for its own.
    fn queue_again(&mut self, host: &impl Host, waiter: &Waiter, now_ms: Millis) {
        let queued = waiter
            .exchange
            .try_borrow()
            .ok()
            .and_then(|exchange| matches!(exchange.phase, Phase::Queued { .. }).then(|| exchange.upstream.clone()));
        if let Some(upstream) = queued {
            self.queue_for_place(host, waiter.context, &waiter.exchange, &upstream, now_ms);
        }
    }

    /// The client of a waiting request has gone.
    pub(super) fn stop_waiting(&mut self, exchange: &Exchange, context: u32) {
        if let Phase::Waiting { hash, .. } = exchange.phase {
            self.waiting.forget(hash, context);
        }
    }
}
