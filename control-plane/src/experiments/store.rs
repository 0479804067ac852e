//! The experiments that are remembered, on disk too, and the reports of them.

use crate::kernel::clock::now_ms;
use crate::kernel::events::{Event, Events};
use crate::kernel::ports::Replication;
use crate::kernel::sync::lock;
use crate::storage::document;
use control_domain::Millis;
use control_domain::alerts::EndedBadly;
use control_domain::experiments::{Because, Experiment, Experiments, LOST_AFTER_MS, State};
use control_domain::replication::Fact;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct Known {
    all: Experiments,
    /// The revision that an experiment tries, and when its judge last reported here.
    last_report: Option<(u64, Millis)>,
    /// Those that ended here, by how.
    ended: BTreeMap<&'static str, u64>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct ExperimentStore {
    known: Mutex<Known>,
    path: Option<PathBuf>,
    replication: Arc<dyn Replication>,
    events: Events,
}

impl ExperimentStore {
    /// Reads what was stored.
    pub(super) fn open(folder: Option<&Path>, replication: Arc<dyn Replication>, events: Events) -> Self {
        let path = folder.map(|folder| folder.join("experiments.json"));
        let read = path.as_deref().and_then(|path| document::load(path, Ok));
        let known = Known {
            all: Experiments::restored(read.unwrap_or_default()),
            ..Known::default()
        };
        Self {
            known: Mutex::new(known),
            path,
            replication,
            events,
        }
    }

    /// Whether there are other replicas.
    pub(super) fn is_shared(&self) -> bool {
        self.replication.is_shared()
    }

    /// Whether what replicas share has been seen since this process began.
    pub(super) fn has_joined(&self) -> bool {
        self.replication.has_joined()
    }

    /// Those that have not ended, as far as is known.
    pub(super) fn under_way(&self) -> Vec<Experiment> {
        let known = lock(&self.known);
        let all = known.all.newest();
        all.filter(|one| !one.state.has_ended()).cloned().collect()
    }

    /// All of them, the newest first.
    pub(super) fn newest(&self) -> Vec<Experiment> {
        lock(&self.known).all.newest().cloned().collect()
    }

    /// One of them.
    pub(super) fn get(&self, id: &str) -> Option<Experiment> {
        lock(&self.known).all.get(id).cloned()
    }

    /// The last one, where it is to be told how it ended.
    pub(super) fn ended_badly(&self, now_ms: Millis) -> Option<EndedBadly> {
        lock(&self.known).all.ended_badly(now_ms)
    }

    /// How many have ended here since the start, by how.
    pub(super) fn ended_here(&self) -> BTreeMap<&'static str, u64> {
        let counts = &lock(&self.known).ended;
        let all = State::ENDS.map(|state| state.as_str());
        all.map(|name| (name, counts.get(name).copied().unwrap_or(0))).into()
    }

    /// How many are under way.
    pub(super) fn running(&self) -> usize {
        let known = lock(&self.known);
        known.all.count(State::WarmingUp) + known.all.count(State::Measuring)
    }

    /// One has begun here.
    pub(super) fn begun(&self, one: &Experiment) {
        lock(&self.known).all.put(one.clone());
        tracing::info!(
            experiment = one.id,
            who = one.by,
            revision = one.revision,
            reason = one.reason,
            "experiment begun"
        );
        self.save();
        self.announce(one);
        self.publish_state(one);
    }

    /// Notes how one of here stands; says whether it stands otherwise than before.
    pub(super) fn changes(&self, id: &str, change: impl FnOnce(&mut Experiment)) -> Option<Experiment> {
        let (before, after) = {
            let mut known = lock(&self.known);
            let one = known.all.get_mut(id)?;
            let before = one.state;
            change(one);
            (before, one.clone())
        };
        if before != after.state {
            self.announce(&after);
        }
        Some(after)
    }

    /// One has ended, also one of another replica, which is gone; what it came to is told once. Without a summary it is the usual one.
    pub(super) fn ended(&self, id: &str, because: Because, summary: &str) -> Option<Experiment> {
        let after = {
            let mut known = lock(&self.known);
            let one = known.all.get_mut(id).filter(|one| !one.state.has_ended())?;
            let usual = because.summary();
            one.end(because, if summary.is_empty() { usual } else { summary }, now_ms());
            let after = one.clone();
            *known.ended.entry(after.state.as_str()).or_default() += 1;
            known.last_report = None;
            after
        };
        let (state, error) = (after.state.as_str(), after.state != State::Promoted);
        if error {
            tracing::warn!(
                experiment = id,
                state,
                ?because,
                summary = after.summary,
                "experiment ended"
            );
        } else {
            tracing::info!(
                experiment = id,
                state,
                ?because,
                summary = after.summary,
                "experiment ended"
            );
        }
        self.save();
        self.announce(&after);
        self.publish_state(&after);
        Some(after)
    }

    /// Another replica reports the state of one of its experiments.
    pub(super) fn observe(&self, one: Experiment) {
        let is_new = {
            let mut known = lock(&self.known);
            known.last_report = Some((one.revision, now_ms()));
            known.all.observe(one.clone())
        };
        if is_new && one.state.has_ended() {
            self.save();
        }
        if is_new {
            self.announce(&one);
        }
    }

    /// Whether the judge of the revision that an experiment tries has not reported for long; and experiments that are over although nobody
    /// reported their end.
    pub(super) fn unjudged(&self, trying: Option<u64>) -> (bool, Vec<Experiment>) {
        let now_ms = now_ms();
        let under_way = self.under_way();
        let over = under_way
            .into_iter()
            .filter(|one| Some(one.revision) != trying && now_ms.saturating_sub(one.updated_at) > LOST_AFTER_MS);
        let over = over.collect();
        let mut known = lock(&self.known);
        let Some(trying) = trying else { return (false, over) };
        match known.last_report {
            Some((revision, at_ms)) if revision == trying => (now_ms.saturating_sub(at_ms) > LOST_AFTER_MS, over),
            _ => {
                known.last_report = Some((trying, now_ms));
                (false, over)
            }
        }
    }

    /// The one under way with this revision on trial.
    pub(super) fn trying(&self, revision: u64) -> Option<Experiment> {
        lock(&self.known).all.trying(revision).cloned()
    }

    /// Publishes to the other replicas what will be published again.
    pub(super) fn publish_passing_state(&self, one: Experiment) {
        let experiment = Box::new(one);
        self.replication.publish_passing(Fact::ExperimentTold { experiment });
    }

    /// Publishes to the other replicas, in the journal that is kept.
    fn publish_state(&self, one: &Experiment) {
        let experiment = Box::new(one.clone());
        self.replication.publish_later(Fact::ExperimentTold { experiment });
    }

    fn announce(&self, one: &Experiment) {
        let data = json!({ "id": one.id, "state": one.state, "because": one.because, "summary": one.summary });
        self.events.announce(Event::new("experiment", data));
    }

    fn save(&self) {
        let Some(path) = &self.path else { return };
        if let Err(error) = document::save(path, &self.newest()) {
            tracing::error!(path = %path.display(), %error, "experiments cannot be kept");
        }
    }
}
