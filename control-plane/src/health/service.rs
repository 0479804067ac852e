//! Gathers from one owner after the other; none is held while the next one is asked.

use crate::alerts::AlertService;
use crate::experiments::ExperimentService;
use crate::fleet::FleetService;
use crate::host::system::{self, Sampler};
use crate::kernel::clock::now_ms;
use crate::kernel::ports::Replication;
use crate::kernel::sync::lock;
use crate::purges::PurgeService;
use crate::settings::SettingsService;
use crate::tier::Tier;
use crate::xds::Clients;
use control_domain::Millis;
use control_domain::alerts::Figures;
use control_domain::fleet::faults::{Fault, Observed};
use control_domain::fleet::{Fleet, replica_of};
use control_domain::health::{self, Access, Facts, Summary};
use control_domain::telemetry::figure::percent;
use control_domain::telemetry::sum::Filter;
use control_domain::views::{self, System};
use optimizer_proto::settings::{Alerts, Settings};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Latency, errors and throughput are judged over the last minute, the hit ratio over five.
const SHORT_MS: u64 = 60_000;
/// For how long a refused report speaks against its Envoy.
const BAD_REPORT_MS: u64 = 300_000;

/// The services that are asked.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) settings: Arc<SettingsService>,
    pub(crate) fleet: Arc<FleetService>,
    pub(crate) purges: Arc<PurgeService>,
    pub(crate) alerts: Arc<AlertService>,
    pub(crate) experiments: Arc<ExperimentService>,
    pub(crate) tier: Arc<Tier>,
    pub(crate) xds: Arc<Clients>,
    pub(crate) replication: Arc<dyn Replication>,
}

/// Counts of refused streams and requests.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Envoys' streams and calls.
    pub(crate) streams: Arc<AtomicU64>,
    /// Operators' requests, for want of places or room.
    pub(crate) requests: Arc<AtomicU64>,
}

/// How well everything is.
#[derive(Debug)]
pub(crate) struct HealthService {
    sources: Sources,
    /// Which ports ask for credentials, and who reaches them.
    access: Access,
    /// Writes need no credentials.
    open_writes: bool,
    refused: Refused,
    system: Mutex<System>,
}

impl HealthService {
    pub(crate) fn new(sources: Sources, access: Access, open_writes: bool, refused: Refused) -> Self {
        Self {
            sources,
            access,
            open_writes,
            refused,
            system: Mutex::default(),
        }
    }

    /// For `/health`.
    pub(crate) fn summary(&self) -> Summary {
        let facts = self.facts();
        self.sources
            .fleet
            .read(|fleet, _| health::summary(fleet, &facts, now_ms()))
    }

    fn facts(&self) -> Facts {
        let now_ms = now_ms();
        let Sources {
            settings,
            fleet,
            purges,
            alerts,
            tier,
            xds,
            replication,
            ..
        } = &self.sources;
        let (published, condition) = (settings.published(), settings.condition());
        let (modules, envoys_with_statistics) =
            fleet.read(|fleet, stats| (fleet.modules(), stats.present(now_ms).count()));
        Facts {
            refused_keys: condition.refused_keys,
            adjusted_keys: condition.adjusted_keys,
            config_map_fault: condition.config_map_fault,
            canary: published.canary().map(|canary| canary.revision.number),
            storage_fault: condition.storage_fault.or(condition.damage).or_else(|| purges.fault()),
            doubt: condition.doubt,
            wanted: (published.epoch().to_owned(), published.present().number),
            open_writes: self.open_writes,
            access: Access {
                refused: self.refused.streams.load(Ordering::Relaxed),
                requests_refused: self.refused.requests.load(Ordering::Relaxed),
                ..self.access.clone()
            },
            notifications_waiting: alerts.notifications().0,
            xds_faults: xds.faults(|| modules),
            tier_fault: tier.fault(),
            shared: replication.is_shared(),
            replicas_fault: replication.fault(),
            envoy_faults: self.envoy_faults(now_ms),
            envoys_with_statistics,
        }
    }

    /// What is wrong with Envoys that their filters do not tell.
    pub(crate) fn envoy_faults(&self, now_ms: Millis) -> Vec<Fault> {
        let Sources {
            settings,
            fleet,
            xds,
            replication,
            ..
        } = &self.sources;
        let rules = settings.published().settings().map(|settings| settings.alerts.clone());
        let rules = rules.unwrap_or_default();
        let xds = xds.nodes();
        let own = fleet.replica();
        // What other replicas have heard comes through Redis: without it their Envoys are silent here, and that is no fault of theirs.
        let cut_off = replication.fault().is_some();
        fleet.read(|fleet, stats| {
            let observed = Observed {
                stats,
                fleet,
                xds: &xds,
                shared: own.is_some(),
                minimum_samples: u64::from(rules.minimum_samples),
                error_percent: f64::from(rules.error_rate.critical),
            };
            let is_ours = |connection| !cut_off || own == Some(replica_of(connection));
            observed.faults(is_ours, now_ms)
        })
    }

    /// Figures of the machine, as last measured, with the memory that this process has now.
    pub(crate) fn system(&self) -> System {
        let measured = *lock(&self.system);
        System {
            resident_bytes: system::resident_bytes().unwrap_or(measured.resident_bytes),
            ..measured
        }
    }

    /// As last measured.
    pub(crate) fn measured(&self) -> System {
        *lock(&self.system)
    }

    /// Measures the machine.
    pub(super) fn measure(&self, sampler: &mut Sampler) {
        let system = sampler.sample();
        *lock(&self.system) = system;
    }

    /// The alerts that are judged.
    pub(super) fn alerts(&self) -> &AlertService {
        &self.sources.alerts
    }

    /// What alerts are judged by at this moment, and the rules; `None` when the settings cannot be read.
    pub(super) fn figures(&self, now_ms: Millis) -> Option<(Figures, Alerts)> {
        let published = self.sources.settings.published();
        let settings = published.settings()?;
        let condition = self.sources.settings.condition();
        let mut figures = self.fleet_figures(settings, published.epoch(), published.present().number, now_ms);
        figures.refused_keys = condition.refused_keys;
        figures.quarantined = settings.quarantine.clone();
        figures.quarantined.retain(|entry| entry.holds(&settings.routes));
        figures.experiment = self.sources.experiments.ended_badly(now_ms);
        figures.storage_fault = condition.storage_fault;
        figures.tier_fault = self.sources.tier.fault();
        figures.envoy_faults = self.envoy_faults(now_ms);
        Some((figures, settings.alerts.clone()))
    }

    fn fleet_figures(&self, settings: &Settings, epoch: &str, revision: u64, now_ms: Millis) -> Figures {
        let system = self.measured();
        self.sources.fleet.read(|fleet, stats| {
            let short = fleet.recent(SHORT_MS, now_ms);
            let long = fleet.recent(views::DEFAULT_WINDOW_MS, now_ms);
            let requests = short.requests();
            let whole = Filter::default();
            Figures {
                p95_ms: short.latency().quantile(0.95).unwrap_or(0.0) / 1_000.0,
                hit_ratio: percent(long.cache.hits, long.cache.lookups),
                error_rate: percent(short.failed(), requests),
                throughput: fleet.requests_per_second(&whole, &short, SHORT_MS, now_ms),
                memory: system.memory_percent,
                cpu: system.cpu_percent,
                disk: system.disk_percent,
                connections: stats.fullest(None, &whole, u64::from(settings.max_connections), now_ms),
                requests,
                lookups: long.cache.lookups,
                stores: long.cache.stores,
                evictions: long.cache.evictions,
                envoys: fleet.present(now_ms).count(),
                stragglers: fleet.stragglers(epoch, revision),
                refusing: fleet
                    .envoys()
                    .filter(|(_, envoy)| envoy.connection.is_some() && envoy.refused.is_some())
                    .map(|(name, _)| name.to_owned())
                    .collect(),
                open_breakers: open_breakers(fleet, now_ms),
                vm_reloads: stats.recent(views::DEFAULT_WINDOW_MS, now_ms).vm_reloads,
                bad_reporters: bad_reporters(fleet, now_ms),
                ..Figures::default()
            }
        })
    }
}

fn bad_reporters(fleet: &Fleet, now_ms: Millis) -> Vec<String> {
    let lately = |at: Millis| now_ms.saturating_sub(at) < BAD_REPORT_MS;
    let envoys = fleet.envoys();
    envoys
        .filter(|(_, envoy)| envoy.faults.last.as_ref().is_some_and(|(_, at)| lately(*at)))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn open_breakers(fleet: &Fleet, now_ms: Millis) -> Vec<String> {
    let mut open: Vec<String> = fleet
        .present(now_ms)
        .flat_map(|(_, envoy)| &envoy.gauges.breakers)
        .filter(|gauge| control_domain::breakers::state::state_of(gauge).is_open())
        .map(|gauge| gauge.upstream.clone())
        .collect();
    open.sort_unstable();
    open.dedup();
    open
}
