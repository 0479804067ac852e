//! Asking the shared tier before the origin. The request is paused for at most the deadline; whatever goes wrong, it goes on.
//!
//! Calls are made from root callbacks only: the SDK drops the answer of a call made in a stream that is over by then.

use super::ctx::Ctx;
use super::exchange::{Flow, Phase, SharedExchange};
use super::header_map;
use super::host::Host;
use super::on_request::Onward;
use super::tier_offer::Work;
use super::vm::Vm;
use super::wake::Wake;
use crate::Millis;
use crate::cache::{CacheKey, selecting};
use crate::collapse::Landing;
use crate::engine::Asked;
use crate::http::fields::Fields;
use crate::policy::RoutePolicy;
use crate::tier_breaker::TierBreaker;
use optimizer_proto::v1::tier_found::Result as Found;
use optimizer_proto::v1::{Fence, TierFound, TierGet};
use prost::Message;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

pub(super) const SERVICE: &str = "optimizer.v1.CacheBackend";
/// Requests that wait for the tier in one VM at most; more go to the origin.
const MAX_ASKS: usize = 4_096;
/// Keys whose selecting fields are remembered.
const MAX_VARYING: usize = 4_096;
/// An answer that is so much overdue will not come.
const LOST_MS: u64 = 500;
const GRPC_DEADLINE_EXCEEDED: u32 = 4;

/// A request that waits for the tier's answer.
#[derive(Debug)]
pub(super) struct Ask {
    context: u32,
    exchange: SharedExchange,
    pub(super) key: CacheKey,
    request: TierGet,
    timeout_ms: u64,
    until_ms: Millis,
    /// Asked again with the selecting fields that the tier named.
    varied: bool,
}

impl Ask {
    /// It waits for another Envoy's fetch.
    fn waits(&self) -> bool {
        self.request.wait_ms > 0
    }
}

/// A call under way.
#[derive(Debug)]
pub(super) enum Call {
    Ask(Ask),
    Work(Work),
}

/// One VM's part in the shared tier.
#[derive(Debug, Default)]
pub struct TierClient {
    asks: VecDeque<Ask>,
    pub(super) calls: HashMap<u32, Call>,
    pub(super) work: VecDeque<Work>,
    pub(super) breaker: TierBreaker,
    /// The place in the tier's order of purges as last heard: a fetch that begins now began after it.
    fence: Option<Fence>,
    /// Names of the selecting fields by the key's hash.
    varying: HashMap<u64, Vec<Vec<u8>>>,
    /// Keys whose lease this VM holds, by their hash.
    pub(super) leases: HashMap<u64, Vec<u8>>,
    pub(super) retry_ms: Millis,
}

impl Vm {
    /// Whether the tier is to be asked about this miss; if so, the request waits in its phase until [`Vm::ask_tier`].
    pub(super) fn wants_tier(
        &mut self,
        asked: &Asked<'_>,
        route: &RoutePolicy,
        onward: &mut Onward,
        now_ms: Millis,
    ) -> bool {
        if !takes_part(route, &asked.fields) || self.bootstrap.tier_target().is_none() {
            return false;
        }
        if self.tier.asks.len() + self.tier.calls.len() >= MAX_ASKS
            || !self.tier.breaker.admits(self.policies.tier.breaker, now_ms)
        {
            self.recorder.reason("tier-not-asked");
            onward.detail = onward.detail.or(Some("tier-not-asked"));
            return false;
        }
        true
    }

    /// Queues the question of a request that waits in [`Phase::Asking`].
    pub(super) fn ask_tier(&mut self, ctx: Ctx<'_, impl Host>, context: u32, shared: &SharedExchange) {
        let Ok(exchange) = shared.try_borrow() else { return };
        let Phase::Asking {
            request,
            onward,
            flight,
            ..
        } = &exchange.phase
        else {
            return;
        };
        let Some(key) = onward.key.clone() else { return };
        let tier = &self.policies.tier;
        let names = self.tier.varying.get(&key.hash()).cloned().unwrap_or_default();
        let lease = tier.coalesce && flight.is_some();
        let get = TierGet {
            key: key.as_bytes().to_vec(),
            variant: variant(&names, &Fields::from(header_map::parse(request))),
            vary: names,
            lease_ms: if lease { millis(tier.coalesce_wait_ms) } else { 0 },
            holder: self.uid,
            wait_ms: 0,
        };
        self.tier.asks.push_back(Ask {
            context,
            exchange: Rc::clone(shared),
            key,
            request: get,
            timeout_ms: tier.deadline_ms,
            until_ms: ctx.now_ms.saturating_add(tier.deadline_ms),
            varied: false,
        });
        // Without a wake-up the next tick does it.
        let _ = ctx.host.enqueue(self.queue, &[Wake::Tier.byte()]);
    }

    /// Makes the calls that wait, and lets requests go on whose answer was lost. Root callbacks only.
    pub(super) fn run_tier(&mut self, ctx: Ctx<'_, impl Host>) {
        while let Some(ask) = self.tier.asks.pop_front() {
            self.put_question(ctx, ask);
        }
        let lost: Vec<u32> = self
            .tier
            .calls
            .iter()
            .filter_map(|(token, call)| match call {
                Call::Ask(ask) if ctx.now_ms.saturating_sub(ask.until_ms) > LOST_MS => Some(*token),
                _ => None,
            })
            .collect();
        for token in lost {
            if let Some(Call::Ask(ask)) = self.tier.calls.remove(&token) {
                self.tier_answered(ctx, ask, Err("tier-timeout"));
            }
        }
        self.run_tier_work(ctx);
    }

    fn put_question(&mut self, ctx: Ctx<'_, impl Host>, ask: Ask) {
        let Some(target) = self.bootstrap.tier_target() else {
            return self.tier_answered(ctx, ask, Err("tier-unreachable"));
        };
        let message = ask.request.encode_to_vec();
        match ctx
            .host
            .grpc_call(&target, SERVICE, "Get", &message, Duration::from_millis(ask.timeout_ms))
        {
            Ok(token) => drop(self.tier.calls.insert(token, Call::Ask(ask))),
            Err(_) => self.tier_answered(ctx, ask, Err("tier-unreachable")),
        }
    }

    /// A call has ended, with a message when `status` is 0.
    pub fn on_grpc_answer(&mut self, host: &impl Host, token: u32, status: u32, size: usize) {
        let Some(call) = self.tier.calls.remove(&token) else {
            return;
        };
        let now_ms = host.now_ns() / 1_000_000;
        match call {
            Call::Work(work) => self.tier_work_done(Ctx::new(host, now_ms), work, status == 0),
            Call::Ask(ask) => {
                let message = (status == 0).then(|| host.message(size).unwrap_or_default());
                let found = match message.map(|bytes| TierFound::decode(bytes.as_slice())) {
                    Some(Ok(found)) => Ok(found),
                    Some(Err(_)) => Err("tier-unreadable"),
                    None if status == GRPC_DEADLINE_EXCEEDED => Err("tier-timeout"),
                    None => Err("tier-unreachable"),
                };
                self.tier_answered(Ctx::new(host, now_ms), ask, found);
            }
        }
        self.run_tier_work(Ctx::new(host, now_ms));
    }

    fn tier_answered(&mut self, ctx: Ctx<'_, impl Host>, ask: Ask, found: Result<TierFound, &'static str>) {
        match &found {
            Ok(found) => {
                self.tier.breaker.succeeded();
                self.tier.fence = found.fence.or(self.tier.fence);
            }
            // That another Envoy's fetch takes long says nothing about the tier.
            Err(reason) if ask.waits() => self.recorder.reason(reason),
            Err(reason) => {
                self.tier.breaker.failed(self.policies.tier.breaker, ctx.now_ms);
                self.recorder.reason(reason);
            }
        }
        let granted = found.as_ref().is_ok_and(|found| found.result() == Found::Miss) && ask.request.lease_ms > 0;
        if granted {
            self.tier.leases.insert(ask.key.hash(), ask.key.as_bytes().to_vec());
        }
        if ctx.host.enter(ask.context).is_err() || !self.go_on(ctx, &ask, found) {
            // The client has gone; whoever waits for its fetch must not.
            self.tier_landed(ctx.host, ask.key.hash(), Landing::Left);
        }
    }

    /// False when the request does not wait any more.
    fn go_on(&mut self, ctx: Ctx<'_, impl Host>, ask: &Ask, found: Result<TierFound, &'static str>) -> bool {
        let shared = Rc::clone(&ask.exchange);
        let Ok(mut exchange) = shared.try_borrow_mut() else {
            return false;
        };
        let (request, mut onward, mut flight, birth) = match std::mem::replace(&mut exchange.phase, Phase::Passing) {
            Phase::Asking {
                request,
                onward,
                flight,
                birth,
            } => (request, onward, flight, birth),
            other => {
                exchange.phase = other;
                return false;
            }
        };
        let reason = match found {
            Ok(mut found) => match found.result() {
                Found::Hit => {
                    let answered = self.serve_from_tier(ctx, &mut exchange, ask, found, &request, &onward, birth);
                    match answered {
                        Ok(flow) => {
                            drop(exchange);
                            self.land(ctx, &mut flight, Landing::Stored);
                            if flow == Flow::Continue {
                                let _ = ctx.host.resume_request();
                            }
                            return true;
                        }
                        Err(reason) => reason,
                    }
                }
                result @ (Found::Vary | Found::Leased) if self.ask_again(ask, &mut found, &request, ctx.now_ms) => {
                    exchange.phase = Phase::Asking {
                        request,
                        onward,
                        flight,
                        birth,
                    };
                    drop(exchange);
                    self.recorder.reason(if result == Found::Vary {
                        "tier-vary"
                    } else {
                        "tier-waited"
                    });
                    let again = self.tier.asks.pop_back();
                    if let Some(again) = again {
                        self.put_question(ctx, again);
                    }
                    return true;
                }
                _ => "tier-miss",
            },
            Err(reason) => {
                onward.detail = onward.detail.or(Some(reason));
                ""
            }
        };
        if !reason.is_empty() {
            self.recorder.reason(reason);
            onward.detail = onward.detail.or(Some(reason));
        }
        let flow = self.forward(ctx, &mut exchange, request, *onward, flight);
        let queued = matches!(exchange.phase, Phase::Queued { .. }).then(|| exchange.upstream.clone());
        drop(exchange);
        match (flow, queued) {
            (Flow::Continue, _) => drop(ctx.host.resume_request()),
            (Flow::Pause, Some(upstream)) => self.queue_for_place(ctx, ask.context, &shared, &upstream),
            (Flow::Pause, None) => {}
        }
        true
    }

    /// Queues the second question: with the selecting fields that the tier named, or to wait for another Envoy's fetch.
    fn ask_again(&mut self, ask: &Ask, found: &mut TierFound, request: &[u8], now_ms: Millis) -> bool {
        let mut get = ask.request.clone();
        let mut again = (ask.timeout_ms, ask.until_ms, ask.varied);
        if found.result() == Found::Vary {
            if ask.varied || found.vary.is_empty() {
                return false;
            }
            let names = std::mem::take(&mut found.vary);
            get.variant = variant(&names, &Fields::from(header_map::parse(request)));
            get.vary.clone_from(&names);
            if self.tier.varying.len() >= MAX_VARYING {
                self.tier.varying.clear();
            }
            self.tier.varying.insert(ask.key.hash(), names);
            again.2 = true;
        } else {
            if ask.waits() || ask.request.lease_ms == 0 {
                return false;
            }
            let tier = &self.policies.tier;
            get.wait_ms = millis(tier.coalesce_wait_ms);
            let timeout_ms = tier.coalesce_wait_ms.saturating_add(tier.deadline_ms);
            again = (timeout_ms, now_ms.saturating_add(timeout_ms), ask.varied);
        }
        self.tier.asks.push_back(Ask {
            context: ask.context,
            exchange: Rc::clone(&ask.exchange),
            key: ask.key.clone(),
            request: get,
            timeout_ms: again.0,
            until_ms: again.1,
            varied: again.2,
        });
        true
    }

    /// Whether what comes by this route may be offered, as far as that is known without the request.
    pub(super) fn tier_may_take(&self, route: &RoutePolicy) -> bool {
        route.tier && self.tier.fence.is_some()
    }

    /// The place in the tier's order of purges for a fetch that begins now; `None` where its response is not to be offered.
    pub(super) fn tier_fence(&self, route: &RoutePolicy, request: &Fields<'_>) -> Option<Fence> {
        self.tier.fence.filter(|_| takes_part(route, request))
    }
}

/// What is one client's alone stays on its Envoy.
fn takes_part(route: &RoutePolicy, request: &Fields<'_>) -> bool {
    route.tier && !request.has(b"authorization")
}

pub(super) fn variant(names: &[Vec<u8>], request: &Fields<'_>) -> u64 {
    if names.is_empty() {
        return 0;
    }
    selecting::variant_hash(names.iter().map(Vec::as_slice), request)
}

fn millis(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}
