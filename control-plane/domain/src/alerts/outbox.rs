//! Notifications on their way to whoever is on call. Written down before they are sent, so that a restart loses none; one that
//! was delivered is not sent again.

use super::Alert;
use crate::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Notifications waiting at most; beyond these the oldest is given up, and counted.
const MAX_WAITING: usize = 1_000;
const FIRST_WAIT_MS: u64 = 1_000;
const LONGEST_WAIT_MS: u64 = 300_000;

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is on.
    Trigger,
    /// It is over.
    Resolve,
}

/// One notification to one receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Unique in this outbox.
    pub number: u64,
    /// The receiver's name.
    pub receiver: String,
    /// What is told.
    pub action: Action,
    /// The alert.
    pub alert: Alert,
    /// Failed deliveries.
    pub attempts: u32,
    /// When to try (again).
    pub due_ms: Millis,
}

/// The notifications that wait.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    waiting: Vec<Notification>,
    next: u64,
    /// Alerts a receiver knows to be on, as `receiver id severity`.
    open: BTreeSet<String>,
    given_up: u64,
}

impl Outbox {
    /// Puts a notification in, unless the receiver knows already. False when there is nothing to send.
    pub fn put(&mut self, receiver: &str, action: Action, alert: &Alert, now_ms: Millis) -> bool {
        let known = |severity: &str| format!("{receiver} {} {severity}", alert.id);
        let told = ["warning", "critical"].map(known);
        match action {
            Action::Trigger => {
                let key = known(alert.severity.word());
                if self.open.contains(&key) {
                    return false;
                }
                for other in &told {
                    self.open.remove(other);
                }
                self.open.insert(key);
            }
            Action::Resolve => {
                let mut was_open = false;
                told.iter().for_each(|other| was_open |= self.open.remove(other));
                if !was_open {
                    return false;
                }
            }
        }
        // The newest word about an alert is the one that counts.
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
            alert: alert.clone(),
            attempts: 0,
            due_ms: now_ms,
        });
        true
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
    pub fn standing(&self) -> (usize, u64) {
        (self.waiting.len(), self.given_up)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Board, Change, Condition, Severity};
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
        };
        match Board::default().evaluate(vec![condition], 1).pop() {
            Some(Change::Firing(alert)) => alert,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_sent_twice_and_a_resolution_needs_a_trigger() {
        let mut outbox = Outbox::default();
        let alert = alert(Severity::Critical);
        assert!(!outbox.put("pager", Action::Resolve, &alert, 0));
        assert!(outbox.put("pager", Action::Trigger, &alert, 0));
        assert!(!outbox.put("pager", Action::Trigger, &alert, 0));
        let due = outbox.due(0);
        outbox.done(due[0].number);
        let mut read: Outbox = serde_json::from_str(&serde_json::to_string(&outbox).unwrap()).unwrap();
        assert!(!read.put("pager", Action::Trigger, &alert, 0), "also after a restart");
        assert!(read.put("webhook", Action::Trigger, &alert, 0), "another receiver");
        assert!(read.put("pager", Action::Resolve, &alert, 0));
        assert_eq!(read.due(0).len(), 2);
    }

    #[test]
    fn failures_wait_longer_each_time_up_to_a_cap() {
        let mut outbox = Outbox::default();
        outbox.put("pager", Action::Trigger, &alert(Severity::Warning), 0);
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
            outbox.put(&receiver.to_string(), Action::Trigger, &alert(Severity::Warning), 0);
        }
        assert_eq!(outbox.standing(), (MAX_WAITING, 1_000));
    }
}
