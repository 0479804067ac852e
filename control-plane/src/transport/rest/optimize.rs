//! The weekly maintenance of the cache, on demand.

use super::advice::Recommended;
use super::identity::Caller;
use super::problem::{Params, Problem};
use crate::fleet::FleetService;
use crate::settings::SettingsService;
use axum::Json;
use axum::extract::State;
use optimizer_proto::v1::SweepCommand;
use optimizer_proto::v1::command::Body as Command;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// An Envoy gets so long for one step.
const STEP: Duration = Duration::from_secs(5);
/// Steps at most: more than a full store has.
const STEPS: usize = 10_000;

/// How to optimise.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Optimizing {
    /// Put the recommendation into force.
    #[serde(default)]
    apply: bool,
}

/// What was done, and what is recommended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Optimized {
    /// What all Envoys did together: entries looked at and dropped, by why.
    actions: BTreeMap<String, u64>,
    /// Whether all Envoys did it.
    complete: bool,
    /// Envoys that did not answer, or are out of reach.
    not_answered: Vec<String>,
    /// Which sizes and lifetimes are recommended.
    recommendation: Recommended,
    /// They were put into force.
    applied: bool,
}

/// Drops what is expired or purged on every Envoy, and says what it recommends.
#[utoipa::path(post, path = "/cache/optimize", tag = "cache", params(Optimizing), responses((status = 200, description = "What was done, and what is recommended", body = Optimized), (status = 409, description = "A canary is under way"), (status = 503, description = "The replicas cannot agree at the moment")))]
pub(crate) async fn optimize(
    State(fleet): State<Arc<FleetService>>,
    State(settings): State<Arc<SettingsService>>,
    caller: Caller,
    Params(optimizing): Params<Optimizing>,
) -> Result<Json<Optimized>, Problem> {
    let mut sweeping = JoinSet::new();
    for envoy in fleet.connected_envoys() {
        let fleet = Arc::clone(&fleet);
        sweeping.spawn(async move { (sweep(&fleet, &envoy).await, envoy) });
    }
    let mut actions = BTreeMap::new();
    let mut silent = fleet.recently_disconnected();
    while let Some(swept) = sweeping.join_next().await {
        match swept {
            Ok((Some(done), _)) => add(&mut actions, &done),
            Ok((None, envoy)) => silent.push(envoy),
            Err(error) => tracing::error!(%error, "sweeping an Envoy failed"),
        }
    }
    let recommendation = super::advice::recommendation(&settings, &fleet);
    let applied = optimizing.apply && super::advice::apply(&settings, &recommendation, &caller).await?;
    tracing::info!(who = caller.name, applied, "cache optimised");
    Ok(Json(Optimized {
        actions,
        complete: silent.is_empty(),
        not_answered: silent,
        recommendation,
        applied,
    }))
}

/// Everything an Envoy did; `None` when it stopped answering.
async fn sweep(fleet: &FleetService, envoy: &str) -> Option<BTreeMap<String, u64>> {
    let (mut done, mut cursor) = (BTreeMap::new(), 0);
    for _ in 0..STEPS {
        let command = Command::Sweep(SweepCommand { cursor });
        let answer = fleet.command(envoy, command, STEP).await?;
        let mut step: Map<String, Value> = serde_json::from_str(&answer.detail).ok().filter(|_| answer.ok)?;
        let next = step.remove("next").and_then(|next| next.as_u64());
        let step = step
            .into_iter()
            .map(|(name, value)| (name, value.as_u64().unwrap_or(0)));
        add(&mut done, &step.collect());
        match next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    Some(done)
}

fn add(sums: &mut BTreeMap<String, u64>, step: &BTreeMap<String, u64>) {
    for (name, count) in step {
        let sum = sums.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}
