//! Requests that wait for another's fetch of the same key, and their release.

use super::collapsing::{Follower, Lead, Turn};
use super::exchange::{Exchange, Flow, Phase, SharedExchange};
use super::host::Host;
use super::registry;
use super::vm::Vm;
use super::wake::Wake;
use crate::Millis;
use crate::collapse::{self, Beside, Landing, Outcome};
use crate::learned::IN_VAIN;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// Streams that one callback answers or resumes. Envoy does that when the callback returns, each from within the one before, and
/// calls the VM for each answer: some hundred nested like this are more than its stack holds.
pub(super) const RELEASED_AT_ONCE: usize = 16;
/// Requests that wait in one VM at most; more go on their own.
const MAX_WAITING: usize = 20_000;

#[derive(Debug)]
struct Waiter {
    context: u32,
    exchange: SharedExchange,
    since_ms: Millis,
    retried: bool,
}

/// The waiting requests of one VM, by the flight's hash.
#[derive(Debug, Default)]
pub struct Waiting {
    by_flight: HashMap<u64, Vec<Waiter>>,
    count: usize,
    /// Those whose wait is over, and what they do next.
    ready: VecDeque<(Waiter, Turn)>,
}

impl Waiting {
    pub(super) fn has_room(&self) -> bool {
        self.count < MAX_WAITING
    }

    pub(super) fn add(&mut self, follower: &Follower, context: u32, exchange: &SharedExchange) {
        let waiter = Waiter {
            context,
            exchange: Rc::clone(exchange),
            since_ms: follower.since_ms,
            retried: follower.retried,
        };
        self.by_flight.entry(follower.hash).or_default().push(waiter);
        self.count += 1;
    }

    fn take(&mut self, hash: u64) -> Vec<Waiter> {
        let taken = self.by_flight.remove(&hash).unwrap_or_default();
        self.count -= taken.len().min(self.count);
        taken
    }

    /// The one that has waited longest.
    fn take_first(&mut self, hash: u64) -> Option<Waiter> {
        let waiters = self.by_flight.get_mut(&hash)?;
        if waiters.is_empty() {
            return None;
        }
        let waiter = waiters.remove(0);
        self.count = self.count.saturating_sub(1);
        if waiters.is_empty() {
            self.by_flight.remove(&hash);
        }
        Some(waiter)
    }

    fn forget(&mut self, hash: u64, context: u32) {
        if let Some(waiters) = self.by_flight.get_mut(&hash) {
            let before = waiters.len();
            waiters.retain(|waiter| waiter.context != context);
            self.count -= (before - waiters.len()).min(self.count);
            if waiters.is_empty() {
                self.by_flight.remove(&hash);
            }
        }
    }

    /// Flights that somebody here has followed for that long. A time ahead comes from a clock that has since jumped back.
    fn overdue(&self, deadline_ms: u64, now_ms: Millis) -> Vec<u64> {
        let is_overdue =
            |waiter: &Waiter| now_ms.saturating_sub(waiter.since_ms) >= deadline_ms || waiter.since_ms > now_ms;
        self.by_flight
            .iter()
            .filter(|(_, waiters)| waiters.iter().any(is_overdue))
            .map(|(hash, _)| *hash)
            .collect()
    }
}

impl Vm {
    /// Ends the flight this exchange leads, if it does, and tells the followers on all workers.
    pub(super) fn land(&mut self, host: &impl Host, flight: &mut Option<Lead>, landing: Landing, now_ms: Millis) {
        let Some(lead) = flight.take() else { return };
        let hash = lead.ticket.hash;
        self.tier_landed(host, lead.key, landing);
        if landing == Landing::NotShareable {
            self.unshared
                .note(hash, now_ms.saturating_add(collapse::ALONE_MS), now_ms);
        }
        let Some(outcome) = collapse::land(host, lead.ticket, landing, now_ms) else {
            return;
        };
        if landing == Landing::NotShareable && lead.route != 0 {
            self.shares.learn(host, lead.route, &[IN_VAIN.to_vec()], now_ms);
        }
        let mut item = vec![Wake::Landed.byte()];
        item.extend_from_slice(&hash.to_le_bytes());
        item.extend_from_slice(&outcome.encode());
        // Also to ourselves: another stream may only be answered from a root callback, else Envoy stops the current one.
        let vms = registry::vms(host, now_ms);
        let others = vms.iter().filter(|vm| vm.uid != self.uid).map(|vm| vm.queue);
        for queue in others.chain(std::iter::once(self.queue)) {
            // Whoever cannot be woken goes on at its deadline.
            let _ = host.enqueue(queue, &item);
        }
    }

    /// A flight has landed somewhere: the followers here go on.
    pub(super) fn end_wait(&mut self, landed: &[u8]) {
        let Some((hash, outcome)) = landed.split_at_checked(8) else {
            return;
        };
        let Ok(hash) = hash.try_into().map(u64::from_le_bytes) else {
            return;
        };
        let outcome = Outcome::decode(outcome);
        let followers = self.waiting.take(hash);
        self.waiting.ready.extend(followers.into_iter().map(|waiter| {
            let turn = Turn::after(outcome, waiter.since_ms, waiter.retried);
            (waiter, turn)
        }));
    }

    /// Where a fetch has been silent for a deadline, one of those who follow it fetches beside it.
    pub(super) fn end_overdue_waits(&mut self, host: &impl Host, now_ms: Millis) {
        let deadline_ms = self.policies.collapsing.timeout_ms;
        for hash in self.waiting.overdue(deadline_ms, now_ms) {
            match collapse::beside(host, hash, deadline_ms, now_ms) {
                Beside::Wait => {}
                Beside::Go(ticket) => {
                    if let Some(waiter) = self.waiting.take_first(hash) {
                        let lead = Lead {
                            ticket,
                            key: 0,
                            route: 0,
                        };
                        self.waiting.ready.push_back((waiter, Turn::Beside(lead)));
                    }
                }
                // Its VM has trapped, or a wake-up was lost: the followers look again.
                Beside::Over => {
                    let followers = self.waiting.take(hash);
                    self.waiting.ready.extend(followers.into_iter().map(|waiter| {
                        let turn = Turn::First {
                            may_follow: true,
                            since_ms: waiter.since_ms.min(now_ms),
                            retried: waiter.retried,
                        };
                        (waiter, turn)
                    }));
                }
            }
        }
    }

    /// Lets some of those go on whose wait is over, and asks for another callback for the rest. Root callbacks only.
    pub(super) fn release_some(&mut self, host: &impl Host, now_ms: Millis) {
        for _ in 0..RELEASED_AT_ONCE {
            let Some((waiter, turn)) = self.waiting.ready.pop_front() else {
                return;
            };
            self.release(host, waiter, turn, now_ms);
        }
        if !self.waiting.ready.is_empty() {
            // Without it the next tick goes on.
            let _ = host.enqueue(self.queue, &[Wake::Ready.byte()]);
        }
    }

    fn release(&mut self, host: &impl Host, waiter: Waiter, turn: Turn, now_ms: Millis) {
        if host.enter(waiter.context).is_err() {
            return;
        }
        let (flow, fetches) = {
            let Ok(mut exchange) = waiter.exchange.try_borrow_mut() else {
                return;
            };
            let Phase::Waiting(follower) = std::mem::replace(&mut exchange.phase, Phase::Passing) else {
                return;
            };
            let flow = self.answer_or_forward(host, &mut exchange, follower.request, turn, now_ms);
            (
                flow,
                matches!(exchange.phase, Phase::Forwarded(_) | Phase::Queued { .. }),
            )
        };
        if let (Turn::Beside(lead), false) = (turn, fetches) {
            // It was answered without a fetch.
            self.land(host, &mut Some(lead), Landing::Released, now_ms);
        }
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
        if let Phase::Waiting(follower) = &exchange.phase {
            self.waiting.add(follower, waiter.context, &waiter.exchange);
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
        if let Phase::Waiting(follower) = &exchange.phase {
            self.waiting.forget(follower.hash, context);
        }
    }
}
