//! Whether what a replica wrote into the journal is still there. Redis answers before its own replicas have an entry: a server that takes
//! over may lack it, and yet have all that was read before.

use crate::purges::tier_order::Fence;
use std::collections::BTreeSet;

/// More are not remembered: the newest tell of the loss of older ones.
const MOST: usize = 1_000;

/// Entries of this replica that were acknowledged and not read again yet, by their ids in the journal.
#[derive(Debug, Default)]
pub struct OwnEntries {
    written: BTreeSet<Fence>,
    /// Read before their acknowledgement came: it comes on another connection.
    early: BTreeSet<Fence>,
}

impl OwnEntries {
    /// An entry was acknowledged.
    pub fn written(&mut self, id: Fence) {
        if !self.early.remove(&id) {
            keep(&mut self.written, id);
        }
    }

    /// An own entry came in the journal.
    pub fn read(&mut self, id: Fence) {
        if !self.written.remove(&id) {
            keep(&mut self.early, id);
        }
    }

    /// The oldest of which nothing has been seen since it was acknowledged.
    #[must_use]
    pub fn unseen(&self) -> Option<Fence> {
        self.written.first().copied()
    }

    /// Whether one is lost: the journal was read up to `place`, and it was not there.
    #[must_use]
    pub fn is_one_lost(&self, place: Fence) -> bool {
        self.unseen().is_some_and(|id| id <= place)
    }

    /// The journal is read from its beginning.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

fn keep(ids: &mut BTreeSet<Fence>, id: Fence) {
    ids.insert(id);
    if ids.len() > MOST {
        ids.pop_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> Fence {
        Fence { ms, sequence: 0 }
    }

    #[test]
    fn what_was_read_again_is_not_lost_in_whatever_order_it_is_told() {
        let mut own = OwnEntries::default();
        own.written(id(5));
        assert!(!own.is_one_lost(id(4)), "not read so far");
        own.read(id(5));
        own.read(id(7));
        own.written(id(7));
        assert_eq!(own.unseen(), None);
        assert!(!own.is_one_lost(id(9)));
    }

    #[test]
    fn what_reading_has_passed_and_not_seen_is_lost() {
        let mut own = OwnEntries::default();
        own.written(id(5));
        own.written(id(8));
        own.read(id(8));
        assert_eq!(own.unseen(), Some(id(5)));
        assert!(own.is_one_lost(id(8)));
        own.forget();
        assert!(!own.is_one_lost(id(8)));
    }

    #[test]
    fn no_more_are_remembered_than_set() {
        let mut own = OwnEntries::default();
        for ms in 0..3_000 {
            own.written(id(ms));
            own.read(id(10_000 + ms));
        }
        assert_eq!((own.written.len(), own.early.len()), (MOST, MOST));
        assert!(own.is_one_lost(id(3_000)), "the newest tell");
    }
}
