//! One worker's side of the ledger: what it has still to enter, and the compare-and-swap that enters it.

use super::codec::PAGES;
use super::entry::StoreError;
use super::known_pages;
use super::ledger::{Change, Counts, Ledger};
use super::page::Page;
use crate::shared_map::{Cas, SetError, SharedMap, keys};

const TRIES: usize = 256;
/// Sweeps after a rebuild whose count is taken as it is: one may have begun before all workers had noticed.
const DOUBTFUL_SWEEPS: u8 = 2;

/// A change that happened, or will not happen, in a page, and is not yet in the ledger.
#[derive(Debug, Clone, Copy)]
struct Pending {
    /// The sweep that last counted the page.
    page_epoch: u8,
    total: Change,
    recount: Change,
}

impl Pending {
    /// The page's own sweep still counts on: both sums have to change. One sweep later the page has not been counted, or was
    /// counted with the change: the total alone. Later still, a finished sweep has the change in its count already.
    fn enter(&self, ledger: &mut Ledger) {
        let behind = ledger.epoch.wrapping_sub(self.page_epoch);
        if behind <= 1 {
            ledger.total = self.total.apply(ledger.total);
        }
        if behind == 0 {
            ledger.recount = self.recount.apply(ledger.recount);
        }
    }
}

/// Changes that are not yet in the ledger. Until they are, it shows too much, never too little.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// One for each sweep concerned: of two or three.
    pending: Vec<Pending>,
    hand: Option<u16>,
    emptied: Vec<u16>,
}

/// Reserves a change in the ledger before it happens in a page, which `page_epoch` was the last sweep to count. The recount needs it
/// only if the page has been counted: another cannot be counted before the change without its version moving on.
pub(super) fn reserve(ledger: &mut Ledger, change: &Change, page_epoch: u8) {
    ledger.total = change.apply(ledger.total);
    if page_epoch == ledger.epoch {
        ledger.recount = change.apply(ledger.recount);
    }
}

impl Account {
    /// Entries of this sum are gone from a page last counted by sweep `page_epoch`.
    pub(super) fn release(&mut self, page_epoch: u8, gone: Counts) {
        if gone == Counts::default() {
            return;
        }
        let change = Change {
            minus: gone,
            ..Change::default()
        };
        self.defer(Pending {
            page_epoch,
            total: change,
            recount: change,
        });
    }

    /// A reserved change will not happen.
    pub(super) fn undo(&mut self, page_epoch: u8, change: &Change) {
        let inverse = change.inverse();
        self.defer(Pending {
            page_epoch,
            total: inverse,
            recount: inverse,
        });
    }

    /// Takes back what was added to the recount of sweep `epoch`.
    pub(super) fn uncount(&mut self, epoch: u8, sum: Counts) {
        let change = Change {
            minus: sum,
            ..Change::default()
        };
        self.defer(Pending {
            page_epoch: epoch,
            total: Change::default(),
            recount: change,
        });
    }

    fn defer(&mut self, new: Pending) {
        if let Some(pending) = self
            .pending
            .iter_mut()
            .find(|pending| pending.page_epoch == new.page_epoch)
        {
            pending.total.add(&new.total);
            pending.recount.add(&new.recount);
        } else {
            self.pending.push(new);
        }
    }

    /// Where to look for the next victims.
    pub(super) fn move_hand(&mut self, hand: u16) {
        self.hand = Some(hand % PAGES);
    }

    /// A page has no entries any more.
    pub(super) fn emptied(&mut self, page: u16) {
        self.emptied.push(page);
    }

    /// A ledger with everything pending entered.
    pub(super) fn applied(&self, ledger: &Ledger) -> Ledger {
        let mut ledger = ledger.clone();
        self.pending.iter().for_each(|pending| pending.enter(&mut ledger));
        ledger.hand = self.hand.unwrap_or(ledger.hand);
        for page in &self.emptied {
            ledger.set_occupied(*page, false);
        }
        ledger
    }

    /// The ledger as it is shared. A damaged one is counted anew; a missing one is not made here: that the host does not answer
    /// looks the same, and what it has must not be overwritten.
    pub(super) fn read(map: &impl SharedMap) -> Result<(Ledger, Cas), StoreError> {
        let (bytes, cas) = map.get(keys::LEDGER).ok_or(StoreError::Host)?;
        if let Some(ledger) = Ledger::decode(&bytes) {
            return Ok((ledger, cas));
        }
        let rebuilt = rebuild(map).ok_or(StoreError::Host)?;
        if map.set(keys::LEDGER, &rebuilt.encode(), Some(cas)) == Err(SetError::Host) {
            return Err(StoreError::Host);
        }
        let (bytes, cas) = map.get(keys::LEDGER).ok_or(StoreError::Host)?;
        Ok((Ledger::decode(&bytes).ok_or(StoreError::Contended)?, cas))
    }

    /// Writes a ledger that has everything pending in it; false when another worker was faster.
    pub(super) fn write(&mut self, map: &impl SharedMap, ledger: &Ledger, cas: Cas) -> Result<bool, StoreError> {
        match map.set(keys::LEDGER, &ledger.encode(), Some(cas)) {
            Ok(()) => {
                self.pending.clear();
                self.hand = None;
                self.emptied.clear();
                Ok(true)
            }
            Err(SetError::CasMismatch) => Ok(false),
            Err(SetError::Host) => Err(StoreError::Host),
        }
    }

    /// Enters what is pending together with a change of the caller's.
    pub(super) fn commit<R>(
        &mut self,
        map: &impl SharedMap,
        mut change: impl FnMut(&mut Ledger) -> R,
    ) -> Result<R, StoreError> {
        for _ in 0..TRIES {
            let (ledger, cas) = Self::read(map)?;
            let mut ledger = self.applied(&ledger);
            let result = change(&mut ledger);
            if self.write(map, &ledger, cas)? {
                return Ok(result);
            }
        }
        Err(StoreError::Contended)
    }

    /// Enters what is pending. A failure leaves it pending for the next time.
    pub(super) fn settle(&mut self, map: &impl SharedMap) {
        if !self.pending.is_empty() {
            let _ = self.commit(map, |_| ());
        }
    }
}

/// Creates the pages and the ledger where they are missing. A failure leaves a store that refuses to store.
pub(super) fn seed(map: &impl SharedMap) {
    for number in 0..PAGES {
        let key = keys::page(number);
        if map.get(&key).is_none() {
            let _ = map.set(&key, &Page::new(0, 0).encode(), None);
        }
    }
    known_pages::seed(map);
    if map.get(keys::LEDGER).is_none()
        && let Some(mut ledger) = rebuild(map)
    {
        // Nobody has worked with an earlier one.
        ledger.doubtful = 0;
        let _ = map.set(keys::LEDGER, &ledger.encode(), None);
    }
}

/// Counts all pages: for a ledger that is missing or damaged. `None` when a page cannot be read.
fn rebuild(map: &impl SharedMap) -> Option<Ledger> {
    let mut ledger = Ledger::default();
    ledger.doubtful = DOUBTFUL_SWEEPS;
    let mut seen = [false; 256];
    for number in 0..PAGES {
        let (bytes, _) = map.get(&keys::page(number))?;
        // A damaged page is given up by whoever changes it next.
        let Some(page) = Page::decode(&bytes) else { continue };
        ledger.total = ledger.total.plus(page.counts());
        ledger.set_occupied(number, !page.records.is_empty());
        if let Some(seen) = seen.get_mut(usize::from(page.epoch)) {
            *seen = true;
        }
    }
    // No page may look as if the new sweep had counted it; those of the last one should look just that old.
    let is_seen = |epoch: u8| seen.get(usize::from(epoch)) == Some(&true);
    let last = (0..=u8::MAX).find(|epoch| is_seen(*epoch) && !is_seen(epoch.wrapping_add(1)));
    ledger.epoch = last.map_or(ledger.epoch, |last| last.wrapping_add(1));
    Some(ledger)
}
