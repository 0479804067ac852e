//! Going through all stored responses, a few at a time: for snapshots and administration.

use super::codec::{PAGES, page_key, slot_key};
use super::entry::{Cursor, EntryId, Exported};
use super::page::Page;
use super::record::Record;
use super::slot::{Fit, fit};
use super::stamps::Birth;
use super::store::Store;
use crate::Millis;
use crate::shared_map::SharedMap;

impl Store {
    /// Up to `count` stored responses from `cursor` on (start with the default), reading at most `8 * count + 64` pages; `None`
    /// as the next cursor at the end. What is stored, replaced or removed meanwhile may or may not be seen.
    pub fn iterate(
        &mut self,
        map: &impl SharedMap,
        cursor: Cursor,
        count: usize,
        now_ms: Millis,
    ) -> (Vec<Exported>, Option<Cursor>) {
        let mut found = Vec::new();
        let mut page = u16::try_from(cursor.0 >> 16).unwrap_or(PAGES);
        let mut slot = (cursor.0 & 0xffff) as u16;
        for _ in 0..count.saturating_mul(8).saturating_add(64) {
            if page >= PAGES {
                return (found, None);
            }
            for record in records_from(map, page, slot) {
                if found.len() >= count {
                    return (found, Some(Cursor((u64::from(page) << 16) | u64::from(record.slot))));
                }
                found.extend(export(map, page, &record, now_ms));
            }
            (page, slot) = (page + 1, 0);
        }
        (found, Some(Cursor(u64::from(page) << 16)))
    }
}

fn records_from(map: &impl SharedMap, page: u16, slot: u16) -> Vec<Record> {
    let decoded = map.get(&page_key(page)).and_then(|(bytes, _)| Page::decode(&bytes));
    let mut records = decoded.map(|page| page.records).unwrap_or_default();
    records.retain(|record| record.slot >= slot);
    records.sort_by_key(|record| record.slot);
    records
}

fn export(map: &impl SharedMap, page: u16, record: &Record, now_ms: Millis) -> Option<Exported> {
    if record.is_expired(now_ms) {
        return None;
    }
    let (mut value, _) = map.get(&slot_key(page, record.slot))?;
    let Fit::Own(len) = fit(&value, page, record) else {
        return None;
    };
    value.truncate(len);
    Some(Exported {
        id: EntryId::new(page, record, true),
        birth: Birth(record.birth),
        stored_ms: record.stored_ms(),
        usable_until_ms: u64::from(record.usable_until) * 1000,
        value,
    })
}
