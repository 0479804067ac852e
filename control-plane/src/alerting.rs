//! Alerts, on the control plane's clock: figures in, alerts out, notifications on their way.

use crate::infrastructure::notify::Notifier;
use crate::infrastructure::system::Sampler;
use crate::plane::{Domain, Event, Plane, now_ms};
use control_domain::alerts::{Action, Change, Figures, conditions};
use control_domain::views;
use optimizer_proto::settings::Settings;
use optimizer_proto::v1::Outcome;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the rules are judged. The runbook's shortest monitoring interval is 30 s.
const PERIOD: Duration = Duration::from_secs(1);
/// The machine is measured less often than that.
const SYSTEM_EVERY: u32 = 5;
/// Latency, errors and throughput are judged over the last minute, the hit ratio over five.
const SHORT_MS: u64 = 60_000;

/// Judges until told to stop.
pub(crate) async fn run(
    plane: Arc<Plane>,
    notifier: Arc<Notifier>,
    state_dir: Option<&Path>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut sampler = Sampler::new(state_dir);
    let mut beat = tokio::time::interval(PERIOD);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round = 0_u32;
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            _ = stopped.changed() => return,
        }
        if round.is_multiple_of(SYSTEM_EVERY) {
            let system = sampler.sample();
            plane.domain().system = system;
        }
        round = round.wrapping_add(1);
        judge(&plane, &notifier);
        notifier.deliver(now_ms()).await;
        plane.domain().notifications = notifier.standing();
    }
}

fn judge(plane: &Plane, notifier: &Notifier) {
    let now_ms = now_ms();
    let (changes, silenced) = {
        let mut domain = plane.domain();
        let Ok((settings, _)) = Settings::parse(&domain.book.present().document) else {
            return;
        };
        let found = conditions(&figures(&domain, &settings, now_ms), &settings.alerts);
        let changes = domain.board.evaluate(found, now_ms);
        let silenced: Vec<bool> = changes
            .iter()
            .map(|change| {
                let (Change::Firing(alert) | Change::Resolved(alert)) = change;
                domain.board.is_silenced(&alert.name, now_ms)
            })
            .collect();
        (changes, silenced)
    };
    for (change, silenced) in changes.into_iter().zip(silenced) {
        let (action, alert) = match change {
            Change::Firing(alert) => (Action::Trigger, alert),
            Change::Resolved(alert) => (Action::Resolve, alert),
        };
        tracing::warn!(
            alert = alert.name,
            severity = alert.severity.word(),
            ?action,
            silenced,
            summary = alert.summary,
            "alert"
        );
        plane.announce(Event::new("alert", serde_json::to_value(&alert).unwrap_or_default()));
        // A resolution is told in any case: whoever was told of the beginning waits for it.
        if !silenced || action == Action::Resolve {
            notifier.put(action, &alert, now_ms);
        }
    }
}

fn figures(domain: &Domain, settings: &Settings, now_ms: u64) -> Figures {
    let short = domain.fleet.recent(SHORT_MS, now_ms);
    let long = domain.fleet.recent(views::DEFAULT_WINDOW_MS, now_ms);
    let requests = short.requests();
    let errors = short.count(Outcome::Error).saturating_add(short.count(Outcome::Shed));
    let stats = &domain.envoy_stats;
    Figures {
        p95_ms: short.latency.quantile(0.95).unwrap_or(0.0) / 1_000.0,
        hit_ratio: views::percent(long.cache.hits, long.cache.lookups),
        error_rate: views::percent(errors, requests),
        #[allow(clippy::cast_precision_loss)]
        throughput: requests as f64 * 1_000.0 / SHORT_MS as f64,
        memory: domain.system.memory_percent,
        cpu: domain.system.cpu_percent,
        disk: domain.system.disk_percent,
        connections: views::connections_percent(stats, u64::from(settings.max_connections), now_ms),
        requests,
        lookups: long.cache.lookups,
        stores: long.cache.stores,
        evictions: long.cache.evictions,
        envoys: domain.fleet.present(now_ms).count(),
        stragglers: domain
            .fleet
            .stragglers(domain.book.epoch(), domain.book.present().number),
        refusing: domain
            .fleet
            .envoys()
            .filter(|(_, envoy)| envoy.connection.is_some() && envoy.refused.is_some())
            .map(|(name, _)| name.to_owned())
            .collect(),
        refused_keys: domain.config_map.refused().clone(),
        open_breakers: open_breakers(domain, now_ms),
        vm_reloads: stats.recent(views::DEFAULT_WINDOW_MS, now_ms).vm_reloads,
        storage_fault: domain.storage_fault.clone(),
    }
}

fn open_breakers(domain: &Domain, now_ms: u64) -> Vec<String> {
    let mut open: Vec<String> = domain
        .fleet
        .present(now_ms)
        .flat_map(|(_, envoy)| &envoy.gauges.breakers)
        .filter(|gauge| gauge.state == "open" || gauge.state == "forced_open")
        .map(|gauge| gauge.upstream.clone())
        .collect();
    open.sort_unstable();
    open.dedup();
    open
}
