//! The breaker in front of every upstream, and what a client gets when it refuses.

use super::answer::Problem;
use super::exchange::{Exchange, Flow};
use super::header_map;
use super::host::{Host, LogLevel};
use super::on_request::Onward;
use super::vm::Vm;
use crate::Millis;
use crate::breaker::{self, Cause, Forced, OutcomeClass, Permit, Refusal, State, Transition, View};
use crate::cache::reply::{self, Answer};
use crate::cache::reuse::{self, Failure};
use crate::cache::{CacheStatus, StoredView};
use crate::engine::Asked;
use crate::http::fields::Fields;
use optimizer_proto::v1::breaker_command::Action;
use optimizer_proto::v1::{BreakerCommand, BreakerEvent, BreakerGauge, Outcome};
use serde_json::json;

/// Why a call is not made, as the client is told.
pub(super) struct Shed {
    pub(super) problem: Problem,
    /// In `Cache-Status`.
    pub(super) detail: &'static str,
    /// RFC 9209 section 2.3: the proxy made this response.
    pub(super) proxy_status: &'static str,
    pub(super) retry_after_ms: Millis,
}

impl From<Refusal> for Shed {
    fn from(refusal: Refusal) -> Self {
        Self {
            problem: Problem {
                status: 503,
                code: "circuit_breaker_open",
                title: "The upstream is not being called at the moment",
            },
            detail: if refusal.cause == Cause::None {
                "breaker-forced-open"
            } else {
                "breaker-open"
            },
            proxy_status: "api-optimizer; error=destination_unavailable; details=\"circuit breaker open\"",
            retry_after_ms: refusal.retry_after_ms,
        }
    }
}

impl Vm {
    /// Leave of the upstream's breaker, and of the route's own where it has one.
    pub(super) fn admit(
        &mut self,
        host: &impl Host,
        exchange: &Exchange,
        now_ms: Millis,
    ) -> Result<Vec<Permit>, Refusal> {
        let mut permits = Vec::with_capacity(1);
        permits.extend(self.admit_background(host, &exchange.upstream, now_ms)?);
        if let Some(route) = exchange.route.as_ref().filter(|route| route.own_breaker) {
            let name = format!("{}/{}", exchange.upstream, route.name);
            match self.admit_background(host, &name, now_ms) {
                Ok(permit) => permits.extend(permit),
                Err(refusal) => {
                    // The upstream's own permit is given back: this call will not be made.
                    self.settle(host, permits, OutcomeClass::Local, 0, now_ms);
                    return Err(refusal);
                }
            }
        }
        Ok(permits)
    }

    /// Leave of one breaker; none is needed without an upstream.
    pub(super) fn admit_background(
        &mut self,
        host: &impl Host,
        name: &str,
        now_ms: Millis,
    ) -> Result<Option<Permit>, Refusal> {
        if name.is_empty() {
            return Ok(None);
        }
        let (permit, transition) = breaker::acquire(host, name, &self.policies.breaker, now_ms, host.random())?;
        self.tell(host, transition);
        Ok(permit)
    }

    /// Resolves permits, each once.
    pub(super) fn settle(
        &mut self,
        host: &impl Host,
        permits: Vec<Permit>,
        class: OutcomeClass,
        took_ms: Millis,
        now_ms: Millis,
    ) {
        for permit in permits {
            let random = host.random();
            let transition = breaker::resolve(host, permit, &self.policies.breaker, class, took_ms, now_ms, random);
            self.tell(host, transition);
        }
    }

    /// Resolves the permit of a background request by the status of its answer; `None` when there was none.
    pub(super) fn settle_background(
        &mut self,
        host: &impl Host,
        permit: Option<Permit>,
        cluster: &str,
        status: Option<u16>,
        took_ms: Millis,
        now_ms: Millis,
    ) {
        let class = status.map_or(OutcomeClass::Reset, OutcomeClass::Status);
        if let Some(kind) = error_kind(class) {
            let upstream = self.recorder.name(cluster);
            self.recorder.error(kind, upstream);
        }
        self.settle(host, permit.into_iter().collect(), class, took_ms, now_ms);
    }

    fn tell(&mut self, host: &impl Host, transition: Option<Transition>) {
        let Some(transition) = transition else { return };
        let (from, to) = (state_name(transition.from), state_name(transition.to));
        let text = format!(
            "breaker {}: {from} -> {to} ({})",
            transition.upstream,
            transition.cause.code()
        );
        host.log(LogLevel::Warn, &text);
        self.recorder.event(BreakerEvent {
            upstream: transition.upstream,
            from: from.to_owned(),
            to: to.to_owned(),
            cause: transition.cause.code().to_owned(),
            at_ms: transition.at_ms,
        });
    }

    /// A call is refused: something stale if that is allowed, else 503 with when to come back.
    pub(super) fn shed(
        &mut self,
        host: &impl Host,
        exchange: &mut Exchange,
        map: &[u8],
        onward: Onward,
        shed: &Shed,
        now_ms: Millis,
    ) -> Flow {
        if let Some(flow) = self.stale_for_refused(host, exchange, map, &onward, shed.detail, now_ms) {
            return flow;
        }
        exchange.outcome = Outcome::Shed;
        let status = CacheStatus {
            forward: Some(onward.cause),
            detail: Some(shed.detail),
            ..CacheStatus::default()
        };
        let retry_after = shed.retry_after_ms.div_ceil(1_000).max(1).to_string();
        let more: [(&[u8], &[u8]); 2] = [
            (b"retry-after", retry_after.as_bytes()),
            (b"proxy-status", shed.proxy_status.as_bytes()),
        ];
        self.answer_problem(host, exchange, &shed.problem, &status, &more)
    }

    fn stale_for_refused(
        &mut self,
        host: &impl Host,
        exchange: &mut Exchange,
        map: &[u8],
        onward: &Onward,
        detail: &'static str,
        now_ms: Millis,
    ) -> Option<Flow> {
        let asked = Asked::read(Fields::from(header_map::parse(map)))?;
        let route = exchange.route.clone()?;
        let (bytes, _) = onward.stored.as_ref()?;
        let view = StoredView::decode(bytes, false).ok()?;
        let directives = asked.directives(&route.freshness);
        let reuse = reuse::on_failure(&view, &directives, &route.freshness, Failure::Unreachable, now_ms)?;
        let Answer::Reply(reply) =
            reply::build(&view, &reuse, asked.method, &asked.fields, exchange.started_ns, now_ms)
        else {
            return None;
        };
        let status = CacheStatus {
            hit: true,
            ttl_s: Some(reuse.ttl_s),
            detail: Some(detail),
            ..CacheStatus::default()
        };
        let flow = self.answer(host, exchange, &view, &reply, &status, Outcome::Stale);
        (flow == Flow::Pause).then_some(flow)
    }

    /// An operator's word on a breaker.
    pub(super) fn steer_breaker(
        &mut self,
        host: &impl Host,
        steer: &BreakerCommand,
        now_ms: Millis,
    ) -> Result<serde_json::Value, String> {
        let forced = match steer.action() {
            Action::ForceOpen => Forced::Open,
            Action::ForceClose => Forced::Closed,
            Action::DryRun => Forced::DryRun,
            Action::Reset => Forced::None,
            Action::Unspecified => return Err("what to do with the breaker is not said".to_owned()),
        };
        if steer.upstream.is_empty() {
            return Err("which upstream is not said".to_owned());
        }
        let lasts_ms = if steer.expires_in_ms == 0 {
            u64::MAX
        } else {
            steer.expires_in_ms
        };
        let until_ms = now_ms.saturating_add(lasts_ms);
        if !breaker::steer(host, &steer.upstream, forced, until_ms, now_ms) {
            return Err("the breaker's record could not be written".to_owned());
        }
        host.log(
            LogLevel::Warn,
            &format!("breaker {}: set to {:?} by an operator", steer.upstream, steer.action()),
        );
        Ok(json!({ "upstream": steer.upstream }))
    }
}

/// Type of an upstream's failure, as counted; `None` for what is none.
pub(super) fn error_kind(class: OutcomeClass) -> Option<&'static str> {
    Some(match class {
        OutcomeClass::Status(500..) => "upstream_5xx",
        OutcomeClass::ConnectFailure => "connect_failure",
        OutcomeClass::Reset => "reset",
        OutcomeClass::Timeout => "timeout",
        OutcomeClass::Refused => "refused",
        OutcomeClass::ProtocolError => "protocol_error",
        OutcomeClass::Overflow => "overflow",
        OutcomeClass::Status(_) | OutcomeClass::ClientGone | OutcomeClass::Local => return None,
    })
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Closed => "closed",
        State::Open => "open",
        State::HalfOpen => "half_open",
    }
}

/// A breaker's view as reported.
pub(super) fn gauge(view: View) -> BreakerGauge {
    let (calls, failures, slow_calls) = view.window;
    BreakerGauge {
        upstream: view.upstream,
        state: view.state.to_owned(),
        since_ms: view.since_ms,
        calls,
        failures,
        slow_calls,
        refused_total: view.refused,
        next_probe_ms: view.next_probe_ms,
        cause: view.cause.code().to_owned(),
        in_flight: view.probes,
    }
}
