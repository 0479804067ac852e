//! An operation under way, in the hands of whoever does it.

use super::ledger::Ledger;
use control_domain::operations::{Receipt, Stage, State, Unit};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// How an operation came to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    /// All of it, or what could be done: then the reason why it is not all.
    Done(Option<String>),
    /// Early, for this reason.
    Failed(String),
    /// A part is done; more are to come.
    Part,
}

/// Shows how far an operation is, and tells when it is cancelled. Dropped before its end it has failed: whoever asked has gone.
#[derive(Debug)]
pub(crate) struct Running {
    ledger: Arc<Ledger>,
    id: String,
    cancelled: watch::Receiver<bool>,
    is_part: bool,
    has_ended: bool,
}

impl Running {
    pub(super) fn new(ledger: Arc<Ledger>, id: String, cancelled: watch::Receiver<bool>) -> Self {
        Self {
            ledger,
            id,
            cancelled,
            is_part: false,
            has_ended: false,
        }
    }

    /// The same, as a part: where it breaks off, the next attempt is awaited.
    pub(crate) fn into_part(mut self) -> Self {
        self.is_part = true;
        self
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A new stage begins.
    pub(crate) fn enter(&self, stage: Stage, unit: Unit, done: u64, total: Option<u64>) {
        self.ledger
            .change(&self.id, |one, now_ms| one.enter(stage, unit, (done, total), now_ms));
    }

    /// The stage has got so far.
    pub(crate) fn advance(&self, done: u64) {
        self.ledger.change(&self.id, |one, now_ms| one.advance(done, now_ms));
    }

    /// What it has done so far.
    pub(crate) fn counts(&self, counts: BTreeMap<String, u64>) {
        self.ledger.change(&self.id, |one, _| {
            one.receipt = Receipt {
                counts,
                ..Receipt::of(Some(""), BTreeMap::new())
            }
        });
    }

    /// What it had done when this part began.
    pub(crate) fn counted(&self) -> BTreeMap<String, u64> {
        let known = self.ledger.get(&self.id);
        known.map(|one| one.receipt.counts).unwrap_or_default()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Whether it is cancelled, for whoever does a part of it.
    pub(crate) fn signal(&self) -> watch::Receiver<bool> {
        self.cancelled.clone()
    }

    /// Returns when it is cancelled.
    pub(crate) async fn until_cancelled(&self) {
        let mut cancelled = self.cancelled.clone();
        if cancelled.wait_for(|is| *is).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Why it has ended, where somebody has cancelled it.
    pub(crate) fn cancelled_because(&self) -> Option<String> {
        let known = self.ledger.get(&self.id)?;
        self.is_cancelled()
            .then(|| format!("cancelled by {}", known.cancelled_by))
    }

    /// It has ended. One that was cancelled has ended as cancelled, with what it has done so far.
    pub(crate) fn end(mut self, ended: Ended) {
        self.close(ended);
    }

    fn close(&mut self, ended: Ended) {
        self.has_ended = true;
        let cancelled = self.cancelled_because();
        self.ledger.ended(&self.id, |one, now_ms| {
            let counts = std::mem::take(&mut one.receipt.counts);
            let (state, because) = match (cancelled, ended) {
                (Some(because), _) => (State::Cancelled, Some(because)),
                (None, Ended::Done(because)) => (State::Done, because),
                (None, Ended::Failed(because)) => (State::Failed, Some(because)),
                (None, Ended::Part) => (State::AwaitingPart, Some("the next part is awaited".to_owned())),
            };
            one.end(state, Receipt::of(because.as_deref(), counts), now_ms);
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let broken = if self.is_part {
            Ended::Part
        } else {
            Ended::Failed("whoever asked for it has gone".to_owned())
        };
        self.close(broken);
    }
}
