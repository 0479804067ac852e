//! Applies what other replicas report. This is the only place that knows all owners.

use crate::alerts::AlertService;
use crate::breakers::BreakerService;
use crate::cache::WarmupService;
use crate::credentials::{KeySecret, Proofs};
use crate::experiments::ExperimentService;
use crate::fleet::FleetService;
use crate::operations::OperationService;
use crate::purges::PurgeService;
use crate::settings::SettingsService;
use control_domain::replication::Fact;
use std::sync::Arc;

/// Who owns what is shared.
#[derive(Debug)]
pub(crate) struct Owners {
    pub(crate) settings: Arc<SettingsService>,
    pub(crate) fleet: Arc<FleetService>,
    pub(crate) purges: Arc<PurgeService>,
    pub(crate) breakers: Arc<BreakerService>,
    pub(crate) alerts: Arc<AlertService>,
    pub(crate) warmup: Arc<WarmupService>,
    pub(crate) operations: Arc<OperationService>,
    pub(crate) experiments: Arc<ExperimentService>,
    pub(crate) key_secret: Arc<KeySecret>,
    pub(crate) proofs: Arc<Proofs>,
}

impl Owners {
    /// Takes in what another replica has told.
    pub(super) fn apply(&self, fact: Fact) {
        match fact {
            Fact::PurgeAccepted { purge } => self.purges.observe_accepted(purge),
            Fact::PurgeApplied {
                id,
                envoy,
                at,
                matched,
                round,
            } => self.purges.observe_applied(round, &id, &envoy, at, matched),
            Fact::PurgeReopened { id, round } => self.purges.observe_reopened(&id, round),
            Fact::BreakerOverridden { entry } => self.breakers.observe(entry),
            Fact::AlertAcknowledged { id, by } => self.alerts.observe_acknowledged(&id, &by),
            Fact::AlertSilenced { silence } => self.alerts.observe_silenced(silence),
            Fact::AlertUnsilenced { name } => self.alerts.observe_unsilenced(&name),
            Fact::EnvoyWarmed { envoy, warmth } => self.warmup.observe(&envoy, warmth),
            Fact::OperationTold { operation } => self.operations.observe(*operation),
            Fact::ExperimentTold { experiment } => self.experiments.observe(*experiment),
            Fact::OperationCancelled { id, by } => self.operations.observe_cancelled(&id, &by),
        }
    }

    /// All that this replica knows and the journal must not lack. Purges with their receipts: whoever hears of one takes them as they are.
    pub(super) fn facts(&self) -> Vec<Fact> {
        let purges = self.purges.all().into_iter();
        let purges = purges.map(|purge| Fact::PurgeAccepted { purge });
        let overrides = self.breakers.overrides();
        let overrides = overrides.log().cloned().map(|entry| Fact::BreakerOverridden { entry });
        let silences = self.alerts.silences().into_iter();
        let silences = silences.map(|silence| Fact::AlertSilenced { silence });
        purges.chain(overrides).chain(silences).collect()
    }
}
