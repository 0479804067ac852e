//! From revisions of the settings to what every Envoy is to be told.

use super::clients::{Clients, Step};
use super::place::{Place, Source};
use super::snapshot::Snapshot;
use super::stages::stages;
use crate::changing::Pushes;
use crate::plane::Plane;
use optimizer_proto::settings::Settings;
use optimizer_proto::v1::SettingsPush;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// An Envoy that does not answer for a step holds the next one back for so long.
const ANSWER: Duration = Duration::from_secs(3);
/// A new cluster that is accepted still resolves names and checks health before it takes requests.
const WARMING: Duration = Duration::from_millis(500);

/// What is in force, on one step of the way to the newest revision.
#[derive(Debug, Clone)]
struct Stage {
    step: Step,
    settings: Arc<Settings>,
}

/// By where an Envoy stands and where it has its filter from.
type Snapshots = HashMap<(Place, Option<Source>), Arc<Snapshot>>;

/// The present stage, and the snapshots made of it.
#[derive(Debug)]
pub(crate) struct Hub {
    plane: Arc<Plane>,
    stage: watch::Sender<Stage>,
    snapshots: Mutex<(Step, Snapshots)>,
}

impl Hub {
    /// A hub at the plane's present revision.
    pub(crate) fn new(plane: Arc<Plane>) -> Self {
        let push = plane.follow().borrow().all().clone();
        let step = Step {
            number: 1,
            revision: push.revision,
            last: true,
        };
        let settings = Arc::new(settings_of(&push).unwrap_or_default());
        Self {
            plane,
            stage: watch::channel(Stage { step, settings }).0,
            snapshots: Mutex::default(),
        }
    }

    /// Follows the plane's settings until told to stop.
    pub(crate) async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut pushes = self.plane.follow();
        let mut modules = self.plane.modules.watch();
        loop {
            let push = pushes.borrow_and_update().all().clone();
            if let Some(new) = settings_of(&push) {
                self.go_to(&new, &push, &pushes).await;
            }
            tokio::select! {
                changed = pushes.changed() => if changed.is_err() { return },
                // The same settings are another stage with another module.
                changed = modules.changed() => if changed.is_err() { return },
                _ = stopped.changed() => return,
            }
        }
    }

    /// Leads to new settings step by step; breaks off where still newer ones have come.
    async fn go_to(&self, new: &Settings, push: &SettingsPush, pushes: &watch::Receiver<Arc<Pushes>>) {
        let old = Arc::clone(&self.stage.borrow().settings);
        let mut ahead = stages(&old, new).into_iter().peekable();
        while let Some(settings) = ahead.next() {
            let last = ahead.peek().is_none();
            let step = Step {
                number: self.stage.borrow().step.number + 1,
                revision: push.revision,
                last,
            };
            let settings = Arc::new(settings);
            self.stage.send_replace(Stage { step, settings });
            if !last {
                self.plane.xds.settled(step, ANSWER).await;
                tokio::time::sleep(WARMING).await;
                if pushes.has_changed().unwrap_or(true) {
                    return;
                }
            }
        }
    }

    /// Tells when there is another stage.
    pub(super) fn watch(&self) -> Watch {
        Watch(self.stage.subscribe())
    }

    /// Where an Envoy is to have its filter from.
    pub(super) fn source(&self, place: &Place, node_id: &str) -> Option<Source> {
        place.source(self.plane.modules.of(node_id))
    }

    /// What the Envoys of a place with this filter are to be told now.
    pub(super) fn snapshot(&self, place: &Place, source: Option<Source>) -> (Step, Arc<Snapshot>) {
        let stage = self.stage.borrow().clone();
        let mut made = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        if made.0 != stage.step {
            *made = (stage.step, HashMap::new());
        }
        let snapshot = made
            .1
            .entry((place.clone(), source.clone()))
            .or_insert_with(|| Arc::new(Snapshot::of(&stage.settings, place, source.as_ref())));
        (stage.step, Arc::clone(snapshot))
    }

    pub(super) fn clients(&self) -> &Clients {
        &self.plane.xds
    }

    pub(super) fn next_id(&self) -> u64 {
        self.plane.next_id()
    }
}

/// Wakes at every stage.
#[derive(Debug)]
pub(super) struct Watch(watch::Receiver<Stage>);

impl Watch {
    /// Waits for the next stage; false when there will be none.
    pub(super) async fn changed(&mut self) -> bool {
        let changed = self.0.changed().await.is_ok();
        self.0.mark_unchanged();
        changed
    }
}

fn settings_of(push: &SettingsPush) -> Option<Settings> {
    let document = serde_json::from_slice(&push.document).ok()?;
    let (settings, _) = Settings::parse(&document).ok()?;
    Some(settings)
}
