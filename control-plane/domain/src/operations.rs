//! Work that takes long: how far it is, when it will be done as far as that can be known, and what it has done.

mod register;
mod words;

pub use register::{Full, MAX_OPERATIONS, Operations, REMEMBERED_MS, RUNNING};
pub use words::{Kind, Stage, State, Unit};

use crate::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Without news for so long the replica that does it is gone, or cut off.
pub const LOST_AFTER_MS: Millis = 30_000;
/// The next part of a restore comes within this time.
pub const NEXT_PART_MS: Millis = 120_000;
/// Before so much of a stage has passed nothing is said about its end.
const TOO_EARLY_MS: Millis = 1_000;
/// Longest text that is kept, characters: texts come from operators and Envoys.
pub const TEXT: usize = 256;
/// Most counts in a receipt; Envoys name some of them.
pub const COUNTS: usize = 32;

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// In what it is counted.
    pub unit: Unit,
    /// So much is done.
    pub done: u64,
    /// Of so much; `None` where nobody knows.
    pub total: Option<u64>,
    /// When the stage began.
    pub since: Millis,
    /// How much was done already when it began.
    pub from: u64,
}

/// What an operation has done: also one that was cancelled, or failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = OperationReceipt)]
pub struct Receipt {
    /// All that was asked for is done.
    pub complete: bool,
    /// Why not; empty where it is.
    pub incomplete_because: String,
    /// What was done, by what.
    pub counts: BTreeMap<String, u64>,
}

impl Receipt {
    /// Of what was done in full, or why not.
    #[must_use]
    pub fn of(incomplete: Option<&str>, counts: BTreeMap<String, u64>) -> Self {
        let mut receipt = Self {
            complete: incomplete.is_none(),
            incomplete_because: clipped(incomplete.unwrap_or_default()),
            counts,
        };
        receipt.bound();
        receipt
    }

    fn bound(&mut self) {
        while self.counts.len() > COUNTS {
            self.counts.pop_last();
        }
        self.counts = std::mem::take(&mut self.counts)
            .into_iter()
            .map(|(name, count)| (clipped(&name), count))
            .collect();
    }
}

/// One operation. Replicas tell each other of theirs in this form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// By which it is asked for.
    pub id: String,
    /// What is done.
    pub kind: Kind,
    /// Who asked for it.
    pub by: String,
    /// Which Envoy it is about; empty: all of them.
    pub envoy: String,
    /// The name that the client gave it; empty: none.
    pub key: String,
    /// When it was asked for.
    pub started_at: Millis,
    /// When it was last heard of.
    pub updated_at: Millis,
    /// How it stood then.
    pub state: State,
    /// How far it was.
    pub progress: Progress,
    /// Who has cancelled it; empty: nobody.
    pub cancelled_by: String,
    /// What it has done so far, or in all.
    pub receipt: Receipt,
}

impl Operation {
    /// One that begins.
    #[must_use]
    pub fn begun(id: String, kind: Kind, (by, envoy, key): (&str, &str, &str), now_ms: Millis) -> Self {
        Self {
            id,
            kind,
            by: clipped(by),
            envoy: clipped(envoy),
            key: clipped(key),
            started_at: now_ms,
            updated_at: now_ms,
            state: State::Running,
            progress: Progress {
                stage: Stage::Begun,
                unit: Unit::Bytes,
                done: 0,
                total: None,
                since: now_ms,
                from: 0,
            },
            cancelled_by: String::new(),
            receipt: Receipt::default(),
        }
    }

    /// How it stands now: nothing runs of which nobody hears any more.
    #[must_use]
    pub fn state_at(&self, now_ms: Millis) -> State {
        let silent_ms = now_ms.saturating_sub(self.updated_at);
        match self.state {
            State::Running | State::Cancelling if silent_ms > LOST_AFTER_MS => State::Lost,
            State::AwaitingPart if silent_ms > NEXT_PART_MS => State::Failed,
            state => state,
        }
    }

    /// Whether it has ended, or nobody knows of it any more.
    #[must_use]
    pub fn has_ended(&self, now_ms: Millis) -> bool {
        !matches!(
            self.state_at(now_ms),
            State::Running | State::Cancelling | State::AwaitingPart
        )
    }

    /// Seconds until its last stage is done at the pace of this stage so far; `None` where that cannot be known.
    #[must_use]
    pub fn eta_seconds(&self, now_ms: Millis) -> Option<u64> {
        let Progress {
            stage,
            done,
            total,
            since,
            from,
            ..
        } = self.progress;
        if self.state_at(now_ms) != State::Running || stage != Stage::Working {
            return None;
        }
        let (took_ms, made) = (now_ms.saturating_sub(since), done.saturating_sub(from));
        let left = total?.saturating_sub(done);
        if took_ms < TOO_EARLY_MS || made == 0 {
            return None;
        }
        let left_ms = u128::from(left) * u128::from(took_ms) / u128::from(made);
        u64::try_from(left_ms.div_ceil(1_000)).ok()
    }

    /// The receipt as it is read now: of what got lost it says so.
    #[must_use]
    pub fn receipt_at(&self, now_ms: Millis) -> Receipt {
        let mut receipt = self.receipt.clone();
        let state = self.state_at(now_ms);
        let because = match state {
            State::Lost => "the replica that did it has not been heard of for 30 s",
            State::Failed if self.state == State::AwaitingPart => "the next part did not come within 2 minutes",
            _ => return receipt,
        };
        receipt.complete = false;
        because.clone_into(&mut receipt.incomplete_because);
        receipt
    }

    /// A new stage begins.
    pub fn enter(&mut self, stage: Stage, unit: Unit, (done, total): (u64, Option<u64>), now_ms: Millis) {
        self.progress = Progress {
            stage,
            unit,
            done,
            total,
            since: now_ms,
            from: done,
        };
        self.updated_at = now_ms;
    }

    /// The stage has got so far. A total that turns out to be too small grows with it.
    pub fn advance(&mut self, done: u64, now_ms: Millis) {
        self.progress.done = done;
        self.progress.total = self.progress.total.map(|total| total.max(done));
        self.updated_at = now_ms;
    }

    /// Somebody cancels it. True when that is news. While the next part is awaited nothing is under way that could end later.
    pub fn cancel(&mut self, by: &str, now_ms: Millis) -> bool {
        let state = self.state_at(now_ms);
        if !matches!(state, State::Running | State::AwaitingPart) {
            return false;
        }
        self.cancelled_by = clipped(by);
        self.state = State::Cancelling;
        if state == State::AwaitingPart {
            let counts = std::mem::take(&mut self.receipt.counts);
            let because = format!("cancelled by {by}");
            self.end(State::Cancelled, Receipt::of(Some(&because), counts), now_ms);
        }
        true
    }

    /// It has ended with this.
    pub fn end(&mut self, state: State, receipt: Receipt, now_ms: Millis) {
        self.state = state;
        self.receipt = receipt;
        self.updated_at = now_ms;
    }

    /// As bounded as one that began here: it comes from another replica.
    fn bounded(mut self) -> Self {
        for text in [
            &mut self.id,
            &mut self.by,
            &mut self.envoy,
            &mut self.key,
            &mut self.cancelled_by,
        ] {
            *text = clipped(text);
        }
        self.receipt.incomplete_because = clipped(&self.receipt.incomplete_because);
        self.receipt.bound();
        self
    }
}

fn clipped(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation() -> Operation {
        Operation::begun("1".to_owned(), Kind::Snapshot, ("me", "", ""), 1_000)
    }

    #[test]
    fn the_end_is_foretold_from_the_pace_of_the_work_alone() {
        let mut one = operation();
        assert_eq!(one.eta_seconds(9_000), None, "it has only begun");
        one.enter(Stage::Listing, Unit::Responses, (0, Some(10)), 2_000);
        one.advance(5, 4_000);
        assert_eq!(one.eta_seconds(4_000), None, "a stage before the work");
        one.enter(Stage::Working, Unit::Bytes, (0, Some(1_000)), 10_000);
        assert_eq!(one.eta_seconds(12_000), None, "nothing is done");
        one.advance(100, 12_000);
        assert_eq!(one.eta_seconds(12_000), Some(18));
        assert_eq!(one.eta_seconds(14_000), Some(36), "it stands still");
        one.advance(1_500, 14_000);
        assert_eq!((one.progress.total, one.eta_seconds(14_000)), (Some(1_500), Some(0)));
        one.enter(Stage::Working, Unit::Bytes, (500, Some(1_000)), 20_000);
        one.advance(600, 21_000);
        assert_eq!(
            one.eta_seconds(21_000),
            Some(4),
            "what an earlier part did was not done in this time"
        );
        one.enter(Stage::Working, Unit::Bytes, (0, None), 30_000);
        one.advance(100, 32_000);
        assert_eq!(one.eta_seconds(32_000), None, "nobody knows the total");
        one.enter(Stage::Working, Unit::Bytes, (0, Some(10)), 40_000);
        one.advance(5, 40_500);
        assert_eq!(one.eta_seconds(40_500), None, "too early");
    }

    #[test]
    fn nothing_runs_of_which_nobody_hears_any_more() {
        let mut one = operation();
        assert_eq!(one.state_at(31_000), State::Running);
        assert_eq!(one.state_at(31_001), State::Lost);
        assert!(one.has_ended(31_001) && !one.has_ended(31_000));
        let receipt = one.receipt_at(31_001);
        assert!(
            !receipt.complete && receipt.incomplete_because.contains("replica"),
            "{receipt:?}"
        );
        one.state = State::AwaitingPart;
        assert_eq!(one.state_at(121_000), State::AwaitingPart);
        assert_eq!(one.state_at(121_001), State::Failed);
        assert!(one.receipt_at(121_001).incomplete_because.contains("next part"));
        one.end(State::Done, Receipt::of(None, BTreeMap::new()), 5_000);
        assert_eq!(
            (one.state_at(999_000), one.receipt_at(999_000).complete),
            (State::Done, true)
        );
        assert_eq!(one.eta_seconds(5_000), None);
    }

    #[test]
    fn what_has_ended_is_not_cancelled() {
        let mut one = operation();
        assert!(one.cancel("you", 2_000) && !one.cancel("them", 2_000));
        assert_eq!((one.state, one.cancelled_by.as_str()), (State::Cancelling, "you"));
        one.end(State::Cancelled, Receipt::default(), 3_000);
        assert!(!one.cancel("them", 3_000));
        assert!(!operation().cancel("me", 99_000), "it is lost");
        let mut part = operation();
        part.state = State::AwaitingPart;
        assert!(part.cancel("you", 2_000));
        assert_eq!(part.state, State::Cancelled);
        assert_eq!(part.receipt.incomplete_because, "cancelled by you");
    }

    #[test]
    fn texts_and_counts_are_bounded() {
        let long = "é".repeat(300);
        let one = Operation::begun("1".to_owned(), Kind::Warm, (&long, &long, &long), 0);
        assert!(
            [&one.by, &one.envoy, &one.key]
                .iter()
                .all(|text| text.chars().count() == 256)
        );
        let counts = (0..100).map(|number| (format!("{number:03}{long}"), 1)).collect();
        let receipt = Receipt::of(Some(&long), counts);
        assert_eq!(
            (receipt.counts.len(), receipt.incomplete_because.chars().count()),
            (32, 256)
        );
        assert!(receipt.counts.keys().all(|name| name.chars().count() == 256));
        let mut foreign = one;
        foreign.id.clone_from(&long);
        foreign.receipt.counts = (0..100).map(|number| (format!("{number}"), 1)).collect();
        let foreign = foreign.bounded();
        assert_eq!((foreign.id.chars().count(), foreign.receipt.counts.len()), (256, 32));
    }
}
