//! Reading and changing directory pages.

use super::account::Account;
use super::codec::{PAGES, key_hash, page_of};
use super::entry::{EntryId, StoreError};
use super::known_pages;
use super::ledger::Counts;
use super::page::Page;
use super::record::Record;
use super::slot::{Fit, fit};
use super::store::Store;
use crate::shared_map::{Cas, SetError, SharedMap, keys};

const TRIES: usize = 16;

impl Store {
    /// A page to be changed; `None` when it could not be read. A damaged one is given up first.
    pub(super) fn load(&mut self, map: &impl SharedMap, number: u16) -> Option<(Page, Cas)> {
        let (bytes, cas) = map.get(&keys::page(number))?;
        if let Some(page) = Page::decode(&bytes) {
            return Some((page, cas));
        }
        self.events.corrupt += 1;
        self.give_up(map, number, cas)?;
        let (bytes, cas) = map.get(&keys::page(number))?;
        Page::decode(&bytes).map(|page| (page, cas))
    }

    /// Writes a damaged page anew, without entries. Their sum is unknown: the totals stay too high until the sweep has counted.
    fn give_up(&mut self, map: &impl SharedMap, number: u16, cas: Cas) -> Option<()> {
        let (ledger, _) = Account::read(map).ok()?;
        let mut page = Page::new(ledger.epoch.wrapping_sub(1), cas);
        let left = |slot: &u16| map.get(&keys::slot(number, *slot)).is_some();
        let left: Vec<u16> = (0..self.page_capacity()).filter(left).collect();
        page.high = left.last().map_or(0, |slot| slot + 1);
        known_pages::write(map, number, &page.encode(), cas).ok()?;
        left.into_iter().for_each(|slot| erase_orphan(map, number, slot));
        Some(())
    }

    /// Most records a page may have: twice its fair share, and some for the unevenness of small numbers. It bounds the slot keys
    /// that can ever come into being.
    pub(super) fn page_capacity(&self) -> u16 {
        let fair = self.limits.entries / u32::from(PAGES);
        u16::try_from(fair.saturating_mul(2).saturating_add(16)).unwrap_or(u16::MAX - 1)
    }

    /// Records from which on a page gives up one of its own when room is needed, rather than use a slot it never had: keeps the
    /// keys without an entry few.
    pub(super) fn is_crowded(&self, page: &Page) -> bool {
        let fair = self.limits.entries / u32::from(PAGES);
        page.records.len() >= usize::from(page.high) && page.records.len() as u64 > u64::from(fair + fair / 8 + 2)
    }

    /// Writes a page from which `gone` were taken, then erases their responses and releases their room. False when another
    /// worker changed the page meanwhile: nothing happened then.
    pub(super) fn commit_removal(
        &mut self,
        map: &impl SharedMap,
        number: u16,
        page: &Page,
        cas: Cas,
        gone: &[Record],
    ) -> Result<bool, StoreError> {
        match known_pages::write(map, number, &page.encode(), cas) {
            Ok(()) => {}
            Err(SetError::CasMismatch) => {
                self.events.races += 1;
                return Ok(false);
            }
            Err(SetError::Host) => return Err(StoreError::Host),
        }
        for record in gone {
            let _ = map.set(&keys::slot(number, record.slot), &[], None);
        }
        let sum = gone
            .iter()
            .fold(Counts::default(), |sum, record| sum.plus(record.counts()));
        self.account.release(page.epoch, sum);
        if page.records.is_empty() {
            self.account.emptied(number);
        }
        Ok(true)
    }

    /// Removes from a page the records that `doomed` picks; their number.
    fn remove_where(&mut self, map: &impl SharedMap, number: u16, doomed: impl Fn(&Record) -> bool) -> usize {
        for _ in 0..TRIES {
            let Some((mut page, cas)) = self.load(map, number) else {
                return 0;
            };
            let gone = take_where(&mut page, &doomed);
            if gone.is_empty() {
                return 0;
            }
            match self.commit_removal(map, number, &page, cas, &gone) {
                Ok(true) => {
                    self.account.settle(map);
                    return gone.len();
                }
                Ok(false) => {}
                Err(_) => return 0,
            }
        }
        0
    }

    /// Removes all variants of a key; the number removed.
    pub fn remove(&mut self, map: &impl SharedMap, key: &[u8]) -> usize {
        let hash = key_hash(key);
        self.remove_where(map, page_of(hash), |record| record.key == hash)
    }

    /// Removes exactly this entry, if it is still there: purged, of no use any more.
    pub fn discard(&mut self, map: &impl SharedMap, id: EntryId) -> bool {
        let exact = |record: &Record| record.slot == id.slot && record.generation == id.generation;
        self.remove_where(map, id.page, exact) > 0
    }

    /// Removes exactly this entry because its content does not decode; counted as corrupt.
    pub fn discard_corrupt(&mut self, map: &impl SharedMap, id: EntryId) -> bool {
        self.events.corrupt += 1;
        self.discard(map, id)
    }

    /// Writes noted hits back into the directory, at most `pages` pages of it. A host that fails, or a race lost, costs the
    /// notes.
    pub fn flush(&mut self, map: &impl SharedMap, pages: usize) {
        self.account.settle(map);
        for _ in 0..pages {
            let Some(number) = self.touches.next_page() else { return };
            self.flush_page(map, number);
            self.touches.forget(number);
        }
    }

    fn flush_page(&mut self, map: &impl SharedMap, number: u16) {
        for _ in 0..TRIES {
            let held = map.get(&keys::page(number));
            let Some((mut page, cas)) = held.and_then(|(bytes, cas)| Page::decode(&bytes).map(|page| (page, cas)))
            else {
                return;
            };
            if !self.touches.apply(number, &mut page) {
                return;
            }
            // Without telling those who know the page: what was hit changes nothing that a lookup finds.
            match map.set(&keys::page(number), &page.encode(), Some(cas)) {
                Err(SetError::CasMismatch) => self.events.races += 1,
                Ok(()) | Err(SetError::Host) => return,
            }
        }
    }
}

/// Erases what lies in a slot if it belongs to no record. The slot is read first: a response is written after its record appears,
/// so one without a record in a page read later has lost it; and one written meanwhile is protected by the compare-and-swap.
pub(super) fn erase_orphan(map: &impl SharedMap, number: u16, slot: u16) {
    let Some((value, cas)) = map.get(&keys::slot(number, slot)) else {
        return;
    };
    let Some(page) = map.get(&keys::page(number)).and_then(|(bytes, _)| Page::decode(&bytes)) else {
        return;
    };
    let mut owners = page.records.iter().filter(|record| record.slot == slot);
    if !owners.any(|record| matches!(fit(&value, number, record), Fit::Own(_))) {
        let _ = map.set(&keys::slot(number, slot), &[], Some(cas));
    }
}

/// Takes the records out that `doomed` picks.
pub(super) fn take_where(page: &mut Page, doomed: impl Fn(&Record) -> bool) -> Vec<Record> {
    let mut gone = Vec::new();
    while let Some(index) = page.records.iter().position(&doomed) {
        gone.extend(page.take(index));
    }
    gone
}
