//! The Envoys and what they run on.

use super::answers::{Finding, violations};
use super::whole::whole_json;
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::settings::{Published, SettingsService};
use crate::xds::{Clients, XdsRollout};
use axum::extract::State;
use axum::response::Response;
use control_domain::fleet::Envoy;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// An Envoy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnvoyView {
    /// Instance id of the Envoy.
    envoy: String,
    /// Node id of the Envoy.
    node_id: String,
    /// Version of its filter.
    version: String,
    /// What its filter can do.
    capabilities: Vec<String>,
    /// Number of its worker threads.
    workers: u32,
    /// Its control stream is open.
    connected: bool,
    /// When it last sent something, milliseconds since 1970.
    last_seen: u64,
    /// Milliseconds since it last sent something.
    silent_for_ms: u64,
    /// The revision it runs on; null before it has acknowledged one.
    #[schema(required = true)]
    revision: Option<u64>,
    /// The history that revision is of.
    #[schema(required = true)]
    epoch: Option<String>,
    /// Reports that were not merged, by cause.
    reports_not_merged: BTreeMap<&'static str, u64>,
    /// The last report that could not be true; null when there was none.
    #[schema(required = true)]
    last_refused_report: Option<RefusedReport>,
    /// Number of revisions that it lacks.
    behind: u64,
    /// Since when it runs on its revision, milliseconds since 1970.
    in_force_since: u64,
    /// From acceptance to in force, milliseconds; null when not known.
    #[schema(required = true)]
    lag_ms: Option<u64>,
    /// Fields of the settings that it does not know and does without.
    ignored: Vec<String>,
    /// What it refuses; null when nothing.
    #[schema(required = true)]
    refused: Option<RefusedRevision>,
}

/// A report that could not be true.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusedReport {
    /// Field that was wrong.
    field: String,
    /// When, milliseconds since 1970.
    at: u64,
}

/// A revision that an Envoy refuses.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusedRevision {
    /// Number of the revision.
    revision: u64,
    /// What was found wrong.
    violations: Vec<Finding>,
}

/// How far the settings in force have come.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rollout {
    /// The revision in force.
    revision: u64,
    /// The history it is of.
    epoch: String,
    /// Every connected Envoy runs on it.
    complete: bool,
    /// Those that do not.
    stragglers: Vec<String>,
    /// The revision on trial; null without one.
    #[schema(required = true)]
    canary: Option<u64>,
    /// Number of connected Envoys.
    envoys: Vec<EnvoyRollout>,
    /// What Envoys take by xDS.
    xds: XdsRollout,
}

/// How far one Envoy is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnvoyRollout {
    /// Instance id of the Envoy.
    envoy: String,
    /// Node id of the Envoy.
    node_id: String,
    /// The revision it runs on; 0 = none of this history.
    revision: u64,
    /// Number of revisions that it lacks.
    behind: u64,
    /// From acceptance to in force, milliseconds; null when not known.
    #[schema(required = true)]
    lag_ms: Option<u64>,
    /// What it refuses; null when nothing.
    #[schema(required = true)]
    refused: Option<RefusedRevision>,
}

#[utoipa::path(get, path = "/fleet", tag = "fleet", responses((status = 200, description = "Every Envoy", body = Vec<EnvoyView>)))]
pub(crate) async fn list(
    State(fleet): State<Arc<FleetService>>,
    State(settings): State<Arc<SettingsService>>,
) -> Response {
    let (wanted, now_ms) = (Wanted::of(&settings), now_ms());
    let view = |(name, envoy): (&str, &Envoy)| EnvoyView {
        envoy: name.to_owned(),
        node_id: envoy.node_id.clone(),
        version: envoy.filter_version.clone(),
        capabilities: envoy.capabilities.clone(),
        workers: envoy.workers,
        connected: envoy.connection.is_some(),
        last_seen: envoy.seen_ms,
        silent_for_ms: now_ms.saturating_sub(envoy.seen_ms),
        revision: envoy.in_force.as_ref().map(|(_, revision)| *revision),
        epoch: envoy.in_force.as_ref().map(|(epoch, _)| epoch.clone()),
        reports_not_merged: envoy.faults.by_cause.clone(),
        last_refused_report: envoy.faults.last.clone().map(|(field, at)| RefusedReport { field, at }),
        behind: wanted.behind(envoy),
        in_force_since: envoy.in_force_ms,
        lag_ms: wanted.lag_ms(envoy),
        ignored: envoy.ignored.iter().map(|unknown| unknown.path.clone()).collect(),
        refused: refused(envoy),
    };
    whole_json(|| fleet.read(|fleet, _| fleet.envoys().map(view).collect::<Vec<_>>())).await
}

#[utoipa::path(get, path = "/settings/rollout", tag = "settings", responses((status = 200, description = "Which Envoy runs on which revision", body = Rollout)))]
pub(crate) async fn rollout(
    State(fleet): State<Arc<FleetService>>,
    State(settings): State<Arc<SettingsService>>,
    State(clients): State<Arc<Clients>>,
) -> Response {
    whole_json(|| rollout_of(&fleet, &settings, &clients)).await
}

fn rollout_of(fleet: &FleetService, settings: &SettingsService, clients: &Clients) -> Rollout {
    let wanted = Wanted::of(settings);
    let (epoch, present) = (wanted.published.epoch(), wanted.published.present().number);
    let view = |(name, envoy): (&str, &Envoy)| EnvoyRollout {
        envoy: name.to_owned(),
        node_id: envoy.node_id.clone(),
        revision: wanted.in_force(envoy).unwrap_or(0),
        behind: wanted.behind(envoy),
        lag_ms: wanted.lag_ms(envoy),
        refused: refused(envoy),
    };
    let (envoys, stragglers) = fleet.read(|fleet, _| {
        let connected = fleet.envoys().filter(|(_, envoy)| envoy.connection.is_some());
        (connected.map(view).collect(), fleet.stragglers(epoch, present))
    });
    let canary = wanted.published.canary().map(|canary| canary.revision.number);
    Rollout {
        revision: present,
        epoch: epoch.to_owned(),
        complete: stragglers.is_empty(),
        stragglers,
        canary,
        envoys,
        xds: clients.view(present, canary),
    }
}

/// What Envoys are to run on, and when each revision was accepted.
struct Wanted {
    published: Arc<Published>,
    accepted_at: BTreeMap<u64, u64>,
}

impl Wanted {
    fn of(settings: &SettingsService) -> Self {
        Self {
            published: settings.published(),
            accepted_at: settings.accepted_at(),
        }
    }

    /// The revision of our history that an Envoy runs on.
    fn in_force(&self, envoy: &Envoy) -> Option<u64> {
        let (of, revision) = envoy.in_force.as_ref()?;
        (of == self.published.epoch()).then_some(*revision)
    }

    /// Revisions an Envoy lacks.
    fn behind(&self, envoy: &Envoy) -> u64 {
        let revision = self.in_force(envoy).unwrap_or(0);
        self.published.present().number.saturating_sub(revision)
    }

    /// From the acceptance of the revision an Envoy runs on to its being in force in all its workers; `null` when that was before this
    /// control plane started or the revision is not kept.
    fn lag_ms(&self, envoy: &Envoy) -> Option<u64> {
        let accepted_at = self.accepted_at.get(&self.in_force(envoy)?)?;
        envoy.in_force_ms.checked_sub(*accepted_at)
    }
}

fn refused(envoy: &Envoy) -> Option<RefusedRevision> {
    let (revision, why) = envoy.refused.as_ref()?;
    Some(RefusedRevision {
        revision: *revision,
        violations: violations(why),
    })
}
