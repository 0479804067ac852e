//! `GET /metrics`: the fleet's totals for Prometheus.

use crate::infrastructure::system;
use crate::plane::{Plane, now_ms};
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use control_domain::fleet::Fleet;
use control_domain::views;
use optimizer_proto::v1::Outcome;
use prometheus::{Encoder, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use std::sync::Arc;

const OUTCOMES: [(Outcome, &str); 7] = [
    (Outcome::Hit, "hit"),
    (Outcome::Stale, "stale"),
    (Outcome::Revalidated, "revalidated"),
    (Outcome::Miss, "miss"),
    (Outcome::Bypass, "bypass"),
    (Outcome::Shed, "shed"),
    (Outcome::Error, "error"),
];
const STATES: [&str; 6] = ["closed", "open", "half_open", "forced_open", "forced_closed", "dry_run"];
const QUANTILES: [(f64, &str); 4] = [(0.5, "0.5"), (0.9, "0.9"), (0.95, "0.95"), (0.99, "0.99")];

#[utoipa::path(get, path = "/metrics", tag = "metrics", responses((status = 200, description = "Prometheus exposition of the fleet")))]
pub(crate) async fn exposition(State(plane): State<Arc<Plane>>) -> impl IntoResponse {
    let registry = {
        let domain = plane.domain();
        let alerts: Vec<(&str, &str, usize)> = domain
            .board
            .active(false)
            .into_iter()
            .fold(std::collections::BTreeMap::new(), |mut counts, alert| {
                *counts.entry((alert.name.as_str(), alert.severity.word())).or_insert(0) += 1;
                counts
            })
            .into_iter()
            .map(|((name, severity), count)| (name, severity, count))
            .collect();
        let revision = domain.book.present().number;
        collect(&domain.fleet, now_ms())
            .and_then(|registry| process(&registry, revision, &alerts, domain.notifications.0).map(|()| registry))
    };
    let mut text = Vec::new();
    if let Ok(registry) = registry {
        // Writing into memory fails only on families without metrics, of which there are none.
        let _ = TextEncoder::new().encode(&registry.gather(), &mut text);
    }
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
}

fn collect(fleet: &Fleet, now_ms: u64) -> prometheus::Result<Registry> {
    let registry = Registry::new();
    let totals = fleet.totals();
    let recent = fleet.recent(views::DEFAULT_WINDOW_MS, now_ms);
    let held = views::held(fleet, now_ms);

    let requests = counters(
        &registry,
        "api_optimizer_requests_total",
        "Requests by what became of them.",
        "outcome",
    )?;
    for (outcome, name) in OUTCOMES {
        requests.with_label_values(&[name]).inc_by(totals.count(outcome));
    }
    let errors = counters(
        &registry,
        "api_optimizer_upstream_errors_total",
        "Failures of upstreams by type.",
        "type",
    )?;
    for kind in views::ERROR_TYPES {
        errors
            .with_label_values(&[kind])
            .inc_by(totals.errors.get(kind).copied().unwrap_or(0));
    }
    let reasons = counters(
        &registry,
        "api_optimizer_cache_not_used_total",
        "Responses not stored or not reused, by reason.",
        "reason",
    )?;
    for (reason, count) in &totals.reasons {
        reasons.with_label_values(&[reason.as_str()]).inc_by(*count);
    }
    let operations = counters(
        &registry,
        "api_optimizer_cache_operations_total",
        "What the caches did.",
        "operation",
    )?;
    for (name, count) in [
        ("lookup", totals.cache.lookups),
        ("hit", totals.cache.hits),
        ("store", totals.cache.stores),
        ("evict", totals.cache.evictions),
        ("expire", totals.cache.expirations),
        ("invalidate", totals.cache.invalidations),
        ("corrupt", totals.cache.corrupt_slots),
    ] {
        operations.with_label_values(&[name]).inc_by(count);
    }
    let cache = gauges(&registry, "api_optimizer_cache_entries", "Stored responses.", "kind")?;
    cache.with_label_values(&["held"]).set(clamp(held.entries));
    cache.with_label_values(&["limit"]).set(clamp(held.limit_entries));
    let memory = gauges(
        &registry,
        "api_optimizer_cache_bytes",
        "Memory of stored responses.",
        "kind",
    )?;
    memory.with_label_values(&["held"]).set(clamp(held.bytes));
    memory.with_label_values(&["limit"]).set(clamp(held.limit_bytes));

    let latency = GaugeVec::new(
        Opts::new(
            "api_optimizer_request_duration_seconds",
            "Quantiles of client latency over five minutes, whole fleet.",
        ),
        &["quantile"],
    )?;
    for (quantile, name) in QUANTILES {
        latency
            .with_label_values(&[name])
            .set(recent.latency.quantile(quantile).unwrap_or(0.0) / 1e6);
    }
    registry.register(Box::new(latency))?;

    let breakers = IntGaugeVec::new(
        Opts::new(
            "api_optimizer_breaker_state",
            "1 for the state a breaker is in, 0 for the others.",
        ),
        &["envoy", "upstream", "state"],
    )?;
    for (name, envoy) in fleet.present(now_ms) {
        for gauge in &envoy.gauges.breakers {
            for state in STATES {
                let labels = [name, gauge.upstream.as_str(), state];
                breakers.with_label_values(&labels).set(i64::from(gauge.state == state));
            }
        }
    }
    registry.register(Box::new(breakers))?;

    let envoys = gauges(&registry, "api_optimizer_envoys", "Envoys by presence.", "presence")?;
    let present = fleet.present(now_ms).count();
    envoys.with_label_values(&["present"]).set(clamp(present as u64));
    envoys
        .with_label_values(&["away"])
        .set(clamp(fleet.envoys().count().saturating_sub(present) as u64));
    let (refused, duplicate) = fleet.report_faults();
    let faults = counters(
        &registry,
        "api_optimizer_telemetry_faults_total",
        "Reports not merged, by cause.",
        "cause",
    )?;
    faults.with_label_values(&["refused"]).inc_by(refused);
    faults.with_label_values(&["duplicate"]).inc_by(duplicate);
    Ok(registry)
}

fn process(
    registry: &Registry,
    revision: u64,
    alerts: &[(&str, &str, usize)],
    waiting: usize,
) -> prometheus::Result<()> {
    let build = gauges(
        registry,
        "api_optimizer_build_info",
        "Always 1; the version is a label.",
        "version",
    )?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    let settings = prometheus::IntGauge::new("api_optimizer_settings_revision", "Settings revision in force.")?;
    settings.set(clamp(revision));
    registry.register(Box::new(settings))?;
    let firing = IntGaugeVec::new(
        Opts::new("api_optimizer_alerts", "Alerts that are on, by rule and severity."),
        &["alert", "severity"],
    )?;
    for (name, severity, count) in alerts {
        firing.with_label_values(&[*name, *severity]).set(clamp(*count as u64));
    }
    registry.register(Box::new(firing))?;
    let notifications = prometheus::IntGauge::new(
        "api_optimizer_notifications_waiting",
        "Notifications of alerts that could not be delivered yet.",
    )?;
    notifications.set(clamp(waiting as u64));
    registry.register(Box::new(notifications))?;
    if let Some(bytes) = system::resident_bytes() {
        let memory =
            prometheus::IntGauge::new("process_resident_memory_bytes", "Resident memory of the control plane.")?;
        memory.set(clamp(bytes));
        registry.register(Box::new(memory))?;
    }
    Ok(())
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauges(registry: &Registry, name: &str, help: &str, label: &str) -> prometheus::Result<IntGaugeVec> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
