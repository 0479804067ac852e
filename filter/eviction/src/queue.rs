//! What a policy sees of a cache.

use crate::marks::Marks;

/// An entry at the moment of the decision. Times are in any unit, as long as it is the same one for all entries.
pub trait Entry {
    /// What is remembered of it.
    fn marks(&self) -> Marks;
    /// Time since its last hit.
    fn idle(&self) -> u32;
    /// Time since it was stored.
    fn stored_age(&self) -> u32;
    /// Time since it entered the queue that it is in (S3-FIFO).
    fn queued_age(&self) -> u32;
    /// Hits, [aged](crate::aged) by the time since the last one.
    fn frequency(&self) -> u16;
    /// Cost class of its fetch: [`worth::cost`](crate::worth::cost).
    fn cost(&self) -> u8;
    /// Memory that it takes.
    fn bytes(&self) -> u32;
}

/// The entries of a page, the oldest of the queue first. The two queues of S3-FIFO have one order: each is the entries that are marked
/// as its own.
pub trait Queue {
    /// The entry at an index, `None` behind the last one.
    fn entry(&self, index: usize) -> Option<impl Entry>;
    /// How many entries there are.
    fn len(&self) -> usize;
    /// Writes an entry's marks.
    fn set_marks(&mut self, index: usize, marks: Marks);
    /// Moves an entry to the end; it has entered its queue just now.
    fn requeue(&mut self, index: usize);
    /// The index that SIEVE's hand points to.
    fn hand(&self) -> usize;
    /// Moves SIEVE's hand.
    fn set_hand(&mut self, index: usize);

    /// Whether there is no entry.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries with their indices, in the order of the queue.
    fn entries(&self) -> impl Iterator<Item = (usize, impl Entry)> {
        (0..self.len()).filter_map(|index| Some((index, self.entry(index)?)))
    }
}
