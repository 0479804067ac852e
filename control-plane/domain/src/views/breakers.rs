//! `GET /circuit-breaker/status`.

use crate::Millis;
use crate::fleet::Fleet;
use crate::sum::Filter;
use optimizer_proto::v1::BreakerEvent;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How bad a state is; the runbook knows three of them.
fn rank(state: &str) -> u8 {
    match state {
        "open" | "forced_open" => 2,
        "half_open" => 1,
        _ => 0,
    }
}

fn state_of(rank: u8) -> &'static str {
    match rank {
        2 => "open",
        1 => "half_open",
        _ => "closed",
    }
}

/// The worst state of all breakers of the present Envoys, in the runbook's three words.
#[must_use]
pub fn worst_state(fleet: &Fleet, filter: &Filter, now_ms: Millis) -> &'static str {
    let worst = fleet
        .present_of(filter, now_ms)
        .flat_map(|(_, envoy)| &envoy.gauges.breakers)
        // A route's own breaker is named after its upstream and itself.
        .filter(|gauge| {
            let upstream = gauge.upstream.split('/').next().unwrap_or_default();
            filter.takes_upstream(&gauge.upstream) || filter.takes_upstream(upstream)
        })
        .map(|gauge| rank(&gauge.state))
        .max();
    state_of(worst.unwrap_or(0))
}

/// A transition, as told in lists and live.
#[must_use]
pub fn breaker_event(node: &str, event: &BreakerEvent) -> Value {
    json!({
        "node_id": node,
        "upstream": event.upstream,
        "from": event.from,
        "to": event.to,
        "cause": event.cause,
        "at": event.at_ms,
    })
}

/// `GET /circuit-breaker/status`.
#[must_use]
pub fn breakers(fleet: &Fleet, now_ms: Millis) -> Value {
    let worst = worst_state(fleet, &Filter::default(), now_ms);
    let mut failures = 0_u64;
    let mut in_worst = 0_u64;
    let mut upstreams: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut concurrency: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (name, envoy) in fleet.present(now_ms) {
        let is_worst = envoy
            .gauges
            .breakers
            .iter()
            .any(|gauge| state_of(rank(&gauge.state)) == worst);
        in_worst += u64::from(is_worst);
        for gauge in &envoy.gauges.concurrency {
            concurrency.entry(&gauge.upstream).or_default().push(json!({
                "envoy": name,
                "node_id": envoy.node_id,
                "in_flight": gauge.in_use,
                "limit": gauge.limit,
                "waiting": gauge.waiting,
                "refused": gauge.refused_total,
            }));
        }
        for gauge in &envoy.gauges.breakers {
            failures = failures.saturating_add(gauge.failures);
            upstreams.entry(&gauge.upstream).or_default().push(json!({
                "envoy": name,
                "node_id": envoy.node_id,
                "state": gauge.state,
                "since": gauge.since_ms,
                "cause": gauge.cause,
                "calls": gauge.calls,
                "failures": gauge.failures,
                "slow_calls": gauge.slow_calls,
                "refused_calls": gauge.refused_total,
                "next_probe": gauge.next_probe_ms,
                "probes_in_flight": gauge.in_flight,
            }));
        }
    }
    json!({
        "state": worst,
        "failure_count": failures,
        "envoys_in_state": in_worst,
        "envoys": fleet.present(now_ms).count(),
        "upstreams": upstreams,
        "concurrency": concurrency,
        "as_of": now_ms,
    })
}
