//! The Envoys that take their configuration from here, and what has become of it there.

use super::kind::Kind;
use super::variant::Progress;
use control_domain::Millis;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// A step on the way to a revision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Grows with every step.
    pub(super) number: u64,
    /// The revision it leads to.
    pub(super) revision: u64,
    /// Whether it is the last one on that way.
    pub(super) last: bool,
}

/// One stream.
#[derive(Debug, Default)]
struct Client {
    node_id: String,
    variant: &'static str,
    since_ms: Millis,
    /// The last step it was told of.
    told: Step,
    /// Kinds it was sent and has not answered for.
    outstanding: BTreeSet<Kind>,
    /// Kinds it refused last, with its reason.
    refused: BTreeMap<Kind, (String, Millis)>,
    /// The last revision that it took in whole.
    revision: u64,
}

impl Client {
    fn settle(&mut self) {
        if self.told.last && self.outstanding.is_empty() && self.refused.is_empty() {
            self.revision = self.told.revision;
        }
    }

    fn view(&self) -> Value {
        let refused: Vec<Value> = self
            .refused
            .iter()
            .map(|(kind, (reason, at_ms))| json!({ "kind": kind.as_str(), "reason": reason, "at": at_ms }))
            .collect();
        let waiting: Vec<&str> = self.outstanding.iter().map(|kind| kind.as_str()).collect();
        json!({
            "node_id": self.node_id,
            "variant": self.variant,
            "since": self.since_ms,
            "revision": self.revision,
            "waiting": waiting,
            "refused": refused,
        })
    }
}

/// All streams.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    streams: Mutex<BTreeMap<u64, Client>>,
    changed: Notify,
}

impl Clients {
    pub(super) fn enter(&self, stream: u64, node_id: &str, variant: &'static str, now_ms: Millis) {
        let client = Client {
            node_id: node_id.to_owned(),
            variant,
            since_ms: now_ms,
            ..Client::default()
        };
        self.lock().insert(stream, client);
    }

    pub(super) fn leave(&self, stream: u64) {
        self.lock().remove(&stream);
        self.changed.notify_waiters();
    }

    /// A response went out.
    pub(super) fn sent(&self, stream: u64, kind: Kind) {
        self.with(stream, |client| {
            client.outstanding.insert(kind);
        });
    }

    /// All responses of a step went out.
    pub(super) fn told(&self, stream: u64, step: Step) {
        self.with(stream, |client| client.told = step);
    }

    /// An Envoy answered.
    pub(super) fn answered(&self, stream: u64, progress: Progress, now_ms: Millis) {
        self.with(stream, |client| match progress {
            Progress::Accepted(kind) => {
                client.outstanding.remove(&kind);
                client.refused.remove(&kind);
            }
            Progress::Refused(kind, reason) => {
                client.outstanding.remove(&kind);
                client.refused.insert(kind, (reason, now_ms));
            }
        });
    }

    /// Waits until every Envoy has answered for a step, or time is up.
    pub(super) async fn settled(&self, step: Step, timeout: Duration) {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let changed = self.changed.notified();
            let waiting = |client: &Client| client.told.number < step.number || !client.outstanding.is_empty();
            if !self.lock().values().any(waiting) || tokio::time::timeout_at(deadline, changed).await.is_err() {
                return;
            }
        }
    }

    /// For the rollout view.
    pub(crate) fn view(&self, revision: u64) -> Value {
        let streams = self.lock();
        let complete = streams.values().all(|client| client.revision == revision);
        let envoys: Vec<Value> = streams.values().map(Client::view).collect();
        json!({ "complete": complete, "envoys": envoys })
    }

    /// Who refuses what, as sentences.
    pub(crate) fn refusals(&self) -> Vec<String> {
        let streams = self.lock();
        let refusing = streams.values().flat_map(|client| {
            let kinds = client.refused.iter();
            kinds.map(|(kind, (reason, _))| format!("{} refused {}: {reason}", client.node_id, kind.as_str()))
        });
        refusing.collect()
    }

    fn with(&self, stream: u64, change: impl FnOnce(&mut Client)) {
        if let Some(client) = self.lock().get_mut(&stream) {
            change(client);
            client.settle();
        }
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Client>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Step = Step {
        number: 3,
        revision: 7,
        last: true,
    };

    #[tokio::test]
    async fn a_revision_is_in_force_when_every_kind_was_accepted() {
        let clients = Clients::default();
        clients.enter(1, "a", "delta", 10);
        clients.sent(1, Kind::Clusters);
        clients.sent(1, Kind::Routes);
        clients.told(1, STEP);
        assert_eq!(clients.view(7)["complete"], false);
        clients.answered(1, Progress::Accepted(Kind::Clusters), 11);
        clients.answered(1, Progress::refused(Kind::Routes, "no".to_owned()), 12);
        let view = clients.view(7);
        assert_eq!(
            (&view["complete"], &view["envoys"][0]["revision"]),
            (&json!(false), &json!(0))
        );
        assert_eq!(
            view["envoys"][0]["refused"],
            json!([{"kind": "routes", "reason": "no", "at": 12}])
        );
        assert_eq!(clients.refusals(), ["a refused routes: no"]);
        // A refusal settles a step as an acceptance does: the next one is not held back.
        clients.settled(STEP, Duration::from_secs(60)).await;

        clients.sent(1, Kind::Routes);
        clients.answered(1, Progress::Accepted(Kind::Routes), 13);
        assert_eq!(clients.view(7)["complete"], true);
        assert!(clients.refusals().is_empty());
        clients.leave(1);
        assert_eq!(clients.view(8)["complete"], true);
    }

    #[tokio::test]
    async fn who_does_not_answer_holds_nobody_up_for_ever() {
        let clients = Clients::default();
        clients.enter(1, "a", "sotw", 10);
        clients.settled(STEP, Duration::from_millis(10)).await;
    }
}
