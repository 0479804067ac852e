//! Every owner, made in the order in which they know each other: the lower ones first.

use super::config::Config;
use super::setup;
use crate::alerts::{AlertService, Notifier};
use crate::breakers::BreakerService;
use crate::cache::{InventoryService, SnapshotService, Spool, WarmupService};
use crate::credentials::{EnvoyTokens, KeySecret, Proofs, TokenFile};
use crate::experiments::ExperimentService;
use crate::fleet::FleetService;
use crate::health::{self, HealthService};
use crate::host::system;
use crate::kernel::events::Events;
use crate::kernel::ids::Ids;
use crate::kernel::ports::{Leadership, RemoteEnvoys, Replication, Standalone};
use crate::operations::OperationService;
use crate::purges::PurgeService;
use crate::replication::{self, RedisReplication};
use crate::settings::store::{self, state_file::StateFile};
use crate::settings::{Parts, SettingsService};
use crate::tier::Tier;
use crate::transport::{grpc, rest};
use crate::xds::{self, Clients, Modules, XdsPublisher};
use control_domain::health::Access;
use control_domain::settings::capacity::Machine;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The owners.
pub(super) struct Owned {
    pub(super) ids: Arc<Ids>,
    pub(super) events: Events,
    pub(super) tokens: Option<Arc<TokenFile>>,
    pub(super) envoy_tokens: Option<Arc<TokenFile<EnvoyTokens>>>,
    pub(super) key_secret: Arc<KeySecret>,
    pub(super) proofs: Arc<Proofs>,
    /// Envoys' streams that were refused.
    pub(super) refused: Arc<AtomicU64>,
    /// Operators' requests that were refused for want of places or room.
    pub(super) requests_refused: Arc<AtomicU64>,
    pub(super) tier: Arc<Tier>,
    pub(super) fleet: Arc<FleetService>,
    pub(super) settings: Arc<SettingsService>,
    pub(super) purges: Arc<PurgeService>,
    pub(super) breakers: Arc<BreakerService>,
    pub(super) alerts: Arc<AlertService>,
    pub(super) operations: Arc<OperationService>,
    pub(super) experiments: Arc<ExperimentService>,
    pub(super) warmup: Arc<WarmupService>,
    pub(super) snapshots: Arc<SnapshotService>,
    pub(super) inventory: Arc<InventoryService>,
    pub(super) clients: Arc<Clients>,
    pub(super) modules: Arc<Modules>,
    pub(super) xds_publisher: Arc<XdsPublisher>,
    pub(super) health: Arc<HealthService>,
    pub(super) replicas: Option<Arc<RedisReplication>>,
    remote: Arc<dyn RemoteEnvoys>,
}

/// The ports to other replicas: all of them to Redis, or to nobody.
type Ports = (Arc<dyn Replication>, Arc<dyn Leadership>, Arc<dyn RemoteEnvoys>);

fn ports(replicas: Option<&Arc<RedisReplication>>) -> Ports {
    match replicas.cloned() {
        Some(replicas) => (Arc::clone(&replicas) as _, Arc::clone(&replicas) as _, replicas),
        None => (Arc::new(Standalone), Arc::new(Standalone), Arc::new(Standalone)),
    }
}

impl Owned {
    /// Makes all of them. Other replicas reach this one at `grpc`; `access` tells who reaches its ports.
    ///
    /// # Errors
    /// The configuration names files or addresses that cannot be used.
    pub(super) fn open(config: &Config, grpc: (IpAddr, u16), access: Access) -> Result<Self, String> {
        let (ids, events, refused) = (Arc::new(Ids::new()), Events::default(), Arc::new(AtomicU64::new(0)));
        let folder = config.state_dir.as_deref();
        let tokens = config.auth_tokens_file.clone().map(TokenFile::open).transpose()?;
        let envoy_tokens = config.grpc_tokens_file.clone().map(TokenFile::open_for_envoys);
        let envoy_tokens = envoy_tokens.transpose()?;
        let redis = setup::redis(config)?;
        let tier = setup::tier_setup(config, redis.clone()).map_err(|error| error.to_string())?;
        let tier = Arc::new(Tier::new(tier));
        let replicas = match redis.filter(|_| config.replicas) {
            Some(redis) => {
                let relay = setup::relay(config, grpc.0, grpc.1)?;
                Some(Arc::new(RedisReplication::new(redis, &config.redis_key_prefix, relay)))
            }
            None => None,
        };
        let (replication, leadership, remote) = ports(replicas.as_ref());
        let fleet = Arc::new(FleetService::new(Arc::clone(&ids), events.clone(), Arc::clone(&remote)));
        let local = folder.map(|folder| Arc::new(StateFile::new(folder)));
        let settings = Arc::new(SettingsService::open(Parts {
            store: store::open(local.as_ref(), replicas.as_ref().map(|replicas| replicas.shared())),
            local,
            machine: Machine {
                memory_mb: config.envoy_memory_mb.or_else(system::memory_mb),
            },
            fleet: Arc::clone(&fleet),
            replication: Arc::clone(&replication),
            events: events.clone(),
        }));
        let purges = Arc::new(PurgeService::open(
            folder,
            Arc::clone(&fleet),
            Arc::clone(&tier),
            Arc::clone(&replication),
            events.clone(),
        ));
        let breakers = BreakerService::open(folder, Arc::clone(&fleet), Arc::clone(&replication));
        let notifier = Notifier::new(setup::receivers(config), folder);
        let alerts = AlertService::open(folder, notifier, events.clone(), Arc::clone(&replication), leadership);
        let alerts = Arc::new(alerts);
        let operations = Arc::new(OperationService::new(Arc::clone(&replication), events.clone()));
        let experiments = Arc::new(ExperimentService::open(
            folder,
            Arc::clone(&settings),
            Arc::clone(&fleet),
            Arc::clone(&replication),
            events.clone(),
        ));
        let warmup = Arc::new(WarmupService::new(
            config.warm_start_mb.saturating_mul(1_000_000),
            Arc::clone(&fleet),
            Arc::clone(&purges),
            Arc::clone(&operations),
            Arc::clone(&replication),
        ));
        let spool = Spool::new(
            config.spool_dir.clone(),
            config.state_dir.clone(),
            config.restore_max_mb.saturating_mul(1_000_000),
        );
        let (clients, modules) = (
            Arc::new(Clients::default()),
            Arc::new(Modules::open(folder.map(|folder| folder.join("modules")))),
        );
        let xds_publisher = XdsPublisher::new(xds::Sources {
            settings: Arc::clone(&settings),
            fleet: Arc::clone(&fleet),
            modules: Arc::clone(&modules),
            clients: Arc::clone(&clients),
            ids: Arc::clone(&ids),
            refused: Arc::clone(&refused),
        });
        let sources = health::Sources {
            settings: Arc::clone(&settings),
            fleet: Arc::clone(&fleet),
            purges: Arc::clone(&purges),
            alerts: Arc::clone(&alerts),
            experiments: Arc::clone(&experiments),
            tier: Arc::clone(&tier),
            xds: Arc::clone(&clients),
            replication,
        };
        let requests_refused = Arc::new(AtomicU64::new(0));
        let counters = health::Refused {
            streams: Arc::clone(&refused),
            requests: Arc::clone(&requests_refused),
        };
        let health = HealthService::new(sources, access, tokens.is_none(), counters);
        Ok(Self {
            key_secret: Arc::new(KeySecret::open(folder, replicas.is_some())),
            proofs: Arc::new(Proofs::open(folder)),
            snapshots: Arc::new(SnapshotService::new(spool, Arc::clone(&fleet), Arc::clone(&purges))),
            inventory: Arc::new(InventoryService::new(Arc::clone(&fleet))),
            ids,
            events,
            tokens: tokens.map(Arc::new),
            envoy_tokens: envoy_tokens.map(Arc::new),
            refused,
            requests_refused,
            tier,
            fleet,
            settings,
            purges,
            breakers: Arc::new(breakers),
            alerts,
            operations,
            experiments,
            warmup,
            clients,
            modules,
            xds_publisher: Arc::new(xds_publisher),
            health: Arc::new(health),
            replicas,
            remote,
        })
    }

    /// Those that other replicas report to.
    pub(super) fn shared(&self) -> replication::Owners {
        replication::Owners {
            settings: Arc::clone(&self.settings),
            fleet: Arc::clone(&self.fleet),
            purges: Arc::clone(&self.purges),
            breakers: Arc::clone(&self.breakers),
            alerts: Arc::clone(&self.alerts),
            warmup: Arc::clone(&self.warmup),
            operations: Arc::clone(&self.operations),
            experiments: Arc::clone(&self.experiments),
            key_secret: Arc::clone(&self.key_secret),
            proofs: Arc::clone(&self.proofs),
        }
    }

    /// Those that Envoys' calls reach.
    pub(super) fn for_envoys(&self) -> grpc::Services {
        grpc::Services {
            link: grpc::LinkServices {
                settings: Arc::clone(&self.settings),
                fleet: Arc::clone(&self.fleet),
                purges: Arc::clone(&self.purges),
                breakers: Arc::clone(&self.breakers),
                warmup: Arc::clone(&self.warmup),
                key_secret: Arc::clone(&self.key_secret),
                proofs: Arc::clone(&self.proofs),
                ids: Arc::clone(&self.ids),
                refused: Arc::clone(&self.refused),
            },
            tier: Arc::clone(&self.tier),
            clients: Arc::clone(&self.clients),
            remote: Arc::clone(&self.remote),
        }
    }

    /// Those that operators' requests reach.
    pub(super) fn for_operators(&self, config: &Config) -> rest::ApiState {
        let admission = rest::Admission::new(
            self.tokens.clone(),
            config.close_probes,
            config.rest_hosts.clone(),
            config.auth_tokens_file.is_none() && config.rest_tls_client_ca_file.is_none(),
            config.writes_per_second,
        );
        rest::ApiState {
            settings: Arc::clone(&self.settings),
            fleet: Arc::clone(&self.fleet),
            purges: Arc::clone(&self.purges),
            breakers: Arc::clone(&self.breakers),
            alerts: Arc::clone(&self.alerts),
            warmup: Arc::clone(&self.warmup),
            operations: Arc::clone(&self.operations),
            experiments: Arc::clone(&self.experiments),
            snapshots: Arc::clone(&self.snapshots),
            inventory: Arc::clone(&self.inventory),
            health: Arc::clone(&self.health),
            tier: Arc::clone(&self.tier),
            clients: Arc::clone(&self.clients),
            modules: Arc::clone(&self.modules),
            ids: Arc::clone(&self.ids),
            events: self.events.clone(),
            requests: Arc::new(rest::Requests::new()),
            runbook: rest::Runbook(config.runbook_url.as_str().into()),
            admission: Arc::new(admission),
            discretion: Arc::new(rest::Discretion::new(self.key_secret.follow())),
        }
    }
}
