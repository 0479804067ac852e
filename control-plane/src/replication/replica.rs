//! This replica: what it sends to the others, and what it knows of them.

use super::outgoing::{Outgoing, Stream};
use super::reader::Places;
use super::relay::Relay;
use super::wire::{append_fact, append_passing, append_update};
use crate::kernel::chance;
use crate::kernel::clock::now_ms;
use crate::kernel::ports::{Leadership, RemoteEnvoys, Replication};
use crate::kernel::sync::lock;
use crate::redis::keys::Keys;
use crate::redis::{Endpoint, Fault, RedisConnection};
use crate::settings::SettingsService;
use control_domain::alerts::Outbox;
use control_domain::fleet::EnvoyUpdate;
use control_domain::fleet::{ConnectionId, REPLICA_BITS, replica_of};
use control_domain::purges::Purge;
use control_domain::purges::tier_order::Fence;
use control_domain::replication::{Fact, OwnEntries};
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::{CommandResult, Hello, SettingsAck, TelemetryReport};
use redis::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// No request of a client waits for it, so that a busy Redis is given more time than by the tier.
const ANSWER: Duration = Duration::from_secs(2);
/// For so long it is waited for that a purge is in the journal.
const PUBLISHED: Duration = Duration::from_secs(1);
/// How long an Idempotency-Key is remembered.
const KEYS_KEPT_S: u64 = 86_400;

/// What this replica knows of an Envoy that is connected to it.
#[derive(Debug, Clone)]
struct LocalEnvoy {
    hello: Hello,
    connection: ConnectionId,
    ack: Option<SettingsAck>,
}

/// What is shared, and how.
#[derive(Debug)]
pub(crate) struct RedisReplication {
    pub(super) connection: Arc<RedisConnection>,
    pub(super) keys: Keys,
    pub(super) number: u64,
    /// Whether what is shared has been seen since this process began.
    joined: watch::Sender<bool>,
    pub(super) outgoing: Outgoing,
    own: Mutex<BTreeMap<String, LocalEnvoy>>,
    last_connection_ms: AtomicU64,
    /// Purges that are not in the journal yet.
    unpublished: Arc<Mutex<BTreeSet<String>>>,
    /// How far the streams are read.
    places: Mutex<Places>,
    /// What this replica wrote into the journal and has not read again.
    pub(super) written: Mutex<OwnEntries>,
    pub(super) leads: AtomicBool,
    pub(super) relay: Relay,
}

impl RedisReplication {
    /// Replicas below a prefix in one Redis.
    pub(crate) fn new(endpoint: Endpoint, prefix: &str, relay: Relay) -> Self {
        let keys = Keys::new(prefix);
        let mut probe = redis::cmd("EXISTS");
        probe.arg(keys.settings());
        Self {
            connection: Arc::new(RedisConnection::new(endpoint, "what replicas share", ANSWER, probe)),
            keys,
            number: chance::number() & ((1 << REPLICA_BITS) - 1),
            joined: watch::channel(false).0,
            outgoing: Outgoing::default(),
            own: Mutex::default(),
            last_connection_ms: AtomicU64::new(0),
            unpublished: Arc::default(),
            places: Mutex::default(),
            written: Mutex::default(),
            leads: AtomicBool::new(false),
            relay,
        }
    }

    /// Where the settings are shared.
    pub(crate) fn shared(&self) -> (Arc<RedisConnection>, Keys) {
        (Arc::clone(&self.connection), self.keys.clone())
    }

    /// The name of this replica.
    pub(super) fn id(&self) -> String {
        format!("{:05x}", self.number)
    }

    /// How far the streams are read.
    pub(super) fn places(&self) -> Places {
        lock(&self.places).clone()
    }

    /// They are read up to there.
    pub(super) fn read_up_to(&self, places: Places) {
        *lock(&self.places) = places;
    }

    /// An entry of its own is in the journal.
    pub(super) fn wrote(&self, id: Fence) {
        lock(&self.written).written(id);
    }

    /// The oldest entry of its own that has not come again.
    pub(super) fn unseen(&self) -> Option<Fence> {
        lock(&self.written).unseen()
    }

    /// Notes entries of its own that came, and that the journal is read up to `place`; true when one is lost.
    pub(super) fn loses_after(&self, own: &[Fence], place: Fence) -> bool {
        let mut written = lock(&self.written);
        own.iter().for_each(|id| written.read(*id));
        written.is_one_lost(place)
    }

    /// Whether an Envoy is connected here.
    pub(super) fn has(&self, envoy: &str) -> bool {
        lock(&self.own).contains_key(envoy)
    }

    /// Tells of every Envoy that is connected here.
    pub(super) fn tell_all(&self) {
        lock(&self.own).values().for_each(|own| self.tell(own, true));
    }

    /// Looks at the settings that are shared.
    pub(super) async fn refresh(&self, settings: &SettingsService) {
        match settings.refresh().await {
            Ok(()) => {
                self.joined.send_replace(true);
            }
            Err(reason) => tracing::warn!(reason, "shared settings cannot be read"),
        }
    }

    fn tell(&self, own: &LocalEnvoy, connected: bool) {
        // Where there is no room it is told when Redis is back.
        if self.outgoing.has_room() {
            drop(
                self.outgoing
                    .put(Stream::Updates, self.update(own.clone(), connected, None)),
            );
        }
    }

    fn update(&self, own: LocalEnvoy, connected: bool, report: Option<TelemetryReport>) -> redis::Cmd {
        let update = EnvoyUpdate {
            hello: own.hello,
            connection: own.connection,
            connected,
            at_ms: now_ms(),
            ack: own.ack,
            report,
        };
        append_update(&update, &self.keys.news(), &self.id())
    }

    fn append(&self, fact: &Fact) -> redis::Cmd {
        append_fact(fact, &self.keys.journal(), &self.id())
    }
}

#[tonic::async_trait]
impl Replication for RedisReplication {
    fn is_shared(&self) -> bool {
        true
    }

    fn has_joined(&self) -> bool {
        *self.joined.borrow()
    }

    async fn joined(&self) {
        // The sender lives as long as this.
        let _ = self.joined.subscribe().wait_for(|joined| *joined).await;
    }

    fn fault(&self) -> Option<String> {
        self.connection.fault()
    }

    async fn publish(&self, fact: Fact) -> bool {
        let told = self.outgoing.put(Stream::Journal, self.append(&fact));
        self.fault().is_none() && Outgoing::taken(told).await
    }

    fn publish_later(&self, fact: Fact) {
        drop(self.outgoing.put(Stream::Journal, self.append(&fact)));
    }

    fn publish_passing(&self, fact: Fact) {
        if self.outgoing.has_room() {
            let command = append_passing(&fact, &self.keys.news(), &self.id());
            drop(self.outgoing.put(Stream::Updates, command));
        }
    }

    async fn publish_purge(&self, purge: &Purge) {
        let fact = Fact::PurgeAccepted { purge: purge.clone() };
        lock(&self.unpublished).insert(purge.id.clone());
        let mut told = self.outgoing.put(Stream::Journal, self.append(&fact));
        if self.fault().is_none() && tokio::time::timeout(PUBLISHED, &mut told).await.is_ok() {
            lock(&self.unpublished).remove(&purge.id);
            return;
        }
        let (unpublished, id) = (Arc::clone(&self.unpublished), purge.id.clone());
        tokio::spawn(async move {
            if told.await.is_ok() {
                lock(&unpublished).remove(&id);
            }
        });
    }

    fn is_unpublished(&self, purge: &str) -> bool {
        lock(&self.unpublished).contains(purge)
    }

    /// Redis away it is not known of others' keys: a purge done twice does no harm.
    async fn claim(&self, purge: &Purge) -> Option<Purge> {
        let key = purge.idempotency_key.as_deref()?;
        let mut command = redis::cmd("SET");
        command
            .arg(self.keys.idempotency(key))
            .arg(serde_json::to_string(purge).ok()?)
            .arg("NX")
            .arg("GET")
            .arg("EX")
            .arg(KEYS_KEPT_S);
        let earlier: Option<String> = self.connection.ask(&command).await.ok()?;
        serde_json::from_str(&earlier?).ok()
    }
}

#[tonic::async_trait]
impl Leadership for RedisReplication {
    /// It goes on while Redis is away: then no other can take over.
    fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    async fn outbox(&self) -> Option<Outbox> {
        let get = redis::cmd("GET").arg(self.keys.outbox()).clone();
        let kept: Option<String> = self.connection.ask(&get).await.ok()?;
        serde_json::from_str(&kept?).ok()
    }

    async fn keep_outbox(&self, outbox: &Outbox) {
        let mut command = redis::cmd("SET");
        command
            .arg(self.keys.outbox())
            .arg(serde_json::to_string(outbox).unwrap_or_default());
        let kept: Result<Value, Fault> = self.connection.ask(&command).await;
        if let Err(fault) = kept {
            tracing::warn!(%fault, "what is told of alerts cannot be kept for other replicas");
        }
    }
}

#[tonic::async_trait]
impl RemoteEnvoys for RedisReplication {
    fn replica(&self) -> Option<u64> {
        Some(self.number)
    }

    fn connection_id(&self) -> Option<ConnectionId> {
        let now = now_ms();
        let next = |last: u64| Some(now.max(last + 1));
        let last = self
            .last_connection_ms
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        Some(now.max(last.unwrap_or(0) + 1) << REPLICA_BITS | self.number)
    }

    fn connected(&self, envoy: &str, hello: &Hello, connection: ConnectionId) {
        let own = LocalEnvoy {
            hello: hello.clone(),
            connection,
            ack: None,
        };
        self.tell(&own, true);
        lock(&self.own).insert(envoy.to_owned(), own);
    }

    fn left(&self, envoy: &str, connection: ConnectionId) {
        let mut all = lock(&self.own);
        if all.get(envoy).is_some_and(|own| own.connection == connection)
            && let Some(own) = all.remove(envoy)
        {
            self.tell(&own, false);
        }
    }

    fn acknowledged(&self, envoy: &str, ack: &SettingsAck) {
        if let Some(own) = lock(&self.own).get_mut(envoy) {
            own.ack = Some(ack.clone());
            self.tell(own, true);
        }
    }

    /// The others have it when this returns, or will have it when Redis is back, as long as there is room for it here.
    async fn reported(&self, envoy: &str, report: TelemetryReport) {
        let Some(own) = lock(&self.own).get(envoy).cloned() else {
            return;
        };
        if !self.outgoing.has_room() {
            tracing::warn!(
                envoy,
                "Redis is away for long: the figures of other replicas will lack a report"
            );
            return;
        }
        let told = self.outgoing.put(Stream::Updates, self.update(own, true, Some(report)));
        if self.fault().is_none() {
            Outgoing::taken(told).await;
        }
    }

    async fn ask(&self, connection: ConnectionId, envoy: &str, body: Body, timeout: Duration) -> Option<CommandResult> {
        let holder = replica_of(connection);
        if holder == self.number {
            return None;
        }
        self.relay.ask(holder, envoy, body, timeout).await
    }

    fn admits(&self, authorization: Option<&str>) -> Option<bool> {
        Some(self.relay.admits(authorization))
    }
}
