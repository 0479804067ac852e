//! The circuit breakers of the fleet.

use super::identity::Caller;
use super::problem::{Params, Problem, Segments};
use super::query::ReasonHeaders;
use super::whole::whole_json;
use crate::breakers::BreakerService;
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::settings::SettingsService;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use control_domain::breakers::overrides::{BreakerOverride, LONGEST_MS, OverrideAction};
use control_domain::breakers::status::{BreakerStatus, Transition, breaker_event, breaker_status};
use optimizer_proto::settings::parse_duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Longest reason kept, characters.
const MAX_REASON: usize = 256;

#[utoipa::path(get, path = "/circuit-breaker/status", tag = "breaker", responses((status = 200, description = "Worst state, and every breaker on every Envoy with its evidence", body = BreakerStatus)))]
pub(crate) async fn status(
    State(fleet): State<Arc<FleetService>>,
    State(breakers): State<Arc<BreakerService>>,
) -> Response {
    let overrides = breakers.overrides();
    whole_json(|| fleet.read(|fleet, _| breaker_status(fleet, &overrides, now_ms()))).await
}

#[utoipa::path(get, path = "/circuit-breaker/events", tag = "breaker", responses((status = 200, description = "Transitions, the newest last", body = Vec<Transition>)))]
pub(crate) async fn events(State(fleet): State<Arc<FleetService>>) -> Json<Vec<Transition>> {
    Json(fleet.read(|fleet, _| {
        let events = fleet.events();
        events.map(|(node, event)| breaker_event(node, event)).collect()
    }))
}

#[utoipa::path(get, path = "/circuit-breaker/audit", tag = "breaker", responses((status = 200, description = "Operators' overrides of breakers, the newest last", body = Vec<BreakerOverride>)))]
pub(crate) async fn audit(State(breakers): State<Arc<BreakerService>>) -> Json<Vec<BreakerOverride>> {
    Json(breakers.overrides().log().cloned().collect())
}

/// How long a forced state lasts.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OverrideRequest {
    /// How long it lasts, for example `10m`, up to 24h. When absent: until `reset`; five minutes after the control plane is gone it ends all the same.
    expires_in: Option<String>,
    /// Why, for the audit log; `X-Reason` does as well.
    reason: Option<String>,
}

/// An override, and which Envoys have applied it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct OverrideApplied {
    #[serde(flatten)]
    entry: BreakerOverride,
    /// On how many Envoys it is in force.
    in_force_on: usize,
    /// Envoys that did not take it in time.
    not_on: Vec<String>,
    /// Envoys of other replicas, which send it to them: whether it is in force there is not known yet.
    told_elsewhere: Vec<String>,
    /// Envoys that were connected a moment ago and are not now: they get it when they return.
    away: Vec<String>,
}

/// `POST /circuit-breaker/{upstream}/{force-open|force-close|dry-run|reset}?expires_in=10m`
#[utoipa::path(post, path = "/circuit-breaker/{upstream}/{action}", tag = "breaker", params(("upstream" = String, Path, description = "Name of the upstream, or upstream%2Froute for a route's own breaker"), ("action" = String, Path, description = "force-open, force-close, dry-run or reset", pattern = "^(force-open|force-close|dry-run|reset)$"), OverrideRequest, ReasonHeaders), responses((status = 200, description = "An operator's override in place of the breaker's judgement", body = OverrideApplied), (status = 404, description = "No such action, or no such upstream is known"), (status = 409, description = "The settings switch breakers off")))]
pub(crate) async fn override_breaker(
    State(breakers): State<Arc<BreakerService>>,
    State(fleet): State<Arc<FleetService>>,
    State(settings): State<Arc<SettingsService>>,
    Segments((upstream, action)): Segments<(String, String)>,
    Params(override_breaker): Params<OverrideRequest>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Json<OverrideApplied>, Problem> {
    let action = OverrideAction::parse(&action).ok_or_else(Problem::not_found)?;
    let at = now_ms();
    let until = expiry(&override_breaker, action)?.map(|expiry| at.saturating_add(expiry));
    check_known(&settings, &fleet, &upstream)?;
    let given = headers.get("x-reason").and_then(|value| value.to_str().ok());
    let reason = given.or(override_breaker.reason.as_deref()).unwrap_or_default();
    let entry = BreakerOverride {
        at,
        upstream,
        action,
        until,
        who: caller.name,
        reason: reason.chars().take(MAX_REASON).collect(),
    };
    let (entry, answers) = breakers.put(entry).await;
    let (done, late): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|(_, result)| result.as_ref().is_some_and(|result| result.ok));
    let here: BTreeSet<&String> = answers.iter().map(|(envoy, _)| envoy).collect();
    let mut elsewhere = fleet.connected_envoys();
    elsewhere.retain(|envoy| !here.contains(envoy));
    Ok(Json(OverrideApplied {
        entry,
        in_force_on: done.len(),
        not_on: late.into_iter().map(|(envoy, _)| envoy.clone()).collect(),
        told_elsewhere: elsewhere,
        away: fleet.recently_disconnected(),
    }))
}

fn expiry(override_breaker: &OverrideRequest, action: OverrideAction) -> Result<Option<u64>, Problem> {
    let Some(text) = &override_breaker.expires_in else {
        return Ok(None);
    };
    if action == OverrideAction::Reset {
        return Err(Problem::bad_query("expires_in", text, "nothing: a reset does not end"));
    }
    parse_duration(text)
        .filter(|expiry| (1..=LONGEST_MS).contains(expiry))
        .map(Some)
        .ok_or_else(|| Problem::bad_query("expires_in", text, "a duration above 0 up to 24h"))
}

/// A typo must not create an override that no breaker follows: an upstream is known when an Envoy has called it or the
/// settings name it.
fn check_known(settings: &SettingsService, fleet: &FleetService, upstream: &str) -> Result<(), Problem> {
    let published = settings.published();
    let settings = published.readable();
    if !settings.breaker.enabled {
        let title = "The settings switch circuit breakers off; there is nothing to override";
        return Err(Problem::new(StatusCode::CONFLICT, "breakers_off", title));
    }
    let mut known: BTreeSet<String> = fleet.read(|fleet, _| {
        let present = fleet.present(now_ms());
        let breakers = present.flat_map(|(_, envoy)| &envoy.gauges.breakers);
        breakers.map(|gauge| gauge.upstream.clone()).collect()
    });
    known.extend(settings.upstreams.iter().map(|upstream| upstream.name.clone()));
    if known.contains(upstream) {
        return Ok(());
    }
    let names: Vec<String> = known.into_iter().take(32).collect();
    let title = format!(
        "No Envoy has called an upstream named {upstream}; known are: {}",
        names.join(", ")
    );
    Err(Problem::new(StatusCode::NOT_FOUND, "unknown_upstream", title))
}
