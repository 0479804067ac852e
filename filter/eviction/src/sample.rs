//! Which pages are looked at, and which of them gives up an entry.

/// Pages of the store. Fixed for good: a change of limits must not move any entry. 1024 pages hold ten entries each at the default
/// limit and a thousand each at the largest.
pub const PAGES: u16 = 1024;

/// Pages read at most for one choice.
pub const MOST_PAGES: usize = 16;
/// The least pages read, where pages are large.
pub const LEAST_PAGES: usize = 2;
/// Entries to choose from, where pages are small.
const CANDIDATES: usize = 16;

/// Whether so many pages with so many entries in all are enough to choose from.
#[must_use]
#[inline]
pub const fn is_enough(pages: usize, entries: usize) -> bool {
    pages >= MOST_PAGES || pages >= LEAST_PAGES && entries >= CANDIDATES
}

/// The page that gives up an entry, by the [ranks](crate::rank) of all pages of the sample: the first among equals.
pub fn best_page(ranks: impl Iterator<Item = Option<u64>>) -> Option<usize> {
    let some = ranks.enumerate().filter_map(|(page, rank)| Some((rank?, page)));
    let best = some.reduce(|best, other| if other.0 > best.0 { other } else { best });
    best.map(|(_, page)| page)
}
