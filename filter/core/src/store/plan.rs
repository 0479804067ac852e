//! How a new record goes into its page, and what that means for the totals.

use super::ledger::{Change, Counts};
use super::page::{Page, VARIANTS, fingerprint};
use super::record::Record;
use eviction::Marks;

/// Where the record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In place of the one at this index.
    Replace(usize),
    /// Behind the others, in this slot.
    Append(u16),
}

/// A record with its place and its price.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) place: Place,
    record: Record,
    /// To be reserved before the record appears.
    pub(super) change: Change,
    /// To be released once its response is written: what the one before took more.
    pub(super) surplus: Counts,
}

impl Plan {
    /// `None` when one of the page's records has to go first.
    pub(super) fn of(page: &Page, mut record: Record, capacity: u16) -> Option<Self> {
        if let Some(index) = replaced(page, &record) {
            let old = page.records.get(index)?;
            record.inherit(old);
            let (change, surplus) = exchange(old.counts(), record.counts());
            return Some(Self {
                place: Place::Replace(index),
                record,
                change,
                surplus,
            });
        }
        if page.records.len() >= usize::from(capacity) {
            return None;
        }
        record.slot = page.free_slot()?;
        let has_ghost = page.ghosts.contains(&fingerprint(record.key, record.variant));
        record.set_marks(Marks::of_new(has_ghost));
        let keys = u64::from(record.slot >= page.high);
        let plus = Counts {
            keys,
            ..record.counts()
        };
        let change = Change {
            plus,
            minus: Counts::default(),
        };
        Some(Self {
            place: Place::Append(record.slot),
            record,
            change,
            surplus: Counts::default(),
        })
    }

    /// Puts the record into the page the plan was made of.
    pub(super) fn carry_out(&self, page: &mut Page) -> Record {
        let mut record = self.record;
        record.generation = page.next_generation;
        page.next_generation = page.next_generation.wrapping_add(1);
        match self.place {
            Place::Replace(index) => {
                if let Some(old) = page.records.get_mut(index) {
                    *old = record;
                }
            }
            Place::Append(slot) => {
                page.high = page.high.max(slot.saturating_add(1));
                page.take_ghost(fingerprint(record.key, record.variant));
                page.records.push(record);
            }
        }
        record
    }
}

/// The record that the new one takes the place of: the same variant, or the oldest one of a key with too many.
fn replaced(page: &Page, new: &Record) -> Option<usize> {
    let mut variants = 0;
    let mut oldest: Option<(usize, u64)> = None;
    for (index, record) in page
        .records
        .iter()
        .enumerate()
        .filter(|(_, record)| record.key == new.key)
    {
        if (record.vary, record.variant) == (new.vary, new.variant) {
            return Some(index);
        }
        variants += 1;
        if oldest.is_none_or(|(_, stored)| record.stored < stored) {
            oldest = Some((index, record.stored));
        }
    }
    oldest.filter(|_| variants >= VARIANTS).map(|(index, _)| index)
}

/// The change to reserve, and the surplus to release later, when one entry takes another's place.
fn exchange(old: Counts, new: Counts) -> (Change, Counts) {
    let more = |new: u64, old: u64| new.saturating_sub(old);
    let plus = Counts {
        entries: 0,
        bytes: more(new.bytes, old.bytes),
        probation: more(new.probation, old.probation),
        keys: 0,
        stored: new.stored,
    };
    let minus = Counts {
        stored: old.stored,
        ..Counts::default()
    };
    let surplus = Counts {
        bytes: more(old.bytes, new.bytes),
        probation: more(old.probation, new.probation),
        ..Counts::default()
    };
    (Change { plus, minus }, surplus)
}
