//! Purges on their way to the Envoys, and to those that were away.

use super::counting;
use super::journal::PurgeJournal;
use crate::kernel::clock::now_ms;
use crate::kernel::events::Event;
use crate::plane::Plane;
use crate::replication::Entry;
use control_domain::fleet::ConnectionId;
use control_domain::purges::{MAX_TARGETS, Matched, Purge, PurgeLog, Target};
use control_domain::tier::Subject;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::{CaughtUp, ClientPurge};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// An Envoy gets so long to have a purge in force in all its workers.
const ANSWER: Duration = Duration::from_secs(12);
/// Between two looks at who is late.
const ROUND: Duration = Duration::from_secs(5);
/// A purge younger than this is still on its way.
const ON_ITS_WAY_MS: u64 = 15_000;
/// Targets per second on average and at once. An Envoy tells a thousand stamps apart; beyond, they become coarser and purge more
/// than was asked for.
pub(crate) const TARGETS_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).unwrap();
pub(crate) const TARGETS_AT_ONCE: NonZeroU32 = NonZeroU32::new(500).unwrap();

/// A tier that cannot record a purge is tried again after this.
const TIER_RETRY: Duration = Duration::from_secs(1);

/// What purging needs beside the log: where it is written down, how fast it may go, who is being told.
#[derive(Debug)]
pub(crate) struct Desk {
    /// Why there is no journal, where there ought to be one.
    unkept: Option<String>,
    journal: Option<PurgeJournal>,
    rate: DefaultDirectRateLimiter,
    telling: Mutex<HashSet<ConnectionId>>,
    pub(super) counting: Mutex<HashSet<String>>,
}

impl Desk {
    /// Opens the journal in a folder, and reads it.
    pub(crate) fn open(folder: Option<&Path>) -> (Self, PurgeLog) {
        // The folder may not be there yet: the settings make it when they are first written.
        let opened = folder.map(|folder| {
            std::fs::create_dir_all(folder).and_then(|()| PurgeJournal::open(folder.join("purges.journal")))
        });
        let mut unkept = None;
        let (journal, log) = match opened {
            Some(Ok((journal, log))) => (Some(journal), log),
            Some(Err(error)) => {
                tracing::error!(%error, "purges cannot be kept on disk");
                unkept = Some(format!("purges cannot be kept: {error}"));
                (None, PurgeLog::default())
            }
            None => (None, PurgeLog::default()),
        };
        let desk = Self {
            journal,
            unkept,
            rate: RateLimiter::direct(Quota::per_second(TARGETS_PER_SECOND).allow_burst(TARGETS_AT_ONCE)),
            telling: Mutex::default(),
            counting: Mutex::default(),
        };
        (desk, log)
    }

    /// Why purges are not kept, or some were lost; `None` when all is well.
    pub(crate) fn fault(&self) -> Option<String> {
        let journal = || self.journal.as_ref().and_then(PurgeJournal::fault);
        self.unkept.clone().or_else(journal)
    }

    /// Whether so many more targets may be purged now.
    pub(crate) fn admits(&self, targets: usize) -> bool {
        let targets = u32::try_from(targets).ok().and_then(NonZeroU32::new);
        targets.is_none_or(|targets| matches!(self.rate.check_n(targets), Ok(Ok(()))))
    }

    /// Writes a purge down. What cannot be written down is in force all the same.
    pub(crate) fn accepted(&self, purge: &Purge) {
        let written = self.journal.as_ref().map_or(Ok(()), |journal| journal.accepted(purge));
        if let Err(error) = written {
            tracing::error!(%error, "a purge cannot be kept on disk: an Envoy that returns after a restart would not be told of it");
        }
    }

    fn reopened(&self, id: &str) {
        let written = self.journal.as_ref().map_or(Ok(()), |journal| journal.reopened(id));
        if let Err(error) = written {
            tracing::error!(%error, "it cannot be kept on disk that a purge has to be done once more");
        }
    }

    fn applied(&self, plane: &Plane, id: &str, envoy: &str, at: u64, matched: Option<Matched>) {
        let Some(journal) = &self.journal else { return };
        let mut written = journal.applied(id, envoy, at, matched);
        if journal.is_long() {
            let log = plane.domain().purges.clone();
            written = written.and_then(|()| journal.rewrite(&log));
        }
        if let Err(error) = written {
            tracing::warn!(%error, "a receipt cannot be kept on disk");
        }
    }

    /// Marks an Envoy as being told over this stream what it missed; false when it is already.
    fn begin(&self, connection: ConnectionId) -> bool {
        let mut telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        telling.insert(connection)
    }

    fn end(&self, connection: ConnectionId) {
        self.telling
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&connection);
    }
}

/// Another replica has accepted a purge and recorded it in the shared tier; the Envoys of this one are told here.
pub(crate) fn heard(plane: &Arc<Plane>, purge: &Purge, is_new: bool) {
    plane.desk.accepted(purge);
    if is_new {
        plane.announce(event(purge));
        let (plane, purge) = (Arc::clone(plane), purge.clone());
        tokio::spawn(async move { tell(&plane, &purge).await });
    }
}

fn event(purge: &Purge) -> Event {
    let about = json!({ "id": purge.id, "by": purge.by, "targets": purge.targets, "soft": purge.soft });
    Event::new("purge", about)
}

/// Takes a purge in for all replicas, unless there was one with the same key.
///
/// # Errors
/// The earlier one.
pub(crate) async fn accept(plane: &Arc<Plane>, purge: &Purge) -> Result<(), Box<Purge>> {
    if let Some(replicas) = &plane.replicas
        && let Some(earlier) = replicas.use_key(purge).await
    {
        // This replica may not have heard of it yet.
        let _ = plane.domain().purges.accept(earlier.clone());
        return Err(Box::new(earlier));
    }
    plane.domain().purges.accept(purge.clone())?;
    announce(plane, purge);
    // Written down before it is sent: once an Envoy has done it, it is never forgotten.
    plane.desk.accepted(purge);
    if let Some(replicas) = &plane.replicas {
        // The tier before the other replicas: their Envoys must not get from it what they are about to purge.
        if in_tier(plane, purge).await {
            plane.tier.owes_no_more(&purge.id);
        }
        replicas.share_purge(purge).await;
    }
    Ok(())
}

/// A purge that waits for every Envoy that is there now.
pub(crate) fn awaiting(plane: &Plane, purge: Purge) -> Purge {
    let domain = plane.domain();
    purge.awaiting(domain.fleet.present(now_ms()).map(|(envoy, _)| envoy))
}

/// A client has purged at an Envoy, where it is in force: it goes into the log and to all other Envoys.
pub(crate) fn made_by_client(plane: &Arc<Plane>, envoy: &str, node: &str, made: &ClientPurge) {
    let tags = made.tags.iter().cloned().map(Target::Tag);
    let mut targets: Vec<Target> = tags.take(MAX_TARGETS).collect();
    if targets.is_empty() {
        targets.push(Target::Url(made.url.clone()));
    }
    if let Some(allowed) = targets.iter().find_map(Target::fault) {
        tracing::warn!(
            envoy,
            source = made.source,
            allowed,
            "a purge by a client cannot be passed on"
        );
        return;
    }
    let at = now_ms();
    let purge = Purge {
        id: format!("{at:x}-{}", plane.next_id()),
        at,
        by: made.source.clone(),
        reason: format!("PURGE at {node}"),
        targets,
        soft: made.soft,
        idempotency_key: None,
        applied: BTreeMap::from([(envoy.to_owned(), made.at_ms.min(at))]),
        matched: made
            .matched
            .map(|at_least| (envoy.to_owned(), Matched { at_least, all: true }))
            .into_iter()
            .collect(),
        awaited: BTreeSet::new(),
    };
    let purge = awaiting(plane, purge);
    let plane = Arc::clone(plane);
    tokio::spawn(async move {
        if accept(&plane, &purge).await.is_ok() {
            send_to_all(plane, purge).await;
        }
    });
}

/// Records an accepted purge in the shared tier and sends it to every connected Envoy. Ends when all have answered or given up.
pub(crate) async fn send_to_all(plane: Arc<Plane>, purge: Purge) {
    // First the tier: what an Envoy gets from it after its own purge is then never what was purged.
    if !plane.tier.is_owing(&purge.id) || in_tier(&plane, &purge).await {
        plane.tier.owes_no_more(&purge.id);
        tell(&plane, &purge).await;
        return;
    }
    tell(&plane, &purge).await;
    while !in_tier(&plane, &purge).await {
        tokio::time::sleep(TIER_RETRY).await;
    }
    // Meanwhile an Envoy may have got from the tier what it had purged itself.
    plane.domain().purges.reopen(&purge.id);
    plane.desk.reopened(&purge.id);
    plane.share_later(|| Entry::Reopened { id: purge.id.clone() });
    plane.tier.owes_no_more(&purge.id);
    tell(&plane, &purge).await;
}

pub(crate) async fn in_tier(plane: &Plane, purge: &Purge) -> bool {
    let subjects: Vec<Subject> = purge.targets.iter().map(Subject::of).collect();
    match plane.tier.purge(&subjects).await {
        Ok(_) => true,
        Err(fault) => {
            tracing::warn!(purge = purge.id, %fault, "purge not recorded in the shared tier, will be tried again");
            false
        }
    }
}

async fn tell(plane: &Arc<Plane>, purge: &Purge) {
    let mut sending = JoinSet::new();
    for envoy in plane.connected() {
        if purge.applied.contains_key(&envoy) {
            continue;
        }
        let (plane, purge) = (Arc::clone(plane), purge.clone());
        sending.spawn(async move { apply(&plane, &envoy, &purge).await });
    }
    while sending.join_next().await.is_some() {}
}

/// Has one Envoy do a purge, and notes its receipt. False when it did not do all of it.
async fn apply(plane: &Arc<Plane>, envoy: &str, purge: &Purge) -> bool {
    let mut counted = None;
    for command in counting::commands(purge) {
        let done = plane.command_to(envoy, Body::Purge(command), ANSWER).await;
        let Some(result) = done.filter(|result| result.ok) else {
            tracing::warn!(envoy, purge = purge.id, "purge not done yet, will be tried again");
            return false;
        };
        counted = counted.or(result.count);
    }
    let so_far = counted.as_ref().map(counting::of_first_step);
    note_applied(plane, &purge.id, envoy, so_far);
    if let Some(first) = counted.filter(|count| !count.done) {
        tokio::spawn(counting::go_on(
            Arc::clone(plane),
            envoy.to_owned(),
            purge.clone(),
            first,
        ));
    }
    true
}

/// An Envoy has done a purge, and may have counted what it matched.
pub(super) fn note_applied(plane: &Plane, id: &str, envoy: &str, matched: Option<Matched>) {
    let at = now_ms();
    plane.domain().purges.applied(id, envoy, at, matched);
    plane.desk.applied(plane, id, envoy, at, matched);
    plane.share_later(|| Entry::Applied {
        id: id.to_owned(),
        envoy: envoy.to_owned(),
        at,
        matched,
    });
    plane.acknowledged.notify_waiters();
}

/// Tells an Envoy what was purged while it was away, and when that is in force, that there is no more. Each stream is told of its own:
/// one that the Envoy has given up may take its time.
pub(crate) async fn catch_up(plane: Arc<Plane>, envoy: String) {
    let Some(connection) = plane.connection_of(&envoy).filter(|stream| plane.desk.begin(*stream)) else {
        return;
    };
    if tell_missing(&plane, &envoy).await {
        plane.tell(connection, ToFilter::CaughtUp(CaughtUp {}));
    }
    plane.desk.end(connection);
}

async fn tell_missing(plane: &Arc<Plane>, envoy: &str) -> bool {
    let missing = {
        let domain = plane.domain();
        let started_ms = domain.fleet.get(envoy).map_or(0, |envoy| envoy.started_ms);
        domain.purges.missing(envoy, started_ms)
    };
    let missing = match missing {
        Some(missing) => missing,
        None => {
            tracing::warn!(
                envoy,
                "away for longer than purges are remembered: its cache is purged as a whole"
            );
            let everything = Body::Purge(Target::All.command(false));
            let done = plane.command_to(envoy, everything, ANSWER).await;
            if !done.is_some_and(|result| result.ok) {
                return false;
            }
            plane.domain().purges.all().cloned().collect()
        }
    };
    if !missing.is_empty() {
        tracing::info!(envoy, count = missing.len(), "purges that an Envoy has missed");
    }
    for purge in &missing {
        if !apply(plane, envoy, purge).await {
            return false;
        }
    }
    true
}

/// Tries again with connected Envoys that did not answer: one that was stopped need not have lost its connection.
pub(crate) async fn watch_late(plane: Arc<Plane>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            _ = stopped.changed() => return,
        }
        let before = now_ms().saturating_sub(ON_ITS_WAY_MS);
        for envoy in plane.connected() {
            let late = {
                let domain = plane.domain();
                let started_ms = domain.fleet.get(&envoy).map_or(0, |envoy| envoy.started_ms);
                let missing = domain.purges.missing(&envoy, started_ms);
                missing.is_none_or(|missing| missing.iter().any(|purge| purge.at < before))
            };
            if late {
                tokio::spawn(catch_up(Arc::clone(&plane), envoy));
            }
        }
    }
}

/// Tells the log and the live stream, and notes that the shared tier has yet to record it.
pub(crate) fn announce(plane: &Plane, purge: &Purge) {
    plane.tier.owes(&purge.id);
    tracing::warn!(
        purge = purge.id,
        who = purge.by,
        reason = purge.reason,
        soft = purge.soft,
        targets = ?purge.targets,
        "purge"
    );
    plane.announce(event(purge));
}
