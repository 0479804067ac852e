//! Stored responses out of the Envoys, the most valuable first.

use crate::fleet::FleetService;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control_domain::cache::snapshot::Entry;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::{ExportCommand, ExportItem};
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

/// An Envoy gets so long for one page.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes asked for at a time; a message is limited to 256 KiB.
const PAGE: u32 = 192 << 10;
/// Largest record: the largest response that settings allow, with its head.
pub(crate) const MAX_RECORD: u64 = 17 << 20;
/// Hits from which on, and below which. One band after the other is gone through on all Envoys, so that what is cut off at a size is
/// the least valuable, without a list of everything in memory.
const BANDS: [(u32, u32); 4] = [(16, 0), (4, 16), (1, 4), (0, 1)];

/// What goes into a snapshot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Bytes of records at most.
    pub(crate) max_bytes: u64,
    /// Only this host.
    pub(crate) host: Option<String>,
    /// Only URLs that begin with this `host/path`.
    pub(crate) prefix: Option<String>,
    /// Only what had so many hits.
    pub(crate) min_hits: u32,
    /// Also what belongs to one identity.
    pub(crate) private: bool,
}

/// The responses of several Envoys, each once.
pub(crate) struct Export<'f> {
    fleet: &'f FleetService,
    wanted: Wanted,
    seen: HashSet<u64>,
    bytes: u64,
    silent: BTreeSet<String>,
    capped: bool,
}

impl<'f> Export<'f> {
    pub(crate) fn new(fleet: &'f FleetService, wanted: Wanted) -> Self {
        Self {
            fleet,
            wanted,
            seen: HashSet::new(),
            bytes: 0,
            silent: fleet.recently_disconnected().into_iter().collect(),
            capped: false,
        }
    }

    /// Bytes of records so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Why it is not everything; `None` when it is.
    pub(crate) fn incomplete(&self) -> Option<String> {
        let silent: Vec<&str> = self.silent.iter().map(String::as_str).collect();
        match (self.capped, silent.as_slice()) {
            (false, []) => None,
            (true, []) => Some("the size asked for is reached".to_owned()),
            (false, silent) => Some(format!("{} did not answer", silent.join(", "))),
            (true, silent) => Some(format!(
                "the size asked for is reached, and {} did not answer",
                silent.join(", ")
            )),
        }
    }

    /// Goes through the Envoys; `put` gets every entry with its record and answers whether to go on.
    pub(crate) async fn run<F, R>(&mut self, envoys: &[String], mut put: F)
    where
        F: FnMut(Entry, Vec<u8>) -> R,
        R: Future<Output = bool>,
    {
        for (min_hits, below_hits) in BANDS {
            if below_hits > 0 && below_hits <= self.wanted.min_hits {
                return;
            }
            for envoy in envoys {
                let ask = ExportCommand {
                    max_bytes: PAGE,
                    min_hits: min_hits.max(self.wanted.min_hits),
                    below_hits,
                    ..ExportCommand::default()
                };
                if !self.silent.contains(envoy) && !self.envoy(envoy, ask, &mut put).await {
                    return;
                }
            }
        }
    }

    async fn envoy<F, R>(&mut self, envoy: &str, mut ask: ExportCommand, put: &mut F) -> bool
    where
        F: FnMut(Entry, Vec<u8>) -> R,
        R: Future<Output = bool>,
    {
        let mut open: Option<(ExportItem, Vec<u8>)> = None;
        loop {
            let answer = self.fleet.command(envoy, Body::Export(ask), ANSWER).await;
            let Some(page) = answer.and_then(|result| result.page) else {
                self.silent.insert(envoy.to_owned());
                return true;
            };
            for item in page.items {
                let Some((item, record)) = assembled(&mut open, item) else {
                    continue;
                };
                if !self.is_wanted(&item) || !self.seen.insert(item.identity) {
                    continue;
                }
                if self.bytes.saturating_add(record.len() as u64) > self.wanted.max_bytes {
                    self.capped = true;
                    return false;
                }
                self.bytes += record.len() as u64;
                if !put(entry(item), record).await {
                    return false;
                }
            }
            if page.done {
                return true;
            }
            (ask.cursor, ask.offset) = (page.next_cursor, page.next_offset);
        }
    }

    fn is_wanted(&self, item: &ExportItem) -> bool {
        let rest = item.key.split_once("://").map_or("", |(_, rest)| rest);
        let host = rest.split('/').next();
        let of_host = self.wanted.host.as_deref().is_none_or(|wanted| host == Some(wanted));
        let of_prefix = self
            .wanted
            .prefix
            .as_deref()
            .is_none_or(|prefix| rest.starts_with(prefix));
        of_host && of_prefix && (self.wanted.private || !item.private)
    }
}

/// Without record and checksum.
fn entry(item: ExportItem) -> Entry {
    Entry {
        url: item.key,
        status: item.status,
        response_time_ms: item.response_time_ms,
        usable_until_ms: item.usable_until_ms,
        freshness_lifetime_ms: item.freshness_lifetime_ms,
        tags: item.tags,
        private: item.private,
        hits: item.hits,
        checksum: String::new(),
        record: String::new(),
    }
}

/// As it stands in a snapshot.
pub(crate) fn written(mut entry: Entry, record: &[u8]) -> Entry {
    entry.checksum = entry.sum(record).text();
    entry.record = STANDARD.encode(record);
    entry
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
