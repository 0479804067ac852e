//! Notifications on their way to whoever is on call. Written down before they are sent, so that a restart loses none; one that
//! was delivered is not sent again.

use super::{Alert, Severity};
use crate::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Notifications waiting at most; beyond these the oldest is given up, and counted.
const MAX_WAITING: usize = 1_000;
const FIRST_WAIT_MS: u64 = 1_000;
const LONGEST_WAIT_MS: u64 = 300_000;

/// What a notification says about its alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The alert is active.
    Trigger,
    /// The alert has ended.
    Resolve,
}

/// One notification to one receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Unique in this outbox.
    pub number: u64,
    /// The receiver's name.
    pub receiver: String,
    /// Whether the alert is active or has ended.
    pub action: Action,
    /// The alert.
    pub alert: Alert,
    /// The severity that this receiver knows it by, where that is another one.
    #[serde(default)]
    pub replaces: Option<Severity>,
    /// Failed deliveries.
    pub attempts: u32,
    /// When to try (again).
    pub due_ms: Millis,
}

/// The notifications that wait, and what each receiver has been notified of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    waiting: Vec<Notification>,
    next: u64,
    /// By receiver: the alerts it believes to be on, by id.
    #[serde(default, rename = "told")]
    notified: BTreeMap<String, BTreeMap<String, Alert>>,
    given_up: u64,
}

impl Outbox {
    /// Queues what a receiver needs to know the present state. `firing` are the active alerts, each with whether
    /// anybody wants to be notified; a notification from before a silence stays valid. False when there is nothing to
    /// send.
    ///
    /// It compares the present state with the last notifications instead of following changes. So after a restart, or
    /// at the end of a silence, nothing is sent twice and nothing is left out.
    pub fn reconcile(&mut self, receiver: &str, firing: &[(&Alert, bool)], now_ms: Millis) -> bool {
        let notified = self.notified.entry(receiver.to_owned()).or_default();
        let mut changes = Vec::new();
        for (alert, wanted) in firing {
            let known = notified.get(&alert.id).map(|alert| alert.severity);
            if known == Some(alert.severity) || (known.is_none() && !wanted) {
                continue;
            }
            notified.insert(alert.id.clone(), (*alert).clone());
            changes.push((Action::Trigger, (*alert).clone(), known));
        }
        notified.retain(|id, alert| {
            let is_on = firing.iter().any(|(alert, _)| alert.id == *id);
            if !is_on {
                changes.push((Action::Resolve, alert.resolved(now_ms), None));
            }
            is_on
        });
        let changed = !changes.is_empty();
        for (action, alert, replaces) in changes {
            self.put(receiver, action, alert, replaces, now_ms);
        }
        changed
    }

    fn put(&mut self, receiver: &str, action: Action, alert: Alert, replaces: Option<Severity>, now_ms: Millis) {
        // The newest notification of an alert is the one that counts.
        self.waiting
            .retain(|other| other.receiver != receiver || other.alert.id != alert.id);
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.remove(0);
            self.given_up += 1;
        }
        self.next += 1;
        self.waiting.push(Notification {
            number: self.next,
            receiver: receiver.to_owned(),
            action,
            alert,
            replaces,
            attempts: 0,
            due_ms: now_ms,
        });
    }

    /// What is to be sent now.
    #[must_use]
    pub fn due(&self, now_ms: Millis) -> Vec<Notification> {
        self.waiting
            .iter()
            .filter(|notification| notification.due_ms <= now_ms)
            .cloned()
            .collect()
    }

    /// It arrived, or never will.
    pub fn done(&mut self, number: u64) {
        self.waiting.retain(|notification| notification.number != number);
    }

    /// It did not arrive; `jitter` in 0..=255 lengthens the wait by up to a quarter.
    pub fn failed(&mut self, number: u64, now_ms: Millis, jitter: u8) {
        if let Some(notification) = self.waiting.iter_mut().find(|waiting| waiting.number == number) {
            let wait = FIRST_WAIT_MS
                .saturating_mul(1 << notification.attempts.min(16))
                .min(LONGEST_WAIT_MS);
            notification.attempts = notification.attempts.saturating_add(1);
            notification.due_ms = now_ms
                .saturating_add(wait)
                .saturating_add(wait / 4 * u64::from(jitter) / 255);
        }
    }

    /// Notifications waiting, and given up since the beginning.
    #[must_use]
    pub fn counts(&self) -> (usize, u64) {
        (self.waiting.len(), self.given_up)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AlertRegistry, Change, Condition, Severity};
    use super::*;
    use std::collections::BTreeMap;

    fn alert(severity: Severity) -> Alert {
        let condition = Condition {
            name: "error_rate",
            labels: BTreeMap::new(),
            severity,
            value: 9.0,
            threshold: 5.0,
            for_ms: 0,
            summary: String::new(),
            happened: false,
        };
        match AlertRegistry::default().evaluate(vec![condition], 0, 1).pop() {
            Some(Change::Firing(alert)) => alert,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_sent_twice_and_a_resolution_needs_a_trigger() {
        let mut outbox = Outbox::default();
        let alert = alert(Severity::Critical);
        let on: &[(&Alert, bool)] = &[(&alert, true)];
        assert!(!outbox.reconcile("pager", &[], 0));
        assert!(outbox.reconcile("pager", on, 0));
        assert!(!outbox.reconcile("pager", on, 0));
        let due = outbox.due(0);
        outbox.done(due[0].number);
        let mut read: Outbox = serde_json::from_str(&serde_json::to_string(&outbox).unwrap()).unwrap();
        assert!(!read.reconcile("pager", on, 0), "also after a restart");
        assert!(read.reconcile("webhook", on, 0), "another receiver");
        assert!(read.reconcile("pager", &[], 7));
        let due = read.due(7);
        let last = due.last().unwrap();
        assert_eq!(
            (due.len(), last.action, last.alert.resolved_at),
            (2, Action::Resolve, 7)
        );
    }

    #[test]
    fn a_silenced_alert_is_told_when_its_silence_ends_and_one_told_before_stays_told() {
        let mut outbox = Outbox::default();
        let alert = alert(Severity::Warning);
        assert!(!outbox.reconcile("pager", &[(&alert, false)], 0));
        assert!(outbox.reconcile("pager", &[(&alert, true)], 1));
        assert!(!outbox.reconcile("pager", &[(&alert, false)], 2));
        assert!(outbox.reconcile("pager", &[], 3));
    }

    #[test]
    fn a_change_of_severity_names_the_one_before() {
        let mut outbox = Outbox::default();
        let (mild, bad) = (alert(Severity::Warning), alert(Severity::Critical));
        outbox.reconcile("pager", &[(&mild, true)], 0);
        outbox.reconcile("pager", &[(&bad, true)], 1);
        let due = outbox.due(1);
        assert_eq!(due.len(), 1, "the newest word counts");
        assert_eq!(due[0].replaces, Some(Severity::Warning));
    }

    #[test]
    fn failures_wait_longer_each_time_up_to_a_cap() {
        let mut outbox = Outbox::default();
        outbox.reconcile("pager", &[(&alert(Severity::Warning), true)], 0);
        let mut waits = Vec::new();
        for _ in 0..12 {
            let number = outbox.waiting[0].number;
            outbox.failed(number, 0, 0);
            waits.push(outbox.waiting[0].due_ms);
        }
        assert_eq!(
            (waits[0], waits[1], waits[2], waits[11]),
            (1_000, 2_000, 4_000, 300_000)
        );
        assert!(outbox.due(0).is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbox = Outbox::default();
        for receiver in 0..2_000 {
            outbox.reconcile(&receiver.to_string(), &[(&alert(Severity::Warning), true)], 0);
        }
        assert_eq!(outbox.counts(), (MAX_WAITING, 1_000));
    }
}
