//! What a client gets when its upstream is not called, or does not answer: something stale where the route's staleness policy allows
//! it, else a problem that says why and when to come back (RFC 9209 names the cause).

use super::answer::Problem;
use crate::Millis;
use crate::breaker::{OutcomeClass, Permit, Refusal, Why};
use crate::cache::reply::{self, Answer};
use crate::cache::reuse::{self, Failure};
use crate::cache::{CacheStatus, StoredView};
use crate::collapse::Failed;
use crate::driver::exchange::lifecycle::Refusal as Refused;
use crate::driver::exchange::plan::ForwardPlan;
use crate::driver::exchange::{Exchange, Flow, Forwarded};
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::reply::answer::{Served, answer_problem};
use crate::driver::vm::Vm;
use crate::engine::CacheRequest;
use crate::http::fields::Fields;
use optimizer_proto::v1::Outcome;
use std::borrow::Cow;

/// Why a call is not made, as the client is told.
pub(crate) struct Shed {
    problem: Problem,
    /// In `Cache-Status`.
    detail: &'static str,
    /// RFC 9209.
    proxy_status: Cow<'static, str>,
    retry_after_ms: Millis,
    outcome: Outcome,
    failure: Failure,
}

impl Shed {
    /// The limit of calls in flight is reached.
    fn over_limit() -> Self {
        Self {
            problem: Problem {
                status: 503,
                code: "concurrency_limit",
                title: "The upstream has as many requests as it is given at a time",
            },
            detail: "concurrency-limit",
            // RFC 9209 section 2.3.12.
            proxy_status: Cow::Borrowed("api-optimizer; error=connection_limit_reached; details=\"concurrency limit\""),
            retry_after_ms: 1_000,
            outcome: Outcome::Shed,
            failure: Failure::Unreachable,
        }
    }

    /// The fetch that this request followed has failed, and so has another one.
    fn fetch_failed(failed: Failed) -> Self {
        let status = failed.status;
        Self {
            problem: Problem {
                status,
                code: "upstream_failed",
                title: "The upstream failed to answer the fetch that this request waited for",
            },
            detail: "collapsed-failure",
            proxy_status: Cow::Owned(format!("api-optimizer; received-status={status}")),
            retry_after_ms: 1_000,
            outcome: Outcome::Error,
            failure: failure(failed),
        }
    }
}

impl From<Refused> for Shed {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::OverLimit => Self::over_limit(),
            Refused::Breaker(refusal) => Self::from(refusal),
            Refused::FetchFailed(failed) => Self::fetch_failed(failed),
        }
    }
}

impl From<Refusal> for Shed {
    fn from(refusal: Refusal) -> Self {
        // RFC 9209 section 2.3.2.
        let (detail, proxy_status) = match refusal.why {
            Why::Open => (
                "breaker-open",
                "api-optimizer; error=destination_unavailable; details=\"circuit breaker open\"",
            ),
            Why::HalfOpen => (
                "breaker-half-open",
                "api-optimizer; error=destination_unavailable; details=\"circuit breaker half-open\"",
            ),
            Why::ForcedOpen => (
                "breaker-forced-open",
                "api-optimizer; error=destination_unavailable; details=\"circuit breaker opened by an operator\"",
            ),
            Why::Recovering => (
                "breaker-recovering",
                "api-optimizer; error=destination_unavailable; details=\"upstream recovering\"",
            ),
        };
        Self {
            problem: Problem {
                status: 503,
                code: "circuit_breaker_open",
                title: "The upstream is not being called at the moment",
            },
            detail,
            proxy_status: Cow::Borrowed(proxy_status),
            retry_after_ms: refusal.retry_after_ms,
            outcome: Outcome::Shed,
            failure: if refusal.why == Why::Recovering {
                Failure::Spared
            } else {
                Failure::Unreachable
            },
        }
    }
}

/// What the breaker's refusal comes to.
pub(crate) enum Rejection {
    /// Something stale has been served.
    Answered(Flow),
    /// Nothing can be served: the call is refused.
    Away(Refusal),
}

impl Vm {
    /// Asks for the permits of a call. A call that can wait for a recovering upstream, because a stale response can be
    /// served, waits; one that cannot goes.
    pub(crate) fn admit_or_serve(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        map: &[u8],
        onward: &ForwardPlan,
    ) -> Result<Vec<Permit>, Rejection> {
        let refusal = match self.admit(ctx, exchange, onward.stored.is_some()) {
            Ok(permits) => return Ok(permits),
            Err(refusal) => refusal,
        };
        if let Some(flow) = self.stale_for_refused(ctx, exchange, map, onward, &Shed::from(refusal)) {
            return Err(Rejection::Answered(flow));
        }
        if refusal.why == Why::Recovering {
            return self.admit(ctx, exchange, false).map_err(Rejection::Away);
        }
        Err(Rejection::Away(refusal))
    }

    /// A call is refused: something stale if that is allowed, else 503 with when to come back.
    pub(crate) fn shed(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        map: &[u8],
        onward: &ForwardPlan,
        shed: &Shed,
    ) -> Flow {
        if let Some(flow) = self.stale_for_refused(ctx, exchange, map, onward, shed) {
            return flow;
        }
        exchange.outcome = shed.outcome;
        let status = CacheStatus {
            forward: Some(onward.cause),
            detail: Some(shed.detail),
            ..CacheStatus::default()
        };
        let longest_ms = self.policies.settings.breaker.retry_after_max_ms;
        let retry_after = retry_after(shed.retry_after_ms.min(longest_ms));
        let more: [(&[u8], &[u8]); 2] = [
            (b"retry-after", retry_after.as_bytes()),
            (b"proxy-status", shed.proxy_status.as_bytes()),
        ];
        answer_problem(ctx.host, exchange, &shed.problem, &status, &more)
    }

    fn stale_for_refused(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        map: &[u8],
        onward: &ForwardPlan,
        shed: &Shed,
    ) -> Option<Flow> {
        let content = exchange.content.key();
        let request = CacheRequest::read(Fields::from(header_map::parse(map)))?.with_content(content.as_deref());
        let route = exchange.route.clone()?;
        let held = onward.stored.as_ref()?;
        let view = StoredView::decode(&held.bytes, false).ok()?;
        let directives = request.directives(&route.freshness);
        let reuse = reuse::on_failure(&view, &directives, &route.freshness, shed.failure, ctx.now_ms)?;
        let Answer::Reply(reply) = reply::build(
            &view,
            &reuse,
            request.method,
            &request.fields,
            exchange.started_ns,
            ctx.now_ms,
        ) else {
            return None;
        };
        let status = CacheStatus {
            hit: true,
            ttl_s: Some(reuse.ttl_s),
            detail: Some(shed.detail),
            ..CacheStatus::default()
        };
        let more: [(&[u8], &[u8]); 1] = [(b"proxy-status", shed.proxy_status.as_bytes())];
        let served = Served {
            view: &view,
            reply: &reply,
            status,
            outcome: Outcome::Stale,
            more: &more,
            memory: Some(&held.bytes),
        };
        let flow = self.answer(ctx.host, exchange, &served);
        (flow == Flow::Pause).then_some(flow)
    }

    /// The upstream did not answer, and nothing stale serves: Envoy's own plain text is replaced by a problem that names the cause.
    pub(crate) fn explain_failure(
        &mut self,
        host: &impl Host,
        exchange: &mut Exchange,
        forwarded: &Forwarded,
        class: OutcomeClass,
    ) -> Option<Flow> {
        let (code, title) = match class {
            OutcomeClass::Timeout => ("upstream_timeout", "The upstream did not answer in time"),
            OutcomeClass::ProtocolError => ("upstream_protocol_error", "The upstream's answer was no HTTP"),
            OutcomeClass::Overflow => (
                "upstream_overflow",
                "The upstream has as many requests as Envoy gives it",
            ),
            _ => ("upstream_unreachable", "The upstream could not be reached"),
        };
        let problem = Problem {
            status: forwarded.status,
            code,
            title,
        };
        let status = CacheStatus {
            forward: Some(forwarded.cause),
            detail: forwarded.detail,
            ..CacheStatus::default()
        };
        let proxy_status = failure_status(class)?;
        let retry_after = retry_after(0);
        let more: [(&[u8], &[u8]); 2] = [
            (b"proxy-status", proxy_status.as_bytes()),
            (b"retry-after", retry_after.as_bytes()),
        ];
        let flow = answer_problem(host, exchange, &problem, &status, &more);
        (flow == Flow::Pause).then_some(flow)
    }
}

/// The way a fetch failed, as the rules for stale responses tell it.
pub(crate) fn failure(failed: Failed) -> Failure {
    if failed.unreachable {
        Failure::Unreachable
    } else {
        Failure::ServerError
    }
}

fn retry_after(ms: Millis) -> String {
    ms.div_ceil(1_000).max(1).to_string()
}

/// `Proxy-Status` of a failure of the upstream (RFC 9209 section 2.3); `None` for what is none.
pub(crate) fn failure_status(class: OutcomeClass) -> Option<String> {
    let error = match class {
        OutcomeClass::ConnectFailure => "destination_unavailable",
        OutcomeClass::Reset | OutcomeClass::Refused => "connection_terminated",
        OutcomeClass::Timeout => "http_response_timeout",
        OutcomeClass::ProtocolError => "http_protocol_error",
        OutcomeClass::Overflow => "connection_limit_reached",
        OutcomeClass::Status(status) => return Some(format!("api-optimizer; received-status={status}")),
        OutcomeClass::ClientGone | OutcomeClass::Local => return None,
    };
    Some(format!("api-optimizer; error={error}"))
}
