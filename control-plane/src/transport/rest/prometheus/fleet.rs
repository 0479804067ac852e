//! What the Envoys did and hold, all together.

use super::families::{Labels, counters, gauge, gauges, histograms, seconds, summary};
use control_domain::cache::held::held;
use control_domain::fleet::Fleet;
use control_domain::fleet::faults::{Fault, Kind};
use control_domain::telemetry::envoy_stats::EnvoyStats;
use control_domain::telemetry::figure::percent;
use control_domain::telemetry::sum::{Filter, Sum};
use control_domain::views::{self, FORWARDED, FROM_CACHE, OUTCOMES};
use optimizer_proto::codes::{BreakerState, ErrorKind, TierResult, VerifyResult};
use optimizer_proto::telemetry::counters;
use optimizer_proto::v1::Outcome;
use prometheus::proto::MetricFamily;
use std::collections::BTreeMap;

const STATES: &[BreakerState] = BreakerState::ALL;
/// Envoys with breaker series of their own; further ones share those of `other`.
const NAMED_ENVOYS: usize = 256;

pub(super) fn families(fleet: &Fleet, stats: &EnvoyStats, now_ms: u64) -> Vec<MetricFamily> {
    let totals = fleet.totals();
    let recent = fleet.recent(views::DEFAULT_WINDOW_MS, now_ms);
    let mut families = requests(fleet, &totals);
    families.extend(latency(&totals, &recent));
    families.extend(cache(fleet, &totals, now_ms));
    families.extend(upstreams(stats, &totals, &recent, now_ms));
    families.extend(breakers(fleet, now_ms));
    families.extend(reports(fleet, now_ms));
    families
}

/// How many Envoys have a fault of each kind.
pub(super) fn faults(found: &[Fault]) -> MetricFamily {
    let of = |kind: Kind| found.iter().filter(|fault| fault.kind == kind).count() as f64;
    gauges(
        "api_optimizer_envoy_faults",
        "Envoys with something wrong that the filter in them does not tell, by the component of /health.",
        Kind::ALL.map(|kind| (vec![("component", kind.component())], of(kind))),
    )
}

fn requests(fleet: &Fleet, totals: &Sum) -> Vec<MetricFamily> {
    let by_outcome = OUTCOMES.map(|(outcome, name)| (vec![("outcome", name)], totals.count(outcome)));
    let mut by_route: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    for series in fleet.total_series() {
        let outcome = Outcome::try_from(series.outcome).unwrap_or_default();
        let name = OUTCOMES.iter().find(|(known, _)| *known == outcome);
        let key = (
            series.route.as_str(),
            series.upstream.as_str(),
            name.map_or("other", |(_, name)| *name),
        );
        add(by_route.entry(key).or_default(), series.count);
    }
    let by_route = by_route.into_iter().map(|((route, upstream, outcome), count)| {
        let labels: Labels<'_> = vec![("route", route), ("upstream", upstream), ("outcome", outcome)];
        (labels, count)
    });
    vec![
        counters(
            "api_optimizer_requests_total",
            "Requests by what became of them.",
            by_outcome,
        ),
        counters(
            "api_optimizer_route_requests_total",
            "Requests by route, upstream and what became of them.",
            by_route,
        ),
        counters(
            "api_optimizer_response_bytes_total",
            "Content bytes sent to clients.",
            [(vec![], totals.response_bytes)],
        ),
    ]
}

fn latency(totals: &Sum, recent: &Sum) -> Vec<MetricFamily> {
    let answered = [
        (vec![("answered_by", "cache")], totals.latency_of(&FROM_CACHE)),
        (vec![("answered_by", "upstream")], totals.latency_of(&FORWARDED)),
        (vec![("answered_by", "filter")], totals.latency_of(&[Outcome::Shed])),
    ];
    vec![
        summary(
            "api_optimizer_request_duration_seconds",
            "Client latency; quantiles of the whole fleet over five minutes.",
            &recent.latency(),
            &totals.latency(),
            1e6,
        ),
        histograms(
            "api_optimizer_client_latency_seconds",
            "Client latency by who answered.",
            answered,
        ),
        summary(
            "api_optimizer_filter_overhead_seconds",
            "Time spent inside the filter per request; quantiles over five minutes.",
            &recent.overhead,
            &totals.overhead,
            1e9,
        ),
    ]
}

fn cache(fleet: &Fleet, totals: &Sum, now_ms: u64) -> Vec<MetricFamily> {
    let held = held(fleet, now_ms);
    let counts = &totals.cache;
    let operations = counters::CACHE
        .iter()
        .filter_map(|row| Some((row.label?, row.of(counts))));
    let reasons = totals
        .reasons
        .iter()
        .filter(|(reason, _)| reason.parse::<TierResult>().is_err() && reason.parse::<VerifyResult>().is_err())
        .map(|(reason, count)| (vec![("reason", reason.as_str())], *count));
    let tier = totals
        .reasons
        .iter()
        .filter_map(|(reason, count)| Some((vec![("result", reason.parse::<TierResult>().ok()?.label())], *count)));
    let verified = totals
        .reasons
        .iter()
        .filter_map(|(reason, count)| Some((vec![("result", reason.parse::<VerifyResult>().ok()?.label())], *count)));
    let kinds = |held: u64, limit: u64| {
        [
            (vec![("kind", "held")], held as f64),
            (vec![("kind", "limit")], limit as f64),
        ]
    };
    vec![
        counters(
            "api_optimizer_cache_operations_total",
            "What the caches did.",
            operations.map(|(name, count)| (vec![("operation", name)], count)),
        ),
        counters(
            "api_optimizer_cache_hit_bytes_total",
            "Content bytes answered from the cache.",
            [(vec![], counts.hit_bytes)],
        ),
        seconds(
            "api_optimizer_cache_saved_seconds_total",
            "How long the origin took, in all, for the responses that hits were answered with.",
            counts.saved_ms,
        ),
        counters(
            "api_optimizer_cache_not_used_total",
            "Responses not stored or not reused, by reason.",
            reasons,
        ),
        counters(
            "api_optimizer_shared_tier_total",
            "What the Envoys asked of the shared tier and offered to it, by what came of it.",
            tier,
        ),
        counters(
            "api_optimizer_verified_sharing_total",
            "Requests of verified sharing to the origin, and what came of the hits that were compared, by result.",
            verified,
        ),
        gauges(
            "api_optimizer_cache_entries",
            "Stored responses.",
            kinds(held.entries, held.limit_entries),
        ),
        gauges(
            "api_optimizer_cache_bytes",
            "Memory of stored responses.",
            kinds(held.bytes, held.limit_bytes),
        ),
    ]
}

fn upstreams(stats: &EnvoyStats, totals: &Sum, recent: &Sum, now_ms: u64) -> Vec<MetricFamily> {
    let own = stats.recent(views::DEFAULT_WINDOW_MS, now_ms);
    let share = |known: bool, by_envoy: f64, part: u64, whole: u64| {
        let percent = if known { by_envoy } else { percent(part, whole) };
        percent / 100.0
    };
    let http2 = share(
        own.requests > 0,
        own.http2_adoption(),
        recent.http2,
        recent.protocol_known,
    );
    let reuse = share(
        own.upstream_requests > 0,
        own.connection_reuse(),
        recent.upstream_reused,
        recent.upstream_requests,
    );
    let mut open: BTreeMap<&str, u64> = BTreeMap::new();
    let mut clients = 0_u64;
    for (_, gauges) in stats.present(now_ms) {
        clients = clients.saturating_add(gauges.downstream_open);
        for (name, connections) in &gauges.upstreams {
            add(open.entry(name).or_default(), *connections);
        }
    }
    let errors = ErrorKind::ALL
        .iter()
        .map(|kind| kind.as_str())
        .map(|kind| (vec![("type", kind)], totals.errors.get(kind).copied().unwrap_or(0)));
    vec![
        counters(
            "api_optimizer_upstream_errors_total",
            "Failures of upstreams by type.",
            errors,
        ),
        counters(
            "api_optimizer_upstream_requests_total",
            "Requests to upstreams.",
            [(vec![], totals.upstream_requests)],
        ),
        counters(
            "api_optimizer_upstream_reused_connections_total",
            "Requests to upstreams that needed no new connection, as far as the filter can tell.",
            [(vec![], totals.upstream_reused)],
        ),
        gauge(
            "api_optimizer_http2_adoption_ratio",
            "Share of client requests on HTTP/2 or later over five minutes.",
            http2,
        ),
        gauge(
            "api_optimizer_connection_reuse_ratio",
            "Share of upstream requests that needed no new connection over five minutes.",
            reuse,
        ),
        gauge(
            "api_optimizer_client_connections",
            "Open connections of clients.",
            clients as f64,
        ),
        gauges(
            "api_optimizer_upstream_connections",
            "Open connections to upstreams.",
            open.into_iter()
                .map(|(name, connections)| (vec![("upstream", name)], connections as f64)),
        ),
    ]
}

fn breakers(fleet: &Fleet, now_ms: u64) -> Vec<MetricFamily> {
    let mut states: BTreeMap<(&str, &str), [bool; STATES.len()]> = BTreeMap::new();
    let mut envoys: BTreeMap<&str, [u64; STATES.len()]> = BTreeMap::new();
    let mut calls: BTreeMap<&str, u64> = BTreeMap::new();
    for (at, (name, envoy)) in fleet.present_of(&Filter::default(), now_ms).enumerate() {
        let node = Some(envoy.node_id.as_str()).filter(|node| !node.is_empty());
        let label = if at < NAMED_ENVOYS {
            node.unwrap_or(name)
        } else {
            "other"
        };
        for gauge in &envoy.gauges.breakers {
            let known = STATES.iter().position(|state| state.as_str() == gauge.state);
            add(calls.entry(&gauge.upstream).or_default(), gauge.refused_total);
            let one_hot = states.entry((label, &gauge.upstream)).or_default();
            if let Some(is_in) = known.and_then(|at| one_hot.get_mut(at)) {
                *is_in = true;
            }
            let counted = envoys.entry(&gauge.upstream).or_default();
            if let Some(count) = known.and_then(|at| counted.get_mut(at)) {
                *count += 1;
            }
        }
    }
    let states = states.into_iter().flat_map(|((envoy, upstream), states)| {
        STATES.iter().zip(states).map(move |(state, is_in)| {
            let labels: Labels<'_> = vec![("envoy", envoy), ("upstream", upstream), ("state", state.as_str())];
            (labels, f64::from(u8::from(is_in)))
        })
    });
    let envoys = envoys.into_iter().flat_map(|(upstream, counts)| {
        let series = STATES.iter().zip(counts);
        series.map(move |(state, count)| (vec![("upstream", upstream), ("state", state.as_str())], count as f64))
    });
    let calls = calls.into_iter();
    vec![
        gauges(
            "api_optimizer_breaker_state",
            "1 for the state a breaker is in, 0 for the others.",
            states,
        ),
        gauges(
            "api_optimizer_breaker_envoys",
            "Envoys whose breaker of an upstream is in a state.",
            envoys,
        ),
        gauges(
            "api_optimizer_breaker_refused_calls",
            "Calls the breakers of the present Envoys have refused so far.",
            calls.map(|(upstream, count)| (vec![("upstream", upstream)], count as f64)),
        ),
    ]
}

fn reports(fleet: &Fleet, now_ms: u64) -> Vec<MetricFamily> {
    let present = fleet.present(now_ms).count();
    let away = fleet.envoys().count().saturating_sub(present);
    let (merged, faults) = fleet.reports();
    let known = ["duplicate", "refused"].map(|cause| (cause, 0));
    let mut causes: BTreeMap<&str, u64> = BTreeMap::from(known);
    for (cause, count) in faults {
        add(causes.entry(cause).or_default(), *count);
        if *cause != "duplicate" {
            add(causes.entry("refused").or_default(), *count);
        }
    }
    let refused = causes.remove("refused").unwrap_or(0);
    vec![
        gauges(
            "api_optimizer_envoys",
            "Envoys by presence.",
            [
                (vec![("presence", "present")], present as f64),
                (vec![("presence", "away")], away as f64),
            ],
        ),
        counters(
            "api_optimizer_telemetry_reports_total",
            "Reports of Envoys by what became of them.",
            [
                (vec![("result", "merged")], merged),
                (vec![("result", "refused")], refused),
            ],
        ),
        counters(
            "api_optimizer_telemetry_faults_total",
            "Reports not merged, by cause.",
            causes.into_iter().map(|(cause, count)| (vec![("cause", cause)], count)),
        ),
    ]
}

/// Adds what an Envoy has told, whatever it is.
fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}
