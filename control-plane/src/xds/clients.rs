//! The Envoys that take their configuration from here, and what has become of it there.

use super::kind::Kind;
use super::variant::Progress;
use crate::kernel::sync::lock;
use control_domain::Millis;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use utoipa::ToSchema;

/// A step on the way to a revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Grows with every step.
    pub(super) number: u64,
    /// The revision it leads to.
    pub(super) revision: u64,
    /// Whether it is the last one on that way.
    pub(super) last: bool,
    /// Of a canary, not of all.
    pub(super) trial: bool,
}

/// One stream.
#[derive(Debug, Default)]
struct Client {
    node_id: String,
    variant: &'static str,
    since_ms: Millis,
    /// The last step it was told of.
    step: Step,
    /// Kinds it was sent and has not answered for.
    outstanding: BTreeSet<Kind>,
    /// Kinds it refused last, with its reason.
    refused: BTreeMap<Kind, (String, Millis)>,
    /// The last revision that it took in whole.
    revision: u64,
    /// The filter's module it was offered; `None` = the file on its machine.
    offered: Option<String>,
    /// Why it refused what it was offered, until the filter itself says that it runs.
    no_module: Option<String>,
}

/// How many endpoints a cluster has, and how many of them are well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    pub(crate) all: u64,
    pub(crate) healthy: u64,
}

/// Endpoints by upstream.
pub(crate) type Upstreams = BTreeMap<String, Endpoints>;

/// How far the settings have come by xDS.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct XdsRollout {
    /// Every Envoy that is configured by xDS has the revision in force, or that of the canary it tries.
    complete: bool,
    /// What each Envoy has in force.
    envoys: Vec<XdsEnvoy>,
}

/// An Envoy that is configured by xDS.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct XdsEnvoy {
    /// Node id of the Envoy.
    node_id: String,
    /// Variant of xDS: `sotw` or `delta`.
    variant: &'static str,
    /// Since when its stream is open, milliseconds since 1970.
    since: Millis,
    /// The last revision that it took in whole.
    revision: u64,
    /// Kinds of resources it has not answered for.
    waiting: Vec<&'static str>,
    /// Resources that it refuses.
    refused: Vec<XdsRefusal>,
    /// Its upstreams, by its own statistics.
    upstreams: Vec<XdsUpstream>,
}

/// A kind of resources that an Envoy refuses.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct XdsRefusal {
    /// Kind of the resource.
    kind: &'static str,
    /// What Envoy says is wrong.
    reason: String,
    /// When, milliseconds since 1970.
    at: Millis,
}

/// An upstream as an Envoy sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct XdsUpstream {
    /// Name of the upstream.
    upstream: String,
    /// Endpoints of the upstream.
    endpoints: u64,
    /// Those of them that are well.
    healthy: u64,
}

/// Which module of the filter an Envoy runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnvoyModule {
    /// Node id of the Envoy.
    node_id: String,
    /// The checksum it was offered last; null = the file on its machine.
    #[schema(required = true)]
    offered: Option<String>,
    /// The checksum of what it runs, as the filter itself says; null = the file on its machine, or nothing that reports.
    #[schema(required = true)]
    in_force: Option<String>,
    /// Whether a filter reports from this Envoy. One that has no module serves without it.
    reports: bool,
    /// Why Envoy refused what it was offered, until that runs.
    #[schema(required = true)]
    refused: Option<String>,
}

/// The module of every filter that reports, by node; empty = the file on its machine.
pub(crate) type Running = BTreeMap<String, String>;

impl Client {
    fn confirm(&mut self) {
        if self.step.last && self.outstanding.is_empty() && self.refused.is_empty() {
            self.revision = self.step.revision;
        }
    }

    /// Whether the filter itself says that it runs what it was offered.
    fn runs(&self, running: &Running) -> bool {
        let offered = self.offered.as_deref().unwrap_or_default();
        running.get(&self.node_id).is_some_and(|module| module == offered)
    }

    fn module(&self, running: &Running) -> EnvoyModule {
        let module = running.get(&self.node_id);
        EnvoyModule {
            node_id: self.node_id.clone(),
            offered: self.offered.clone(),
            in_force: module.filter(|module| !module.is_empty()).cloned(),
            reports: module.is_some(),
            refused: self
                .no_module
                .clone()
                .filter(|_| self.is_refusing() || !self.runs(running)),
        }
    }

    fn is_refusing(&self) -> bool {
        self.refused.contains_key(&Kind::Extensions)
    }

    fn view(&self, upstreams: Option<&Upstreams>) -> XdsEnvoy {
        let refused = self.refused.iter().map(|(kind, (reason, at_ms))| XdsRefusal {
            kind: kind.as_str(),
            reason: reason.clone(),
            at: *at_ms,
        });
        let upstreams = upstreams.into_iter().flatten().map(|(name, endpoints)| XdsUpstream {
            upstream: name.clone(),
            endpoints: endpoints.all,
            healthy: endpoints.healthy,
        });
        XdsEnvoy {
            node_id: self.node_id.clone(),
            variant: self.variant,
            since: self.since_ms,
            revision: self.revision,
            waiting: self.outstanding.iter().map(|kind| kind.as_str()).collect(),
            refused: refused.collect(),
            upstreams: upstreams.collect(),
        }
    }
}

/// All streams.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    streams: Mutex<BTreeMap<u64, Client>>,
    /// By node.
    upstreams: Mutex<BTreeMap<String, Upstreams>>,
    changed: Notify,
}

impl Clients {
    pub(super) fn enter(&self, stream: u64, node_id: &str, variant: &'static str, now_ms: Millis) {
        let client = Client {
            node_id: node_id.to_owned(),
            variant,
            since_ms: now_ms,
            ..Client::default()
        };
        self.lock().insert(stream, client);
    }

    pub(super) fn leave(&self, stream: u64) {
        let mut streams = self.lock();
        let node_id = streams.remove(&stream).map(|client| client.node_id).unwrap_or_default();
        if !streams.values().any(|client| client.node_id == node_id) {
            lock(&self.upstreams).remove(&node_id);
        }
        drop(streams);
        self.changed.notify_waiters();
    }

    /// A response went out.
    pub(super) fn sent(&self, stream: u64, kind: Kind, module: Option<String>) {
        self.with(stream, |client| {
            client.outstanding.insert(kind);
            if kind == Kind::Extensions {
                if client.offered != module {
                    client.no_module = None;
                }
                client.offered = module;
            }
        });
    }

    /// All responses of a step went out.
    pub(super) fn sent_all(&self, stream: u64, step: Step) {
        self.with(stream, |client| client.step = step);
    }

    /// An Envoy answered.
    pub(super) fn answered(&self, stream: u64, progress: Progress, now_ms: Millis) {
        self.with(stream, |client| match progress {
            Progress::Accepted(kind) => {
                client.outstanding.remove(&kind);
                client.refused.remove(&kind);
            }
            Progress::Refused(kind, reason) => {
                client.outstanding.remove(&kind);
                if kind == Kind::Extensions {
                    client.no_module = Some(reason.clone());
                }
                client.refused.insert(kind, (reason, now_ms));
            }
        });
    }

    /// Waits until every Envoy that it concerns has answered for a step, or time is up.
    pub(super) async fn answered_by_all(&self, step: Step, concerned: impl Fn(&str) -> bool, timeout: Duration) {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let changed = self.changed.notified();
            let waiting = |client: &Client| {
                concerned(&client.node_id) && (client.step.number < step.number || !client.outstanding.is_empty())
            };
            if !self.lock().values().any(waiting) || tokio::time::timeout_at(deadline, changed).await.is_err() {
                return;
            }
        }
    }

    /// What a node's statistics say about its upstreams.
    pub(crate) fn endpoints(&self, node_id: &str, upstreams: Upstreams) {
        let streams = self.lock();
        if streams.values().any(|client| client.node_id == node_id) {
            lock(&self.upstreams).insert(node_id.to_owned(), upstreams);
        }
    }

    /// Since when each node takes its configuration from here.
    pub(crate) fn nodes(&self) -> BTreeMap<String, Millis> {
        let mut nodes = BTreeMap::new();
        for client in self.lock().values() {
            let since_ms = nodes.entry(client.node_id.clone()).or_insert(client.since_ms);
            *since_ms = client.since_ms.min(*since_ms);
        }
        nodes
    }

    /// Which Envoy runs which module of the filter.
    pub(crate) fn modules(&self, running: &Running) -> Vec<EnvoyModule> {
        self.lock().values().map(|client| client.module(running)).collect()
    }

    /// For the rollout view: whether everyone has the revision in force, or that of the canary if it is told of it.
    pub(crate) fn view(&self, revision: u64, canary: Option<u64>) -> XdsRollout {
        let streams = self.lock();
        let there = |client: &Client| {
            let tries = client.step.trial && canary == Some(client.revision);
            tries || client.revision == revision
        };
        let complete = streams.values().all(there);
        let upstreams = lock(&self.upstreams);
        let envoys = streams
            .values()
            .map(|client| client.view(upstreams.get(&client.node_id)))
            .collect();
        XdsRollout { complete, envoys }
    }

    /// Who refuses what, and whose upstreams have nobody who answers, as sentences.
    pub(crate) fn faults(&self, running: impl FnOnce() -> Running) -> Vec<String> {
        let streams = self.lock();
        let without = streams
            .values()
            .filter(|client| client.no_module.is_some() && !client.is_refusing());
        let without: Vec<&Client> = without.collect();
        let running = if without.is_empty() { Running::new() } else { running() };
        let without = without.into_iter().filter(|client| !client.runs(&running));
        let without = without.map(|client| {
            let reason = client.no_module.as_deref().unwrap_or_default();
            format!(
                "{} does not run the filter it was offered: it had refused it: {reason}",
                client.node_id
            )
        });
        let refusing = streams.values().flat_map(|client| {
            let kinds = client.refused.iter();
            kinds.map(|(kind, (reason, _))| format!("{} refused {}: {reason}", client.node_id, kind.as_str()))
        });
        let upstreams = lock(&self.upstreams);
        let lost = upstreams.iter().flat_map(|(node_id, upstreams)| {
            let lost = upstreams.iter().filter(|(_, endpoints)| endpoints.healthy == 0);
            lost.map(move |(name, _)| format!("{node_id} has no healthy endpoint of {name}"))
        });
        refusing.chain(without).chain(lost).collect()
    }

    fn with(&self, stream: u64, change: impl FnOnce(&mut Client)) {
        if let Some(client) = self.lock().get_mut(&stream) {
            change(client);
            client.confirm();
        }
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Client>> {
        lock(&self.streams)
    }
}

#[cfg(test)]
mod tests;
