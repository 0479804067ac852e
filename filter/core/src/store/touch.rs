//! Hits not yet written back: a bounded log in this worker's memory, ordered by page.

use super::codec::{PAGES, Tick};
use super::entry::EntryId;
use super::page::Page;

/// Entries the log can hold.
const CAPACITY: usize = 2048;
const END: u16 = u16::MAX;

#[derive(Debug, Clone, Copy)]
struct Touch {
    slot: u16,
    hits: u16,
    generation: u32,
    last: Tick,
    next: u16,
}

/// The log. Each page has a chain of touches; unused places form a chain too.
#[derive(Debug, Default)]
pub(super) struct TouchLog {
    heads: Vec<u16>,
    touches: Vec<Touch>,
    free: Option<u16>,
    cursor: u16,
    used: usize,
}

impl TouchLog {
    /// Notes a hit; false when there was no place for it.
    pub(super) fn note(&mut self, id: EntryId, at: Tick) -> bool {
        if self.heads.is_empty() {
            self.heads = vec![END; usize::from(PAGES)];
        }
        let Some(head) = self.heads.get(usize::from(id.page)).copied() else {
            return false;
        };
        let mut here = head;
        while let Some(touch) = self.touches.get_mut(usize::from(here)) {
            if touch.slot == id.slot && touch.generation == id.generation {
                touch.hits = touch.hits.saturating_add(1);
                touch.last = at;
                return true;
            }
            here = touch.next;
        }
        let touch = Touch {
            slot: id.slot,
            hits: 1,
            generation: id.generation,
            last: at,
            next: head,
        };
        let Some(place) = self.place(touch) else { return false };
        if let Some(head) = self.heads.get_mut(usize::from(id.page)) {
            *head = place;
        }
        self.used += 1;
        true
    }

    fn place(&mut self, touch: Touch) -> Option<u16> {
        if let Some(place) = self.free {
            let old = self.touches.get_mut(usize::from(place))?;
            self.free = Some(old.next).filter(|next| *next != END);
            *old = touch;
            return Some(place);
        }
        if self.touches.len() >= CAPACITY {
            return None;
        }
        self.touches.push(touch);
        u16::try_from(self.touches.len() - 1).ok()
    }

    /// Works the hits of a page into its records; true when there were any. They stay in the log.
    pub(super) fn apply(&self, number: u16, page: &mut Page) -> bool {
        let mut here = self.heads.get(usize::from(number)).copied().unwrap_or(END);
        let mut changed = false;
        while let Some(touch) = self.touches.get(usize::from(here)) {
            let record = page
                .records
                .iter_mut()
                .find(|r| r.slot == touch.slot && r.generation == touch.generation);
            if let Some(record) = record {
                record.hit(touch.hits, touch.last);
                changed = true;
            }
            here = touch.next;
        }
        changed
    }

    /// Forgets the hits of a page.
    pub(super) fn forget(&mut self, number: u16) {
        let Some(head) = self.heads.get_mut(usize::from(number)) else {
            return;
        };
        let mut here = std::mem::replace(head, END);
        while let Some(touch) = self.touches.get_mut(usize::from(here)) {
            let next = std::mem::replace(&mut touch.next, self.free.unwrap_or(END));
            self.free = Some(here);
            self.used = self.used.saturating_sub(1);
            here = next;
        }
    }

    /// The next page, going round, with hits noted.
    pub(super) fn next_page(&mut self) -> Option<u16> {
        if self.used == 0 {
            return None;
        }
        let start = usize::from(self.cursor);
        let found = (start..start + usize::from(PAGES))
            .map(|at| at % usize::from(PAGES))
            .find(|at| self.heads.get(*at).is_some_and(|head| *head != END))?;
        let page = u16::try_from(found).ok()?;
        self.cursor = (page + 1) % PAGES;
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Record;
    use super::*;

    fn id(page: u16, slot: u16) -> EntryId {
        EntryId::new(
            page,
            &Record {
                slot,
                generation: 5,
                ..Record::new(0, 0, 0, 0)
            },
            false,
        )
    }

    #[test]
    fn hits_reach_the_records_they_belong_to() {
        let mut log = TouchLog::default();
        for _ in 0..3 {
            assert!(log.note(id(7, 1), Tick::at(1600)));
        }
        assert!(log.note(id(7, 2), Tick::at(1600)));
        let mut page = Page::new(0, 0);
        for (slot, generation) in [(1, 5), (2, 6), (3, 5)] {
            page.records.push(Record {
                slot,
                generation,
                ..Record::new(0, 0, 0, 0)
            });
        }
        assert!(log.apply(7, &mut page));
        assert_eq!(page.records.iter().map(|r| r.frequency).collect::<Vec<_>>(), [3, 0, 0]);
        assert_eq!(page.records[0].accessed, Tick::at(1600));
        assert!(!log.apply(8, &mut page));
        log.forget(7);
        assert!(!log.apply(7, &mut page));
        assert_eq!(log.next_page(), None);
    }

    #[test]
    fn the_log_is_bounded_and_its_places_are_used_again() {
        let mut log = TouchLog::default();
        for round in 0..5 {
            let mut noted = 0;
            for page in 0..PAGES {
                for slot in 0..4 {
                    noted += usize::from(log.note(id(page, slot), Tick(1)));
                }
            }
            assert_eq!(noted, CAPACITY, "round {round}");
            let mut pages = 0;
            while let Some(page) = log.next_page() {
                log.forget(page);
                pages += 1;
            }
            assert_eq!(pages, CAPACITY / 4);
            assert_eq!(log.touches.len(), CAPACITY);
        }
    }
}
