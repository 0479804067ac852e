//! Alerts, on the control plane's clock: figures in, alerts out, notifications on their way.

use crate::alerts::notifier::Notifier;
use crate::alerts::store::AlertFile;
use crate::host::system::Sampler;
use crate::kernel::clock::now_ms;
use crate::kernel::events::Event;
use crate::plane::{Domain, Plane};
use control_domain::alerts::{Alert, Change, Figures, conditions};
use control_domain::sum::Filter;
use control_domain::views;
use optimizer_proto::settings::Settings;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

/// How often the rules are judged. The runbook's shortest monitoring interval is 30 s.
const PERIOD: Duration = Duration::from_secs(1);
/// The machine is measured less often than that.
const SYSTEM_EVERY: u32 = 5;
/// Latency, errors and throughput are judged over the last minute, the hit ratio over five.
const SHORT_MS: u64 = 60_000;
/// For how long a refused report speaks against its Envoy.
const BAD_REPORT_MS: u64 = 300_000;

fn each_second() -> Interval {
    let mut beat = tokio::time::interval(PERIOD);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

/// Judges until told to stop.
pub(crate) async fn run(
    plane: Arc<Plane>,
    notifier: Arc<Notifier>,
    state_dir: Option<&Path>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut file = AlertFile::new(state_dir);
    if let Some((board, baseline)) = file.load() {
        let mut domain = plane.domain();
        domain.board = board.resumed(now_ms());
        domain.baseline = baseline;
    }
    let mut sampler = Sampler::new(state_dir);
    let mut beat = each_second();
    let mut round = 0_u32;
    let mut led = false;
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            _ = stopped.changed() => break,
        }
        if round.is_multiple_of(SYSTEM_EVERY) {
            let system = sampler.sample();
            plane.domain().system = system;
        }
        round = round.wrapping_add(1);
        let hour_began = judge(&plane);
        // Before anybody is told: who is told of an alert must be told of its end, also after a restart.
        file.keep(&plane, hour_began);
        if notifies(&plane) {
            take_over(&plane, &notifier, &mut led).await;
            if tell(&plane, &notifier) {
                keep_for_others(&plane, &notifier).await;
            }
        } else {
            led = false;
        }
    }
    file.keep(&plane, true);
}

/// Delivers until told to stop; apart from judging, which a receiver that hangs must not hold up.
pub(crate) async fn deliver(plane: Arc<Plane>, notifier: Arc<Notifier>, mut stopped: watch::Receiver<bool>) {
    let mut beat = each_second();
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            _ = stopped.changed() => return,
        }
        if notifies(&plane) {
            let firing = told_about(&plane);
            if notifier.deliver(&firing).await {
                keep_for_others(&plane, &notifier).await;
            }
        }
        plane.domain().notifications = notifier.standing();
    }
}

/// Whether it is this replica that tells the receivers.
fn notifies(plane: &Plane) -> bool {
    plane.replicas.as_ref().is_none_or(|replicas| replicas.leads())
}

/// Who begins to notify goes on with what the one before has told.
async fn take_over(plane: &Plane, notifier: &Notifier, led: &mut bool) {
    if let Some(replicas) = plane.replicas.as_ref().filter(|_| !*led)
        && let Some(outbox) = replicas.outbox().await
    {
        notifier.go_on_with(outbox);
    }
    *led = true;
}

async fn keep_for_others(plane: &Plane, notifier: &Notifier) {
    if let Some(replicas) = &plane.replicas {
        replicas.keep_outbox(&notifier.outbox()).await;
    }
}

/// Alerts that are on and not silenced.
fn told_about(plane: &Plane) -> Vec<Alert> {
    let (domain, now_ms) = (plane.domain(), now_ms());
    let wanted = |alert: &&Alert| !domain.board.is_silenced(&alert.name, now_ms);
    domain.board.active(false).into_iter().filter(wanted).cloned().collect()
}

/// Takes in the figures of this moment. True when an hour has begun.
fn judge(plane: &Plane) -> bool {
    let now_ms = now_ms();
    let (changes, hour_began) = {
        let mut domain = plane.domain();
        let Ok((settings, _)) = Settings::parse(&domain.book.present().document) else {
            return false;
        };
        let mut figures = figures(&domain, &settings, now_ms);
        figures.envoy_faults = plane.envoy_faults(&domain, now_ms);
        let found = conditions(&figures, &settings.alerts, |name| domain.board.standing(name));
        let hour_began = domain.baseline.note(figures.throughput, now_ms);
        let quiet_ms = settings.alerts.resolve_after_ms;
        (domain.board.evaluate(found, quiet_ms, now_ms), hour_began)
    };
    for change in changes {
        let (Change::Firing(alert) | Change::Resolved(alert)) = change;
        tracing::warn!(
            alert = alert.name,
            severity = alert.severity.word(),
            state = ?alert.state,
            summary = alert.summary,
            "alert"
        );
        plane.announce(Event::new("alert", &alert));
    }
    hour_began
}

/// True when there is something new to tell.
fn tell(plane: &Plane, notifier: &Notifier) -> bool {
    let now_ms = now_ms();
    let domain = plane.domain();
    let firing: Vec<(&Alert, bool)> = domain
        .board
        .active(false)
        .into_iter()
        .map(|alert| (alert, !domain.board.is_silenced(&alert.name, now_ms)))
        .collect();
    notifier.reconcile(&firing, now_ms)
}

fn figures(domain: &Domain, settings: &Settings, now_ms: u64) -> Figures {
    let fleet = &domain.fleet;
    let short = fleet.recent(SHORT_MS, now_ms);
    let long = fleet.recent(views::DEFAULT_WINDOW_MS, now_ms);
    let requests = short.requests();
    let stats = &domain.envoy_stats;
    let whole = Filter::default();
    Figures {
        p95_ms: short.latency().quantile(0.95).unwrap_or(0.0) / 1_000.0,
        hit_ratio: views::percent(long.cache.hits, long.cache.lookups),
        error_rate: views::percent(short.failed(), requests),
        throughput: fleet.requests_per_second(&whole, &short, SHORT_MS, now_ms),
        usual_throughput: domain.baseline.usual(now_ms),
        memory: domain.system.memory_percent,
        cpu: domain.system.cpu_percent,
        disk: domain.system.disk_percent,
        connections: stats.fullest(None, &whole, u64::from(settings.max_connections), now_ms),
        requests,
        lookups: long.cache.lookups,
        stores: long.cache.stores,
        evictions: long.cache.evictions,
        envoys: fleet.present(now_ms).count(),
        stragglers: fleet.stragglers(domain.book.epoch(), domain.book.present().number),
        refusing: fleet
            .envoys()
            .filter(|(_, envoy)| envoy.connection.is_some() && envoy.refused.is_some())
            .map(|(name, _)| name.to_owned())
            .collect(),
        refused_keys: domain.config_map.refused().clone(),
        open_breakers: open_breakers(domain, now_ms),
        vm_reloads: stats.recent(views::DEFAULT_WINDOW_MS, now_ms).vm_reloads,
        storage_fault: domain.storage_fault.clone(),
        bad_reporters: bad_reporters(domain, now_ms),
        envoy_faults: Vec::new(),
    }
}

fn bad_reporters(domain: &Domain, now_ms: u64) -> Vec<String> {
    let lately = |at: u64| now_ms.saturating_sub(at) < BAD_REPORT_MS;
    domain
        .fleet
        .envoys()
        .filter(|(_, envoy)| envoy.faults.last.as_ref().is_some_and(|(_, at)| lately(*at)))
        .map(|(name, _)| name.to_owned())
        .collect()
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
