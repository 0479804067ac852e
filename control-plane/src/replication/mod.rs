//! Replicas of the control plane that act as one: what they share in Redis, and how each hears of what another one did.

mod apply;
mod outgoing;
mod reader;
mod relay;
mod wire;

pub(crate) use relay::Relay;
pub(crate) use wire::{Entry, News};

use crate::kernel::chance;
use crate::kernel::clock::now_ms;
use crate::kernel::sync::lock;
use crate::plane::Plane;
use crate::redis::keys::Keys;
use crate::redis::{Endpoint, Fault, Wire};
use control_domain::alerts::Outbox;
use control_domain::fleet::{ConnectionId, REPLICA_BITS, replica_of};
use control_domain::purges::Purge;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::{CommandResult, Hello, SettingsAck};
use outgoing::Outgoing;
use reader::Places;
use redis::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// No request of a client waits for it, so that a busy Redis is given more time than by the tier.
const ANSWER: Duration = Duration::from_secs(2);
/// Changes are looked for so often, beside being told of them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A replica that was not there for so long is gone.
const GONE_MS: u64 = 5_000;
/// Who notifies is replaced when not heard of for so long.
const LEASE_MS: u64 = 8_000;
/// An Idempotency-Key is remembered for so long.
const KEYS_KEPT_S: u64 = 86_400;
/// One step: I am here; who else is, and who holds the lease? By the clock of Redis.
const BEAT: &str = "local time = redis.call('TIME') \
     local now = time[1] * 1000 + math.floor(time[2] / 1000) \
     redis.call('ZADD', KEYS[1], now, ARGV[4]) \
     redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 10 * ARGV[2]) \
     local holder = redis.call('GET', KEYS[2]) \
     if not holder or holder == ARGV[1] then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3]) holder = ARGV[1] end \
     return { holder, redis.call('ZRANGEBYSCORE', KEYS[1], now - ARGV[2], '+inf') }";

/// What this replica knows of an Envoy that is connected to it.
#[derive(Debug, Clone)]
struct Own {
    hello: Hello,
    connection: ConnectionId,
    ack: Option<SettingsAck>,
}

/// What is shared, and how.
#[derive(Debug)]
pub(crate) struct Replicas {
    pub(crate) wire: Arc<Wire>,
    pub(crate) keys: Keys,
    number: u64,
    /// Whether what is shared has been seen since this process began.
    joined: watch::Sender<bool>,
    /// What the ConfigMap volume of this replica showed last.
    mounted: Mutex<Option<BTreeMap<String, String>>>,
    outgoing: Outgoing,
    own: Mutex<BTreeMap<String, Own>>,
    last_connection_ms: AtomicU64,
    /// Purges that are not in the journal yet.
    unshared: Mutex<BTreeSet<String>>,
    places: Mutex<Places>,
    leads: AtomicBool,
    pub(crate) relay: Relay,
}

/// Number and address of a replica, as it told them.
fn replica_at(member: &str) -> Option<(u64, String)> {
    let (id, address) = member.split_once('@')?;
    Some((u64::from_str_radix(id, 16).ok()?, address.to_owned()))
}

impl Replicas {
    /// Replicas below a prefix in one Redis.
    pub(crate) fn new(endpoint: Endpoint, prefix: &str, relay: Relay) -> Self {
        let keys = Keys::new(prefix);
        let mut probe = redis::cmd("EXISTS");
        probe.arg(keys.settings());
        Self {
            wire: Arc::new(Wire::new(endpoint, "what replicas share", ANSWER, probe)),
            keys,
            number: chance::number() & ((1 << REPLICA_BITS) - 1),
            joined: watch::channel(false).0,
            mounted: Mutex::default(),
            outgoing: Outgoing::default(),
            own: Mutex::default(),
            last_connection_ms: AtomicU64::new(0),
            unshared: Mutex::default(),
            places: Mutex::default(),
            leads: AtomicBool::new(false),
            relay,
        }
    }

    /// Why nothing can be agreed on at the moment.
    pub(crate) fn fault(&self) -> Option<String> {
        self.wire.fault()
    }

    /// Whether what is shared has been seen since this process began.
    pub(crate) fn has_joined(&self) -> bool {
        *self.joined.borrow()
    }

    /// Returns once it has.
    pub(crate) async fn joined(&self) {
        // The sender lives as long as this.
        let _ = self.joined.subscribe().wait_for(|joined| *joined).await;
    }

    /// Notes what the ConfigMap volume shows; false when it showed that before. Volumes follow a change up to a minute apart.
    pub(crate) fn mounts_anew(&self, keys: &BTreeMap<String, String>) -> bool {
        let mut mounted = lock(&self.mounted);
        let anew = mounted.as_ref() != Some(keys);
        *mounted = Some(keys.clone());
        anew
    }

    /// What the volume shows was not taken: it is looked at again.
    pub(crate) fn forget_mount(&self) {
        *lock(&self.mounted) = None;
    }

    fn id(&self) -> String {
        format!("{:05x}", self.number)
    }

    /// Names a connection that begins now, in the order of time over all replicas.
    pub(crate) fn connection_id(&self) -> ConnectionId {
        let now = now_ms();
        let next = |last: u64| Some(now.max(last + 1));
        let last = self
            .last_connection_ms
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        now.max(last.unwrap_or(0) + 1) << REPLICA_BITS | self.number
    }

    /// Whether a connection is to this replica.
    pub(crate) fn holds(&self, connection: ConnectionId) -> bool {
        replica_of(connection) == self.number
    }

    /// An Envoy has connected here.
    pub(crate) fn connected(&self, envoy: &str, hello: &Hello, connection: ConnectionId) {
        let own = Own {
            hello: hello.clone(),
            connection,
            ack: None,
        };
        self.tell(&own, true);
        lock(&self.own).insert(envoy.to_owned(), own);
    }

    /// An Envoy has left.
    pub(crate) fn left(&self, envoy: &str, connection: ConnectionId) {
        let mut all = lock(&self.own);
        if all.get(envoy).is_some_and(|own| own.connection == connection)
            && let Some(own) = all.remove(envoy)
        {
            self.tell(&own, false);
        }
    }

    /// An Envoy has said what it runs on.
    pub(crate) fn acknowledged(&self, envoy: &str, ack: &SettingsAck) {
        if let Some(own) = lock(&self.own).get_mut(envoy) {
            own.ack = Some(ack.clone());
            self.tell(own, true);
        }
    }

    fn tell(&self, own: &Own, connected: bool) {
        let news = News {
            hello: own.hello.clone(),
            connection: own.connection,
            connected,
            at_ms: now_ms(),
            ack: own.ack.clone(),
            report: None,
        };
        // Where there is no room it is told when Redis is back.
        if self.outgoing.has_room() {
            drop(self.outgoing.put(news.command(&self.keys.news(), &self.id())));
        }
    }

    /// Shares a report; it may be acknowledged when this returns: the others have it, or will have it when Redis is back, as long as
    /// there is room for it here.
    pub(crate) async fn reported(&self, envoy: &str, report: optimizer_proto::v1::TelemetryReport) {
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
        let news = News {
            hello: own.hello,
            connection: own.connection,
            connected: true,
            at_ms: now_ms(),
            ack: own.ack,
            report: Some(report),
        };
        let told = self.outgoing.put(news.command(&self.keys.news(), &self.id()));
        if self.fault().is_none() {
            Outgoing::taken(told).await;
        }
    }

    /// Shares what must not be forgotten; false when it has to wait for Redis.
    pub(crate) async fn share(&self, entry: &Entry) -> bool {
        let told = self.outgoing.put(entry.command(&self.keys.journal(), &self.id()));
        self.fault().is_none() && Outgoing::taken(told).await
    }

    /// As [`Self::share`], without waiting.
    pub(crate) fn share_later(&self, entry: &Entry) {
        drop(self.outgoing.put(entry.command(&self.keys.journal(), &self.id())));
    }

    /// Shares an accepted purge; done when the others know of it, or Redis is away: then it goes on in the background.
    pub(crate) async fn share_purge(self: &Arc<Self>, purge: &Purge) {
        let entry = Entry::Purge { purge: purge.clone() };
        lock(&self.unshared).insert(purge.id.clone());
        let mut told = self.outgoing.put(entry.command(&self.keys.journal(), &self.id()));
        if self.fault().is_none() && tokio::time::timeout(LOOK_EVERY, &mut told).await.is_ok() {
            lock(&self.unshared).remove(&purge.id);
            return;
        }
        let (replicas, id) = (Arc::clone(self), purge.id.clone());
        tokio::spawn(async move {
            if told.await.is_ok() {
                lock(&replicas.unshared).remove(&id);
            }
        });
    }

    /// Whether a purge is not known to the others yet.
    pub(crate) fn is_unshared(&self, purge: &str) -> bool {
        lock(&self.unshared).contains(purge)
    }

    /// Uses an Idempotency-Key for a purge, for all replicas; the earlier purge that it was used for, if there is one. Redis away
    /// it is not known of others' keys: a purge done twice does no harm.
    pub(crate) async fn use_key(&self, purge: &Purge) -> Option<Purge> {
        let key = purge.idempotency_key.as_deref()?;
        let mut command = redis::cmd("SET");
        command
            .arg(self.keys.idempotency(key))
            .arg(serde_json::to_string(purge).ok()?)
            .arg("NX")
            .arg("GET")
            .arg("EX")
            .arg(KEYS_KEPT_S);
        let earlier: Option<String> = self.wire.ask(&command).await.ok()?;
        serde_json::from_str(&earlier?).ok()
    }

    /// Whether this replica notifies. It goes on while Redis is away: then no other can take over.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// What receivers of alerts have been told by whoever led before.
    pub(crate) async fn outbox(&self) -> Option<Outbox> {
        let kept: Option<String> = self.wire.ask(redis::cmd("GET").arg(self.keys.outbox())).await.ok()?;
        serde_json::from_str(&kept?).ok()
    }

    /// Keeps what receivers are told for whoever leads next.
    pub(crate) async fn keep_outbox(&self, outbox: &Outbox) {
        let mut command = redis::cmd("SET");
        command
            .arg(self.keys.outbox())
            .arg(serde_json::to_string(outbox).unwrap_or_default());
        let kept: Result<Value, Fault> = self.wire.ask(&command).await;
        if let Err(fault) = kept {
            tracing::warn!(%fault, "what is told of alerts cannot be kept for other replicas");
        }
    }

    /// Keeps in touch until told to stop.
    pub(crate) async fn run(self: Arc<Self>, plane: Arc<Plane>, mut stopped: watch::Receiver<bool>) {
        loop {
            match self.wire.connect().await {
                Ok(connection) => {
                    self.wire.is_up(connection);
                    // What nobody was told of meanwhile.
                    lock(&self.own).values().for_each(|own| self.tell(own, true));
                    tokio::select! {
                        () = self.wire.until_lost() => {}
                        error = apply::hear(&self, &plane) => {
                            self.wire.give_up(crate::redis::reason(&error));
                        }
                        () = self.look(&plane) => {}
                        () = self.outgoing.write(&self.wire) => {}
                        _ = stopped.changed() => return,
                    }
                }
                Err(error) => self.wire.is_down(&error),
            }
            tokio::select! {
                () = self.wire.pause() => {}
                _ = stopped.changed() => return,
            }
        }
    }

    /// Looks for changes that nobody has told of, and for who is there.
    async fn look(&self, plane: &Arc<Plane>) {
        loop {
            self.settings(plane).await;
            if let Err(fault) = self.beat(plane).await {
                tracing::debug!(%fault, "other replicas cannot be counted");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn beat(&self, plane: &Plane) -> Result<(), Fault> {
        let mut command = redis::cmd("EVAL");
        command
            .arg(BEAT)
            .arg(2)
            .arg(self.keys.alive())
            .arg(self.keys.lease())
            .arg(self.id())
            .arg(GONE_MS)
            .arg(LEASE_MS)
            .arg(format!("{}@{}", self.id(), self.relay.address()));
        let (holder, alive): (String, Vec<String>) = self.wire.ask(&command).await?;
        let leads = holder == self.id();
        if self.leads.swap(leads, Ordering::Relaxed) != leads {
            tracing::info!(leads, "who notifies has changed");
        }
        let others: BTreeMap<u64, String> = alive.iter().filter_map(|member| replica_at(member)).collect();
        let is_there = |replica| replica == self.number || others.contains_key(&replica);
        plane.domain().fleet.keep_connections_of(is_there);
        self.relay.known(others);
        self.agree_on_secret(plane).await?;
        self.agree_on_key_secret(plane).await
    }

    /// The secret of cache keys: whoever is first decides. Each goes on proposing what was agreed on, should Redis forget it.
    async fn agree_on_key_secret(&self, plane: &Plane) -> Result<(), Fault> {
        let Some(proposed) = plane.key_secret.proposed() else {
            return Ok(());
        };
        let mut command = redis::cmd("SET");
        command.arg(self.keys.key_secret()).arg(&proposed).arg("NX").arg("GET");
        let agreed: Option<String> = self.wire.ask(&command).await?;
        plane.key_secret.agreed(&agreed.unwrap_or(proposed));
        Ok(())
    }

    /// Whoever is first decides; whoever lost Redis takes what is there then.
    async fn agree_on_secret(&self, plane: &Plane) -> Result<(), Fault> {
        let Some(proposed) = relay::proposed() else {
            tracing::error!("no source of chance: commands are not relayed between replicas");
            return Ok(());
        };
        let mut command = redis::cmd("SET");
        command.arg(self.keys.secret()).arg(&proposed).arg("NX").arg("GET");
        let agreed: Option<String> = self.wire.ask(&command).await?;
        let agreed = agreed.unwrap_or(proposed);
        plane.proofs.share(&agreed);
        self.relay.agreed(agreed);
        Ok(())
    }

    /// Has the replica that an Envoy is connected to ask it; `None` when there is no answer.
    pub(crate) async fn ask_elsewhere(
        &self,
        connection: ConnectionId,
        envoy: &str,
        body: Body,
        timeout: Duration,
    ) -> Option<CommandResult> {
        let holder = replica_of(connection);
        if holder == self.number {
            return None;
        }
        self.relay.ask(holder, envoy, body, timeout).await
    }

    async fn settings(&self, plane: &Plane) {
        match plane.refresh().await {
            Ok(()) => {
                self.joined.send_replace(true);
            }
            Err(reason) => tracing::warn!(reason, "shared settings cannot be read"),
        }
    }
}
