//! The owner of the settings: their history, what is on trial, what the ConfigMap has shown. A change is kept, and only then in force.

use super::begin::{Begun, begin};
use super::findings::Waiting;
use super::published::Published;
use super::store::state_file::StateFile;
use super::store::{PutError, SettingsStore, Version};
use crate::fleet::FleetService;
use crate::kernel::blocking::run_blocking;
use crate::kernel::clock::now_ms;
use crate::kernel::events::{Event, Events};
use crate::kernel::ports::Replication;
use crate::kernel::sync::lock;
use control_domain::Millis;
use control_domain::settings::canary::Canary;
use control_domain::settings::capacity::Machine;
use control_domain::settings::config_map::ConfigMap;
use control_domain::settings::doubt::{Doubt, is_decided};
use control_domain::settings::history::{Refused, Revision, SettingsHistory};
use control_domain::settings::recovery::Recoveries;
use control_domain::settings::shared_state::{Reconciled, SharedState, reconcile};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// How often settings that could not be kept are tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Conflicting writers are retried this many times.
const ATTEMPTS: u32 = 8;

/// What the lock protects.
#[derive(Debug)]
pub(super) struct State {
    pub(super) history: SettingsHistory,
    /// A revision on trial; nothing else changes meanwhile.
    pub(super) canary: Option<Canary>,
    pub(super) config_map: ConfigMap,
    /// Why the ConfigMap is out of reach.
    pub(super) config_map_fault: Option<String>,
    /// What the ConfigMap of this replica showed last.
    pub(super) mounted: Option<BTreeMap<String, String>>,
    storage_fault: Option<String>,
    /// There was no state at the start, and nobody has decided yet.
    doubt: Option<Doubt>,
    /// What was found damaged at the start, until settings are written anew.
    damage: Option<String>,
    /// What Envoys have claimed to know of later revisions.
    pub(super) recoveries: Recoveries,
}

impl State {
    /// What replicas agree on.
    pub(super) fn agreed(&self) -> SharedState {
        SharedState {
            history: self.history.clone(),
            canary: self.canary.clone(),
            seen: self.config_map.seen().clone(),
        }
    }

    /// The doubt whether anybody has decided on these settings, while there is one.
    pub(super) fn doubt(&mut self, now_ms: Millis) -> Option<&mut Doubt> {
        if self.doubt.as_ref().is_some_and(|doubt| doubt.is_over(now_ms)) {
            self.doubt = None;
        }
        self.doubt.as_mut()
    }

    /// As [`State::doubt`], whether or not it has become old.
    pub(super) fn any_doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// The same, to add to it.
    pub(super) fn doubt_as_it_is(&mut self) -> Option<&mut Doubt> {
        self.doubt.as_mut()
    }

    /// Somebody has decided.
    pub(super) fn end_doubt(&mut self) -> Option<Doubt> {
        self.doubt.take()
    }
}

/// What operators should know of the settings besides the settings themselves.
#[derive(Debug)]
pub(crate) struct Condition {
    /// Keys of the ConfigMap whose value is refused, with the reason.
    pub(crate) refused_keys: BTreeMap<String, String>,
    /// Keys of the ConfigMap that are in force in an adjusted form, and how.
    pub(crate) adjusted_keys: BTreeMap<String, String>,
    /// Values of keys refused since the start.
    pub(crate) refusals: u64,
    /// Why the ConfigMap is out of reach.
    pub(crate) config_map_fault: Option<String>,
    /// Why settings cannot be kept.
    pub(crate) storage_fault: Option<String>,
    /// What was found damaged at the start.
    pub(crate) damage: Option<String>,
    /// Envoys run on settings that this control plane does not have: what to do.
    pub(crate) doubt: Option<String>,
}

/// What a settings service is made of.
pub(crate) struct Parts {
    /// Who decides which of two writers was first.
    pub(crate) store: Arc<dyn SettingsStore>,
    /// The files of this machine.
    pub(crate) local: Option<Arc<StateFile>>,
    /// What Envoys run on.
    pub(crate) machine: Machine,
    pub(crate) fleet: Arc<FleetService>,
    pub(crate) replication: Arc<dyn Replication>,
    pub(crate) events: Events,
}

/// The settings. Its lock is never held while another service is called.
#[derive(Debug)]
pub(crate) struct SettingsService {
    state: Mutex<State>,
    /// The state of the store that is in force here; held while it changes.
    version: tokio::sync::Mutex<Version>,
    store: Arc<dyn SettingsStore>,
    local: Option<Arc<StateFile>>,
    pub(super) machine: Machine,
    published: watch::Sender<Arc<Published>>,
    pub(super) fleet: Arc<FleetService>,
    pub(super) replication: Arc<dyn Replication>,
    events: Events,
    pub(super) waiting: Waiting,
}

impl SettingsService {
    /// Goes on where the files of this machine end.
    pub(crate) fn open(parts: Parts) -> Self {
        let now_ms = now_ms();
        let Begun {
            history,
            seen,
            lost,
            damage,
        } = begin(parts.local.as_deref(), now_ms);
        tracing::info!(
            epoch = history.epoch(),
            revision = history.present().number,
            "settings in force"
        );
        let (published, _) = watch::channel(Arc::new(Published::of(&history, None)));
        let service = Self {
            state: Mutex::new(State {
                history,
                canary: None,
                config_map: ConfigMap::having_seen(seen),
                config_map_fault: None,
                mounted: None,
                storage_fault: None,
                doubt: lost.then(|| Doubt::since(now_ms)),
                damage,
                recoveries: Recoveries::default(),
            }),
            version: tokio::sync::Mutex::default(),
            store: parts.store,
            local: parts.local,
            machine: parts.machine,
            published,
            fleet: parts.fleet,
            replication: parts.replication,
            events: parts.events,
            waiting: Waiting::default(),
        };
        service.persist();
        service
    }

    /// The state, for this room alone. Held for computations only, never over an await or a call of another service.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The settings in force.
    pub(crate) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published.borrow())
    }

    /// The settings in force, now and when they change.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Published>> {
        self.published.subscribe()
    }

    /// The revisions kept, the oldest first.
    pub(crate) fn history(&self) -> Vec<Revision> {
        self.state().history.revisions().cloned().collect()
    }

    /// When each revision that is kept was accepted.
    pub(crate) fn accepted_at(&self) -> BTreeMap<u64, Millis> {
        let state = self.state();
        let revisions = state.history.revisions();
        revisions.map(|revision| (revision.number, revision.at_ms)).collect()
    }

    /// What Envoys run on.
    pub(crate) fn machine(&self) -> Machine {
        self.machine
    }

    /// What is to be told of them.
    pub(crate) fn condition(&self) -> Condition {
        let state = self.state();
        Condition {
            refused_keys: state.config_map.refused().clone(),
            adjusted_keys: state.config_map.adjusted().clone(),
            refusals: state.config_map.refusals(),
            config_map_fault: state.config_map_fault.clone(),
            storage_fault: state.storage_fault.clone(),
            damage: state.damage.clone(),
            doubt: state.doubt.as_ref().and_then(Doubt::describe),
        }
    }

    /// Why settings cannot be kept.
    pub(crate) fn storage_fault(&self) -> Option<String> {
        self.state().storage_fault.clone()
    }

    /// Whether there are settings to use: one of several replicas that starts with nothing waits for the shared ones.
    pub(crate) fn are_known(&self) -> bool {
        self.replication.has_joined() || !self.state().history.is_untouched()
    }

    /// Returns once there are settings to go by.
    pub(crate) async fn known(&self) {
        if !self.are_known() {
            self.replication.joined().await;
        }
    }

    /// Replaces the present state by what `make` makes of it, in the store and only then here. After a conflict with
    /// another writer `make` is called again with the state of that writer.
    pub(super) async fn commit<T>(
        &self,
        kind: &'static str,
        make: impl Fn(&State) -> Result<(Option<SharedState>, T), Refused> + Send + Sync,
    ) -> Result<T, Refused> {
        let mut version = self.version.lock().await;
        for _ in 0..ATTEMPTS {
            let (new, out) = make(&self.state())?;
            let Some(new) = new else { return Ok(out) };
            match self.store.put(&version, &new).await {
                Ok(put) => {
                    *version = put.version;
                    self.adopt(new, put.persist_error, kind);
                    return Ok(out);
                }
                Err(PutError::Conflict) => self.refresh_from(&mut version).await.map_err(Refused::Unavailable)?,
                Err(PutError::Unavailable(reason)) => return Err(Refused::Unavailable(reason)),
            }
        }
        Err(Refused::Unavailable("too many write at once".to_owned()))
    }

    /// Takes in what another replica has changed. What the store has lost is put back.
    pub(crate) async fn refresh(&self) -> Result<(), String> {
        let mut version = self.version.lock().await;
        self.refresh_from(&mut version).await
    }

    async fn refresh_from(&self, version: &mut Version) -> Result<(), String> {
        for _ in 0..ATTEMPTS {
            let present = self.store.version().await?;
            if present == *version && !(present.is_empty() && self.replication.is_shared()) {
                return Ok(());
            }
            let ours = self.state().agreed();
            let (base, theirs) = self.store.load(&ours.history).await?.unzip();
            let base = base.unwrap_or_default();
            let shared = theirs.as_ref().map(|theirs| theirs.history.present().number);
            let new = match reconcile(ours, theirs, now_ms()) {
                Reconciled::Adopt(theirs) => {
                    *version = base;
                    self.adopt(theirs, None, "settings");
                    return Ok(());
                }
                Reconciled::PutBack(new) => new,
            };
            match self.store.put(&base, &new).await {
                Ok(put) => {
                    tracing::warn!(
                        revision = new.history.present().number,
                        shared,
                        "settings put back into what is shared; what was changed there meanwhile is done again on top"
                    );
                    *version = put.version;
                    self.adopt(new, put.persist_error, "settings");
                    return Ok(());
                }
                Err(PutError::Conflict) => {}
                Err(PutError::Unavailable(reason)) => return Err(reason),
            }
        }
        Err("too many write at once".to_owned())
    }

    /// A state comes into force: it is kept on this machine and pushed.
    fn adopt(&self, new: SharedState, persist_error: Option<String>, kind: &'static str) {
        let mut state = self.state();
        let before = state.agreed();
        if before == new {
            state.storage_fault = persist_error;
            return;
        }
        if *state.config_map.seen() != new.seen {
            state.config_map = ConfigMap::having_seen(new.seen);
        }
        if is_decided(&state.history, &new.history) {
            state.doubt = None;
        }
        (state.history, state.canary) = (new.history, new.canary);
        if persist_error.is_none() && kind == "settings" {
            // What is in force now is written down whole.
            state.damage = None;
        }
        state.storage_fault = persist_error;
        if before.history != state.history || before.canary != state.canary {
            self.publish(&state, kind);
        }
        drop(state);
        if self.replication.is_shared() {
            // What the other replicas have as well is kept here for a start without them.
            self.persist();
        }
    }

    /// Tells of what is in force now, and pushes it.
    fn publish(&self, state: &State, kind: &'static str) {
        let revision = match (&state.canary, kind) {
            (Some(canary), "canary") => &canary.revision,
            _ => state.history.present(),
        };
        tracing::info!(
            revision = revision.number,
            who = revision.author.who,
            door = revision.author.source,
            reason = revision.author.reason,
            kind,
            "settings changed"
        );
        self.events.announce(Event::new(
            kind,
            json!({ "revision": revision.number, "who": revision.author.who, "door": revision.author.source }),
        ));
        self.published
            .send_replace(Arc::new(Published::of(&state.history, state.canary.as_ref())));
    }

    /// Keeps the settings in the files of this machine. The state is not held meanwhile: nobody waits for a disk.
    fn persist(&self) {
        let Some(local) = &self.local else { return };
        let newest = || {
            let state = self.state();
            (state.history.clone(), state.config_map.seen().clone())
        };
        let saved = run_blocking(|| local.save_newest(newest));
        self.state().storage_fault = saved.err().map(|error| local.fault(&error));
    }

    /// Tries again to keep what could not be kept, until told to stop.
    pub(crate) async fn retry_persist(&self, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                _ = stopped.changed() => return,
            }
            if self.storage_fault().is_none() {
                continue;
            }
            self.persist();
            if self.storage_fault().is_none() {
                tracing::info!("settings are kept again");
            }
        }
    }
}
