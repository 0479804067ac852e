//! Operators' overrides of breakers on their way to the Envoys, and to those that were away.

use crate::fleet::{Answer, FleetService};
use crate::kernel::clock::now_ms;
use crate::kernel::ports::Replication;
use crate::kernel::sync::lock;
use crate::storage::document;
use control_domain::breakers::overrides::{BreakerOverride, BreakerOverrides, LEASE_MS};
use control_domain::replication::Fact;
use optimizer_proto::answers;
use optimizer_proto::v1::Command;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::control_message::Body as ToFilter;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

const FILE: &str = "steering.json";
/// Envoys get so long to say that an override is in force.
const ANSWER: Duration = Duration::from_secs(2);
/// Between two looks at what Envoys report.
const ROUND: Duration = Duration::from_secs(5);
/// An override that is older is not sent to connected Envoys again: they were told when they connected.
const FRESH_MS: u64 = 30_000;

/// The overrides in force, and their audit log.
#[derive(Debug)]
pub(crate) struct BreakerService {
    overrides: Mutex<BreakerOverrides>,
    file: Option<PathBuf>,
    /// Held while overrides go out, so that they arrive in the order in which they were given.
    turn: tokio::sync::Mutex<()>,
    fleet: Arc<FleetService>,
    replication: Arc<dyn Replication>,
}

impl BreakerService {
    /// Goes on with what is kept in a folder.
    pub(crate) fn open(folder: Option<&Path>, fleet: Arc<FleetService>, replication: Arc<dyn Replication>) -> Self {
        let file = folder.map(|folder| folder.join(FILE));
        let overrides = file.as_deref().and_then(|file| document::load(file, Ok));
        Self {
            overrides: Mutex::new(overrides.unwrap_or_default()),
            file,
            turn: tokio::sync::Mutex::default(),
            fleet,
            replication,
        }
    }

    /// The overrides and their log, as they are now.
    pub(crate) fn overrides(&self) -> BreakerOverrides {
        lock(&self.overrides).clone()
    }

    /// Takes an override in and sends it to all Envoys connected here; answers it as the log has it, and what each made of it.
    pub(crate) async fn put(&self, mut entry: BreakerOverride) -> (BreakerOverride, Vec<Answer>) {
        let _turn = self.turn.lock().await;
        {
            let mut overrides = lock(&self.overrides);
            entry.at = overrides.moment(&entry.upstream, entry.at);
            overrides.apply(entry.clone());
        }
        tracing::warn!(
            upstream = entry.upstream,
            action = ?entry.action,
            until = entry.until,
            who = entry.who,
            reason = entry.reason,
            "breaker overridden"
        );
        self.keep();
        self.replication
            .publish(Fact::BreakerOverridden { entry: entry.clone() })
            .await;
        let answers = self.send(&entry).await;
        (entry, answers)
    }

    /// Another replica has taken an override in.
    pub(crate) fn observe(self: &Arc<Self>, entry: BreakerOverride) {
        let fresh = entry.at.saturating_add(FRESH_MS) > now_ms();
        let changed = lock(&self.overrides).apply(entry.clone());
        if !changed {
            return;
        }
        self.keep();
        if fresh {
            let service = Arc::clone(self);
            tokio::spawn(async move { service.repeat(&entry.upstream).await });
        }
    }

    /// Tells an Envoy that has just connected what is in force.
    pub(crate) async fn replay_missed(&self, envoy: &str) {
        let _turn = self.turn.lock().await;
        let now_ms = now_ms();
        let holding: Vec<BreakerOverride> = lock(&self.overrides).in_force(now_ms).cloned().collect();
        for entry in holding {
            let done = self.fleet.command(envoy, Body::Breaker(entry.command(now_ms)), ANSWER);
            if !done.await.is_some_and(|result| result.ok) {
                tracing::warn!(
                    envoy,
                    upstream = entry.upstream,
                    "the breaker's forced state is not in force there"
                );
            }
        }
    }

    /// Sends again what has no end of its own: it holds in an Envoy only while a control plane stands behind it. Until told to stop.
    pub(crate) async fn renew(&self, mut stopped: watch::Receiver<bool>) {
        let mut every = tokio::time::interval(Duration::from_millis(LEASE_MS / 5));
        loop {
            tokio::select! {
                _ = stopped.changed() => return,
                _ = every.tick() => {}
            }
            let _turn = self.turn.lock().await;
            let holding: Vec<BreakerOverride> = lock(&self.overrides).to_renew().cloned().collect();
            for entry in holding {
                self.send(&entry).await;
            }
        }
    }

    /// Tells Envoys once more whose reports do not show the last override: one may have been away when it was taken back, or have lost it.
    /// Until told to stop.
    pub(crate) async fn correct(&self, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stopped.changed() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
            let _turn = self.turn.lock().await;
            let (overrides, now_ms) = (self.overrides(), now_ms());
            if overrides.log().next().is_none() {
                continue;
            }
            for envoy in self.fleet.connected_here() {
                let unheard = self.fleet.read(|fleet, _| {
                    let breakers = fleet.get(&envoy).map_or(&[][..], |envoy| &envoy.gauges.breakers);
                    overrides.unheard(breakers, now_ms)
                });
                for entry in unheard {
                    tracing::info!(
                        envoy,
                        upstream = entry.upstream,
                        "an override of a breaker is told once more"
                    );
                    self.send_override(&envoy, entry, now_ms);
                }
            }
        }
    }

    /// Sends an override without waiting for the answer: what comes of it, the next reports show.
    fn send_override(&self, envoy: &str, entry: &BreakerOverride, now_ms: u64) {
        let Some(connection) = self.fleet.connection_of(envoy) else {
            return;
        };
        let command = Command {
            id: format!("override-{}", entry.at),
            ..answers::command(Body::Breaker(entry.command(now_ms)))
        };
        self.fleet.tell(connection, ToFilter::Command(command));
    }

    /// Tells the Envoys of this replica the last override of a breaker.
    async fn repeat(&self, upstream: &str) {
        let _turn = self.turn.lock().await;
        let last = lock(&self.overrides).last(upstream).cloned();
        if let Some(entry) = last {
            self.send(&entry).await;
        }
    }

    async fn send(&self, entry: &BreakerOverride) -> Vec<Answer> {
        let command = Body::Breaker(entry.command(now_ms()));
        self.fleet.command_all_here(command, ANSWER).await
    }

    fn keep(&self) {
        let Some(file) = &self.file else { return };
        let overrides = self.overrides();
        if let Err(error) = document::save(file, &overrides) {
            tracing::error!(%error, "overrides of breakers cannot be saved on disk: a restart would forget them");
        }
    }
}
