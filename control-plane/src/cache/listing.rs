//! What Envoys have stored, without its content: how much it is in all, and what a snapshot has missed.

use super::export::{Export, PAGE, ask, assembled};
use crate::fleet::FleetService;
use control_domain::cache::snapshot::Entry;
use optimizer_proto::v1::{ExportCommand, ExportItem};
use std::collections::HashSet;

/// Attempts to read a response that changes meanwhile.
const TRIES: usize = 3;

/// Why an Envoy has not listed what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotListed {
    /// It did not answer.
    Silent,
    /// Its filter is of an earlier version, which gives the content too.
    Unable,
}

/// What came of reading one response.
enum One {
    Whole(Box<ExportItem>, Vec<u8>),
    Gone,
    Changed,
    Silent,
    Unwanted,
}

/// What an Envoy has stored that had so many hits, a page at a time.
struct Listing<'f> {
    fleet: &'f FleetService,
    envoy: &'f str,
    next: Option<ExportCommand>,
}

impl<'f> Listing<'f> {
    fn of(fleet: &'f FleetService, envoy: &'f str, min_hits: u32) -> Self {
        let next = ExportCommand {
            max_bytes: PAGE,
            min_hits,
            heads_only: true,
            ..ExportCommand::default()
        };
        Self {
            fleet,
            envoy,
            next: Some(next),
        }
    }

    async fn page(&mut self) -> Result<Option<Vec<ExportItem>>, NotListed> {
        let Some(mut next) = self.next.take() else {
            return Ok(None);
        };
        let page = ask(self.fleet, self.envoy, next).await.ok_or(NotListed::Silent)?;
        if page.items.iter().any(|item| !item.part.is_empty()) {
            return Err(NotListed::Unable);
        }
        if !page.done {
            next.cursor = page.next_cursor;
            self.next = Some(next);
        }
        Ok(Some(page.items))
    }
}

impl Export<'_> {
    /// Bytes of all that is wanted, each response once; `None` where an Envoy cannot tell, or nobody waits any more.
    pub(super) async fn measured(&mut self, envoys: &[String]) -> Option<u64> {
        let (mut seen, mut bytes) = (HashSet::new(), 0_u64);
        for envoy in envoys {
            if self.silent.contains(envoy) {
                continue;
            }
            let mut listing = Listing::of(self.fleet, envoy, self.wanted.min_hits);
            loop {
                match self.while_wanted(listing.page()).await? {
                    Ok(Some(items)) => {
                        for item in items {
                            if self.is_wanted(&item) && seen.insert(item.identity) {
                                bytes = bytes.saturating_add(item.total);
                            }
                        }
                        self.listed(seen.len() as u64);
                    }
                    Ok(None) => break,
                    Err(NotListed::Unable) => return None,
                    Err(NotListed::Silent) => {
                        self.silent.insert(envoy.clone());
                        break;
                    }
                }
            }
        }
        Some(bytes.min(self.wanted.max_bytes))
    }

    /// Gathers what was there all the time and yet was not seen: hits move a response from one band into another, which may have been
    /// gone through already, and a response may change between two of its parts.
    pub(super) async fn gather_missed<F, R>(&mut self, envoys: &[String], put: &mut F) -> bool
    where
        F: FnMut(Entry, Vec<u8>) -> R,
        R: Future<Output = bool>,
    {
        for envoy in envoys {
            if self.silent.contains(envoy) {
                continue;
            }
            let mut listing = Listing::of(self.fleet, envoy, self.wanted.min_hits);
            loop {
                match self.while_wanted(listing.page()).await {
                    None => return false,
                    Some(Ok(Some(items))) => {
                        if !self.missed(envoy, items, put).await {
                            return false;
                        }
                    }
                    Some(Ok(None)) => break,
                    Some(Err(NotListed::Unable)) => {
                        let all = ExportCommand {
                            max_bytes: PAGE,
                            min_hits: self.wanted.min_hits,
                            ..ExportCommand::default()
                        };
                        if !self.envoy(envoy, all, put).await {
                            return false;
                        }
                        break;
                    }
                    Some(Err(NotListed::Silent)) => {
                        self.silent.insert(envoy.clone());
                        break;
                    }
                }
            }
        }
        true
    }

    async fn missed<F, R>(&mut self, envoy: &str, items: Vec<ExportItem>, put: &mut F) -> bool
    where
        F: FnMut(Entry, Vec<u8>) -> R,
        R: Future<Output = bool>,
    {
        for head in items {
            if !self.is_wanted(&head) || self.seen.contains(&head.identity) {
                continue;
            }
            for _ in 0..TRIES {
                match self.one(envoy, &head).await {
                    One::Whole(item, record) => {
                        self.seen.insert(item.identity);
                        if !self.give(*item, record, put).await {
                            return false;
                        }
                        break;
                    }
                    // Evicted, expired or purged: it is stored no longer.
                    One::Gone => break,
                    One::Changed => self.changed.insert(head.identity),
                    One::Silent => return true,
                    One::Unwanted => return false,
                };
            }
        }
        true
    }

    /// One response, from the place where it was listed.
    async fn one(&mut self, envoy: &str, head: &ExportItem) -> One {
        let mut next = ExportCommand {
            cursor: head.cursor,
            max_bytes: PAGE,
            ..ExportCommand::default()
        };
        let mut open = None;
        loop {
            let Some(page) = self.while_wanted(ask(self.fleet, envoy, next)).await else {
                return One::Unwanted;
            };
            let Some(page) = page else {
                self.silent.insert(envoy.to_owned());
                return One::Silent;
            };
            let (at, done) = ((page.next_cursor, page.next_offset), page.done);
            let Some(item) = page.items.into_iter().next() else {
                if done || at.0 <= next.cursor {
                    return One::Gone;
                }
                (next.cursor, next.offset) = at;
                continue;
            };
            if item.identity != head.identity {
                return if item.offset == 0 { One::Gone } else { One::Changed };
            }
            match assembled(&mut open, item) {
                Some((item, record)) => return One::Whole(Box::new(item), record),
                None if open.is_none() => return One::Changed,
                None => (next.cursor, next.offset) = at,
            }
        }
    }
}
