//! The running control plane: the domain behind one lock, and the channels by which a change reaches the Envoys.

use crate::cache::spool::Spool;
use crate::cache::warmup::Warming;
use crate::credentials::{KeySecret, Proofs, Role, TokenFile, Tokens};
use crate::fleet::streams::Streams;
use crate::kernel::clock::now_ms;
use crate::kernel::events::{Event, Events};
use crate::kernel::ids::Ids;
use crate::kernel::sync::lock;
use crate::purges::service::Desk;
use crate::replication::{Entry, Replicas};
use crate::settings::adopt::Doubt;
use crate::settings::change::{self, Begun, Pushes};
use crate::settings::store::state_file::StateFile;
use crate::settings::store::{self, Repository, Version};
use crate::storage::document;
use crate::tier::Tier;
use crate::transport::rest::Discretion;
use crate::xds::modules::Modules;
use control_domain::Millis;
use control_domain::agreement::Agreed;
use control_domain::alerts::{Baseline, Board};
use control_domain::book::{Accepted, Author, Book, Refused};
use control_domain::canary::Canary;
use control_domain::change::Change;
use control_domain::config_map::ConfigMap;
use control_domain::envoy_faults::{Fault, Observed};
use control_domain::envoy_stats::EnvoyStats;
use control_domain::fleet::{ConnectionId, Fleet};
use control_domain::health::{Access, Facts};
use control_domain::machine::Machine;
use control_domain::purges::PurgeLog;
use control_domain::steering::Steering;
use control_domain::views::System;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use optimizer_proto::settings::Settings;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, broadcast, watch};

/// Commands that wait in a stream's queue; a stream that takes no more is given up on.
pub(crate) const COMMANDS_QUEUED: usize = 64;
/// Snapshots restored at a time.
pub(crate) const RESTORES: usize = 1;

/// Callers whose writes are counted before those who have been quiet are left out.
const CALLERS: usize = 1_024;

fn half(all: NonZeroU32) -> NonZeroU32 {
    NonZeroU32::new(all.get().div_ceil(2)).unwrap_or(all)
}

/// What the lock protects.
#[derive(Debug)]
pub(crate) struct Domain {
    pub(crate) envoy_stats: EnvoyStats,
    pub(crate) board: Board,
    pub(crate) baseline: Baseline,
    pub(crate) purges: PurgeLog,
    pub(crate) steering: Steering,
    pub(crate) system: System,
    /// Notifications waiting to be delivered, and given up.
    pub(crate) notifications: (usize, u64),
    pub(crate) book: Book,
    pub(crate) fleet: Fleet,
    /// A revision on trial; nothing else changes meanwhile.
    pub(crate) canary: Option<Canary>,
    pub(crate) config_map: ConfigMap,
    /// Why the ConfigMap is out of reach.
    pub(crate) config_map_fault: Option<String>,
    pub(crate) storage_fault: Option<String>,
    /// There was no state at the start, and nobody has decided yet.
    pub(crate) doubt: Option<Doubt>,
    /// What was found damaged at the start, until settings are written anew.
    pub(crate) damage: Option<String>,
    /// When revisions were issued above what Envoys claimed, in the last hour.
    pub(crate) recoveries: Vec<Millis>,
}

impl Domain {
    /// What replicas agree on.
    pub(crate) fn agreed(&self) -> Agreed {
        Agreed {
            book: self.book.clone(),
            canary: self.canary.clone(),
            seen: self.config_map.seen().clone(),
        }
    }
}

/// What a control plane is started with.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) tier: Arc<Tier>,
    pub(crate) state: Option<StateFile>,
    /// Others that act as one with this control plane.
    pub(crate) replicas: Option<Arc<Replicas>>,
    pub(crate) tokens: Option<Arc<TokenFile>>,
    /// Link in alerts.
    pub(crate) runbook: String,
    /// Given to a new Envoy.
    pub(crate) warm_start_bytes: u64,
    pub(crate) machine: Machine,
    pub(crate) writes_per_second: NonZeroU32,
    pub(crate) spool: Spool,
    /// Probes and `/metrics` need a token, where there are any.
    pub(crate) close_probes: bool,
    /// Which ports ask for credentials, and who reaches them.
    pub(crate) access: Access,
    /// Names by which the REST port is called.
    pub(crate) rest_hosts: Vec<String>,
    /// Nobody is asked for credentials there.
    pub(crate) asks_nobody: bool,
}

/// The running control plane.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) tier: Arc<Tier>,
    /// What Envoys run on.
    pub(crate) machine: Machine,
    domain: Mutex<Domain>,
    pub(crate) streams: Mutex<Streams>,
    pub(crate) state: Option<Arc<StateFile>>,
    pub(crate) replicas: Option<Arc<Replicas>>,
    /// Who decides which of two writers was first.
    pub(crate) repository: Arc<dyn Repository>,
    /// The state of the repository that is in force here; held while it changes.
    pub(crate) version: tokio::sync::Mutex<Version>,
    pub(crate) desk: Desk,
    pub(crate) warming: Warming,
    /// Under which Envoys put credentials into cache keys.
    pub(crate) key_secret: KeySecret,
    steering_file: Option<PathBuf>,
    /// Held while operators' words about breakers go out, so that they arrive in the order in which they were said.
    pub(crate) steering_turn: tokio::sync::Mutex<()>,
    tokens: Option<Arc<TokenFile>>,
    runbook: String,
    events: Events,
    writes: DefaultDirectRateLimiter,
    /// The same for each caller: one alone does not keep the others out.
    writes_each: DefaultKeyedRateLimiter<String>,
    pub(crate) pushes: watch::Sender<Arc<Pushes>>,
    /// Told whenever an Envoy acknowledges or refuses.
    pub(crate) acknowledged: Notify,
    pub(crate) ids: Ids,
    /// Envoys that take their clusters from here.
    pub(crate) xds: crate::xds::Clients,
    /// Modules of the filter.
    pub(crate) modules: Modules,
    /// Where bodies wait that are too large for memory.
    pub(crate) spool: Spool,
    /// Probes and `/metrics` need a token, where there are any.
    pub(crate) close_probes: bool,
    /// What Envoys are given to show again.
    pub(crate) proofs: Proofs,
    /// Envoys' streams that were refused.
    pub(crate) streams_refused: Arc<AtomicU64>,
    /// Which ports ask for credentials, and who reaches them.
    access: Access,
    /// Names by which the REST port is called.
    pub(crate) rest_hosts: Vec<String>,
    /// Nobody is asked for credentials there.
    pub(crate) asks_nobody: bool,
    /// Held while a snapshot is restored: one at a time.
    pub(crate) restoring: tokio::sync::Semaphore,
    /// How users' values are shown.
    pub(crate) discretion: Discretion,
}

impl Plane {
    /// A control plane that goes on where its state file ends.
    pub(crate) fn start(options: Options) -> Self {
        let Options {
            tier,
            state,
            replicas,
            tokens,
            runbook,
            warm_start_bytes,
            machine,
            writes_per_second,
            spool,
            close_probes,
            access,
            rest_hosts,
            asks_nobody,
        } = options;
        let now_ms = now_ms();
        let state = state.map(Arc::new);
        let repository = store::open(state.as_ref(), replicas.as_deref());
        let Begun {
            book,
            seen,
            lost,
            damage,
        } = change::begin(state.as_deref(), now_ms);
        let (pushes, _) = watch::channel(Arc::new(Pushes::of(&book, None)));
        tracing::info!(
            epoch = book.epoch(),
            revision = book.present().number,
            "settings in force"
        );
        let folder = state
            .as_ref()
            .and_then(|state| state.path().parent().map(ToOwned::to_owned));
        let (desk, purges) = Desk::open(folder.as_deref());
        let key_secret = KeySecret::open(folder.as_deref(), replicas.is_some());
        let discretion = Discretion::new(key_secret.follow());
        let modules = Modules::open(state.as_ref().map(|state| state.path().with_file_name("modules")));
        let steering_file = state.as_ref().map(|state| state.path().with_file_name("steering.json"));
        let steering = steering_file
            .as_deref()
            .and_then(|file| document::load(file, Ok))
            .unwrap_or_default();
        let plane = Self {
            tier,
            domain: Mutex::new(Domain {
                envoy_stats: EnvoyStats::default(),
                board: Board::default(),
                baseline: Baseline::default(),
                purges,
                steering,
                system: System::default(),
                notifications: (0, 0),
                book,
                fleet: Fleet::default(),
                config_map: ConfigMap::having_seen(seen),
                config_map_fault: None,
                canary: None,
                storage_fault: None,
                doubt: lost.then(|| Doubt::since(now_ms)),
                damage,
                recoveries: Vec::new(),
            }),
            streams: Mutex::default(),
            machine,
            state,
            replicas,
            repository,
            version: tokio::sync::Mutex::default(),
            desk,
            warming: Warming::new(warm_start_bytes),
            key_secret,
            steering_file,
            steering_turn: tokio::sync::Mutex::default(),
            tokens,
            runbook,
            events: Events::default(),
            writes: RateLimiter::direct(Quota::per_second(writes_per_second)),
            writes_each: RateLimiter::keyed(Quota::per_second(half(writes_per_second))),
            pushes,
            acknowledged: Notify::new(),
            ids: Ids::new(),
            xds: crate::xds::Clients::default(),
            modules,
            spool,
            close_probes,
            proofs: Proofs::open(folder.as_deref()),
            streams_refused: Arc::default(),
            access,
            rest_hosts,
            asks_nobody,
            restoring: tokio::sync::Semaphore::new(RESTORES),
            discretion,
        };
        plane.keep();
        plane
    }

    /// The domain. Held for computations only, never over an await.
    pub(crate) fn domain(&self) -> MutexGuard<'_, Domain> {
        lock(&self.domain)
    }

    /// Tells the other replicas, where there may be any.
    pub(crate) fn share_later(&self, entry: impl FnOnce() -> Entry) {
        if let Some(replicas) = &self.replicas {
            replicas.share_later(&entry());
        }
    }

    /// Tells the other replicas, and waits until they can know; false when that has to wait for Redis.
    pub(crate) async fn share(&self, entry: impl FnOnce() -> Entry) -> bool {
        match &self.replicas {
            Some(replicas) => replicas.share(&entry()).await,
            None => true,
        }
    }

    /// A name for a connection that begins now.
    pub(crate) fn connection_id(&self) -> ConnectionId {
        self.replicas
            .as_ref()
            .map_or_else(|| self.next_id(), |replicas| replicas.connection_id())
    }

    /// The names of the Envoys connected to any replica.
    pub(crate) fn everywhere(&self) -> Vec<String> {
        if self.replicas.is_none() {
            return self.connected();
        }
        let domain = self.domain();
        let there = domain.fleet.envoys().filter(|(_, envoy)| envoy.connection.is_some());
        there.map(|(name, _)| name.to_owned()).collect()
    }

    /// Whether an Envoy is connected to any replica.
    pub(crate) fn is_connected(&self, envoy: &str) -> bool {
        let domain = self.domain();
        domain.fleet.get(envoy).is_some_and(|envoy| envoy.connection.is_some())
    }

    /// Envoys that were heard of a moment ago and are connected to no replica: nothing can be asked of them.
    pub(crate) fn away(&self) -> Vec<String> {
        let domain = self.domain();
        let present = domain.fleet.present(now_ms());
        let away = present.filter(|(_, envoy)| envoy.connection.is_none());
        away.map(|(name, _)| name.to_owned()).collect()
    }

    /// Whether there are settings to go by: one of several replicas that comes up with nothing waits for the others' word.
    pub(crate) fn has_settings(&self) -> bool {
        let joined = self.replicas.as_ref().is_none_or(|replicas| replicas.has_joined());
        joined || !self.domain().book.is_untouched()
    }

    /// Returns once there are settings to go by.
    pub(crate) async fn settings_known(&self) {
        if let Some(replicas) = self.replicas.as_ref().filter(|_| !self.has_settings()) {
            replicas.joined().await;
        }
    }

    /// The credentials in force; `None` when none are configured.
    pub(crate) fn tokens(&self) -> Option<Arc<Tokens>> {
        self.tokens.as_ref().map(|file| file.tokens())
    }

    /// Returns when a caller's token is no longer in force, or not with its role.
    pub(crate) async fn revoked(&self, name: &str, role: Role, token: &str) {
        match &self.tokens {
            Some(file) => file.until_not(|tokens| tokens.who(token) == Some((name, role))).await,
            None => std::future::pending().await,
        }
    }

    /// Whether one more write of a caller may be taken now.
    pub(crate) fn admit_write(&self, caller: &str) -> bool {
        if self.writes_each.len() > CALLERS {
            self.writes_each.retain_recent();
        }
        self.writes_each.check_key(&caller.to_owned()).is_ok() && self.writes.check().is_ok()
    }

    /// Base of the links to the runbook.
    pub(crate) fn runbook(&self) -> &str {
        &self.runbook
    }

    /// Tells whoever listens to the live stream.
    pub(crate) fn announce(&self, event: Event) {
        self.events.announce(event);
    }

    /// Events from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.events.listen()
    }

    /// Writes down what operators said about breakers.
    pub(crate) fn keep_steering(&self) {
        let Some(file) = &self.steering_file else { return };
        let steering = self.domain().steering.clone();
        if let Err(error) = document::save(file, &steering) {
            tracing::error!(%error, "what was said about breakers cannot be kept on disk: a restart would forget it");
        }
    }

    /// What a new stream is to follow.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Pushes>> {
        self.pushes.subscribe()
    }

    /// A number no other connection has.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.next()
    }

    /// What health depends on beside the fleet.
    pub(crate) fn facts(&self, domain: &Domain) -> Facts {
        Facts {
            refused_keys: domain.config_map.refused().clone(),
            adjusted_keys: domain.config_map.adjusted().clone(),
            config_map_fault: domain.config_map_fault.clone(),
            canary: domain.canary.as_ref().map(|canary| canary.revision.number),
            storage_fault: domain
                .storage_fault
                .clone()
                .or_else(|| domain.damage.clone())
                .or_else(|| self.desk.fault()),
            doubt: domain.doubt.as_ref().and_then(Doubt::told),
            wanted: (domain.book.epoch().to_owned(), domain.book.present().number),
            open_writes: self.tokens.is_none(),
            access: Access {
                refused: self.streams_refused.load(Ordering::Relaxed),
                ..self.access.clone()
            },
            notifications_waiting: domain.notifications.0,
            xds_faults: self.xds.faults(|| domain.fleet.modules()),
            tier_fault: self.tier.fault(),
            shared: self.replicas.is_some(),
            replicas_fault: self.replicas.as_ref().and_then(|replicas| replicas.fault()),
            envoy_faults: self.envoy_faults(domain, now_ms()),
            envoys_with_statistics: domain.envoy_stats.present(now_ms()).count(),
        }
    }

    /// What is wrong with Envoys that their filters do not tell.
    pub(crate) fn envoy_faults(&self, domain: &Domain, now_ms: Millis) -> Vec<Fault> {
        let rules = Settings::parse(&domain.book.present().document).map(|(settings, _)| settings.alerts);
        let rules = rules.unwrap_or_default();
        let xds = self.xds.nodes();
        let observed = Observed {
            stats: &domain.envoy_stats,
            fleet: &domain.fleet,
            xds: &xds,
            shared: self.replicas.is_some(),
            minimum_samples: u64::from(rules.minimum_samples),
            error_percent: f64::from(rules.error_rate.critical),
        };
        // What other replicas have heard comes through Redis: without it their Envoys are silent here, and that is no fault of theirs.
        let cut_off = self.replicas.as_ref().filter(|replicas| replicas.fault().is_some());
        let is_ours = |connection| cut_off.is_none_or(|replicas| replicas.holds(connection));
        observed.faults(is_ours, now_ms)
    }
}

/// A change by merge or patch, as a proposal.
pub(crate) fn proposing(
    change: &Change,
) -> impl Fn(&Book, Option<u64>, Author, Millis) -> Result<Accepted, Refused> + '_ {
    move |book, expected, author, now_ms| book.propose(change, expected, author, now_ms)
}
