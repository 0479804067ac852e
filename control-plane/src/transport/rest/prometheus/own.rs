//! The control plane about itself: settings, alerts, process, requests.

use super::families::{counters, gauge, gauges};
use super::openmetrics::{Exemplar, Exemplars};
use crate::alerts::AlertService;
use crate::experiments::ExperimentService;
use crate::kernel::clock::now_ms;
use crate::kernel::sync::lock;
use crate::kernel::trace::Cause;
use crate::settings::SettingsService;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{DEFAULT_BUCKETS, HistogramOpts, HistogramVec, IntCounterVec, Opts};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

pub(super) fn families(
    settings: &SettingsService,
    alerts: &AlertService,
    experiments: &ExperimentService,
) -> Vec<MetricFamily> {
    let (running, ended) = experiments.counts();
    let (waiting, given_up) = alerts.notifications();
    let active = alerts.active(false);
    let condition = settings.condition();
    let mut alerts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for (alert, _) in &active {
        *alerts.entry((&alert.name, alert.severity.as_str())).or_default() += 1;
    }
    let alerts = alerts
        .into_iter()
        .map(|((name, severity), count)| (vec![("alert", name), ("severity", severity)], f64::from(count)));
    let mut families = vec![
        gauges(
            "api_optimizer_build_info",
            "Always 1; the version is a label.",
            [(vec![("version", env!("CARGO_PKG_VERSION"))], 1.0)],
        ),
        gauge(
            "api_optimizer_settings_revision",
            "Settings revision in force.",
            settings.published().present().number as f64,
        ),
        gauge(
            "api_optimizer_config_map_refused_keys",
            "ConfigMap keys whose present value is refused; their last good values stay in force.",
            condition.refused_keys.len() as f64,
        ),
        counters(
            "api_optimizer_config_map_refusals_total",
            "ConfigMap values refused since the control plane started.",
            [(Vec::new(), condition.refusals)],
        ),
        gauges(
            "api_optimizer_alerts",
            "Alerts that are on, by rule and severity.",
            alerts,
        ),
        gauge(
            "api_optimizer_notifications_waiting",
            "Notifications of alerts that could not be delivered yet.",
            waiting as f64,
        ),
        gauge(
            "api_optimizer_notifications_given_up",
            "Notifications that made room for newer ones before they could be delivered.",
            given_up as f64,
        ),
        gauge(
            "api_optimizer_experiments_running",
            "Experiments with settings that are under way.",
            running as f64,
        ),
        counters(
            "api_optimizer_experiments_total",
            "Experiments with settings that ended since the control plane started, by how.",
            ended
                .into_iter()
                .map(|(outcome, count)| (vec![("outcome", outcome)], count)),
        ),
    ];
    // Processor time, memory, descriptors, threads and start of this process, under their customary names.
    families.extend(ProcessCollector::for_self().collect());
    families
}

/// Requests to this API.
#[derive(Debug)]
pub(crate) struct Requests {
    count: Option<IntCounterVec>,
    duration: Option<HistogramVec>,
    /// The newest of each bucket that has been traced.
    exemplars: Mutex<Exemplars>,
}

const DURATION: &str = "api_optimizer_http_request_duration_seconds";

impl Requests {
    pub(crate) fn new() -> Self {
        let count = IntCounterVec::new(
            Opts::new("api_optimizer_http_requests_total", "Requests to the REST API."),
            &["method", "path", "code"],
        );
        let duration = HistogramVec::new(
            HistogramOpts::new(DURATION, "Time to the head of the answer of the REST API."),
            &["method", "path"],
        );
        // Names and labels are constant and sound; were they not, this alone would be missing.
        Self {
            count: count.ok(),
            duration: duration.ok(),
            exemplars: Mutex::default(),
        }
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        let count = self.count.iter().flat_map(Collector::collect);
        let duration = self.duration.iter().flat_map(Collector::collect);
        count.chain(duration).collect()
    }

    pub(super) fn exemplars(&self) -> Exemplars {
        lock(&self.exemplars).clone()
    }

    /// Notes the trace of a request, if it has one: by the line of its bucket, of which there are as many as patterns, methods and bounds make.
    fn note(&self, method: &str, path: &str, value: f64) {
        let Some(trace) = Cause::present().sampled_trace() else {
            return;
        };
        let bound = DEFAULT_BUCKETS.iter().find(|bound| value <= **bound);
        let bound = bound.map_or_else(|| "+Inf".to_owned(), f64::to_string);
        let line = format!("{DURATION}_bucket{{method=\"{method}\",path=\"{path}\",le=\"{bound}\"}}");
        let at_ms = now_ms();
        lock(&self.exemplars).insert(line, Exemplar { trace, value, at_ms });
    }

    /// Counts every request by the pattern of its path, so that no client can make up labels.
    pub(crate) async fn count(State(requests): State<Arc<Self>>, request: Request, next: Next) -> Response {
        let started = Instant::now();
        let path = request
            .extensions()
            .get::<MatchedPath>()
            .map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
        let method = match request.method().as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
            _ => "other",
        }
        .to_owned();
        let response = next.run(request).await;
        if let Some(duration) = &requests.duration {
            let elapsed = started.elapsed().as_secs_f64();
            duration.with_label_values(&[&method, &path]).observe(elapsed);
            requests.note(&method, &path, elapsed);
        }
        if let Some(count) = &requests.count {
            count
                .with_label_values(&[method.as_str(), path.as_str(), response.status().as_str()])
                .inc();
        }
        response
    }
}
