//! Warm starts: a new Envoy gets the hottest responses of the others before it is sent traffic.

use super::export::{Export, Wanted};
use super::import::Restore;
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::kernel::ports::Replication;
use crate::kernel::sync::lock;
use crate::operations::{Ended, OperationService, Running};
use crate::purges::PurgeService;
use control_domain::cache::warmup::WarmupProgress;
use control_domain::operations::{Full, Kind};
use control_domain::replication::Fact;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// An Envoy whose process is older than this when it connects is no new one.
const NEW_MS: u64 = 120_000;
/// Who warms an Envoy that is new.
const AUTOMATIC: &str = "warm start";
/// Warmths remembered.
const REMEMBERED: usize = 10_000;

/// How warm which Envoy is, and how much a new one gets.
#[derive(Debug)]
pub(crate) struct WarmupService {
    /// Bytes of responses given to a new Envoy; 0 = a new one starts cold.
    automatic_bytes: u64,
    envoys: Mutex<BTreeMap<String, WarmupProgress>>,
    fleet: Arc<FleetService>,
    purges: Arc<PurgeService>,
    operations: Arc<OperationService>,
    replication: Arc<dyn Replication>,
}

/// Why a warm start did not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotBegun {
    /// There is no other Envoy.
    Alone,
    /// As many operations are under way as may be.
    Full,
}

impl WarmupService {
    /// Bytes that a new Envoy gets.
    pub(crate) fn new(
        automatic_bytes: u64,
        fleet: Arc<FleetService>,
        purges: Arc<PurgeService>,
        operations: Arc<OperationService>,
        replication: Arc<dyn Replication>,
    ) -> Self {
        Self {
            automatic_bytes,
            envoys: Mutex::default(),
            fleet,
            purges,
            operations,
            replication,
        }
    }

    /// Warms an Envoy that has just connected, if it is new and new ones are to be warmed.
    pub(crate) fn connected(self: &Arc<Self>, envoy: &str) {
        let bytes = self.automatic_bytes;
        let age_ms = now_ms().saturating_sub(self.fleet.started_ms(envoy));
        let is_new = age_ms < NEW_MS && self.known(envoy) == WarmupProgress::default();
        if bytes == 0 || !is_new {
            return;
        }
        let others = self.others(envoy);
        if others.is_empty() {
            // The other replicas wait until they are told.
            self.note(envoy, WarmupProgress::begun(0).ended());
            return;
        }
        // A whole fleet may begin at once: what is not shown is done all the same.
        let running = self.operations.begin(Kind::Warm, AUTOMATIC, envoy, "").ok();
        self.start(envoy, others, bytes, running);
    }

    /// How warm an Envoy of any replica is. A new one at another replica is not warm before that says so.
    pub(crate) fn of(&self, envoy: &str) -> WarmupProgress {
        let known = self.known(envoy);
        let is_known = known != WarmupProgress::default() || self.automatic_bytes == 0 || self.fleet.is_here(envoy);
        if is_known || now_ms().saturating_sub(self.fleet.started_ms(envoy)) >= NEW_MS {
            known
        } else {
            WarmupProgress::begun(0)
        }
    }

    /// Begins to warm an Envoy from the others, for somebody; the operation's id.
    ///
    /// # Errors
    /// There is no other Envoy, or too much is under way.
    pub(crate) fn begin(
        self: &Arc<Self>,
        envoy: &str,
        bytes: u64,
        (by, key): (&str, &str),
    ) -> Result<String, NotBegun> {
        let others = self.others(envoy);
        if others.is_empty() {
            return Err(NotBegun::Alone);
        }
        let begun = self.operations.begin(Kind::Warm, by, envoy, key);
        let running = begun.map_err(|Full| NotBegun::Full)?;
        let id = running.id().to_owned();
        self.start(envoy, others, bytes, Some(running));
        Ok(id)
    }

    fn others(&self, envoy: &str) -> Vec<String> {
        let all = self.fleet.connected_envoys().into_iter();
        all.filter(|name| name != envoy).collect()
    }

    fn start(self: &Arc<Self>, envoy: &str, others: Vec<String>, bytes: u64, running: Option<Running>) {
        self.note(envoy, WarmupProgress::begun(self.expected(&others, bytes)));
        let (service, envoy) = (Arc::clone(self), envoy.to_owned());
        tokio::spawn(async move { service.warm(&envoy, &others, bytes, running).await });
    }

    /// Another replica has told how warm an Envoy is.
    pub(crate) fn observe(&self, envoy: &str, warmth: WarmupProgress) {
        let mut envoys = lock(&self.envoys);
        if envoys.len() >= REMEMBERED
            && let Some(one) = envoys.keys().next().cloned()
        {
            envoys.remove(&one);
        }
        envoys.insert(envoy.to_owned(), warmth);
    }

    fn known(&self, envoy: &str) -> WarmupProgress {
        lock(&self.envoys).get(envoy).copied().unwrap_or_default()
    }

    fn note(&self, envoy: &str, warmth: WarmupProgress) {
        let before = self.known(envoy);
        self.observe(envoy, warmth);
        if warmth.is_step_after(before) {
            let envoy = envoy.to_owned();
            self.replication.publish_later(Fact::EnvoyWarmed { envoy, warmth });
        }
    }

    /// About how many responses it will be: those of the Envoy that has most, within the bytes.
    fn expected(&self, others: &[String], bytes: u64) -> u64 {
        self.fleet.read(|fleet, _| {
            let known = others.iter().filter_map(|name| fleet.get(name));
            let largest = known
                .map(|envoy| &envoy.gauges)
                .max_by_key(|gauges| gauges.cache_entries);
            largest.map_or(0, |gauges| {
                let each = gauges.cache_bytes.checked_div(gauges.cache_entries).unwrap_or(1).max(1);
                gauges.cache_entries.min(bytes / each)
            })
        })
    }

    async fn warm(&self, envoy: &str, others: &[String], bytes: u64, running: Option<Running>) {
        let wanted = Wanted {
            max_bytes: bytes,
            // A copy from cache to cache leaves nobody's data anywhere else.
            private: true,
            ..Wanted::default()
        };
        let (fleet, purges) = (Arc::clone(&self.fleet), Arc::clone(&self.purges));
        let restore = Restore::new(fleet, purges, vec![envoy.to_owned()], false);
        let restore = tokio::sync::Mutex::new(restore);
        let mut export = Export::new(&self.fleet, wanted, running.as_ref());
        export
            .run(others, |_, record| {
                let restore = &restore;
                async move {
                    let mut restore = restore.lock().await;
                    restore.give(record).await;
                    let so_far = restore.so_far();
                    self.note(envoy, self.known(envoy).given(so_far.restored + so_far.kept));
                    self.fleet.is_connected(envoy)
                }
            })
            .await;
        let incomplete = export.incomplete();
        let (restored, silent) = restore.into_inner().finish().await;
        self.note(envoy, self.known(envoy).ended());
        tracing::info!(envoy, ?restored, "warmed");
        if let Some(running) = running {
            running.counts(restored.counts());
            let is_there = silent.is_empty() && self.fleet.is_connected(envoy);
            running.end(match (is_there, incomplete) {
                (true, incomplete) => Ended::Done(incomplete),
                (false, _) => Ended::Failed(format!("{envoy} is away, or did not answer")),
            });
        }
    }
}
