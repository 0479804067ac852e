//! S3-FIFO (Yang et al., SOSP 2023) on pages. Newcomers wait in a small queue (probation) and reach the main queue only if they are
//! used again. The main queue gives second chances. An entry evicted on probation leaves a ghost: if it is stored again while the
//! ghost is remembered, it goes straight into the main queue.

use crate::marks::Marks;
use crate::policy::Policy;
use crate::queue::{Entry, Queue};

/// Hits that a newcomer needs to stay.
const PROMOTION: u8 = 1;
/// One byte in this many is the share of the entries on probation.
const PROBATION_SHARE: u64 = 10;

/// Whether entries on probation go first: they hold their share of all bytes, or more.
#[must_use]
#[inline]
pub const fn from_probation(probation_bytes: u64, all_bytes: u64) -> bool {
    probation_bytes.saturating_mul(PROBATION_SHARE) >= all_bytes
}

/// Whether a victim with these marks leaves a ghost.
#[must_use]
#[inline]
pub fn leaves_ghost(policy: Policy, marks: Marks) -> bool {
    policy == Policy::S3Fifo && !marks.is_main()
}

/// How many ghosts of a page are forgotten, the oldest first: as many are remembered as the page ever had entries.
#[must_use]
#[inline]
pub fn excess_ghosts(ghosts: usize, most_entries: u16) -> usize {
    ghosts.saturating_sub(usize::from(most_entries))
}

/// Pages that have a victim in the wanted queue come first, then those that have one in the other. Among them the age in its queue of
/// the entry that would go.
pub(crate) fn rank(page: &impl Queue, from_probation: bool) -> Option<u64> {
    let age = |is_wanted: fn(Marks) -> bool| {
        let mut entries = page.entries();
        let found = entries.find(|(_, entry)| is_wanted(entry.marks()));
        found.map(|(_, entry)| u64::from(entry.queued_age()))
    };
    let newcomer = || age(|marks| !marks.is_main() && marks.recent_hits() < PROMOTION);
    let settled = || age(|marks| marks.is_main() && marks.recent_hits() == 0);
    let (first, second) = if from_probation {
        (newcomer(), settled())
    } else {
        (settled(), newcomer())
    };
    first
        .map(|age| 2 << 32 | age)
        .or_else(|| second.map(|age| 1 << 32 | age))
        .or_else(|| Some(u64::from(page.entry(0)?.queued_age())))
}

/// Promotes, gives second chances, and stops at the entry that goes.
pub(crate) fn victim(page: &mut impl Queue, from_probation: bool) -> Option<usize> {
    if from_probation && let Some(index) = newcomer(page) {
        return Some(index);
    }
    settled(page).or_else(|| newcomer(page)).or_else(|| settled(page))
}

fn newcomer(page: &mut impl Queue) -> Option<usize> {
    for _ in 0..page.len() {
        let (index, marks) = oldest(page, |marks| !marks.is_main())?;
        if marks.recent_hits() < PROMOTION {
            return Some(index);
        }
        page.set_marks(index, marks.promoted());
        page.requeue(index);
    }
    None
}

fn settled(page: &mut impl Queue) -> Option<usize> {
    // Each entry has as many chances as hits.
    for _ in 0..=(usize::from(Marks::MAX_RECENT_HITS) + 1) * page.len() {
        let (index, marks) = oldest(page, Marks::is_main)?;
        if marks.recent_hits() == 0 {
            return Some(index);
        }
        page.set_marks(index, marks.with_recent_hits(marks.recent_hits() - 1));
        page.requeue(index);
    }
    None
}

fn oldest(page: &impl Queue, is_wanted: impl Fn(Marks) -> bool) -> Option<(usize, Marks)> {
    let mut marks = page.entries().map(|(index, entry)| (index, entry.marks()));
    marks.find(|(_, marks)| is_wanted(*marks))
}
