//! Whether the order of purges is still the one that is known, and what may be stored and handed out by it.

use super::{Fence, Known, Parts, PurgeTable};
use crate::Millis;

/// Longest life of a stored response in the tier; purges are remembered for longer.
pub const MAX_LIFE_MS: u64 = 24 * 60 * 60 * 1_000;
/// A response whose fetch began longer ago is refused: the purges since may not be remembered any more.
pub const MAX_FENCE_AGE_MS: u64 = MAX_LIFE_MS;
/// A purge that is older concerns no response that may still be taken or handed out.
const CONCERNS_MS: u64 = MAX_FENCE_AGE_MS + MAX_LIFE_MS;

fn may_be_dropped(place: Fence, now_ms: Millis) -> bool {
    place.ms.saturating_add(CONCERNS_MS) < now_ms
}

impl Known {
    /// Whether the purges read from the last known position on begin with it, and whether the newest known one is among
    /// them if these are all that there are. Otherwise the data set has changed, by a failover that was not reported. A
    /// position that may have been dropped for its age proves nothing.
    #[must_use]
    pub fn goes_on(&self, from_read: &[Fence], are_all: bool, now_ms: Millis) -> bool {
        let begins = may_be_dropped(self.read, now_ms) || from_read.first() == Some(&self.read);
        // The newest ones are looked at first: there it is.
        let has_newest = || may_be_dropped(self.newest, now_ms) || from_read.iter().rev().any(|at| *at == self.newest);
        begins && (!are_all || has_newest())
    }

    /// Whether the order of purges differs from the known one, by its newest position and the first purges from the two
    /// known positions on. An empty order differs: a fetch from before it may have missed a purge. So does one that
    /// lacks what is known here: its data set is older, its content may have been purged since, and others may never
    /// know of it.
    #[must_use]
    pub fn is_another_order(
        &self,
        newest: Option<Fence>,
        from_read: Option<Fence>,
        from_newest: Option<Fence>,
        now_ms: Millis,
    ) -> bool {
        let lost = |known: Fence, found: Option<Fence>| !may_be_dropped(known, now_ms) && found != Some(known);
        newest.is_none_or(|newest| newest < self.newest) || lost(self.read, from_read) || lost(self.newest, from_newest)
    }
}

impl PurgeTable {
    /// Whether a stored response whose fetch began at `fence` may be handed out.
    #[must_use]
    pub fn hands_out(&self, fence: Fence, parts: &Parts<'_>, now_ms: Millis) -> bool {
        !may_be_dropped(fence, now_ms) && !self.purged(fence, parts)
    }

    /// The place with which an offered response is stored.
    ///
    /// # Errors
    /// Why it is not stored.
    pub fn admit(&self, fence: Option<Fence>, parts: &Parts<'_>, now_ms: Millis) -> Result<Fence, &'static str> {
        let fence = fence.ok_or("no-fence")?;
        if fence.ms.saturating_add(MAX_FENCE_AGE_MS) < now_ms {
            return Err("old-fence");
        }
        // Nobody has heard of purges to come: a later place would escape them.
        let fence = fence.min(self.last());
        if self.purged(fence, parts) {
            return Err("purged");
        }
        Ok(fence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::purges::tier_order::Subject;

    fn at(ms: u64) -> Fence {
        Fence { ms, sequence: 0 }
    }

    #[test]
    fn an_order_that_lacks_what_is_known_is_another() {
        let known = Known {
            read: at(10),
            newest: at(20),
        };
        for (places, are_all, goes_on) in [
            (vec![at(10), at(20), at(30)], true, true),
            (vec![at(10), at(15)], true, false),
            (vec![at(10), at(15)], false, true),
            (vec![at(11), at(20)], true, false),
            (vec![], true, false),
        ] {
            assert_eq!(known.goes_on(&places, are_all, 30), goes_on, "{places:?} {are_all}");
        }
        assert!(known.goes_on(&[], true, CONCERNS_MS + 21), "dropped for its age");
        for (newest, from_read, from_newest, is_another) in [
            (Some(20), Some(10), Some(20), false),
            (Some(30), Some(10), Some(20), false),
            (Some(19), Some(10), Some(20), true),
            (Some(30), Some(11), Some(20), true),
            (Some(30), Some(10), Some(21), true),
            (None, None, None, true),
        ] {
            let [newest, from_read, from_newest] = [newest, from_read, from_newest].map(|ms: Option<u64>| ms.map(at));
            assert_eq!(known.is_another_order(newest, from_read, from_newest, 30), is_another);
        }
    }

    #[test]
    fn what_may_have_been_purged_is_neither_stored_nor_handed_out() {
        let tags = [];
        let parts = Parts {
            host: "a",
            path: "/",
            tags: &tags,
        };
        let mut table = PurgeTable::default();
        table.record(at(10), &Subject::Host { host: "a".to_owned() });
        table.record(at(20), &Subject::Host { host: "b".to_owned() });
        assert_eq!(table.admit(None, &parts, 30), Err("no-fence"));
        assert_eq!(table.admit(Some(at(9)), &parts, 30), Err("purged"));
        assert_eq!(table.admit(Some(at(10)), &parts, 30), Ok(at(10)));
        assert_eq!(table.admit(Some(at(99)), &parts, 30), Ok(at(20)), "a place to come");
        assert_eq!(
            table.admit(Some(at(10)), &parts, 11 + MAX_FENCE_AGE_MS),
            Err("old-fence")
        );
        assert!(table.hands_out(at(10), &parts, 30) && !table.hands_out(at(9), &parts, 30));
        assert!(!table.hands_out(at(30), &parts, 31 + CONCERNS_MS), "too old");
    }
}
