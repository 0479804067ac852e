//! Stored responses between the Envoys and a snapshot document.

use crate::plane::{Plane, now_ms};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control_domain::snapshot::{Checksum, Entry, Restored};
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::{ExportCommand, ExportItem, ImportCommand};
use std::collections::HashSet;
use std::time::Duration;

/// An Envoy gets so long for one page.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes asked for at a time; a message is limited to 256 KiB.
const PAGE: u32 = 192 << 10;
/// Bytes given back at a time.
const PART: usize = 192 << 10;
/// Largest record: the largest response that settings allow, with its head.
const MAX_RECORD: u64 = 17 << 20;

/// What goes into a snapshot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Bytes of records at most.
    pub(crate) max_bytes: u64,
    /// Only this host.
    pub(crate) host: Option<String>,
    /// Also what belongs to one identity.
    pub(crate) private: bool,
}

/// The responses of all Envoys, each once.
pub(crate) struct Export<'p> {
    plane: &'p Plane,
    wanted: Wanted,
    seen: HashSet<u64>,
    bytes: u64,
    /// Why the snapshot is not complete.
    pub(crate) incomplete: Option<String>,
}

impl<'p> Export<'p> {
    pub(crate) fn new(plane: &'p Plane, wanted: Wanted) -> Self {
        Self {
            plane,
            wanted,
            seen: HashSet::new(),
            bytes: 0,
            incomplete: None,
        }
    }

    /// Bytes of records so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Goes through one Envoy; `put` gets every entry and answers whether to go on.
    pub(crate) async fn envoy<F, R>(&mut self, envoy: &str, mut put: F) -> bool
    where
        F: FnMut(Entry) -> R,
        R: Future<Output = bool>,
    {
        let mut ask = ExportCommand {
            max_bytes: PAGE,
            ..ExportCommand::default()
        };
        let mut open: Option<(ExportItem, Vec<u8>)> = None;
        loop {
            let answer = self.plane.command_to(envoy, Body::Export(ask), ANSWER).await;
            let Some(page) = answer.and_then(|result| result.page) else {
                self.incomplete = Some(format!("{envoy} did not answer"));
                return true;
            };
            for item in page.items {
                let Some((item, record)) = assembled(&mut open, item) else {
                    continue;
                };
                let Some(entry) = self.chosen(&item, &record) else {
                    continue;
                };
                if self.bytes.saturating_add(record.len() as u64) > self.wanted.max_bytes {
                    self.incomplete = Some("the size asked for is reached".to_owned());
                    return false;
                }
                self.bytes += record.len() as u64;
                if !put(entry).await {
                    return false;
                }
            }
            if page.done {
                return true;
            }
            (ask.cursor, ask.offset) = (page.next_cursor, page.next_offset);
        }
    }

    fn chosen(&mut self, item: &ExportItem, record: &[u8]) -> Option<Entry> {
        let host = item.key.split_once("://").and_then(|(_, rest)| rest.split('/').next());
        let other_host = self.wanted.host.as_deref().is_some_and(|wanted| host != Some(wanted));
        if other_host || (item.private && !self.wanted.private) || !self.seen.insert(item.identity) {
            return None;
        }
        Some(Entry {
            url: item.key.clone(),
            status: item.status,
            response_time_ms: item.response_time_ms,
            usable_until_ms: item.usable_until_ms,
            freshness_lifetime_ms: item.freshness_lifetime_ms,
            tags: item.tags.clone(),
            private: item.private,
            checksum: Checksum::of(record).text(),
            record: STANDARD.encode(record),
        })
    }
}

/// Puts the parts of an entry together; `None` until the last one. An entry that changed between two parts is left out.
fn assembled(open: &mut Option<(ExportItem, Vec<u8>)>, mut item: ExportItem) -> Option<(ExportItem, Vec<u8>)> {
    let part = std::mem::take(&mut item.part);
    if item.offset == 0 {
        *open = Some((item, part));
    } else {
        let (head, record) = open.as_mut()?;
        let continues = item.offset == record.len() as u64
            && item.total == head.total
            && item.response_time_ms == head.response_time_ms
            && item.identity == head.identity;
        if !continues || item.total > MAX_RECORD {
            *open = None;
            return None;
        }
        record.extend_from_slice(&part);
    }
    let whole = open
        .as_ref()
        .is_some_and(|(head, record)| record.len() as u64 >= head.total);
    if whole { open.take() } else { None }
}

/// The record of an entry whose checksum and times are right; else the outcome and reason.
pub(crate) fn verified(entry: &Entry, plane: &Plane) -> Result<Vec<u8>, (&'static str, &'static str)> {
    let record = STANDARD.decode(&entry.record).map_err(|_| ("refused", "base64"))?;
    if Checksum::of(&record).text() != entry.checksum {
        return Err(("refused", "checksum"));
    }
    if record.len() as u64 > MAX_RECORD {
        return Err(("refused", "too-large"));
    }
    let now_ms = now_ms();
    if entry.response_time_ms > now_ms.saturating_add(60_000) {
        return Err(("refused", "from-the-future"));
    }
    if entry.usable_until_ms <= now_ms {
        return Err(("expired", "expired"));
    }
    if plane
        .domain()
        .purges
        .covers(&entry.url, &entry.tags, entry.response_time_ms)
    {
        return Err(("refused", "purged"));
    }
    Ok(record)
}

/// Gives a record to every Envoy named. What became of it: the best of their answers.
pub(crate) async fn give(plane: &Plane, envoys: &[String], record: &[u8]) -> (String, String) {
    let mut best = ("refused".to_owned(), "no-envoy".to_owned());
    for envoy in envoys {
        let (outcome, reason) = give_to(plane, envoy, record).await;
        if rank(&outcome) >= rank(&best.0) {
            best = (outcome, reason);
        }
    }
    best
}

fn rank(outcome: &str) -> u8 {
    match outcome {
        "restored" => 3,
        "kept" => 2,
        "expired" => 1,
        _ => 0,
    }
}

async fn give_to(plane: &Plane, envoy: &str, record: &[u8]) -> (String, String) {
    let refused = |reason: &str| ("refused".to_owned(), reason.to_owned());
    let mut offset = 0;
    for part in record.chunks(PART) {
        let command = ImportCommand {
            part: part.to_vec(),
            offset: offset as u64,
            total: record.len() as u64,
        };
        offset += part.len();
        // One part at a time: serving goes first in the worker that takes them.
        let Some(result) = plane.command_to(envoy, Body::Import(command), ANSWER).await else {
            return refused("envoy-did-not-answer");
        };
        let detail: serde_json::Value = serde_json::from_str(&result.detail).unwrap_or_default();
        let text = |name: &str| detail[name].as_str().unwrap_or_default().to_owned();
        match text("outcome").as_str() {
            "more" => {}
            "" => return refused("envoy-refused"),
            _ => return (text("outcome"), text("reason")),
        }
    }
    refused("incomplete")
}

/// Counts what a dry run finds without giving anything to anybody.
pub(crate) fn count_dry(restored: &mut Restored, checked: &Result<Vec<u8>, (&'static str, &'static str)>) {
    match checked {
        Ok(_) => restored.count("restored", ""),
        Err((outcome, reason)) => restored.count(outcome, reason),
    }
}
