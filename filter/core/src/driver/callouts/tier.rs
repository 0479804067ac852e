//! Asking the shared tier before the origin. The request is paused for at most the deadline; whatever goes wrong, it goes on.
//!
//! Calls are made from root callbacks only: the SDK drops the answer of a call made in a stream that is over by then.

use crate::collapse::FetchOutcome;
use crate::driver::exchange::Exchange;
use crate::driver::exchange::lifecycle::{Event, TicketId};
use crate::driver::exchange::plan::ForwardPlan;
use crate::driver::exchange::plan::Pending;
use crate::driver::exchange::tier_client::{Call, Question, SERVICE, TierAnswer, TierClient, variant};
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::shared::wake::Wake;
use crate::driver::state::parked::Arrival;
use crate::driver::vm::Vm;
use crate::engine::CacheRequest;
use crate::http::fields::Fields;
use crate::policy::RoutePolicy;
use optimizer_proto::codes::TierResult;
use optimizer_proto::v1::tier_found::Result as Found;
use optimizer_proto::v1::{Fence, TierFound, TierGet};
use prost::Message;
use std::time::Duration;

/// Requests that wait for the tier in one VM at most; more go to the origin.
const MAX_ASKS: usize = 4_096;
/// Keys whose selecting fields are remembered.
const MAX_VARYING: usize = 4_096;
const GRPC_DEADLINE_EXCEEDED: u32 = 4;

impl TierClient {
    /// Whether what comes by this route may be offered, as far as that is known without the request.
    pub(crate) fn tier_may_take(&self, route: &RoutePolicy) -> bool {
        route.tier && self.fence.is_some()
    }

    /// The place in the tier's order of purges for a fetch that begins now; `None` where its response is not to be offered.
    pub(crate) fn tier_fence(&self, route: &RoutePolicy, request: &Fields<'_>) -> Option<Fence> {
        self.fence.filter(|_| takes_part(route, request))
    }
}

impl Vm {
    /// Whether the tier is to be asked about this miss.
    pub(crate) fn wants_tier(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        cache_request: &CacheRequest<'_>,
        route: &RoutePolicy,
        plan: &mut ForwardPlan,
    ) -> bool {
        if !takes_part(route, &cache_request.fields) || self.bootstrap.tier_target().is_none() {
            return false;
        }
        if self.tier.asks.len() + self.tier.calls.len() >= MAX_ASKS
            || !self.tier.breaker.admits(self.policies.tier.breaker, ctx.now_ms)
        {
            self.recorder.reason(TierResult::NotAsked);
            plan.detail = plan.detail.or(Some(TierResult::NotAsked.as_str()));
            return false;
        }
        true
    }

    /// What the tier is asked first. `leads`: others may follow this fetch, here and in the fleet.
    pub(crate) fn first_question(&self, plan: &ForwardPlan, leads: bool, request: &[u8]) -> Option<Question> {
        let key = plan.key.clone()?;
        let tier = &self.policies.settings.shared_tier;
        let names = self.tier.varying.get(&key.hash()).cloned().unwrap_or_default();
        let lease = tier.coalesce && leads;
        let get = TierGet {
            key: key.as_bytes().to_vec(),
            variant: variant(&names, &Fields::from(header_map::parse(request))),
            vary: names,
            lease_ms: if lease { millis(tier.coalesce_wait_ms) } else { 0 },
            holder: self.uid,
            wait_ms: 0,
        };
        Some(Question {
            key,
            request: get,
            timeout_ms: tier.deadline_ms,
            varied: false,
            purge_generation: self.invalidation_log.purge_generation(),
        })
    }

    /// Queues the question of a parked request.
    pub(crate) fn ask_tier(&mut self, ctx: Ctx<'_, impl Host>, id: TicketId, question: Question) {
        self.tier.asks.push_back((id, question));
        // Without a wake-up the next tick does it.
        let _ = ctx.host.enqueue(self.queue, &[Wake::Tier.byte()]);
    }

    /// Makes the calls that wait. Root callbacks only.
    pub(crate) fn call_tier(&mut self, ctx: Ctx<'_, impl Host>) {
        while let Some((id, question)) = self.tier.asks.pop_front() {
            self.send_query(ctx, id, question);
        }
        self.run_tier_work(ctx);
    }

    fn send_query(&mut self, ctx: Ctx<'_, impl Host>, id: TicketId, question: Question) {
        if self.parked.ticket(id).is_none() {
            // The client has gone.
            return;
        }
        let called = self.bootstrap.tier_target().and_then(|target| {
            let message = question.request.encode_to_vec();
            let timeout = Duration::from_millis(question.timeout_ms);
            ctx.host.grpc_call(&target, SERVICE, "Get", &message, timeout).ok()
        });
        match called {
            Some(token) => drop(self.tier.calls.insert(token, Call::Ask(id, question))),
            None => self.tier_answered(ctx, id, question, Err(TierResult::Unreachable)),
        }
    }

    /// A call has ended, with a message of `size` bytes when `status` is 0: tells whoever has asked.
    pub(crate) fn take_tier_answer(&mut self, ctx: Ctx<'_, impl Host>, token: u32, status: u32, size: usize) {
        match self.tier.calls.remove(&token) {
            None => {}
            Some(Call::Work(work)) => self.tier_work_done(ctx, work, status == 0),
            Some(Call::Ask(id, question)) => {
                let message = (status == 0).then(|| ctx.host.message(size).unwrap_or_default());
                let found = match message.map(|bytes| TierFound::decode(bytes.as_slice())) {
                    Some(Ok(found)) => Ok(found),
                    Some(Err(_)) => Err(TierResult::Unreadable),
                    None if status == GRPC_DEADLINE_EXCEEDED => Err(TierResult::Timeout),
                    None => Err(TierResult::Unreachable),
                };
                self.tier_answered(ctx, id, question, found);
            }
        }
    }

    /// A request has waited longer than the call may take: its answer was lost.
    pub(crate) fn tier_is_silent(&mut self, ctx: Ctx<'_, impl Host>, id: TicketId) {
        if let Some(question) = self.tier.take_back(id) {
            self.tier_answered(ctx, id, question, Err(TierResult::Timeout));
        }
    }

    fn tier_answered(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        id: TicketId,
        question: Question,
        found: Result<TierFound, TierResult>,
    ) {
        match &found {
            Ok(found) => {
                self.tier.breaker.succeeded();
                self.tier.fence = found.fence.or(self.tier.fence);
            }
            // That another Envoy's fetch takes long says nothing about the tier.
            Err(reason) if question.waits() => self.recorder.reason(*reason),
            Err(reason) => {
                self.tier.breaker.failed(self.policies.tier.breaker, ctx.now_ms);
                self.recorder.reason(*reason);
            }
        }
        let key = &question.key;
        let granted = found.as_ref().is_ok_and(|found| found.result() == Found::Miss) && question.request.lease_ms > 0;
        if granted {
            self.tier.leases.insert(key.hash(), key.as_bytes().to_vec());
        }
        let answer = Arrival::Tier(Box::new(TierAnswer { question, found }));
        if let Err(Arrival::Tier(answer)) = self.parked.make_ready(id, answer) {
            // The client has gone; whoever waits for its fetch must not.
            self.tier_landed(ctx.host, answer.question.key.hash(), FetchOutcome::Left);
        }
    }

    /// Reads what the tier has answered: the response, another question, or nothing.
    pub(crate) fn read_tier(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        pending: &mut Pending,
    ) -> Event {
        let Pending {
            request,
            plan,
            holds,
            answer,
            ..
        } = pending;
        let Some(answer) = answer.take() else {
            return Event::TierMissed;
        };
        let TierAnswer { question, found } = *answer;
        let reason = match found {
            Err(reason) => {
                plan.detail = plan.detail.or(Some(reason.as_str()));
                return Event::TierMissed;
            }
            Ok(mut found) => match found.result() {
                Found::Hit => match self.serve_from_tier(ctx, exchange, &question, found, request, plan) {
                    Ok(flow) => {
                        self.complete_fetch(ctx, &mut holds.flight, FetchOutcome::Stored);
                        return Event::Done(flow);
                    }
                    Err(reason) => reason,
                },
                result @ (Found::Vary | Found::Leased) => match self.ask_again(question, &mut found, request) {
                    Some(again) => {
                        holds.question = Some(again);
                        self.recorder.reason(if result == Found::Vary {
                            TierResult::Vary
                        } else {
                            TierResult::Waited
                        });
                        return Event::TierAgain;
                    }
                    None => TierResult::Miss,
                },
                _ => TierResult::Miss,
            },
        };
        self.recorder.reason(reason);
        plan.detail = plan.detail.or(Some(reason.as_str()));
        Event::TierMissed
    }

    /// The second question: with the selecting fields that the tier named, or to wait for another Envoy's fetch.
    fn ask_again(&mut self, mut question: Question, found: &mut TierFound, request: &[u8]) -> Option<Question> {
        if found.result() == Found::Vary {
            if question.varied || found.vary.is_empty() {
                return None;
            }
            let names = std::mem::take(&mut found.vary);
            question.request.variant = variant(&names, &Fields::from(header_map::parse(request)));
            question.request.vary.clone_from(&names);
            if self.tier.varying.len() >= MAX_VARYING {
                self.tier.varying.clear();
            }
            self.tier.varying.insert(question.key.hash(), names);
            question.varied = true;
        } else {
            if question.waits() || question.request.lease_ms == 0 {
                return None;
            }
            let tier = &self.policies.settings.shared_tier;
            question.request.wait_ms = millis(tier.coalesce_wait_ms);
            question.timeout_ms = tier.coalesce_wait_ms.saturating_add(tier.deadline_ms);
        }
        Some(question)
    }
}

/// What is one client's alone stays on its Envoy, and so does what was asked for by content.
fn takes_part(route: &RoutePolicy, request: &Fields<'_>) -> bool {
    let by_content = matches!(request.get(b":method"), Some(b"POST" | b"QUERY"));
    route.tier && !by_content && !request.has(b"authorization")
}

fn millis(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}
