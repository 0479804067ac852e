//! `GET /circuit-breaker/status`: every breaker with its evidence.

use crate::Millis;
use crate::fleet::{Envoy, Fleet};
use crate::steering::Steering;
use crate::sum::Filter;
use crate::views::{number, rank, state_of, worst_state};
use optimizer_proto::v1::{BreakerEvent, BreakerEvidence, BreakerGauge, ConcurrencyGauge};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The worst state with how many Envoys are in it, each breaker on each Envoy, and what operators have said.
#[must_use]
pub fn breaker_status(fleet: &Fleet, steering: &Steering, now_ms: Millis) -> Value {
    let worst = worst_state(fleet, &Filter::default(), now_ms);
    let mut failures = 0_u64;
    let mut in_worst = 0_u64;
    let mut upstreams: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut concurrency: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (name, envoy) in fleet.present(now_ms) {
        let gauges = &envoy.gauges;
        let is_worst = gauges
            .breakers
            .iter()
            .any(|gauge| state_of(rank(&gauge.state)) == worst);
        in_worst += u64::from(is_worst);
        for gauge in &gauges.concurrency {
            let entry = limit(name, envoy, gauge);
            concurrency.entry(&gauge.upstream).or_default().push(entry);
        }
        for gauge in &gauges.breakers {
            let opened = gauge.evidence.map_or(0, |evidence| evidence.failures);
            // The window may have moved on since it opened; the failures that opened it are what is asked for.
            failures = failures.saturating_add(gauge.failures.max(opened));
            let entry = breaker(name, envoy, gauge);
            upstreams.entry(&gauge.upstream).or_default().push(entry);
        }
    }
    json!({
        "state": worst,
        "failure_count": failures,
        "envoys_in_state": in_worst,
        "envoys": fleet.present(now_ms).count(),
        "upstreams": upstreams,
        "concurrency": concurrency,
        "steered": steering.in_force(now_ms).collect::<Vec<_>>(),
        "as_of": now_ms,
    })
}

fn limit(name: &str, envoy: &Envoy, gauge: &ConcurrencyGauge) -> Value {
    json!({
        "envoy": name,
        "node_id": envoy.node_id,
        "in_flight": gauge.in_use,
        "limit": gauge.limit,
        "waiting": gauge.waiting,
        "refused": gauge.refused_total,
    })
}

/// A field that does not apply is left out: nothing here is ever null.
fn breaker(name: &str, envoy: &Envoy, gauge: &BreakerGauge) -> Value {
    let mut entry = json!({
        "envoy": name,
        "node_id": envoy.node_id,
        "state": gauge.state,
        "judged": gauge.judged,
        "since": gauge.since_ms,
        "cause": gauge.cause,
        "calls": gauge.calls,
        "failures": gauge.failures,
        "slow_calls": gauge.slow_calls,
        "failure_rate": percent(gauge.failures, gauge.calls),
        "slow_call_rate": percent(gauge.slow_calls, gauge.calls),
        "connect_failures_in_a_row": gauge.connect_failures,
        "refused_calls": gauge.refused_total,
        "would_refuse_calls": gauge.would_refuse_total,
        "deferred_calls": gauge.deferred_total,
        "next_probe": gauge.next_probe_ms,
        "probes_in_flight": gauge.in_flight,
    });
    let mut more = Map::new();
    if let Some(limits) = &gauge.thresholds {
        let thresholds = json!({
            "failure_rate": limits.failure_rate_percent,
            "slow_call_rate": limits.slow_call_rate_percent,
            "slow_call_ms": limits.slow_call_ms,
            "minimum_calls": limits.minimum_calls,
            "window_ms": limits.window_ms,
            "connect_failures_in_a_row": limits.connect_failures,
            "probes": limits.probes,
        });
        more.insert("thresholds".to_owned(), thresholds);
    }
    if let Some(evidence) = &gauge.evidence {
        more.insert("opened_on".to_owned(), seen(evidence));
    }
    for (field, at_ms) in [
        ("forced_until", gauge.forced_until_ms),
        ("recovering_since", gauge.recovering_since_ms),
    ] {
        if at_ms > 0 {
            more.insert(field.to_owned(), json!(at_ms));
        }
    }
    if let Some(entry) = entry.as_object_mut() {
        entry.extend(more);
    }
    entry
}

fn seen(evidence: &BreakerEvidence) -> Value {
    json!({
        "calls": evidence.calls,
        "failures": evidence.failures,
        "slow_calls": evidence.slow_calls,
        "failure_rate": percent(evidence.failures, evidence.calls),
        "slow_call_rate": percent(evidence.slow_calls, evidence.calls),
        "connect_failures_in_a_row": evidence.connect_failures,
    })
}

/// A transition, as told in lists and live.
#[must_use]
pub fn breaker_event(node: &str, event: &BreakerEvent) -> Value {
    let mut entry = json!({
        "node_id": node,
        "upstream": event.upstream,
        "from": event.from,
        "to": event.to,
        "cause": event.cause,
        "in_force": !event.overruled,
        "at": event.at_ms,
    });
    if let (Some(entry), Some(evidence)) = (entry.as_object_mut(), &event.evidence) {
        entry.insert("opened_on".to_owned(), seen(evidence));
    }
    entry
}

#[allow(clippy::cast_precision_loss)]
fn percent(part: u64, whole: u64) -> Value {
    number(if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::v1::{BreakerThresholds, FilterGauges, Hello, TelemetryReport};

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
        let status = breaker_status(&fleet(gauge), &Steering::default(), 2_000);
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
    fn what_does_not_apply_is_left_out() {
        let status = breaker_status(&fleet(BreakerGauge::default()), &Steering::default(), 2_000);
        let shown = status["upstreams"][""][0].as_object().unwrap();
        for field in ["opened_on", "forced_until", "recovering_since", "thresholds"] {
            assert!(!shown.contains_key(field), "{field}");
        }
        assert!(!status.to_string().contains("null"), "{status}");
    }
}
