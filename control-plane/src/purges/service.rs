//! Purges on their way to the Envoys, and to those that were away.

use super::client::purge_of;
use super::counting::{self, Counting};
use super::record::Record;
use super::recording::record_first;
use super::span;
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::kernel::events::{Event, Events};
use crate::kernel::ids::unique;
use crate::kernel::ports::Replication;
use crate::kernel::sync::lock;
use crate::tier::Tier;
use control_domain::fleet::ConnectionId;
use control_domain::purges::{Matched, Purge, Target};
use control_domain::replication::Fact;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use optimizer_proto::answers;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::{CaughtUp, ClientPurge};
use serde_json::json;
use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument as _;

/// An Envoy gets so long to have a purge in force in all its workers.
const ANSWER: Duration = Duration::from_secs(12);
/// Between two looks at who is late.
const ROUND: Duration = Duration::from_secs(5);
/// A purge younger than this is still on its way.
const ON_ITS_WAY_MS: u64 = 15_000;
/// A purge of another replica that is older is not sent at once: an Envoy that has not done it is told when it connects, or soon after.
const FRESH_MS: u64 = 30_000;
/// Targets per second on average and at once. An Envoy tells a thousand stamps apart; beyond, they become coarser and purge more
/// than was asked for.
pub(crate) const TARGETS_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).unwrap();
pub(crate) const TARGETS_AT_ONCE: NonZeroU32 = NonZeroU32::new(500).unwrap();

/// What is to do of a purge beside the Envoys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outstanding {
    /// The shared tier has yet to record it.
    pub(crate) tier: bool,
    /// The other replicas have yet to be told.
    pub(crate) replicas: bool,
}

/// The purges that are remembered, and their way to the Envoys.
#[derive(Debug)]
pub(crate) struct PurgeService {
    pub(super) record: Record,
    rate: DefaultDirectRateLimiter,
    /// Streams over which an Envoy is being told what it missed.
    telling: Mutex<HashSet<ConnectionId>>,
    counting: Counting,
    fleet: Arc<FleetService>,
    pub(super) tier: Arc<Tier>,
    pub(super) replication: Arc<dyn Replication>,
    events: Events,
}

impl PurgeService {
    /// Goes on with the journal in a folder.
    pub(crate) fn open(
        folder: Option<&Path>,
        fleet: Arc<FleetService>,
        tier: Arc<Tier>,
        replication: Arc<dyn Replication>,
        events: Events,
    ) -> Self {
        Self {
            record: Record::open(folder),
            rate: RateLimiter::direct(Quota::per_second(TARGETS_PER_SECOND).allow_burst(TARGETS_AT_ONCE)),
            telling: Mutex::default(),
            counting: Counting::default(),
            fleet,
            tier,
            replication,
            events,
        }
    }

    /// Why purges are not kept, or some were lost; `None` when all is well.
    pub(crate) fn fault(&self) -> Option<String> {
        self.record.fault()
    }

    /// Whether this many more targets may be purged now.
    pub(crate) fn admits(&self, targets: usize) -> bool {
        let targets = u32::try_from(targets).ok().and_then(NonZeroU32::new);
        targets.is_none_or(|targets| matches!(self.rate.check_n(targets), Ok(Ok(()))))
    }

    /// A purge by its id.
    pub(crate) fn get(&self, id: &str) -> Option<Purge> {
        self.record.read(|log| log.get(id).cloned())
    }

    /// The purges remembered, the newest first; at most this many.
    pub(crate) fn newest(&self, count: usize) -> Vec<Purge> {
        self.record.read(|log| log.all().take(count).cloned().collect())
    }

    /// The purges remembered, the oldest first, with their receipts.
    pub(crate) fn all(&self) -> Vec<Purge> {
        self.record.read(|log| log.oldest_first().cloned().collect())
    }

    /// Whether a response of that time was purged since.
    pub(crate) fn covers(&self, url: &str, tags: &[String], response_ms: u64) -> bool {
        self.record.read(|log| log.covers(url, tags, response_ms))
    }

    /// Whether an Envoy has done any of them.
    pub(crate) fn knows(&self, envoy: &str) -> bool {
        self.record.read(|log| log.knows(envoy))
    }

    /// What is to do of a purge beside the Envoys.
    pub(crate) fn outstanding(&self, id: &str) -> Outstanding {
        Outstanding {
            tier: self.get(id).is_some_and(|purge| purge.unrecorded),
            replicas: self.replication.is_unpublished(id),
        }
    }

    /// Takes a purge in for all replicas, unless there was one with the same key.
    ///
    /// # Errors
    /// The earlier one.
    pub(crate) async fn accept(&self, purge: &Purge) -> Result<(), Box<Purge>> {
        if let Some(earlier) = self.replication.claim(purge).await {
            // This replica may not have heard of it yet.
            let _ = self.record.accept(earlier.clone());
            return Err(Box::new(earlier));
        }
        self.record.accept(purge.clone())?;
        tracing::warn!(
            purge = purge.id,
            who = purge.by,
            reason = purge.reason,
            soft = purge.soft,
            targets = ?purge.targets,
            "purge"
        );
        self.events.announce(event(purge));
        // Written down before it is sent: once an Envoy has done it, it is never forgotten.
        self.record.keep(purge);
        if self.replication.is_shared() {
            // The tier before the other replicas: their Envoys must not get from it what they are about to purge.
            let unrecorded = !record_first(&self.tier, &self.record, purge).await;
            let purge = Purge {
                unrecorded,
                ..purge.clone()
            };
            self.replication.publish_purge(&purge).await;
        }
        Ok(())
    }

    /// A purge that waits for every Envoy that is there now.
    pub(crate) fn awaiting(&self, purge: Purge) -> Purge {
        self.fleet
            .read(|fleet, _| purge.awaiting(fleet.present(now_ms()).map(|(envoy, _)| envoy)))
    }

    /// A client has purged at an Envoy, where it is in force: it goes into the log and to all other Envoys.
    pub(crate) fn made_by_client(self: &Arc<Self>, envoy: &str, node: &str, made: &ClientPurge) {
        let at = now_ms();
        let purge = match purge_of(made, envoy, node, unique(at), at) {
            Ok(purge) => self.awaiting(purge),
            Err(allowed) => {
                tracing::warn!(
                    envoy,
                    source = made.source,
                    allowed,
                    "a purge by a client cannot be passed on"
                );
                return;
            }
        };
        let service = Arc::clone(self);
        tokio::spawn(async move {
            if service.accept(&purge).await.is_ok() {
                service.send_to_all(purge).await;
            }
        });
    }

    /// Records an accepted purge in the shared tier, if that was not tried yet, and sends it to every connected Envoy. Ends when all have
    /// answered or given up.
    pub(crate) async fn send_to_all(self: Arc<Self>, purge: Purge) {
        let span = span::of(&purge);
        async {
            if !self.replication.is_shared() {
                // What an Envoy gets from the tier after its own purge is then never what was purged.
                record_first(&self.tier, &self.record, &purge).await;
            }
            self.send_to_envoys(&purge).await;
        }
        .instrument(span.clone())
        .await;
        span::end(&span, self.get(&purge.id).as_ref());
    }

    // What other replicas tell.

    /// Another replica has accepted a purge; the Envoys of this one are told here.
    pub(crate) fn observe_accepted(self: &Arc<Self>, purge: Purge) {
        if self.record.accept(purge.clone()).is_err() {
            // Known; perhaps not who has done it.
            self.record.learn(&purge);
            return;
        }
        self.record.keep(&purge);
        if purge.at.saturating_add(FRESH_MS) > now_ms() {
            self.events.announce(event(&purge));
            let service = Arc::clone(self);
            tokio::spawn(async move { service.send_to_envoys(&purge).await });
        }
    }

    /// An Envoy of another replica has done a purge.
    pub(crate) fn observe_applied(&self, round: u32, id: &str, envoy: &str, at: u64, matched: Option<Matched>) {
        self.record.applied(round, id, envoy, at, matched);
    }

    /// Another replica has reopened a purge, as round `round` of it; 0 = the next one.
    pub(crate) fn observe_reopened(self: &Arc<Self>, id: &str, round: u32) {
        if round == 0 {
            self.record.reopen(id);
        } else {
            self.record.reopen_to(id, round);
        }
        if let Some(purge) = self.get(id) {
            let service = Arc::clone(self);
            tokio::spawn(async move { service.send_to_envoys(&purge).await });
        }
    }

    /// Everything up to this time is forgotten: the shared journal does not have it any more.
    pub(crate) fn forget_before(&self, at: u64) {
        self.record.forget_before(at);
    }

    // Envoys.

    pub(super) async fn send_to_envoys(self: &Arc<Self>, purge: &Purge) {
        let mut sending = JoinSet::new();
        for envoy in self.fleet.connected_here() {
            if purge.applied.contains_key(&envoy) {
                continue;
            }
            let (service, purge) = (Arc::clone(self), purge.clone());
            sending.spawn(async move { service.apply(&envoy, &purge).await }.in_current_span());
        }
        while sending.join_next().await.is_some() {}
    }

    /// Has one Envoy do a purge, and notes its receipt. False when it did not do all of it.
    async fn apply(self: &Arc<Self>, envoy: &str, purge: &Purge) -> bool {
        let span = span::apply(envoy, purge);
        let done = self.command(envoy, purge).instrument(span.clone()).await;
        span::applied(&span, done);
        done
    }

    async fn command(self: &Arc<Self>, envoy: &str, purge: &Purge) -> bool {
        let mut counted = None;
        for command in counting::commands(purge) {
            let done = self.fleet.command(envoy, Body::Purge(command), ANSWER).await;
            let Some(result) = done.filter(|result| result.ok) else {
                tracing::warn!(envoy, purge = purge.id, "purge not done yet, will be tried again");
                return false;
            };
            counted = counted.or(answers::count(result));
        }
        let so_far = counted.as_ref().map(counting::of_first_step);
        self.note_applied(purge, envoy, so_far);
        if let Some(first) = counted.filter(|count| !count.done) {
            let (service, envoy, purge) = (Arc::clone(self), envoy.to_owned(), purge.clone());
            tokio::spawn(async move {
                let counted = service
                    .counting
                    .count_rest(&service.fleet, &envoy, &purge, &first)
                    .await;
                if let Some(matched) = counted {
                    service.note_applied(&purge, &envoy, Some(matched));
                }
            });
        }
        true
    }

    /// An Envoy has done a purge, and may have counted what it matched.
    fn note_applied(&self, purge: &Purge, envoy: &str, matched: Option<Matched>) {
        let (at, id) = (now_ms(), &purge.id);
        if !self.record.applied(purge.round, id, envoy, at, matched) {
            // It was told before the purge was reopened.
            return;
        }
        self.record.save_receipt(id, envoy, at, matched);
        self.replication.publish_later(Fact::PurgeApplied {
            id: id.clone(),
            envoy: envoy.to_owned(),
            at,
            matched,
            round: purge.round,
        });
        self.fleet.notify_progress();
    }

    /// Sends an Envoy the purges that it missed and, when these are in force, that there are no more. Each stream gets
    /// its own: one that the Envoy has given up may take its time.
    pub(crate) async fn replay_missed(self: Arc<Self>, envoy: String) {
        let connection = self.fleet.connection_of(&envoy);
        // Over one stream once at a time.
        let Some(connection) = connection.filter(|stream| lock(&self.telling).insert(*stream)) else {
            return;
        };
        if self.send_missing(&envoy).await {
            self.fleet.tell(connection, ToFilter::CaughtUp(CaughtUp {}));
        }
        lock(&self.telling).remove(&connection);
    }

    async fn send_missing(self: &Arc<Self>, envoy: &str) -> bool {
        let missing = match self.missing(envoy) {
            Some(missing) => missing,
            None => {
                tracing::warn!(
                    envoy,
                    "away for longer than purges are remembered: its cache is purged as a whole"
                );
                let everything = Body::Purge(Target::All.command(false));
                let done = self.fleet.command(envoy, everything, ANSWER).await;
                if !done.is_some_and(|result| result.ok) {
                    return false;
                }
                self.newest(usize::MAX)
            }
        };
        if !missing.is_empty() {
            tracing::info!(envoy, count = missing.len(), "purges that an Envoy has missed");
        }
        for purge in &missing {
            if !self.apply(envoy, purge).await {
                return false;
            }
        }
        true
    }

    /// What an Envoy has not done; `None` when it was away for longer than is remembered.
    fn missing(&self, envoy: &str) -> Option<Vec<Purge>> {
        let started_ms = self.fleet.started_ms(envoy);
        self.record.read(|log| log.missing(envoy, started_ms))
    }

    /// Tries again with connected Envoys that did not answer: one that was stopped need not have lost its connection. Until told to stop.
    pub(crate) async fn watch_late(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                _ = stopped.changed() => return,
            }
            let before = now_ms().saturating_sub(ON_ITS_WAY_MS);
            for envoy in self.fleet.connected_here() {
                let missing = self.missing(&envoy);
                if missing.is_none_or(|missing| missing.iter().any(|purge| purge.at < before)) {
                    tokio::spawn(Arc::clone(&self).replay_missed(envoy));
                }
            }
        }
    }
}

fn event(purge: &Purge) -> Event {
    let about = json!({ "id": purge.id, "by": purge.by, "targets": purge.targets, "soft": purge.soft });
    Event::new("purge", about)
}
