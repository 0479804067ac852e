//! Alerts, on the control plane's clock: figures in, alerts out, notifications on their way.

use super::service::HealthService;
use crate::host::system::Sampler;
use crate::kernel::blocking::run_blocking;
use crate::kernel::clock::now_ms;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

/// How often the rules are judged. The runbook's shortest monitoring interval is 30 s.
const PERIOD: Duration = Duration::from_secs(1);
/// The machine is measured less often than that.
const SYSTEM_EVERY: u32 = 5;

fn each_second() -> Interval {
    let mut beat = tokio::time::interval(PERIOD);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

/// Judges until told to stop. `folder`: where this process writes, whose disk is measured.
pub(crate) async fn judge(health: Arc<HealthService>, folder: Option<PathBuf>, mut stopped: watch::Receiver<bool>) {
    let mut sampler = Sampler::new(folder.as_deref());
    let mut beat = each_second();
    let mut round = 0_u32;
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            _ = stopped.changed() => break,
        }
        if round.is_multiple_of(SYSTEM_EVERY) {
            health.measure(&mut sampler);
        }
        round = round.wrapping_add(1);
        let now_ms = now_ms();
        // A look at every Envoy.
        match run_blocking(|| health.figures(now_ms)) {
            Some((figures, rules)) => health.alerts().judge(figures, &rules, now_ms),
            None => health.alerts().keep(false),
        }
        health.alerts().notify().await;
    }
    health.alerts().keep(true);
}

/// Delivers until told to stop; apart from judging, which a receiver that hangs must not hold up.
pub(crate) async fn deliver(health: Arc<HealthService>, mut stopped: watch::Receiver<bool>) {
    let mut beat = each_second();
    loop {
        tokio::select! {
            _ = beat.tick() => {}
            _ = stopped.changed() => return,
        }
        health.alerts().deliver().await;
    }
}
