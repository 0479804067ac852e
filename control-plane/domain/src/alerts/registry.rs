//! Alerts through their lives: pending, firing, resolved.

use super::{Condition, Severity};
use crate::Millis;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Ended alerts kept.
pub const HISTORY: usize = 1_000;
/// Alerts at a time, and silences.
pub const MAX_ALERTS: usize = 1_000;
/// Silences at a time.
pub const MAX_SILENCES: usize = 200;

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its condition holds, not for long enough yet.
    Pending,
    /// It is on.
    Firing,
    /// It is over.
    Resolved,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Alert {
    /// Stable over the alert's life and from one to the next with the same name and labels; the key for removing duplicates.
    pub id: String,
    /// The rule.
    pub name: String,
    /// Its severity.
    pub severity: Severity,
    /// Where it stands.
    pub state: State,
    /// Since when its condition holds.
    pub since: Millis,
    /// When it ended; 0 while it lasts.
    pub resolved_at: Millis,
    /// The figure, as last seen.
    pub value: f64,
    /// What it is compared with.
    pub threshold: f64,
    /// What it is about.
    pub labels: BTreeMap<String, String>,
    /// One sentence.
    pub summary: String,
    /// Who has seen it.
    pub acknowledged_by: Option<String>,
    /// What it is about has happened and is over.
    #[serde(default)]
    happened: bool,
    #[serde(skip)]
    last_seen_ms: Millis,
}

impl Alert {
    /// The alert as it is told when it is over.
    #[must_use]
    pub fn resolved(&self, now_ms: Millis) -> Self {
        Self {
            state: State::Resolved,
            resolved_at: now_ms,
            ..self.clone()
        }
    }
}

/// Alerts of a name that nobody wants to be told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Silence {
    /// Name of the alert rule.
    pub name: String,
    /// Who asked for it.
    pub by: String,
    /// Reason that was given.
    pub reason: String,
    /// When it ends, milliseconds since 1970.
    pub until: Millis,
}

/// A change worth telling.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It began, or got worse or better.
    Firing(Alert),
    /// It ended.
    Resolved(Alert),
}

/// All alerts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AlertRegistry {
    alerts: BTreeMap<String, Alert>,
    history: VecDeque<Alert>,
    silences: Vec<Silence>,
    /// Grows with every change that is to survive a restart.
    #[serde(skip)]
    version: u64,
}

impl AlertRegistry {
    /// Goes on after a restart: what was on is on still, and has as long to show itself again as it would have had. What was only
    /// pending starts over.
    #[must_use]
    pub fn resumed(mut self, now_ms: Millis) -> Self {
        self.alerts.retain(|_, alert| alert.state != State::Pending);
        for alert in self.alerts.values_mut() {
            alert.last_seen_ms = now_ms;
        }
        self
    }

    /// A number that tells whether anything has changed that is to survive a restart.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The severity of a rule's alert that is on; the worst where there are several.
    #[must_use]
    pub fn active_severity(&self, name: &str) -> Option<Severity> {
        let firing = self.alerts.values().filter(|alert| alert.state == State::Firing);
        firing
            .filter(|alert| alert.name == name)
            .map(|alert| alert.severity)
            .max()
    }

    /// Takes in what is wrong now; answers what is worth telling. An alert is over when its condition has been absent for `quiet_ms`.
    pub fn evaluate(&mut self, conditions: Vec<Condition>, quiet_ms: Millis, now_ms: Millis) -> Vec<Change> {
        let mut changes = Vec::new();
        for condition in conditions {
            self.take(condition, now_ms, &mut changes);
        }
        self.end_seen(now_ms, &mut changes);
        let over: Vec<String> = self
            .alerts
            .values()
            .filter(|alert| alert.is_over(quiet_ms, now_ms))
            .map(|alert| alert.id.clone())
            .collect();
        for id in over {
            if let Some(mut alert) = self.alerts.remove(&id)
                && alert.state == State::Firing
            {
                alert = alert.resolved(now_ms);
                changes.push(Change::Resolved(alert.clone()));
                self.remember(alert);
            }
        }
        let silences = self.silences.len();
        self.silences.retain(|silence| silence.until > now_ms);
        if !changes.is_empty() || silences != self.silences.len() {
            self.version += 1;
        }
        changes
    }

    fn take(&mut self, condition: Condition, now_ms: Millis, changes: &mut Vec<Change>) {
        let id = fingerprint(condition.name, &condition.labels);
        if self.alerts.len() >= MAX_ALERTS && !self.alerts.contains_key(&id) {
            return;
        }
        let alert = self.alerts.entry(id.clone()).or_insert_with(|| Alert {
            id,
            name: condition.name.to_owned(),
            severity: condition.severity,
            state: State::Pending,
            since: now_ms,
            resolved_at: 0,
            value: condition.value,
            threshold: condition.threshold,
            labels: condition.labels,
            summary: String::new(),
            acknowledged_by: None,
            happened: condition.happened,
            last_seen_ms: now_ms,
        });
        alert.last_seen_ms = now_ms;
        if alert.state == State::Resolved {
            return;
        }
        let changed = alert.severity != condition.severity;
        alert.severity = condition.severity;
        alert.value = if condition.value.is_finite() {
            condition.value
        } else {
            0.0
        };
        alert.threshold = condition.threshold;
        alert.summary = condition.summary;
        let begins = alert.state == State::Pending && now_ms.saturating_sub(alert.since) >= condition.for_ms;
        if begins {
            alert.state = State::Firing;
        }
        if begins || (changed && alert.state == State::Firing) {
            changes.push(Change::Firing(alert.clone()));
        }
    }

    /// What has happened is over for whoever has seen it. It is kept for as long as its condition holds, so that it does not begin again.
    fn end_seen(&mut self, now_ms: Millis, changes: &mut Vec<Change>) {
        let firing = self.alerts.values_mut().filter(|alert| alert.state == State::Firing);
        let seen = firing.filter(|alert| alert.happened && alert.acknowledged_by.is_some());
        let ended: Vec<Alert> = seen
            .map(|alert| {
                *alert = alert.resolved(now_ms);
                alert.clone()
            })
            .collect();
        for alert in ended {
            changes.push(Change::Resolved(alert.clone()));
            self.remember(alert);
        }
    }

    fn remember(&mut self, alert: Alert) {
        if self.history.len() >= HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(alert);
    }

    /// Alerts that are on, the worst first; with `pending` also those that are not on yet.
    #[must_use]
    pub fn active(&self, pending: bool) -> Vec<&Alert> {
        let mut active: Vec<&Alert> = self
            .alerts
            .values()
            .filter(|alert| alert.state == State::Firing || pending && alert.state == State::Pending)
            .collect();
        active.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.since.cmp(&b.since)));
        active
    }

    /// Alerts that ended, the newest first.
    pub fn history(&self) -> impl Iterator<Item = &Alert> {
        self.history.iter().rev()
    }

    /// Somebody has seen an alert. False if there is none with this id.
    pub fn acknowledge(&mut self, id: &str, by: &str) -> bool {
        match self.alerts.get_mut(id).filter(|alert| alert.state == State::Firing) {
            Some(alert) => {
                alert.acknowledged_by = Some(by.to_owned());
                self.version += 1;
                true
            }
            None => false,
        }
    }

    /// Suppresses notifications of these alerts for a while. False when there are too many silences.
    pub fn silence(&mut self, silence: Silence) -> bool {
        self.silences.retain(|other| other.name != silence.name);
        let has_space = self.silences.len() < MAX_SILENCES;
        if has_space {
            self.silences.push(silence);
            self.version += 1;
        }
        has_space
    }

    /// Ends a silence. False if there is none of this name.
    pub fn unsilence(&mut self, name: &str) -> bool {
        let before = self.silences.len();
        self.silences.retain(|silence| silence.name != name);
        self.version += 1;
        self.silences.len() < before
    }

    /// The silences in force.
    #[must_use]
    pub fn silences(&self) -> &[Silence] {
        &self.silences
    }

    /// Whether notifications of alerts with this name are suppressed.
    #[must_use]
    pub fn is_silenced(&self, name: &str, now_ms: Millis) -> bool {
        self.silences
            .iter()
            .any(|silence| silence.name == name && silence.until > now_ms)
    }
}

impl Alert {
    /// One that is not on is over as soon as its condition is; a firing one after a while of quiet.
    fn is_over(&self, quiet_ms: Millis, now_ms: Millis) -> bool {
        let quiet = now_ms.saturating_sub(self.last_seen_ms);
        match self.state {
            State::Pending | State::Resolved => quiet > 0,
            State::Firing => quiet > 0 && quiet >= quiet_ms,
        }
    }
}

/// Name and labels in one word.
fn fingerprint(name: &str, labels: &BTreeMap<String, String>) -> String {
    let mut text = name.to_owned();
    for (key, value) in labels {
        text.push_str(&format!(";{key}={value}"));
    }
    // FNV-1a. Names are a closed set and labels come from the fleet itself; a collision would join two alerts.
    let sum = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{name}-{sum:016x}")
}

#[cfg(test)]
mod tests;
