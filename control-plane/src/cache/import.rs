//! Stored responses into the Envoys: judged here, judged again by every filter, at a pace that leaves room for serving.

use super::export::MAX_RECORD;
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::purges::PurgeService;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control_domain::cache::snapshot::{Entry, Restored, rank};
use optimizer_proto::answers;
use optimizer_proto::v1::ImportCommand;
use optimizer_proto::v1::command::Body;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// An Envoy gets so long for one message.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes given at a time; a message is limited to 256 KiB.
const BATCH: usize = 192 << 10;
/// Responses given at a time.
const RECORDS: usize = 128;
/// Longest rest between two batches.
const REST: Duration = Duration::from_millis(100);
/// How far the clock of whoever made a snapshot may have been ahead.
const AHEAD_MS: u64 = 60_000;

/// The record of an entry whose checksum and times are right; else what became of it.
fn verified(entry: &Entry, purges: &PurgeService) -> Result<Vec<u8>, &'static str> {
    let record = STANDARD.decode(&entry.record).map_err(|_| "base64")?;
    if entry.sum(&record).text() != entry.checksum {
        return Err("checksum");
    }
    if record.len() as u64 > MAX_RECORD {
        return Err("too-large");
    }
    let now_ms = now_ms();
    if entry.response_time_ms > now_ms.saturating_add(AHEAD_MS) {
        return Err("from-the-future");
    }
    if entry.usable_until_ms <= now_ms {
        return Err("expired");
    }
    if purges.covers(&entry.url, &entry.tags, entry.response_time_ms) {
        return Err("purged");
    }
    Ok(record)
}

/// Responses on their way into some Envoys.
pub(crate) struct Restore {
    fleet: Arc<FleetService>,
    purges: Arc<PurgeService>,
    envoys: Vec<String>,
    dry_run: bool,
    batch: Vec<Vec<u8>>,
    bytes: usize,
    restored: Restored,
    silent: BTreeSet<String>,
}

impl Restore {
    /// Without Envoys a dry run says what the control plane alone can tell.
    pub(super) fn new(fleet: Arc<FleetService>, purges: Arc<PurgeService>, envoys: Vec<String>, dry_run: bool) -> Self {
        Self {
            fleet,
            purges,
            envoys,
            dry_run,
            batch: Vec::new(),
            bytes: 0,
            restored: Restored::default(),
            silent: BTreeSet::new(),
        }
    }

    /// Takes an entry of a snapshot, or one that cannot be read.
    pub(crate) async fn take(&mut self, entry: Option<&Entry>) {
        self.restored.read += 1;
        let verified = entry.map_or(Err("malformed"), |entry| verified(entry, &self.purges));
        match verified {
            Ok(record) => self.give(record).await,
            Err(outcome) => self.restored.count(outcome),
        }
    }

    /// Takes a record as an Envoy gave it.
    pub(crate) async fn give(&mut self, record: Vec<u8>) {
        if self.bytes + record.len() > BATCH || self.batch.len() >= RECORDS {
            self.flush().await;
        }
        self.bytes += record.len();
        self.batch.push(record);
    }

    /// What became of everything, and who did not answer.
    pub(crate) async fn finish(mut self) -> (Restored, Vec<String>) {
        self.flush().await;
        (self.restored, self.silent.into_iter().collect())
    }

    /// What became of those that were given so far.
    pub(crate) fn so_far(&self) -> &Restored {
        &self.restored
    }

    async fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = Arc::new(std::mem::take(&mut self.batch));
        self.bytes = 0;
        let mut best: Vec<String> = vec!["envoy-did-not-answer".to_owned(); batch.len()];
        if self.envoys.is_empty() && self.dry_run {
            best = vec!["restored".to_owned(); batch.len()];
        }
        let started = Instant::now();
        let mut giving = JoinSet::new();
        for envoy in self.envoys.iter().filter(|envoy| !self.silent.contains(*envoy)) {
            let (fleet, envoy, batch) = (Arc::clone(&self.fleet), envoy.clone(), Arc::clone(&batch));
            let dry_run = self.dry_run;
            giving.spawn(async move {
                let outcomes = give_to(&fleet, &envoy, &batch, dry_run).await;
                (envoy, outcomes)
            });
        }
        while let Some(given) = giving.join_next().await {
            let Ok((envoy, outcomes)) = given else { continue };
            let Some(outcomes) = outcomes.filter(|outcomes| outcomes.len() == batch.len()) else {
                self.silent.insert(envoy);
                continue;
            };
            for (best, outcome) in best.iter_mut().zip(outcomes) {
                if rank(&outcome) > rank(best) || (rank(&outcome) == 0 && rank(best) == 0) {
                    *best = outcome;
                }
            }
        }
        best.iter().for_each(|outcome| self.restored.count(outcome));
        if !self.envoys.is_empty() {
            // Serving goes first: the worker that takes a batch has at least as much time for its requests.
            tokio::time::sleep(started.elapsed().min(REST)).await;
        }
    }
}

/// What an Envoy made of each record; `None` when it did not answer.
async fn give_to(fleet: &FleetService, envoy: &str, batch: &[Vec<u8>], dry_run: bool) -> Option<Vec<String>> {
    if let [large] = batch
        && large.len() > BATCH
    {
        return give_parts(fleet, envoy, large, dry_run).await;
    }
    let command = ImportCommand {
        records: batch.to_vec(),
        dry_run,
        ..ImportCommand::default()
    };
    ask(fleet, envoy, command).await
}

async fn give_parts(fleet: &FleetService, envoy: &str, record: &[u8], dry_run: bool) -> Option<Vec<String>> {
    let mut outcomes = Vec::new();
    for (at, part) in record.chunks(BATCH).enumerate() {
        let command = ImportCommand {
            part: part.to_vec(),
            offset: (at * BATCH) as u64,
            total: record.len() as u64,
            dry_run,
            ..ImportCommand::default()
        };
        outcomes = ask(fleet, envoy, command).await?;
    }
    Some(outcomes)
}

async fn ask(fleet: &FleetService, envoy: &str, command: ImportCommand) -> Option<Vec<String>> {
    let result = fleet.command(envoy, Body::Import(command), ANSWER).await?;
    Some(answers::imported(result)?.outcomes)
}
