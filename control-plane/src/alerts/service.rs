//! The alerts, their silences, and what is usual.

use super::notifier::Notifier;
use super::store::AlertStore;
use crate::kernel::clock::now_ms;
use crate::kernel::events::{Event, Events};
use crate::kernel::ports::{Leadership, Replication};
use crate::kernel::sync::lock;
use control_domain::Millis;
use control_domain::alerts::{Alert, AlertRegistry, Baseline, Change, Figures, Silence, conditions};
use control_domain::replication::Fact;
use optimizer_proto::settings::Alerts as Rules;
use std::path::Path;
use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct State {
    registry: AlertRegistry,
    baseline: Baseline,
    /// The version of the alerts that was stored last.
    saved_version: u64,
}

/// The alerts.
#[derive(Debug)]
pub(crate) struct AlertService {
    state: Mutex<State>,
    store: AlertStore,
    notifier: Notifier,
    /// This replica told the receivers when it last looked.
    led: tokio::sync::Mutex<bool>,
    /// Notifications waiting to be delivered, and given up, when they were last delivered.
    notifications: Mutex<(usize, u64)>,
    events: Events,
    replication: Arc<dyn Replication>,
    leadership: Arc<dyn Leadership>,
}

impl AlertService {
    /// Reads what is stored in a folder.
    pub(crate) fn open(
        folder: Option<&Path>,
        notifier: Notifier,
        events: Events,
        replication: Arc<dyn Replication>,
        leadership: Arc<dyn Leadership>,
    ) -> Self {
        let store = AlertStore::new(folder);
        let state = store.load().map(|(registry, baseline)| State {
            registry: registry.resumed(now_ms()),
            baseline,
            saved_version: 0,
        });
        Self {
            state: Mutex::new(state.unwrap_or_default()),
            store,
            notifier,
            led: tokio::sync::Mutex::default(),
            notifications: Mutex::default(),
            events,
            replication,
            leadership,
        }
    }

    /// Alerts that are on, the worst first, and whether nobody is told of them; `pending`: also those that have not lasted long enough.
    pub(crate) fn active(&self, pending: bool) -> Vec<(Alert, bool)> {
        let (state, now_ms) = (lock(&self.state), now_ms());
        let active = state.registry.active(pending).into_iter();
        let silenced = |alert: &Alert| state.registry.is_silenced(&alert.name, now_ms);
        active.map(|alert| (alert.clone(), silenced(alert))).collect()
    }

    /// Alerts that ended, the newest first.
    pub(crate) fn history(&self) -> Vec<Alert> {
        lock(&self.state).registry.history().cloned().collect()
    }

    /// The silences in force.
    pub(crate) fn silences(&self) -> Vec<Silence> {
        lock(&self.state).registry.silences().to_vec()
    }

    /// Notifications waiting to be delivered, and given up.
    pub(crate) fn notifications(&self) -> (usize, u64) {
        *lock(&self.notifications)
    }

    /// Somebody has seen an alert; false when it is not on.
    pub(crate) async fn acknowledge(&self, id: &str, by: &str) -> bool {
        if !lock(&self.state).registry.acknowledge(id, by) {
            return false;
        }
        tracing::info!(alert = id, who = by, "alert acknowledged");
        let (id, by) = (id.to_owned(), by.to_owned());
        self.replication.publish(Fact::AlertAcknowledged { id, by }).await;
        true
    }

    /// Begins a silence, or changes the one of that name; false when there are as many as are kept.
    pub(crate) async fn silence(&self, silence: Silence) -> bool {
        let is_new = lock(&self.state).registry.silence(silence.clone());
        if is_new {
            self.replication.publish(Fact::AlertSilenced { silence }).await;
        }
        is_new
    }

    /// Ends a silence; false when there is none.
    pub(crate) async fn unsilence(&self, name: &str) -> bool {
        let ended = lock(&self.state).registry.unsilence(name);
        if ended {
            let name = name.to_owned();
            self.replication.publish(Fact::AlertUnsilenced { name }).await;
        }
        ended
    }

    /// Somebody has seen an alert, at another replica.
    pub(crate) fn observe_acknowledged(&self, id: &str, by: &str) {
        lock(&self.state).registry.acknowledge(id, by);
    }

    /// A silence has begun at another replica.
    pub(crate) fn observe_silenced(&self, silence: Silence) {
        lock(&self.state).registry.silence(silence);
    }

    /// A silence was ended at another replica.
    pub(crate) fn observe_unsilenced(&self, name: &str) {
        lock(&self.state).registry.unsilence(name);
    }

    /// Judges the figures of this moment, and writes down what has changed: before anybody is told, as whoever is told of an alert must
    /// be told of its end, also after a restart.
    pub(crate) fn judge(&self, mut figures: Figures, rules: &Rules, now_ms: Millis) {
        let (changes, hour_began) = {
            let mut state = lock(&self.state);
            let State { registry, baseline, .. } = &mut *state;
            figures.usual_throughput = baseline.usual(now_ms);
            let found = conditions(&figures, rules, |name| registry.active_severity(name));
            let hour_began = baseline.note(figures.throughput, now_ms);
            (registry.evaluate(found, rules.resolve_after_ms, now_ms), hour_began)
        };
        for change in changes {
            let (Change::Firing(alert) | Change::Resolved(alert)) = change;
            tracing::warn!(
                alert = alert.name,
                severity = alert.severity.as_str(),
                state = ?alert.state,
                summary = alert.summary,
                "alert"
            );
            self.events.announce(Event::new("alert", &alert));
        }
        self.keep(hour_began);
    }

    /// Writes the alerts down, if something has changed or it is wanted `anyway`.
    pub(crate) fn keep(&self, anyway: bool) {
        if !self.store.keeps() {
            return;
        }
        let (registry, baseline) = {
            let mut state = lock(&self.state);
            if state.registry.version() == state.saved_version && !anyway {
                return;
            }
            state.saved_version = state.registry.version();
            (state.registry.clone(), state.baseline.clone())
        };
        self.store.save(&registry, &baseline);
    }

    /// Notes what the receivers are to be told, if it is this replica that tells them.
    pub(crate) async fn notify(&self) {
        let mut led = self.led.lock().await;
        if !self.leadership.leads() {
            *led = false;
            return;
        }
        // Who begins to notify goes on with what the one before has told.
        if !*led && let Some(outbox) = self.leadership.outbox().await {
            self.notifier.go_on_with(outbox);
        }
        *led = true;
        let active = self.active(false);
        let firing: Vec<(&Alert, bool)> = active.iter().map(|(alert, silenced)| (alert, !silenced)).collect();
        if self.notifier.reconcile(&firing, now_ms()) {
            self.leadership.keep_outbox(&self.notifier.outbox()).await;
        }
    }

    /// Delivers what is due, if it is this replica that does.
    pub(crate) async fn deliver(&self) {
        if self.leadership.leads() {
            let active = self.active(false).into_iter();
            let firing: Vec<Alert> = active
                .filter_map(|(alert, silenced)| (!silenced).then_some(alert))
                .collect();
            if self.notifier.deliver(&firing).await {
                self.leadership.keep_outbox(&self.notifier.outbox()).await;
            }
        }
        *lock(&self.notifications) = self.notifier.counts();
    }
}
