//! The operations that are remembered: a bounded number of them, the newest.

use super::{Kind, Operation, State};
use crate::Millis;
use std::collections::BTreeMap;

/// Operations of one replica under way at a time.
pub const RUNNING: usize = 32;
/// Operations remembered, those of other replicas among them.
pub const MAX_OPERATIONS: usize = 128;
/// An operation that has ended is remembered for so long: a day.
pub const REMEMBERED_MS: Millis = 86_400_000;

/// There are as many under way as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Operations by their ids, which are in the order in which they began.
#[derive(Debug, Default)]
pub struct Operations {
    operations: BTreeMap<String, Operation>,
}

impl Operations {
    /// Notes one that begins here.
    ///
    /// # Errors
    /// There are as many under way here, `own`, as there may be.
    pub fn begin(&mut self, operation: Operation, own: usize, now_ms: Millis) -> Result<(), Full> {
        if own >= RUNNING {
            return Err(Full);
        }
        self.put(operation, now_ms);
        Ok(())
    }

    /// Notes how one of another replica stands. What comes late changes nothing, and what has ended does not begin again.
    pub fn observe(&mut self, operation: Operation, now_ms: Millis) {
        let operation = operation.bounded();
        let newer = self.operations.get(&operation.id).is_none_or(|known| {
            let over = matches!(known.state, State::Done | State::Cancelled | State::Failed);
            !over && known.updated_at <= operation.updated_at
        });
        if newer && now_ms.saturating_sub(operation.updated_at) < REMEMBERED_MS {
            self.put(operation, now_ms);
        }
    }

    /// All of them, the newest first.
    pub fn newest(&self, now_ms: Millis) -> impl Iterator<Item = &Operation> {
        let fresh = move |one: &&Operation| now_ms.saturating_sub(one.updated_at) < REMEMBERED_MS;
        let mut all: Vec<&Operation> = self.operations.values().filter(fresh).collect();
        all.sort_by_key(|one| std::cmp::Reverse((one.started_at, one.id.clone())));
        all.into_iter()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Operation> {
        self.operations.get(id)
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Operation> {
        self.operations.get_mut(id)
    }

    /// The restore that awaits a part with this key, begun by the same caller.
    #[must_use]
    pub fn awaiting(&self, key: &str, by: &str, now_ms: Millis) -> Option<&Operation> {
        let awaits = |one: &&Operation| {
            one.kind == Kind::Restore
                && !key.is_empty()
                && one.key == key
                && one.by == by
                && one.state == State::AwaitingPart
                && one.state_at(now_ms) == State::AwaitingPart
        };
        self.operations.values().rev().find(awaits)
    }

    fn put(&mut self, operation: Operation, now_ms: Millis) {
        self.operations.insert(operation.id.clone(), operation);
        self.operations
            .retain(|_, one| now_ms.saturating_sub(one.updated_at) < REMEMBERED_MS);
        while self.operations.len() > MAX_OPERATIONS {
            // What runs is shown as long as it runs; of the others the one that was heard of longest ago goes.
            let least = self
                .operations
                .values()
                .min_by_key(|one| (!one.has_ended(now_ms), one.updated_at));
            let Some(id) = least.map(|one| one.id.clone()) else {
                return;
            };
            self.operations.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Receipt;
    use super::*;

    fn one(number: u64) -> Operation {
        Operation::begun(format!("{number:04}"), Kind::Restore, ("me", "", "key"), number)
    }

    #[test]
    fn the_newest_are_kept_and_what_runs_before_what_has_ended() {
        let mut all = Operations::default();
        assert_eq!(all.begin(one(0), RUNNING - 1, 0), Ok(()));
        assert_eq!(all.begin(one(1), RUNNING, 1), Err(Full));
        for number in 1..200 {
            let mut ended = one(number);
            ended.end(State::Done, Receipt::default(), number);
            all.observe(ended, number);
        }
        assert_eq!(all.newest(200).count(), MAX_OPERATIONS);
        assert!(all.get("0000").is_some(), "it runs");
        assert!(all.get("0072").is_none() && all.get("0073").is_some());
        assert_eq!(all.newest(200).next().map(|one| one.id.as_str()), Some("0199"));
        assert_eq!(all.newest(REMEMBERED_MS + 197).count(), 2, "a day later");
        all.observe(one(REMEMBERED_MS * 2), REMEMBERED_MS * 2);
        assert_eq!(all.operations.len(), 1);
        all.observe(one(3), REMEMBERED_MS * 2);
        assert_eq!(all.operations.len(), 1, "one of long ago");
    }

    #[test]
    fn late_news_change_nothing() {
        let mut all = Operations::default();
        all.observe(one(5), 5);
        let mut later = one(5);
        later.advance(7, 9);
        all.observe(later.clone(), 9);
        all.observe(one(5), 9);
        assert_eq!(all.get("0005").map(|one| one.progress.done), Some(7));
        later.end(State::Cancelled, Receipt::default(), 10);
        all.observe(later, 10);
        let mut after = one(5);
        after.advance(9, 99);
        all.observe(after, 99);
        assert_eq!(all.get("0005").map(|one| one.state), Some(State::Cancelled));
    }

    #[test]
    fn a_part_joins_the_restore_that_awaits_it() {
        let mut all = Operations::default();
        let mut waits = one(1);
        waits.state = State::AwaitingPart;
        all.observe(waits, 1);
        assert!(all.awaiting("key", "me", 2).is_some());
        assert!(all.awaiting("key", "you", 2).is_none());
        assert!(all.awaiting("other", "me", 2).is_none() && all.awaiting("", "me", 2).is_none());
        assert!(all.awaiting("key", "me", 200_000).is_none(), "too late");
    }
}
