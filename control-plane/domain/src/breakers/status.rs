//! `GET /circuit-breaker/status`: every breaker with its evidence.

use crate::Millis;
use crate::breakers::active_health_check::ActiveHealthCheck;
use crate::breakers::overrides::{BreakerOverride, BreakerOverrides};
use crate::breakers::state::{awaits_request, state_of, worst_state};
use crate::fleet::{Envoy, Fleet};
use crate::telemetry::figure::{Figure, number, percent};
use crate::telemetry::sum::Filter;
use optimizer_proto::v1::{BreakerEvent, BreakerEvidence, BreakerGauge, ConcurrencyGauge};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Every breaker.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BreakerStatus {
    /// The worst of all: closed, half_open or open.
    pub state: &'static str,
    /// Failures in the windows of all breakers.
    pub failure_count: u64,
    /// Envoys with a breaker in the worst state.
    pub envoys_in_state: u64,
    /// Number of connected Envoys.
    pub envoys: usize,
    /// By upstream, and `upstream/route` for a route's own: the breaker on each Envoy.
    pub upstreams: BTreeMap<String, Vec<Breaker>>,
    /// By upstream: calls under way on each Envoy.
    pub concurrency: BTreeMap<String, Vec<Concurrency>>,
    /// What operators have put in place of the breakers' judgement.
    pub steered: Vec<BreakerOverride>,
    /// Now, milliseconds since 1970.
    pub as_of: Millis,
}

/// Calls under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Concurrency {
    /// Instance id of the Envoy.
    pub envoy: String,
    /// Node id of the Envoy.
    pub node_id: String,
    /// Calls under way now.
    pub in_flight: u64,
    /// How many there may be.
    pub limit: u64,
    /// Requests that wait for a place.
    pub waiting: u64,
    /// Requests refused since the Envoy started.
    pub refused: u64,
}

/// A breaker on one Envoy. What does not apply is left out.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Breaker {
    /// Instance id of the Envoy.
    pub envoy: String,
    /// Node id of the Envoy.
    pub node_id: String,
    /// In force: closed, open, half_open, forced_open, forced_closed or dry_run.
    pub state: String,
    /// What the breaker itself would do.
    pub judged: String,
    /// Since when it is so, milliseconds since 1970.
    pub since: Millis,
    /// Why it is in this state.
    pub cause: String,
    /// What it sees now.
    #[serde(flatten)]
    pub window: Evidence,
    /// Calls refused since the Envoy started.
    pub refused_calls: u64,
    /// Calls a dry run would have refused.
    pub would_refuse_calls: u64,
    /// Calls put off after an outage because something stale could be served.
    pub deferred_calls: u64,
    /// When it tries again, milliseconds since 1970; 0 = it is not open, or the time has come.
    pub next_probe: Millis,
    /// It is half-open, and the next request tries the upstream.
    pub ready_to_probe: bool,
    /// Probes that have no answer yet.
    pub probes_in_flight: u32,
    /// What it judges by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// What it opened on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_on: Option<Evidence>,
    /// The check that probes where no request does, if the settings have one for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_health_check: Option<ActiveHealthCheck>,
    /// When a forced state ends by itself, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced_until: Option<Millis>,
    /// Since when calls are let through at a pace, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovering_since: Option<Millis>,
}

/// What a breaker judges by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Thresholds {
    /// Share of failed calls at which the breaker opens, percent.
    pub failure_rate: u32,
    /// Share of slow calls at which the breaker opens, percent.
    pub slow_call_rate: u32,
    /// A call that takes at least this many milliseconds is slow.
    pub slow_call_ms: u64,
    /// Calls below which it does not judge.
    pub minimum_calls: u32,
    /// Milliseconds it looks back.
    pub window_ms: u64,
    /// Connections that could not be made, one after the other.
    pub connect_failures_in_a_row: u32,
    /// Probes at a time.
    pub probes: u32,
}

/// What a breaker sees, or saw when it opened.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Evidence {
    /// Calls in the window.
    pub calls: u64,
    /// Number of calls that failed.
    pub failures: u64,
    /// Slow ones among them.
    pub slow_calls: u64,
    /// Share of the calls that failed, percent.
    pub failure_rate: Figure,
    /// Share of the calls that were slow, percent.
    pub slow_call_rate: Figure,
    /// Connections that could not be made, one after the other.
    pub connect_failures_in_a_row: u32,
}

/// A transition of a breaker.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Transition {
    /// Node id of the Envoy.
    pub node_id: String,
    /// Upstream of the breaker.
    pub upstream: String,
    /// State before.
    pub from: String,
    /// State after.
    pub to: String,
    /// Why the state changed.
    pub cause: String,
    /// False when an operator's override overruled it.
    pub in_force: bool,
    /// Milliseconds since 1970.
    pub at: Millis,
    /// What it opened on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_on: Option<Evidence>,
}

/// The worst state with how many Envoys are in it, each breaker on each Envoy, and the overrides in force.
#[must_use]
pub fn breaker_status(fleet: &Fleet, breaker_overrides: &BreakerOverrides, now_ms: Millis) -> BreakerStatus {
    let worst = worst_state(fleet, &Filter::default(), now_ms);
    let mut failures = 0_u64;
    let mut in_worst = 0_u64;
    let mut upstreams: BTreeMap<String, Vec<Breaker>> = BTreeMap::new();
    let mut concurrency: BTreeMap<String, Vec<Concurrency>> = BTreeMap::new();
    for (name, envoy) in fleet.present(now_ms) {
        let gauges = &envoy.gauges;
        let is_worst = gauges
            .breakers
            .iter()
            .any(|gauge| state_of(gauge).for_runbook() == worst);
        in_worst += u64::from(is_worst);
        for gauge in &gauges.concurrency {
            let entry = limit(name, envoy, gauge);
            concurrency.entry(gauge.upstream.clone()).or_default().push(entry);
        }
        for gauge in &gauges.breakers {
            let opened = gauge.evidence.map_or(0, |evidence| evidence.failures);
            // The window may have moved on since it opened; the failures that opened it are what is asked for.
            failures = failures.saturating_add(gauge.failures.max(opened));
            let entry = breaker(name, envoy, gauge, now_ms);
            upstreams.entry(gauge.upstream.clone()).or_default().push(entry);
        }
    }
    BreakerStatus {
        state: worst.as_str(),
        failure_count: failures,
        envoys_in_state: in_worst,
        envoys: fleet.present(now_ms).count(),
        upstreams,
        concurrency,
        steered: breaker_overrides.in_force(now_ms).cloned().collect(),
        as_of: now_ms,
    }
}

fn limit(name: &str, envoy: &Envoy, gauge: &ConcurrencyGauge) -> Concurrency {
    Concurrency {
        envoy: name.to_owned(),
        node_id: envoy.node_id.clone(),
        in_flight: gauge.in_use,
        limit: gauge.limit,
        waiting: gauge.waiting,
        refused: gauge.refused_total,
    }
}

/// A field that does not apply is left out: nothing here is ever null.
fn breaker(name: &str, envoy: &Envoy, gauge: &BreakerGauge, now_ms: Millis) -> Breaker {
    let thresholds = gauge.thresholds.as_ref().map(|limits| Thresholds {
        failure_rate: limits.failure_rate_percent,
        slow_call_rate: limits.slow_call_rate_percent,
        slow_call_ms: limits.slow_call_ms,
        minimum_calls: limits.minimum_calls,
        window_ms: limits.window_ms,
        connect_failures_in_a_row: limits.connect_failures,
        probes: limits.probes,
    });
    let set = |at_ms: Millis| Some(at_ms).filter(|at_ms| *at_ms > 0);
    Breaker {
        envoy: name.to_owned(),
        node_id: envoy.node_id.clone(),
        state: gauge.state.clone(),
        judged: gauge.judged.clone(),
        since: gauge.since_ms,
        cause: gauge.cause.clone(),
        window: seen(&BreakerEvidence {
            calls: gauge.calls,
            failures: gauge.failures,
            slow_calls: gauge.slow_calls,
            connect_failures: gauge.connect_failures,
        }),
        refused_calls: gauge.refused_total,
        would_refuse_calls: gauge.would_refuse_total,
        deferred_calls: gauge.deferred_total,
        // The report may be a second old.
        next_probe: Some(gauge.next_probe_ms).filter(|at_ms| *at_ms > now_ms).unwrap_or(0),
        ready_to_probe: awaits_request(gauge),
        probes_in_flight: gauge.in_flight,
        thresholds,
        opened_on: gauge.evidence.as_ref().map(seen),
        active_health_check: gauge.active_health_check.as_ref().map(Into::into),
        forced_until: set(gauge.forced_until_ms),
        recovering_since: set(gauge.recovering_since_ms),
    }
}

fn seen(evidence: &BreakerEvidence) -> Evidence {
    Evidence {
        calls: evidence.calls,
        failures: evidence.failures,
        slow_calls: evidence.slow_calls,
        failure_rate: number(percent(evidence.failures, evidence.calls)),
        slow_call_rate: number(percent(evidence.slow_calls, evidence.calls)),
        connect_failures_in_a_row: evidence.connect_failures,
    }
}

/// A transition, as told in lists and live.
#[must_use]
pub fn breaker_event(node: &str, event: &BreakerEvent) -> Transition {
    Transition {
        node_id: node.to_owned(),
        upstream: event.upstream.clone(),
        from: event.from.clone(),
        to: event.to.clone(),
        cause: event.cause.clone(),
        in_force: !event.overruled,
        at: event.at_ms,
        opened_on: event.evidence.as_ref().map(seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::v1::{BreakerThresholds, FilterGauges, Hello, TelemetryReport};
    use serde_json::json;

    fn fleet(gauge: BreakerGauge) -> Fleet {
        let mut fleet = Fleet::default();
        let hello = Hello {
            instance_id: "a".to_owned(),
            ..Default::default()
        };
        fleet.hello(&hello, 1, 1_000);
        let gauges = FilterGauges {
            breakers: vec![gauge],
            ..Default::default()
        };
        let report = TelemetryReport {
            sequence: 1,
            gauges: Some(gauges),
            ..Default::default()
        };
        fleet.reported("a", &report, 1_000);
        fleet
    }

    #[test]
    fn an_open_breaker_shows_what_opened_it_against_which_threshold() {
        let gauge = BreakerGauge {
            upstream: "api".to_owned(),
            state: "open".to_owned(),
            cause: "failure_rate".to_owned(),
            evidence: Some(BreakerEvidence {
                calls: 40,
                failures: 30,
                ..Default::default()
            }),
            thresholds: Some(BreakerThresholds {
                failure_rate_percent: 50,
                ..Default::default()
            }),
            ..Default::default()
        };
        let status = json!(breaker_status(&fleet(gauge), &BreakerOverrides::default(), 2_000));
        assert_eq!(
            (&status["state"], &status["failure_count"]),
            (&json!("open"), &json!(30))
        );
        let shown = &status["upstreams"]["api"][0];
        assert_eq!(
            (
                &shown["opened_on"]["failure_rate"],
                &shown["thresholds"]["failure_rate"]
            ),
            (&json!(75), &json!(50))
        );
        assert!(!shown.to_string().contains("null"), "{shown}");
    }

    #[test]
    fn a_probe_is_never_due_in_the_past() {
        let open = |next_probe_ms| BreakerGauge {
            upstream: "api".to_owned(),
            state: "open".to_owned(),
            next_probe_ms,
            ..Default::default()
        };
        let half_open = |in_flight| BreakerGauge {
            upstream: "api".to_owned(),
            state: "half_open".to_owned(),
            in_flight,
            ..Default::default()
        };
        for (gauge, next_probe, ready) in [
            (open(2_500), 2_500, false),
            (open(1_999), 0, false),
            (half_open(0), 0, true),
            (half_open(1), 0, false),
        ] {
            let status = breaker_status(&fleet(gauge.clone()), &BreakerOverrides::default(), 2_000);
            let shown = &status.upstreams["api"][0];
            assert_eq!(
                (shown.next_probe, shown.ready_to_probe),
                (next_probe, ready),
                "{gauge:?}"
            );
        }
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        let status = json!(breaker_status(
            &fleet(BreakerGauge::default()),
            &BreakerOverrides::default(),
            2_000
        ));
        let shown = status["upstreams"][""][0].as_object().unwrap();
        for field in [
            "opened_on",
            "forced_until",
            "recovering_since",
            "thresholds",
            "active_health_check",
        ] {
            assert!(!shown.contains_key(field), "{field}");
        }
        assert!(!status.to_string().contains("null"), "{status}");
    }
}
