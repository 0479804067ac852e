//! Alerts through their lives: pending, firing, resolved.

use super::{Condition, Severity};
use crate::Millis;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A firing alert is resolved when its condition has been absent for so long: one that flaps is one alert.
const QUIET_MS: u64 = 30_000;
/// Ended alerts kept.
const HISTORY: usize = 1_000;
/// Alerts at a time, and silences.
const MAX_ALERTS: usize = 1_000;
const MAX_SILENCES: usize = 200;

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Stable over the alert's life and from one to the next with the same name and labels; the key for removing duplicates.
    pub id: String,
    /// The rule.
    pub name: String,
    /// How bad.
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
    #[serde(skip)]
    last_seen_ms: Millis,
}

/// Alerts of a name that nobody wants to be told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// The rule's name.
    pub name: String,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When it ends.
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
#[derive(Debug, Clone, Default)]
pub struct Board {
    alerts: BTreeMap<String, Alert>,
    history: VecDeque<Alert>,
    silences: Vec<Silence>,
}

impl Board {
    /// Takes in what is wrong now; answers what is worth telling.
    pub fn evaluate(&mut self, conditions: Vec<Condition>, now_ms: Millis) -> Vec<Change> {
        let mut changes = Vec::new();
        for condition in conditions {
            self.take(condition, now_ms, &mut changes);
        }
        let over: Vec<String> = self
            .alerts
            .values()
            .filter(|alert| alert.is_over(now_ms))
            .map(|alert| alert.id.clone())
            .collect();
        for id in over {
            if let Some(mut alert) = self.alerts.remove(&id)
                && alert.state == State::Firing
            {
                alert.state = State::Resolved;
                alert.resolved_at = now_ms;
                changes.push(Change::Resolved(alert.clone()));
                self.remember(alert);
            }
        }
        self.silences.retain(|silence| silence.until > now_ms);
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
            last_seen_ms: now_ms,
        });
        let changed = alert.severity != condition.severity;
        alert.severity = condition.severity;
        alert.value = condition.value;
        alert.threshold = condition.threshold;
        alert.summary = condition.summary;
        alert.last_seen_ms = now_ms;
        let begins = alert.state == State::Pending && now_ms.saturating_sub(alert.since) >= condition.for_ms;
        if begins {
            alert.state = State::Firing;
        }
        if begins || (changed && alert.state == State::Firing) {
            changes.push(Change::Firing(alert.clone()));
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
            .filter(|alert| pending || alert.state == State::Firing)
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
                true
            }
            None => false,
        }
    }

    /// Nobody is to be told of these for a while. False when there are too many silences.
    pub fn silence(&mut self, silence: Silence) -> bool {
        self.silences.retain(|other| other.name != silence.name);
        let room = self.silences.len() < MAX_SILENCES;
        if room {
            self.silences.push(silence);
        }
        room
    }

    /// Ends a silence. False if there is none of this name.
    pub fn unsilence(&mut self, name: &str) -> bool {
        let before = self.silences.len();
        self.silences.retain(|silence| silence.name != name);
        self.silences.len() < before
    }

    /// The silences in force.
    #[must_use]
    pub fn silences(&self) -> &[Silence] {
        &self.silences
    }

    /// Whether nobody wants to be told of alerts of this name.
    #[must_use]
    pub fn is_silenced(&self, name: &str, now_ms: Millis) -> bool {
        self.silences
            .iter()
            .any(|silence| silence.name == name && silence.until > now_ms)
    }
}

impl Alert {
    /// A pending one is over as soon as its condition is; a firing one after a while of quiet.
    fn is_over(&self, now_ms: Millis) -> bool {
        let quiet = now_ms.saturating_sub(self.last_seen_ms);
        match self.state {
            State::Pending => quiet > 0,
            _ => quiet >= QUIET_MS,
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
mod tests {
    use super::*;

    fn condition(severity: Severity) -> Condition {
        Condition {
            name: "p95_latency",
            labels: BTreeMap::new(),
            severity,
            value: 60.0,
            threshold: 50.0,
            for_ms: 30_000,
            summary: "slow".to_owned(),
        }
    }

    fn firing(changes: &[Change]) -> Vec<Severity> {
        changes
            .iter()
            .filter_map(|change| match change {
                Change::Firing(alert) => Some(alert.severity),
                Change::Resolved(_) => None,
            })
            .collect()
    }

    #[test]
    fn an_alert_waits_fires_once_and_is_resolved_after_quiet() {
        let mut board = Board::default();
        let slow = || vec![condition(Severity::Warning)];
        assert!(board.evaluate(slow(), 0).is_empty());
        assert!(board.active(false).is_empty() && board.active(true).len() == 1);
        assert!(board.evaluate(slow(), 29_999).is_empty());
        assert_eq!(firing(&board.evaluate(slow(), 30_000)), [Severity::Warning]);
        assert!(board.evaluate(slow(), 31_000).is_empty());
        assert_eq!(
            firing(&board.evaluate(vec![condition(Severity::Critical)], 32_000)),
            [Severity::Critical]
        );
        assert!(board.evaluate(Vec::new(), 61_999).is_empty(), "it may come back");
        let ended = board.evaluate(Vec::new(), 62_000);
        assert!(matches!(ended.as_slice(), [Change::Resolved(alert)] if alert.resolved_at == 62_000));
        assert!(board.active(true).is_empty());
        assert_eq!(board.history().count(), 1);
    }

    #[test]
    fn what_does_not_last_is_no_alert() {
        let mut board = Board::default();
        for now_ms in (0..100_000).step_by(20_000) {
            board.evaluate(vec![condition(Severity::Critical)], now_ms);
            assert!(board.evaluate(Vec::new(), now_ms + 10_000).is_empty());
        }
        assert!(board.active(true).is_empty() && board.history().next().is_none());
    }

    #[test]
    fn silences_end_by_themselves() {
        let mut board = Board::default();
        let silence = Silence {
            name: "p95_latency".to_owned(),
            by: "me".to_owned(),
            reason: "load test".to_owned(),
            until: 1_000,
        };
        assert!(board.silence(silence));
        assert!(board.is_silenced("p95_latency", 999) && !board.is_silenced("p95_latency", 1_000));
        board.evaluate(Vec::new(), 1_000);
        assert!(board.silences().is_empty());
    }
}
