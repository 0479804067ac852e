//! The owner of the experiments: begins and stops them, and answers how they stand.

use super::own::{Own, stopped};
use super::store::ExperimentStore;
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::kernel::events::Events;
use crate::kernel::ids::unique;
use crate::kernel::ports::Replication;
use crate::settings::{SettingsService, proposing};
use control_domain::Millis;
use control_domain::alerts::EndedBadly;
use control_domain::experiments::{
    Because, CHANGE, Cohort, Experiment, Figures, NAMED, Plan, Proposal, State, TEXT, Trial,
};
use control_domain::settings::canary::EXPERIMENT;
use control_domain::settings::change::Change;
use control_domain::settings::history::{Author, Refused, Revision};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Why an experiment is not begun, or not stopped.
#[derive(Debug)]
pub(crate) enum Unable {
    /// So few Envoys are connected that nobody would be left to compare with.
    NoControlGroup(usize),
    /// The settings are so already.
    NothingChanges,
    /// The change is longer than is kept.
    TooLarge,
    /// Another experiment is under way, with this revision.
    UnderWay(u64),
    /// The settings refuse it.
    Settings(Refused),
    /// None of this id is remembered.
    Unknown,
    /// It has ended already.
    Ended,
}

impl From<Refused> for Unable {
    fn from(refused: Refused) -> Self {
        Self::Settings(refused)
    }
}

/// All of them. At most one is under way: its change is the canary of the settings.
#[derive(Debug)]
pub(crate) struct ExperimentService {
    pub(super) store: ExperimentStore,
    /// The one that is judged here; held while it is begun or judged.
    pub(super) own: tokio::sync::Mutex<Option<Own>>,
    pub(super) settings: Arc<SettingsService>,
    pub(super) fleet: Arc<FleetService>,
}

impl ExperimentService {
    pub(crate) fn open(
        folder: Option<&Path>,
        settings: Arc<SettingsService>,
        fleet: Arc<FleetService>,
        replication: Arc<dyn Replication>,
        events: Events,
    ) -> Self {
        let service = Self {
            store: ExperimentStore::open(folder, replication, events),
            own: tokio::sync::Mutex::default(),
            settings,
            fleet,
        };
        if !service.store.is_shared() {
            // What was on trial has ended with the process that was here before.
            let under_way = service.store.under_way();
            under_way.iter().for_each(|one| service.end_unheard(one));
        }
        service
    }

    /// Puts a change into force on part of the fleet, and begins to judge it.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub(crate) async fn begin(
        &self,
        proposal: Proposal,
        plan: Plan,
        (by, reason): (String, String),
    ) -> Result<Experiment, Unable> {
        let mut own = self.own.lock().await;
        let connected = self.fleet.connected_envoys().len();
        if connected < 2 {
            return Err(Unable::NoControlGroup(connected));
        }
        if proposal.settings.to_string().len() > CHANGE {
            return Err(Unable::TooLarge);
        }
        let id = unique(now_ms());
        let reason: String = if reason.is_empty() { proposal.reason } else { reason };
        let reason: String = reason.chars().take(TEXT).collect();
        let author = Author {
            who: by.clone(),
            source: EXPERIMENT.to_owned(),
            reason: format!("experiment {id}: {reason}")
                .trim_end_matches([':', ' '])
                .to_owned(),
        };
        let change = Change::Merge(proposal.settings.clone());
        let share = plan.share.ceil() as u8;
        let written = self
            .settings
            .change(None, author, false, Some(share), proposing(&change))
            .await;
        let written = written.map_err(|refused| match refused {
            Refused::CanaryUnderWay(number) if self.trying() == Some(number) => Unable::UnderWay(number),
            refused => Unable::Settings(refused),
        })?;
        if !written.accepted.changed {
            return Err(Unable::NothingChanges);
        }
        let revision = written.accepted.revision.number;
        let published = self.settings.published();
        let canary = published.canary().filter(|canary| canary.revision.number == revision);
        // Somebody may have decided otherwise in this moment; then it ends with the first look.
        let envoys = canary.map(|canary| canary.envoys.clone()).unwrap_or_default();
        let now_ms = now_ms();
        let (cohort, before) = self.fleet.read(|fleet, _| {
            let cohort = Cohort::of(fleet, &envoys);
            let before = cohort.before(fleet, now_ms);
            (cohort, before)
        });
        if cohort.sizes().1 == 0 {
            let back = self
                .settings
                .abort(Some(revision), by, "nobody is left to compare with")
                .await;
            back.map_err(Unable::Settings)?;
            return Err(Unable::NoControlGroup(connected));
        }
        let trial = Trial::begin(plan.clone(), before, now_ms);
        let mut experiment = Experiment {
            id,
            by,
            reason,
            source: proposal.source,
            settings: proposal.settings,
            revision,
            plan,
            state: State::WarmingUp,
            because: None,
            summary: String::new(),
            predicted: proposal.predicted,
            figures: Figures::of(&trial, cohort.sizes()),
            more_requests: None,
            envoys: envoys.iter().take(NAMED).cloned().collect(),
            started_at: now_ms,
            measuring_since: None,
            updated_at: now_ms,
            ended_at: None,
        };
        experiment.goes_on(&trial, experiment.figures.clone(), now_ms);
        self.store.begun(&experiment);
        *own = Some(Own::new(&experiment, envoys, (trial, cohort), published.epoch()));
        Ok(experiment)
    }

    /// Stops one, also over another replica than the one that judges it, and rolls its change back.
    ///
    /// # Errors
    /// None of this id is remembered, it has ended, or the settings cannot be written.
    pub(crate) async fn stop(&self, id: &str, by: &str) -> Result<Experiment, Unable> {
        // Nobody judges it meanwhile.
        let _own = self.own.lock().await;
        let one = self.store.get(id).ok_or(Unable::Unknown)?;
        if one.state.has_ended() {
            return Err(Unable::Ended);
        }
        match self
            .settings
            .abort(Some(one.revision), by.to_owned(), &stopped(id))
            .await
        {
            Ok(_) => {}
            // Whoever judges it finds out by whom.
            Err(Refused::NoCanary) => return Err(Unable::Ended),
            Err(refused) => return Err(Unable::Settings(refused)),
        }
        let summary = format!("Stopped by {by} and rolled back.");
        let ended = self.store.ended(id, Because::Stopped, &summary);
        ended.ok_or(Unable::Ended)
    }

    /// Notes the end of one whose end nobody has told: whether it was promoted before that is in the history.
    pub(super) fn end_unheard(&self, one: &Experiment) {
        let is_it = |revision: &Revision| revision.number == one.revision && revision.author.reason.contains(&one.id);
        let because = if self.settings.history().iter().any(is_it) {
            Because::Better
        } else {
            Because::ControlPlaneLost
        };
        self.store.ended(&one.id, because, "");
    }

    /// The revision that an experiment tries at the moment.
    pub(super) fn trying(&self) -> Option<u64> {
        let published = self.settings.published();
        let canary = published.canary().filter(|canary| canary.is_experiment());
        canary.map(|canary| canary.revision.number)
    }

    /// All that are remembered, the newest first.
    pub(crate) fn newest(&self) -> Vec<Experiment> {
        self.store.newest()
    }

    /// One of them.
    pub(crate) fn get(&self, id: &str) -> Option<Experiment> {
        self.store.get(id)
    }

    /// How many are under way, and how many have ended here since the start by how.
    pub(crate) fn counts(&self) -> (usize, BTreeMap<&'static str, u64>) {
        (self.store.running(), self.store.ended_here())
    }

    /// The last one, where it is to be told how it ended.
    pub(crate) fn ended_badly(&self, now_ms: Millis) -> Option<EndedBadly> {
        self.store.ended_badly(now_ms)
    }

    /// Another replica tells how one of its experiments stands.
    pub(crate) fn observe(&self, one: Experiment) {
        self.store.observe(one);
    }
}
