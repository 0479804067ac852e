//! Stored responses on their way out of this Envoy and into it: snapshots, restores, warm starts.

use crate::Millis;
use crate::cache::{CacheKey, StoredView, language};
use crate::driver::exchange::plan::Stored;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::vm::Vm;
use crate::http::fields::Fields;
use crate::store::{Cursor, Exported, KeyParts, PurgeGeneration, Verdict};
use optimizer_proto::v1::{ExportCommand, ExportItem, ExportPage, ImportCommand, Imported, SweepStep};
use std::ops::RangeInclusive;

/// Largest page, bytes: with its frame it stays below the limit of a message.
const MAX_PAGE: usize = 192 << 10;
/// Entries looked at per page.
const ENTRIES: usize = 64;
/// The same where their content is not asked for.
const HEADS: usize = 256;
/// Bytes that an entry without content takes beside its URL and tags, at most.
const HEAD: usize = 128;
/// Largest response that is taken back: the largest that settings allow, with its head.
const MAX_IMPORT: u64 = (16 << 20) + (1 << 20);
/// How far the clock of whoever made the snapshot may have been ahead.
const AHEAD_MS: u64 = 5_000;
/// Stored responses looked at per step of a sweep for purged ones: about a millisecond.
const SWEPT: usize = 256;

impl Vm {
    /// The next stored responses. What is stored or removed meanwhile may or may not be seen.
    pub(crate) fn export(&mut self, ctx: Ctx<'_, impl Host>, asked: &ExportCommand) -> ExportPage {
        if asked.heads_only {
            return self.export_heads(ctx, asked);
        }
        let budget = usize::try_from(asked.max_bytes).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let mut page = ExportPage::default();
        let mut cursor = asked.cursor;
        let mut offset = usize::try_from(asked.offset).unwrap_or(usize::MAX);
        let mut left = budget;
        self.invalidation_log.refresh(ctx.host, ctx.now_ms);
        let hits = hits_of(asked);
        for _ in 0..ENTRIES {
            let (entries, next) = self
                .store
                .iterate(ctx.host, Cursor::from_number(cursor), 1, &hits, ctx.now_ms);
            if let Some(entry) = entries
                .first()
                .filter(|entry| !self.is_purged(entry.purge_generation, &entry.value))
            {
                let rest = entry.value.get(offset..).unwrap_or_default();
                let part = rest.get(..left).unwrap_or(rest).to_vec();
                let end = offset.saturating_add(part.len());
                left = left.saturating_sub(part.len());
                if let Some(item) = item(entry, part, offset) {
                    page.items.push(item);
                    if end < entry.value.len() {
                        (page.next_cursor, page.next_offset) = (cursor, end as u64);
                        return page;
                    }
                }
                offset = 0;
            }
            match next {
                Some(next) => cursor = next.number(),
                None => {
                    page.done = true;
                    return page;
                }
            }
            if left == 0 {
                break;
            }
        }
        page.next_cursor = cursor;
        page
    }

    /// What the next stored responses are, without their content.
    fn export_heads(&mut self, ctx: Ctx<'_, impl Host>, asked: &ExportCommand) -> ExportPage {
        let mut left = usize::try_from(asked.max_bytes).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        let mut page = ExportPage {
            next_cursor: asked.cursor,
            ..ExportPage::default()
        };
        self.invalidation_log.refresh(ctx.host, ctx.now_ms);
        let hits = hits_of(asked);
        for _ in 0..HEADS {
            let at = Cursor::from_number(page.next_cursor);
            let (entries, next) = self.store.iterate(ctx.host, at, 1, &hits, ctx.now_ms);
            let entry = entries.first();
            let entry = entry.filter(|entry| !self.is_purged(entry.purge_generation, &entry.value));
            if let Some((entry, mut item)) = entry.and_then(|entry| Some((entry, item(entry, Vec::new(), 0)?))) {
                let bytes = HEAD + item.key.len() + item.tags.iter().map(|tag| tag.len() + 8).sum::<usize>();
                if bytes > left && !page.items.is_empty() {
                    return page;
                }
                left = left.saturating_sub(bytes);
                item.cursor = entry.id.cursor().number();
                page.items.push(item);
            }
            match next {
                Some(next) => page.next_cursor = next.number(),
                None => {
                    page.done = true;
                    return page;
                }
            }
        }
        page
    }

    /// Whether a stored response must not be used any more.
    fn is_purged(&self, purge_generation: PurgeGeneration, value: &[u8]) -> bool {
        StoredView::decode(value, false).is_ok_and(|view| self.verdict(purge_generation, &view) == Verdict::Purged)
    }

    /// Whether what a request has held for a while may still answer it: no purge since forbids that.
    pub(crate) fn still_serves(&self, held: &Stored) -> bool {
        !self.is_purged(held.purge_generation, &held.bytes)
    }

    /// What the purges since its birth mean for a stored response.
    pub(super) fn verdict(&self, purge_generation: PurgeGeneration, view: &StoredView<'_>) -> Verdict {
        let parts = CacheKey::parts(view.key());
        let parts = KeyParts {
            host: parts.host,
            path: parts.path,
        };
        self.invalidation_log.verdict(purge_generation, &parts, view.tags())
    }

    /// Takes stored responses back. Nothing in them is believed: their checksums, keys, fields and times are looked at. Answers
    /// what became of each; of a part which is not the last nothing.
    pub(crate) fn import(&mut self, ctx: Ctx<'_, impl Host>, asked: &ImportCommand) -> Result<Imported, String> {
        let told = |outcomes: &[&str]| Imported {
            outcomes: outcomes.iter().map(|outcome| (*outcome).to_owned()).collect(),
        };
        self.invalidation_log.refresh(ctx.host, ctx.now_ms);
        if !asked.records.is_empty() {
            let restored = asked
                .records
                .iter()
                .map(|record| self.restore(ctx, record.clone(), asked.dry_run));
            return Ok(told(&restored.collect::<Vec<_>>()));
        }
        if asked.total > MAX_IMPORT {
            return Ok(told(&["too-large"]));
        }
        let buffer = &mut self.control.importing;
        if asked.offset == 0 {
            buffer.clear();
        }
        if asked.offset != buffer.len() as u64 {
            buffer.clear();
            return Err("the parts of a response came out of order".to_owned());
        }
        buffer.extend_from_slice(&asked.part);
        if (buffer.len() as u64) < asked.total {
            return Ok(Imported::default());
        }
        let value = std::mem::take(buffer);
        Ok(told(&[self.restore(ctx, value, asked.dry_run)]))
    }

    /// `restored`, `kept` (the cache has a younger one), `expired`, or why it is refused.
    fn restore(&mut self, ctx: Ctx<'_, impl Host>, value: Vec<u8>, dry_run: bool) -> &'static str {
        let view = match StoredView::decode(&value, true) {
            Ok(view) => view,
            Err(corrupt) => return corrupt.as_str(),
        };
        if let Err(reason) = sound(&view, ctx.now_ms) {
            return reason;
        }
        let purge_generation = PurgeGeneration::received(view.response_time_ms());
        if self.verdict(purge_generation, &view) == Verdict::Purged {
            return "purged";
        }
        let key = view.key().to_vec();
        let selecting: Vec<(Vec<u8>, Option<Vec<u8>>)> = view
            .selecting()
            .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
            .collect();
        let (usable_until_ms, response_time_ms) = (view.usable_until_ms(), view.response_time_ms());
        let request: Fields<'_> = selecting
            .iter()
            .filter_map(|(name, value)| {
                let value = value.as_deref()?;
                Some(language::example(name).unwrap_or((name, value)))
            })
            .collect();
        if self.holds_younger(ctx, &key, &request, response_time_ms) {
            return "kept";
        }
        if dry_run {
            return "restored";
        }
        let vary: Vec<Vec<u8>> = selecting.iter().map(|(name, _)| name.clone()).collect();
        let failures = self.recorder.cache.store_failures;
        self.insert(ctx, &key, &request, purge_generation, value, &vary, usable_until_ms);
        if self.recorder.cache.store_failures > failures {
            return "no-room";
        }
        "restored"
    }

    fn holds_younger(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        key: &[u8],
        request: &Fields<'_>,
        response_time_ms: Millis,
    ) -> bool {
        let variant = |names: crate::store::VaryNames<'_>| crate::cache::selecting::variant_hash(names.iter(), request);
        let Some(found) = self.store.lookup(ctx.host, key, variant, ctx.now_ms) else {
            return false;
        };
        StoredView::decode(found.value(), false)
            .is_ok_and(|held| held.key() == key && held.response_time_ms() >= response_time_ms)
    }

    /// Removes what is expired, and step by step what is purged: of that only the responses themselves tell.
    pub(crate) fn sweep(&mut self, ctx: Ctx<'_, impl Host>, cursor: u64) -> SweepStep {
        let before = self.store.usage(ctx.host, ctx.now_ms);
        self.invalidation_log.refresh(ctx.host, ctx.now_ms);
        if cursor == 0 {
            self.store.sweep_all(ctx.host, &self.invalidation_log, ctx.now_ms);
        }
        let (purged, next) = if self.invalidation_log.are_empty() {
            (0, None)
        } else {
            self.sweep_purged(ctx, cursor)
        };
        let events = self.store.take_events();
        let cache = &mut self.recorder.cache;
        cache.evictions += events.evictions;
        cache.expirations += events.expirations;
        cache.corrupt_slots += events.corrupt;
        let after = self.store.usage(ctx.host, ctx.now_ms);
        SweepStep {
            expired_removed: events.expirations,
            purged_removed: events.purged + purged,
            evicted: events.evictions,
            bytes_freed: before.bytes.saturating_sub(after.bytes),
            done: next.is_none(),
            next_cursor: next.unwrap_or_default(),
        }
    }

    fn sweep_purged(&mut self, ctx: Ctx<'_, impl Host>, cursor: u64) -> (u64, Option<u64>) {
        let every = 0..=u16::MAX;
        let (mut at, mut purged) = (Cursor::from_number(cursor), 0);
        for _ in 0..SWEPT {
            let (entries, next) = self.store.iterate(ctx.host, at, 1, &every, ctx.now_ms);
            for entry in entries {
                if self.is_purged(entry.purge_generation, &entry.value) {
                    purged += u64::from(self.store.discard(ctx.host, entry.id));
                }
            }
            match next {
                Some(next) => at = next,
                None => return (purged, None),
            }
        }
        (purged, Some(at.number()))
    }
}

fn hits_of(asked: &ExportCommand) -> RangeInclusive<u16> {
    let bound = |hits: u32| u16::try_from(hits).unwrap_or(u16::MAX);
    let last = match asked.below_hits {
        0 => u16::MAX,
        below => bound(below - 1),
    };
    bound(asked.min_hits)..=last
}

fn item(entry: &Exported, part: Vec<u8>, offset: usize) -> Option<ExportItem> {
    let view = StoredView::decode(&entry.value, false).ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let first = offset == 0;
    let url = CacheKey::parts(view.key()).url;
    Some(ExportItem {
        part,
        offset: offset as u64,
        total: entry.value.len() as u64,
        key: if first { text(url) } else { String::new() },
        status: u32::from(view.status()),
        response_time_ms: view.response_time_ms(),
        usable_until_ms: entry.usable_until_ms,
        freshness_lifetime_ms: view.lifetime_ms(),
        tags: if first {
            view.tags().map(text).collect()
        } else {
            Vec::new()
        },
        private: is_private(&view),
        identity: identity(&view),
        hits: u32::from(entry.hits),
        cursor: 0,
    })
}

/// Whether it is one identity's: its key holds a credential's hash, it was selected by one, or it gives one out.
fn is_private(view: &StoredView<'_>) -> bool {
    let credential = |name: &[u8]| name == b"authorization" || name == b"cookie";
    CacheKey::holds_identity(view.key())
        || view.selecting().any(|(name, _)| credential(name))
        || view.get(b"set-cookie").is_some()
}

/// The same for the same key and variant on all Envoys.
fn identity(view: &StoredView<'_>) -> u64 {
    let mut bytes = view.key().to_vec();
    for (name, value) in view.selecting() {
        bytes.push(0xff);
        bytes.extend_from_slice(name);
        bytes.push(0xfe);
        bytes.extend_from_slice(value.unwrap_or(&[0xfd]));
    }
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

/// Whether a response may be taken back at all.
pub(crate) fn sound(view: &StoredView<'_>, now_ms: Millis) -> Result<(), &'static str> {
    let ahead = now_ms.saturating_add(AHEAD_MS);
    if view.response_time_ms() > ahead || view.request_time_ms() > ahead {
        return Err("from-the-future");
    }
    if view.usable_until_ms() <= now_ms {
        return Err("expired");
    }
    if view.usable_until_ms().saturating_sub(now_ms) > optimizer_proto::settings::MAX_TTL_MS.saturating_mul(4) {
        return Err("from-the-future");
    }
    if !(200..600).contains(&view.status()) {
        return Err("status");
    }
    let parts = CacheKey::parts(view.key());
    let url = parts.url.starts_with(b"http://") || parts.url.starts_with(b"https://");
    if !url || parts.host.is_empty() || parts.path.first() != Some(&b'/') {
        return Err("key");
    }
    // Of what an older filter stored nobody knows where the request was sent.
    if !CacheKey::is_routed(view.key()) {
        return Err("key-without-route");
    }
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let harmless = |value: &[u8]| !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    let fields = view
        .fields()
        .all(|(name, value)| !name.is_empty() && name.iter().all(token) && harmless(value));
    if fields { Ok(()) } else { Err("header") }
}
