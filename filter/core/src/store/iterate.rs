//! Going through all stored responses, a few at a time: for snapshots and administration.

use super::codec::{PAGES, Tick, key_hash, page_of};
use super::entry::{Cursor, EntryId, Exported, Surveyed};
use super::invalidation_log::PurgeGeneration;
use super::page::Page;
use super::record::Record;
use super::slot::{Fit, fit};
use super::store::Store;
use crate::Millis;
use crate::shared_map::{SharedMap, keys};
use std::ops::RangeInclusive;

impl Store {
    /// Up to `count` stored responses from `cursor` on (start with the default), reading at most `8 * count + 64` pages; `None`
    /// as the next cursor at the end. Only those with that many hits. What is stored, replaced or removed meanwhile may or may not
    /// be seen.
    pub fn iterate(
        &mut self,
        map: &impl SharedMap,
        cursor: Cursor,
        count: usize,
        hits: &RangeInclusive<u16>,
        now_ms: Millis,
    ) -> (Vec<Exported>, Option<Cursor>) {
        let mut found = Vec::new();
        let mut page = u16::try_from(cursor.0 >> 16).unwrap_or(PAGES);
        let mut slot = (cursor.0 & 0xffff) as u16;
        for _ in 0..count.saturating_mul(8).saturating_add(64) {
            if page >= PAGES {
                return (found, None);
            }
            let wanted = records_from(map, page, slot)
                .into_iter()
                .filter(|record| hits.contains(&record.frequency_at(Tick::at(now_ms))));
            for record in wanted {
                if found.len() >= count {
                    return (found, Some(Cursor((u64::from(page) << 16) | u64::from(record.slot))));
                }
                found.extend(export(map, page, &record, now_ms));
            }
            (page, slot) = (page + 1, 0);
        }
        (found, Some(Cursor(u64::from(page) << 16)))
    }

    /// Shows `visit` stored responses from `cursor` on, until that many entries or bytes were read; answers where to go on, `None`
    /// at the end. One response at least is read, however large.
    pub fn scan(
        &self,
        map: &impl SharedMap,
        cursor: Cursor,
        (entries, bytes): (usize, u64),
        now_ms: Millis,
        visit: &mut dyn FnMut(&Exported),
    ) -> Option<Cursor> {
        let first = u16::try_from(cursor.0 >> 16).unwrap_or(PAGES);
        let mut slot = (cursor.0 & 0xffff) as u16;
        let (mut seen, mut read) = (0, 0_u64);
        for page in first..PAGES {
            for record in records_from(map, page, slot) {
                let weight = u64::from(record.weight);
                if seen >= entries || (seen > 0 && read.saturating_add(weight) > bytes) {
                    return Some(Cursor((u64::from(page) << 16) | u64::from(record.slot)));
                }
                (seen, read) = (seen + 1, read.saturating_add(weight));
                if let Some(exported) = export(map, page, &record, now_ms) {
                    visit(&exported);
                }
            }
            slot = 0;
        }
        None
    }

    /// Up to `count` responses of a key, whatever their selecting fields. The caller has yet to compare the whole key.
    pub fn variants(&self, map: &impl SharedMap, key: &[u8], count: usize, now_ms: Millis) -> Vec<Exported> {
        let hash = key_hash(key);
        let page = page_of(hash);
        records_from(map, page, 0)
            .iter()
            .filter(|record| record.key == hash)
            .filter_map(|record| export(map, page, record, now_ms))
            .take(count)
            .collect()
    }

    /// Shows `visit` what is stored in up to `pages` pages from `page` on, and of every `stride`th response the bytes; answers the
    /// next page, `None` at the end.
    pub fn survey(
        &self,
        map: &impl SharedMap,
        (page, pages): (u16, u16),
        stride: u64,
        now_ms: Millis,
        visit: &mut dyn FnMut(Surveyed, Option<&[u8]>),
    ) -> Option<u16> {
        let end = page.saturating_add(pages).min(PAGES);
        for number in page..end {
            for record in records_from(map, number, 0) {
                if record.is_expired(now_ms) {
                    continue;
                }
                let surveyed = Surveyed {
                    age_ms: now_ms.saturating_sub(record.stored_ms()),
                    bytes: u64::from(record.weight),
                };
                let sampled = record.key % stride.max(1) == 0;
                let exported = if sampled {
                    export(map, number, &record, now_ms)
                } else {
                    None
                };
                visit(surveyed, exported.as_ref().map(|exported| exported.value.as_slice()));
            }
        }
        (end < PAGES).then_some(end)
    }
}

fn records_from(map: &impl SharedMap, page: u16, slot: u16) -> Vec<Record> {
    let decoded = map.get(&keys::page(page)).and_then(|(bytes, _)| Page::decode(&bytes));
    let mut records = decoded.map(|page| page.records).unwrap_or_default();
    records.retain(|record| record.slot >= slot);
    records.sort_by_key(|record| record.slot);
    records
}

fn export(map: &impl SharedMap, page: u16, record: &Record, now_ms: Millis) -> Option<Exported> {
    if record.is_expired(now_ms) {
        return None;
    }
    let (mut value, _) = map.get(&keys::slot(page, record.slot))?;
    let Fit::Own(len) = fit(&value, page, record) else {
        return None;
    };
    value.truncate(len);
    Some(Exported {
        id: EntryId::new(page, record, true),
        purge_generation: PurgeGeneration(record.purge_generation),
        stored_ms: record.stored_ms(),
        usable_until_ms: u64::from(record.usable_until) * 1000,
        hits: record.frequency_at(Tick::at(now_ms)),
        value,
    })
}
