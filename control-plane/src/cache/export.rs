//! Stored responses out of the Envoys, the most valuable first.

use crate::fleet::FleetService;
use crate::operations::Running;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control_domain::cache::snapshot::Entry;
use control_domain::operations::{Stage, Unit};
use optimizer_proto::answers;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::{ExportCommand, ExportItem, ExportPage};
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

/// An Envoy gets so long for one page.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes asked for at a time; a message is limited to 256 KiB.
pub(super) const PAGE: u32 = 192 << 10;
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
    /// Only responses with at least this many hits.
    pub(crate) min_hits: u32,
    /// Also what belongs to one identity.
    pub(crate) private: bool,
}

/// The responses of several Envoys, each once.
pub(crate) struct Export<'f> {
    pub(super) fleet: &'f FleetService,
    pub(super) wanted: Wanted,
    running: Option<&'f Running>,
    pub(super) seen: HashSet<u64>,
    bytes: u64,
    pub(super) silent: BTreeSet<String>,
    /// Responses that changed whenever they were read.
    pub(super) changed: HashSet<u64>,
    capped: bool,
}

impl<'f> Export<'f> {
    /// With `running` it shows how far it is, and ends when that is cancelled.
    pub(crate) fn new(fleet: &'f FleetService, wanted: Wanted, running: Option<&'f Running>) -> Self {
        Self {
            fleet,
            wanted,
            running,
            seen: HashSet::new(),
            bytes: 0,
            silent: fleet.recently_disconnected().into_iter().collect(),
            changed: HashSet::new(),
            capped: false,
        }
    }

    /// Bytes of records so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Why it is not everything; `None` when it is.
    pub(crate) fn incomplete(&self) -> Option<String> {
        let mut reasons = Vec::new();
        reasons.extend(self.running.and_then(Running::cancelled_because));
        if self.capped {
            reasons.push("the size asked for is reached".to_owned());
        }
        if !self.silent.is_empty() {
            let silent: Vec<&str> = self.silent.iter().map(String::as_str).collect();
            reasons.push(format!("{} did not answer", silent.join(", ")));
        }
        let changed = self.changed.difference(&self.seen).count();
        if changed > 0 {
            reasons.push(format!("{changed} responses changed whenever they were read"));
        }
        (!reasons.is_empty()).then(|| reasons.join(", and "))
    }

    /// Goes through the Envoys; `put` gets every entry with its record and answers whether to go on.
    pub(crate) async fn run<F, R>(&mut self, envoys: &[String], mut put: F)
    where
        F: FnMut(Entry, Vec<u8>) -> R,
        R: Future<Output = bool>,
    {
        self.enter(Stage::Listing, Unit::Responses, None);
        let total = self.measured(envoys).await;
        self.enter(Stage::Working, Unit::Bytes, total);
        for (min_hits, below_hits) in BANDS {
            if below_hits > 0 && below_hits <= self.wanted.min_hits {
                break;
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
        self.gather_missed(envoys, &mut put).await;
    }

    fn enter(&self, stage: Stage, unit: Unit, total: Option<u64>) {
        if let Some(running) = self.running {
            running.enter(stage, unit, 0, total);
        }
    }

    /// So many are listed.
    pub(super) fn listed(&self, responses: u64) {
        if let Some(running) = self.running {
            running.advance(responses);
        }
    }

    /// What comes of this, unless nobody wants it any more first.
    pub(super) async fn while_wanted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let Some(running) = self.running else {
            return Some(work.await);
        };
        tokio::select! {
            biased;
            () = running.until_cancelled() => None,
            done = work => Some(done),
        }
    }

    /// Gathers what an Envoy has, from where `ask` begins; false when no more is wanted.
    pub(super) async fn envoy<F, R>(&mut self, envoy: &str, mut ask: ExportCommand, put: &mut F) -> bool
    where
        F: FnMut(Entry, Vec<u8>) -> R,
        R: Future<Output = bool>,
    {
        let mut open: Option<(ExportItem, Vec<u8>)> = None;
        loop {
            let Some(page) = self.while_wanted(self::ask(self.fleet, envoy, ask)).await else {
                return false;
            };
            let Some(page) = page else {
                self.silent.insert(envoy.to_owned());
                return true;
            };
            for item in page.items {
                let Some((item, record)) = assembled(&mut open, item) else {
                    continue;
                };
                let is_new = self.is_wanted(&item) && self.seen.insert(item.identity);
                if is_new && !self.give(item, record, put).await {
                    return false;
                }
            }
            if page.done {
                return true;
            }
            (ask.cursor, ask.offset) = (page.next_cursor, page.next_offset);
        }
    }

    /// Hands one out; false when no more is wanted.
    pub(super) async fn give<F, R>(&mut self, item: ExportItem, record: Vec<u8>, put: &mut F) -> bool
    where
        F: FnMut(Entry, Vec<u8>) -> R,
        R: Future<Output = bool>,
    {
        if self.bytes.saturating_add(record.len() as u64) > self.wanted.max_bytes {
            self.capped = true;
            return false;
        }
        self.bytes += record.len() as u64;
        // Not broken off: half an entry would make the whole document unreadable.
        if !put(entry(item), record).await {
            return false;
        }
        if let Some(running) = self.running {
            running.advance(self.bytes);
            running.counts(
                [
                    ("responses".to_owned(), self.seen.len() as u64),
                    ("bytes".to_owned(), self.bytes),
                ]
                .into(),
            );
        }
        true
    }

    pub(super) fn is_wanted(&self, item: &ExportItem) -> bool {
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

/// The next page of an Envoy; `None` when it does not answer.
pub(super) async fn ask(fleet: &FleetService, envoy: &str, ask: ExportCommand) -> Option<ExportPage> {
    answers::page(fleet.command(envoy, Body::Export(ask), ANSWER).await?)
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
pub(super) fn assembled(
    open: &mut Option<(ExportItem, Vec<u8>)>,
    mut item: ExportItem,
) -> Option<(ExportItem, Vec<u8>)> {
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
