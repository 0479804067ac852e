//! From revisions of the settings to what every Envoy is to be told.

use super::clients::{Clients, Step};
use super::made::Made;
use super::modules::Modules;
use super::place::{Place, Source};
use super::snapshot::Snapshot;
use super::stages::stages;
use crate::fleet::FleetService;
use crate::kernel::ids::Ids;
use crate::kernel::sync::lock;
use crate::settings::{Published, SettingsService};
use optimizer_proto::settings::Settings;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// How long an Envoy that does not answer holds back the next step.
const ANSWER: Duration = Duration::from_secs(3);
/// A new cluster that is accepted still resolves names and checks health before it takes requests.
const WARMING: Duration = Duration::from_millis(500);

/// What is in force, on one step of the way to the newest revision.
#[derive(Debug, Clone)]
struct Stage {
    step: Step,
    settings: Arc<Settings>,
}

/// Nodes of a canary.
type Nodes = Arc<BTreeSet<String>>;

#[derive(Debug, Clone)]
struct Stages {
    all: Stage,
    /// What the nodes of a canary are told instead.
    trial: Option<(Nodes, Stage)>,
}

impl Stages {
    fn of(&self, node_id: &str) -> &Stage {
        match &self.trial {
            Some((nodes, stage)) if nodes.contains(node_id) => stage,
            _ => &self.all,
        }
    }

    fn numbers(&self) -> [u64; 2] {
        let trial = self.trial.as_ref().map_or(0, |(_, stage)| stage.step.number);
        [self.all.step.number, trial]
    }
}

/// What Envoys are told is made of.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) settings: Arc<SettingsService>,
    pub(crate) fleet: Arc<FleetService>,
    pub(crate) modules: Arc<Modules>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) ids: Arc<Ids>,
    /// Envoys' streams that were refused.
    pub(crate) refused: Arc<AtomicU64>,
}

/// The present stages, and the snapshots made of them.
#[derive(Debug)]
pub(crate) struct XdsPublisher {
    sources: Sources,
    stages: watch::Sender<Stages>,
    snapshots: Mutex<Made>,
}

impl XdsPublisher {
    /// Returns when it is known what Envoys with resources of their own are to be told.
    pub(super) async fn decided(&self, node_id: &str) {
        self.sources.settings.decided(node_id).await;
    }

    /// A hub at the present revision.
    pub(crate) fn new(sources: Sources) -> Self {
        let published = sources.settings.published();
        let step = Step {
            number: 1,
            revision: published.present().number,
            last: true,
            trial: false,
        };
        let settings = published.settings().map(Arc::clone).unwrap_or_default();
        let all = Stage { step, settings };
        Self {
            sources,
            stages: watch::channel(Stages { all, trial: None }).0,
            snapshots: Mutex::default(),
        }
    }

    /// Follows the settings until told to stop.
    pub(crate) async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut published = self.sources.settings.follow();
        let mut modules = self.sources.modules.watch();
        loop {
            let newest = Arc::clone(&published.borrow_and_update());
            if let Some(new) = newest.settings() {
                self.go_to(new, newest.present().number, &published).await;
            }
            tokio::select! {
                changed = published.changed() => if changed.is_err() { return },
                // The same settings are another stage with another module.
                changed = modules.changed() => if changed.is_err() { return },
                _ = stopped.changed() => return,
            }
        }
    }

    async fn go_to(&self, new: &Settings, revision: u64, published: &watch::Receiver<Arc<Published>>) {
        let trial = self.trial();
        if !self.lead(None, new, revision, published).await {
            return;
        }
        // A trial that is over comes back to the others by steps of its own, promoted or given up: only at the end of them is what
        // all have the same.
        let tried = self.stages.borrow().trial.as_ref().map(|(nodes, _)| Arc::clone(nodes));
        if let Some(nodes) = tried.filter(|tried| trial.as_ref().is_none_or(|(nodes, ..)| nodes != tried)) {
            if !self.lead(Some(&nodes), new, revision, published).await {
                return;
            }
            self.stages.send_modify(|stages| stages.trial = None);
        }
        if let Some((nodes, settings, revision)) = &trial {
            self.lead(Some(nodes), settings, *revision, published).await;
        }
    }

    /// The canary knows processes, by their control streams; xDS knows nodes.
    fn trial(&self) -> Option<(Nodes, Settings, u64)> {
        let published = self.sources.settings.published();
        let canary = published.canary()?;
        let nodes: BTreeSet<String> = self.sources.fleet.read(|fleet, _| {
            let chosen = fleet.envoys().filter(|(name, _)| canary.envoys.contains(*name));
            chosen.map(|(_, envoy)| envoy.node_id.clone()).collect()
        });
        let (settings, _) = Settings::parse(&canary.revision.document).ok()?;
        (!nodes.is_empty()).then(|| (Arc::new(nodes), settings, canary.revision.number))
    }

    /// Leads all, or the nodes of a trial, to new settings step by step; false where still newer ones have come before the end.
    async fn lead(
        &self,
        trial: Option<&Nodes>,
        new: &Settings,
        revision: u64,
        published: &watch::Receiver<Arc<Published>>,
    ) -> bool {
        let old = {
            let present = self.stages.borrow();
            let stage = match (trial, &present.trial) {
                (Some(_), Some((_, under_way))) => under_way,
                _ => &present.all,
            };
            Arc::clone(&stage.settings)
        };
        let mut ahead = stages(&old, new).into_iter().peekable();
        while let Some(settings) = ahead.next() {
            let last = ahead.peek().is_none();
            let [all, tried] = self.stages.borrow().numbers();
            let step = Step {
                number: all.max(tried) + 1,
                revision,
                last,
                trial: trial.is_some(),
            };
            let settings = Arc::new(settings);
            let stage = Stage { step, settings };
            self.stages.send_modify(|stages| match trial {
                Some(nodes) => stages.trial = Some((Arc::clone(nodes), stage)),
                None => stages.all = stage,
            });
            if !last {
                let present = self.stages.borrow().clone();
                let concerned = |node_id: &str| present.of(node_id).step == step;
                self.sources.clients.answered_by_all(step, concerned, ANSWER).await;
                tokio::time::sleep(WARMING).await;
                if published.has_changed().unwrap_or(true) {
                    return false;
                }
            }
        }
        true
    }

    /// Tells when there is another stage.
    pub(super) fn watch(&self) -> Watch {
        Watch(self.stages.subscribe())
    }

    /// Where an Envoy is to have its filter from.
    pub(super) fn source(&self, place: &Place, node_id: &str) -> Option<Source> {
        place.source(self.sources.modules.of(node_id))
    }

    /// Whether the filter itself says that it runs from there. One without a control stream says nothing.
    pub(super) fn runs(&self, node_id: &str, source: Option<&Source>) -> bool {
        self.sources
            .fleet
            .read(|fleet, _| match (fleet.module_of(node_id), source) {
                (Some(runs), Some(Source::Module(sha256))) => runs == sha256,
                (Some(runs), Some(Source::File(_))) => runs.is_empty(),
                (None, Some(_)) => false,
                (_, None) => true,
            })
    }

    /// What a node at this place, with this filter, is to be told now.
    pub(super) fn snapshot(&self, node_id: &str, place: &Place, source: Option<Source>) -> (Step, Arc<Snapshot>) {
        let present = self.stages.borrow().clone();
        let stage = present.of(node_id);
        let mut made = lock(&self.snapshots);
        let key = (stage.step.number, place.clone(), source);
        if let Some(snapshot) = made.get(&key) {
            return (stage.step, snapshot);
        }
        let snapshot = Arc::new(Snapshot::of(&stage.settings, place, key.2.as_ref()));
        made.keep(key, &snapshot, present.numbers());
        (stage.step, snapshot)
    }

    pub(super) fn clients(&self) -> &Clients {
        &self.sources.clients
    }

    /// Counts a stream that was refused.
    pub(super) fn refused(&self) {
        self.sources.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn next_id(&self) -> u64 {
        self.sources.ids.next()
    }
}

/// Wakes at every stage.
#[derive(Debug)]
pub(super) struct Watch(watch::Receiver<Stages>);

impl Watch {
    /// Waits for the next stage; false when there will be none.
    pub(super) async fn changed(&mut self) -> bool {
        let changed = self.0.changed().await.is_ok();
        self.0.mark_unchanged();
        changed
    }
}
