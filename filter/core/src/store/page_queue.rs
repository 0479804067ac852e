//! A directory page as the eviction policies see it.

use super::codec::Tick;
use super::page::Page;
use super::record::Record;
use eviction::{Entry, Marks, Queue};

/// A page at the moment of a decision.
pub(super) struct PageQueue<'p> {
    pub(super) page: &'p mut Page,
    pub(super) now: Tick,
}

struct RecordEntry<'p> {
    record: &'p Record,
    now: Tick,
}

impl Entry for RecordEntry<'_> {
    fn marks(&self) -> Marks {
        self.record.marks()
    }

    fn idle(&self) -> u32 {
        self.record.accessed.age(self.now)
    }

    fn stored_age(&self) -> u32 {
        self.record.stored_age(self.now)
    }

    fn queued_age(&self) -> u32 {
        self.record.queued.age(self.now)
    }

    fn frequency(&self) -> u16 {
        self.record.frequency_at(self.now)
    }

    fn cost(&self) -> u8 {
        self.record.cost()
    }

    fn bytes(&self) -> u32 {
        self.record.weight
    }
}

impl Queue for PageQueue<'_> {
    fn entry(&self, index: usize) -> Option<impl Entry> {
        let record = self.page.records.get(index)?;
        Some(RecordEntry { record, now: self.now })
    }

    fn len(&self) -> usize {
        self.page.records.len()
    }

    fn set_marks(&mut self, index: usize, marks: Marks) {
        if let Some(record) = self.page.records.get_mut(index) {
            record.set_marks(marks);
        }
    }

    fn requeue(&mut self, index: usize) {
        if let Some(mut record) = self.page.take(index) {
            record.queued = self.now;
            self.page.records.push(record);
        }
    }

    fn hand(&self) -> usize {
        usize::from(self.page.hand)
    }

    fn set_hand(&mut self, index: usize) {
        self.page.hand = u16::try_from(index).unwrap_or(0);
    }
}
