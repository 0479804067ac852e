//! The state of all operations, and who hears of its changes.

use crate::kernel::clock::now_ms;
use crate::kernel::events::{Event, Events};
use crate::kernel::ports::Replication;
use crate::kernel::sync::lock;
use control_domain::operations::{Operation, Operations};
use control_domain::replication::Fact;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// All of them, and how those under way here are told to end.
#[derive(Debug)]
pub(super) struct Ledger {
    state: Mutex<Known>,
    pub(super) replication: Arc<dyn Replication>,
    events: Events,
}

#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) operations: Operations,
    /// Of each under way here: whether it was cancelled.
    pub(super) own: BTreeMap<String, watch::Sender<bool>>,
}

impl Known {
    /// One begins here, or goes on; what tells when it is cancelled.
    pub(super) fn own(&mut self, id: &str) -> watch::Receiver<bool> {
        let (sender, cancelled) = watch::channel(false);
        self.own.insert(id.to_owned(), sender);
        cancelled
    }

    /// Tells whoever does it here that it is cancelled.
    pub(super) fn signal(&self, id: &str) {
        if let Some(sender) = self.own.get(id) {
            sender.send_replace(true);
        }
    }
}

impl Ledger {
    pub(super) fn new(replication: Arc<dyn Replication>, events: Events) -> Self {
        Self {
            state: Mutex::default(),
            replication,
            events,
        }
    }

    /// For computations only: nobody is told of anything while it is held.
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.state)
    }

    pub(super) fn get(&self, id: &str) -> Option<Operation> {
        self.known().operations.get(id).cloned()
    }

    /// Changes one that is under way here.
    pub(super) fn change(&self, id: &str, change: impl FnOnce(&mut Operation, u64)) {
        if let Some(one) = self.known().operations.get_mut(id) {
            change(one, now_ms());
        }
    }

    /// One that was under way here is not any more.
    pub(super) fn ended(&self, id: &str, change: impl FnOnce(&mut Operation, u64)) {
        let operation = {
            let mut known = self.known();
            known.own.remove(id);
            let Some(one) = known.operations.get_mut(id) else {
                return;
            };
            change(one, now_ms());
            one.clone()
        };
        self.publish(operation);
    }

    /// Publishes to the other replicas, and to the subscribers of events.
    pub(super) fn publish(&self, operation: Operation) {
        self.announce(&operation);
        let operation = Box::new(operation);
        self.replication.publish_later(Fact::OperationTold { operation });
    }

    /// Tells whoever listens.
    pub(super) fn announce(&self, operation: &Operation) {
        let data = json!({ "id": operation.id, "kind": operation.kind, "state": operation.state });
        self.events.announce(Event::new("operation", data));
    }
}
