//! The owner of the operations. What other replicas do is told here too.
//!
//! They are in memory alone: an operation ends with the process that does it.

use super::ledger::{Known, Ledger};
use super::running::Running;
use crate::kernel::clock::now_ms;
use crate::kernel::events::Events;
use crate::kernel::ids::unique;
use crate::kernel::ports::Replication;
use control_domain::operations::{Full, Kind, Operation, Stage, State, Unit};
use control_domain::replication::Fact;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often other replicas are told of what goes on here: often enough that it is not held for lost.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Why an operation cannot be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unable {
    /// None of this id is remembered.
    Unknown,
    /// It has ended already, or was cancelled before.
    Ended,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct OperationService {
    ledger: Arc<Ledger>,
}

impl OperationService {
    pub(crate) fn new(replication: Arc<dyn Replication>, events: Events) -> Self {
        Self {
            ledger: Arc::new(Ledger::new(replication, events)),
        }
    }

    /// Begins one for somebody, about an Envoy or all, under a name that the client gave it; the last two may be empty.
    ///
    /// # Errors
    /// There are as many under way as there may be.
    pub(crate) fn begin(&self, kind: Kind, by: &str, envoy: &str, key: &str) -> Result<Running, Full> {
        let now_ms = now_ms();
        let operation = Operation::begun(unique(now_ms), kind, (by, envoy, key), now_ms);
        let running = {
            let mut known = self.ledger.known();
            let own = known.own.len();
            known.operations.begin(operation.clone(), own, now_ms)?;
            Running::new(Arc::clone(&self.ledger), operation.id.clone(), known.own(&operation.id))
        };
        self.ledger.publish(operation);
        Ok(running)
    }

    /// Goes on with the restore that awaits its next part, or begins one.
    ///
    /// # Errors
    /// There are as many under way as there may be.
    pub(crate) fn part(
        &self,
        (by, envoy, key): (&str, &str, &str),
        (offset, total): (u64, u64),
    ) -> Result<Running, Full> {
        let now_ms = now_ms();
        let joined = {
            let mut known = self.ledger.known();
            let id = known.operations.awaiting(key, by, now_ms).map(|one| one.id.clone());
            id.map(|id| {
                if let Some(one) = known.operations.get_mut(&id) {
                    one.state = State::Running;
                    one.updated_at = now_ms;
                }
                let cancelled = known.own(&id);
                Running::new(Arc::clone(&self.ledger), id, cancelled)
            })
        };
        let running = match joined {
            Some(running) => running,
            None => self.begin(Kind::Restore, by, envoy, key)?,
        };
        let progress = self.get(running.id()).map(|one| one.progress);
        if progress.is_none_or(|progress| progress.stage != Stage::Working || progress.done != offset) {
            running.enter(Stage::Working, Unit::Bytes, offset, Some(total));
        }
        Ok(running)
    }

    /// All of them, the newest first.
    pub(crate) fn newest(&self) -> Vec<Operation> {
        self.ledger.known().operations.newest(now_ms()).cloned().collect()
    }

    /// One of them.
    pub(crate) fn get(&self, id: &str) -> Option<Operation> {
        self.ledger.get(id)
    }

    /// Cancels one, also at another replica.
    ///
    /// # Errors
    /// None of this id is remembered, or it has ended.
    pub(crate) async fn cancel(&self, id: &str, by: &str) -> Result<Operation, Unable> {
        let operation = {
            let mut known = self.ledger.known();
            let one = known.operations.get_mut(id).ok_or(Unable::Unknown)?;
            if !one.cancel(by, now_ms()) {
                return Err(Unable::Ended);
            }
            let operation = one.clone();
            known.signal(id);
            operation
        };
        tracing::warn!(who = by, operation = id, "cancelled");
        let (id, by) = (id.to_owned(), by.to_owned());
        self.ledger
            .replication
            .publish(Fact::OperationCancelled { id, by })
            .await;
        self.ledger.announce(&operation);
        Ok(operation)
    }

    /// Another replica has told how one of its operations stands.
    pub(crate) fn observe(&self, operation: Operation) {
        let mut known = self.ledger.known();
        if known.own.contains_key(&operation.id) {
            return;
        }
        known.operations.observe(operation.clone(), now_ms());
        drop(known);
        self.ledger.announce(&operation);
    }

    /// Somebody has cancelled one over another replica.
    pub(crate) fn observe_cancelled(&self, id: &str, by: &str) {
        let mut known = self.ledger.known();
        if known.operations.get_mut(id).is_some_and(|one| one.cancel(by, now_ms())) {
            known.signal(id);
        }
    }

    /// Publishes the progress of the operations here to the other replicas, until `stopped`.
    pub(crate) async fn publish_progress(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(TOLD_EVERY) => {}
                _ = stopped.changed() => return,
            }
            for operation in self.own_under_way() {
                let operation = Box::new(operation);
                self.ledger
                    .replication
                    .publish_passing(Fact::OperationTold { operation });
            }
        }
    }

    /// The operations under way in this process, with the present time as their last sign of life.
    fn own_under_way(&self) -> Vec<Operation> {
        let mut known = self.ledger.known();
        let Known { operations, own } = &mut *known;
        let now_ms = now_ms();
        let mut found = Vec::new();
        for id in own.keys() {
            if let Some(one) = operations.get_mut(id) {
                one.updated_at = now_ms;
                found.push(one.clone());
            }
        }
        found
    }
}
