//! The breaker in front of every upstream: permits, outcomes of calls, and what is logged and counted about them.

use crate::Millis;
use crate::breaker::{
    self, BreakerPolicy, Call, Evidence, Forced, OutcomeClass, Permit, Refusal, Transition, View, Why,
};
use crate::driver::exchange::Exchange;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::{Host, LogLevel};
use crate::driver::shared::registry;
use crate::driver::shared::wake::Wake;
use crate::driver::vm::Vm;
use optimizer_proto::codes::BreakerState;
use optimizer_proto::codes::ErrorKind;
use optimizer_proto::v1::breaker_command::Action;
use optimizer_proto::v1::{
    ActiveHealthCheck, BreakerCommand, BreakerEvent, BreakerEvidence, BreakerGauge, BreakerThresholds,
};
use std::rc::Rc;

/// The breaker's state for the access log; not there while it is closed.
const STATE: &[u8] = b"api_optimizer.breaker";

impl Vm {
    /// Leave of the upstream's breaker, and of the route's own where it has one. `can_wait`: something stale may serve instead.
    /// What is not ordinary goes to the access log.
    pub(crate) fn admit(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &Exchange,
        can_wait: bool,
    ) -> Result<Vec<Permit>, Refusal> {
        let own = exchange.route.as_ref().filter(|route| route.own_breaker);
        let own = own.map(|route| route.name.as_str());
        let admitted = self.admit_to(ctx, &exchange.upstream, own, can_wait);
        let state = match &admitted {
            Err(refusal) => Some(match refusal.why {
                Why::Open | Why::ForcedOpen => BreakerState::Open.as_str(),
                Why::HalfOpen => BreakerState::HalfOpen.as_str(),
                Why::Recovering => "recovering",
            }),
            Ok(permits) => permits
                .iter()
                .any(Permit::is_probe)
                .then_some(BreakerState::HalfOpen.as_str()),
        };
        if let Some(state) = state {
            // A host that refuses costs only the log its field.
            let _ = ctx.host.set_property(STATE, state.as_bytes());
        }
        admitted
    }

    /// As [`Vm::admit`], by names. None is needed without an upstream.
    pub(crate) fn admit_to(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        upstream: &str,
        own_route: Option<&str>,
        can_wait: bool,
    ) -> Result<Vec<Permit>, Refusal> {
        let mut permits = Vec::with_capacity(1);
        if upstream.is_empty() {
            return Ok(permits);
        }
        permits.extend(self.ask_breaker(ctx, upstream, can_wait)?);
        if let Some(route) = own_route {
            match self.ask_breaker(ctx, &route_breaker(upstream, route), can_wait) {
                Ok(permit) => permits.extend(permit),
                Err(refusal) => {
                    // The upstream's own permit is given back: this call will not be made.
                    self.settle(ctx, permits, OutcomeClass::Local, 0);
                    return Err(refusal);
                }
            }
        }
        Ok(permits)
    }

    fn ask_breaker(&mut self, ctx: Ctx<'_, impl Host>, name: &str, can_wait: bool) -> Result<Option<Permit>, Refusal> {
        let call = Call {
            holder: self.uid,
            can_wait,
        };
        let policies = Rc::clone(&self.policies);
        let decided = self
            .upstreams
            .breakers
            .acquire(ctx.host, name, &policies.breaker, &call, ctx.now_ms, || {
                ctx.host.random()
            });
        self.report_transition(ctx.host, decided.transition);
        decided.leave
    }

    /// Resolves permits, each once.
    pub(crate) fn settle(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        permits: Vec<Permit>,
        class: OutcomeClass,
        took_ms: Millis,
    ) {
        for permit in permits {
            let policies = Rc::clone(&self.policies);
            let transition = self.upstreams.breakers.resolve(
                ctx.host,
                permit,
                &policies.breaker,
                class,
                took_ms,
                ctx.now_ms,
                || ctx.host.random(),
            );
            self.report_transition(ctx.host, transition);
        }
    }

    /// Resolves the permits of a background request by the status of its answer; `None` when there was none.
    pub(crate) fn settle_background(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        permits: Vec<Permit>,
        cluster: &str,
        status: Option<u16>,
        took_ms: Millis,
    ) {
        let class = status.map_or(OutcomeClass::Reset, OutcomeClass::Status);
        if let Some(kind) = error_kind(class) {
            let upstream = self.recorder.name(cluster);
            self.recorder.error(kind, upstream);
        }
        self.settle(ctx, permits, class, took_ms);
    }

    /// What nobody may have noticed for want of calls. By the leader, once a second.
    pub(crate) fn sweep_breakers(&mut self, ctx: Ctx<'_, impl Host>) {
        let vms = registry::vms(ctx.host, ctx.steady_ms());
        let alive = |uid| vms.iter().any(|vm| vm.uid == uid);
        let transitions = breaker::sweep(ctx.host, &self.policies.breaker, alive, ctx.now_ms);
        transitions
            .into_iter()
            .for_each(|transition| self.report_transition(ctx.host, Some(transition)));
    }

    /// Logs a transition and has the leader report it at once.
    pub(crate) fn report_transition(&mut self, host: &impl Host, transition: Option<Transition>) {
        let Some(transition) = transition else { return };
        host.log(LogLevel::Warn, &sentence(&transition));
        self.recorder.event(BreakerEvent {
            upstream: transition.upstream,
            from: transition.from.as_str().to_owned(),
            to: transition.to.as_str().to_owned(),
            cause: transition.cause.code().to_owned(),
            at_ms: transition.at_ms,
            overruled: transition.overruled,
            evidence: evidence(transition.evidence),
        });
        self.hand_over_counts(host);
        for vm in registry::vms(host, host.steady_ms()) {
            // Where no wake-up arrives, the second's report says it.
            let _ = host.enqueue(vm.queue, &[Wake::Report.byte()]);
        }
    }

    /// An operator's override on a breaker.
    pub(crate) fn apply_override(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        apply_override: &BreakerCommand,
    ) -> Result<(), String> {
        let forced = match apply_override.action() {
            Action::ForceOpen => Forced::Open,
            Action::ForceClose => Forced::Closed,
            Action::DryRun => Forced::DryRun,
            Action::Reset => Forced::None,
            Action::Unspecified => return Err("what to do with the breaker is not said".to_owned()),
        };
        if apply_override.upstream.is_empty() {
            return Err("which upstream is not said".to_owned());
        }
        let lasts_ms = if apply_override.expires_in_ms == 0 {
            u64::MAX
        } else {
            apply_override.expires_in_ms
        };
        let until_ms = ctx.now_ms.saturating_add(lasts_ms);
        let policy = &self.policies.breaker;
        if !policy.enabled {
            return Err("the settings in force switch circuit breakers off".to_owned());
        }
        let transition =
            breaker::apply_override(ctx.host, &apply_override.upstream, policy, forced, until_ms, ctx.now_ms)
                .map_err(|error| format!("the breaker's record could not be written: {error}"))?;
        self.report_transition(ctx.host, transition);
        Ok(())
    }
}

/// Type of an upstream's failure, as counted; `None` for what is none.
pub(crate) fn error_kind(class: OutcomeClass) -> Option<ErrorKind> {
    Some(match class {
        OutcomeClass::Status(500..) => ErrorKind::Upstream5xx,
        OutcomeClass::ConnectFailure => ErrorKind::ConnectFailure,
        OutcomeClass::Reset => ErrorKind::Reset,
        OutcomeClass::Timeout => ErrorKind::Timeout,
        OutcomeClass::Refused => ErrorKind::Refused,
        OutcomeClass::ProtocolError => ErrorKind::ProtocolError,
        OutcomeClass::Overflow => ErrorKind::Overflow,
        OutcomeClass::Status(_) | OutcomeClass::ClientGone | OutcomeClass::Local => return None,
    })
}

/// Name of a route's own breaker.
fn route_breaker(upstream: &str, route: &str) -> String {
    format!("{upstream}/{route}")
}

/// A transition as a log line.
fn sentence(transition: &Transition) -> String {
    let Transition {
        upstream,
        from,
        to,
        cause,
        evidence,
        ..
    } = transition;
    let overruled = if transition.overruled { ", not in force" } else { "" };
    let mut text = format!(
        "breaker {upstream}: {} -> {} ({}{overruled})",
        from.as_str(),
        to.as_str(),
        cause.code()
    );
    if *evidence != Evidence::default() {
        text += &format!(
            "; calls={} failures={} slow={} connect_failures_in_a_row={}",
            evidence.calls, evidence.failures, evidence.slow, evidence.connect_failures
        );
    }
    text
}

fn evidence(seen: Evidence) -> Option<BreakerEvidence> {
    (seen != Evidence::default()).then_some(BreakerEvidence {
        calls: seen.calls,
        failures: seen.failures,
        slow_calls: seen.slow,
        connect_failures: seen.connect_failures,
    })
}

/// A breaker's view as reported.
pub(crate) fn gauge(
    view: View,
    policy: &BreakerPolicy,
    active_health_check: Option<ActiveHealthCheck>,
) -> BreakerGauge {
    let (calls, failures, slow_calls) = view.window;
    BreakerGauge {
        upstream: view.upstream,
        state: view.state.as_str().to_owned(),
        since_ms: view.since_ms,
        calls,
        failures,
        slow_calls,
        refused_total: view.refused,
        next_probe_ms: view.next_probe_ms,
        cause: view.cause.code().to_owned(),
        in_flight: view.probes,
        judged: view.judged.as_str().to_owned(),
        would_refuse_total: view.would_refuse,
        deferred_total: view.deferred,
        forced_until_ms: view.forced_until_ms,
        recovering_since_ms: view.recovering_since_ms,
        connect_failures: view.connect_failures,
        evidence: evidence(view.evidence),
        active_health_check,
        thresholds: Some(BreakerThresholds {
            failure_rate_percent: policy.failure_rate_percent,
            slow_call_rate_percent: policy.slow_call_rate_percent,
            slow_call_ms: policy.slow_call_ms,
            window_ms: policy.window_ms,
            minimum_calls: policy.minimum_calls,
            connect_failures: policy.consecutive_connect_failures,
            probes: policy.probes,
        }),
    }
}
