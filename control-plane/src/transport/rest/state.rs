//! What the handlers can reach. Each names in its signature the parts that it uses.

use super::admission::Admission;
use super::discreet::Discretion;
use super::prometheus::Requests;
use crate::alerts::AlertService;
use crate::breakers::BreakerService;
use crate::cache::{InventoryService, SnapshotService, WarmupService};
use crate::experiments::ExperimentService;
use crate::fleet::FleetService;
use crate::health::HealthService;
use crate::kernel::events::Events;
use crate::kernel::ids::Ids;
use crate::operations::OperationService;
use crate::purges::PurgeService;
use crate::settings::SettingsService;
use crate::tier::Tier;
use crate::xds::{Clients, Modules};
use axum::extract::FromRef;
use std::sync::Arc;

/// Base of the links to the runbook.
#[derive(Debug, Clone)]
pub(crate) struct Runbook(pub(crate) Arc<str>);

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct ApiState {
    pub(crate) settings: Arc<SettingsService>,
    pub(crate) fleet: Arc<FleetService>,
    pub(crate) purges: Arc<PurgeService>,
    pub(crate) breakers: Arc<BreakerService>,
    pub(crate) alerts: Arc<AlertService>,
    pub(crate) warmup: Arc<WarmupService>,
    pub(crate) operations: Arc<OperationService>,
    pub(crate) experiments: Arc<ExperimentService>,
    pub(crate) snapshots: Arc<SnapshotService>,
    pub(crate) inventory: Arc<InventoryService>,
    pub(crate) health: Arc<HealthService>,
    pub(crate) tier: Arc<Tier>,
    /// Envoys that take their clusters from here.
    pub(crate) clients: Arc<Clients>,
    /// Modules of the filter.
    pub(crate) modules: Arc<Modules>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) events: Events,
    pub(crate) runbook: Runbook,
    /// Requests to this API, counted.
    pub(crate) requests: Arc<Requests>,
    /// Who may ask for what, and how often.
    pub(crate) admission: Arc<Admission>,
    /// How users' values are shown.
    pub(crate) discretion: Arc<Discretion>,
}

/// Parts that a handler can name.
macro_rules! parts {
    ($($field:ident: $part:ty,)*) => {
        $(impl FromRef<ApiState> for $part {
            fn from_ref(state: &ApiState) -> Self {
                state.$field.clone()
            }
        })*
    };
}

parts! {
    settings: Arc<SettingsService>,
    fleet: Arc<FleetService>,
    purges: Arc<PurgeService>,
    breakers: Arc<BreakerService>,
    alerts: Arc<AlertService>,
    warmup: Arc<WarmupService>,
    operations: Arc<OperationService>,
    experiments: Arc<ExperimentService>,
    snapshots: Arc<SnapshotService>,
    inventory: Arc<InventoryService>,
    health: Arc<HealthService>,
    tier: Arc<Tier>,
    clients: Arc<Clients>,
    modules: Arc<Modules>,
    ids: Arc<Ids>,
    events: Events,
    runbook: Runbook,
    requests: Arc<Requests>,
    admission: Arc<Admission>,
    discretion: Arc<Discretion>,
}
