//! A revision on trial on a part of the fleet: seen, promoted, given up.

use super::answers::{Difference, Reached, differences};
use super::identity::Caller;
use super::problem::{Params, Problem};
use super::query::{ReasonHeaders, SettingsWrite, Write};
use super::settings::{reason, rollout_of};
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::settings::{Published, SettingsService};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use control_domain::fleet::{Envoy, Fleet};
use control_domain::settings::canary::Canary;
use control_domain::settings::history::Refused;
use control_domain::telemetry::figure::percent;
use control_domain::telemetry::sum::Sum;
use optimizer_proto::v1::Outcome;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Whether something is on trial.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trial {
    /// Null when nothing is.
    #[schema(required = true)]
    canary: Option<OnTrial>,
}

/// A revision on trial.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OnTrial {
    /// Number of the revision.
    revision: u64,
    /// What all others run on.
    base: u64,
    /// Percent of the Envoys that try it.
    share: u8,
    /// Since when, milliseconds since 1970.
    since: u64,
    /// Who made the change.
    who: String,
    /// Reason that was given for the change.
    reason: String,
    /// What differs from what all others have.
    changes: Vec<Difference>,
    /// Envoys that try it.
    envoys: Vec<Trying>,
    /// How both parts of the fleet fare since.
    figures: Compared,
}

/// An Envoy that tries it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trying {
    /// Instance id of the Envoy.
    envoy: String,
    /// Node id of the Envoy.
    node_id: String,
    /// Whether it is connected.
    connected: bool,
    /// It runs on it.
    in_force: bool,
    /// Whether it has refused the change.
    refused: bool,
}

/// Both parts of the fleet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Compared {
    /// Those that try it.
    canary: PartFigures,
    /// Figures of all other Envoys.
    others: PartFigures,
}

/// How a part of the fleet fares.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PartFigures {
    /// Number of requests.
    requests: u64,
    /// Share of requests that failed, percent.
    error_rate: f64,
    /// Share of requests that the cache answers, percent.
    cache_hit_ratio: f64,
    /// 95th percentile of the latency, milliseconds.
    p95_latency: f64,
}

/// What would be promoted or given up.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WouldEnd {
    /// Always true.
    dry_run: bool,
    /// The revision on trial.
    revision: u64,
}

/// What became of the trial, or with `dry_run` would.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Ended {
    /// What is in force for all.
    Done(Reached),
    /// Nothing was done.
    Would(WouldEnd),
}

/// `GET /settings/canary`: what is tried, on whom, and how they fare beside the others.
#[utoipa::path(get, path = "/settings/canary", tag = "settings", responses((status = 200, description = "The revision on trial, who has it, and figures of both parts of the fleet; {\"canary\": null} without one", body = Trial)))]
pub(crate) async fn show(
    State(settings): State<Arc<SettingsService>>,
    State(fleet): State<Arc<FleetService>>,
) -> Json<Trial> {
    let published = settings.published();
    let canary = published.canary();
    let canary = canary.map(|canary| fleet.read(|fleet, _| on_trial(&published, canary, fleet)));
    Json(Trial { canary })
}

fn on_trial(published: &Published, canary: &Canary, fleet: &Fleet) -> OnTrial {
    let (epoch, number, now_ms) = (published.epoch(), canary.revision.number, now_ms());
    let envoys = fleet
        .envoys()
        .filter(|(name, _)| canary.envoys.contains(*name))
        .map(|(name, envoy)| {
            let refused = envoy.refused.as_ref().is_some_and(|(refused, _)| *refused == number);
            Trying {
                envoy: name.to_owned(),
                node_id: envoy.node_id.clone(),
                connected: envoy.connection.is_some(),
                in_force: envoy.runs_on(epoch, number),
                refused,
            }
        })
        .collect();
    let window_ms = now_ms.saturating_sub(canary.revision.at_ms);
    OnTrial {
        revision: number,
        base: published.present().number,
        share: canary.share,
        since: canary.revision.at_ms,
        who: canary.revision.author.who.clone(),
        reason: canary.revision.author.reason.clone(),
        changes: differences(published.document(), &canary.revision.document),
        envoys,
        figures: Compared {
            canary: figures(fleet, canary, true, window_ms, now_ms),
            others: figures(fleet, canary, false, window_ms, now_ms),
        },
    }
}

/// `POST /settings/canary/promote`: what was tried becomes the settings of all.
#[utoipa::path(post, path = "/settings/canary/promote", tag = "settings", params(Write), responses((status = 200, description = "In force for all", body = Ended), (status = 202, description = "Some Envoys do not run on it yet", body = Ended), (status = 409, description = "No canary is under way"), (status = 503, description = "The replicas cannot agree at the moment")))]
pub(crate) async fn promote(
    State(settings): State<Arc<SettingsService>>,
    Params(write): Params<Write>,
) -> Result<Response, Problem> {
    let wait = write.wait()?;
    if write.dry_run {
        return would_end(&settings);
    }
    Ok(done(rollout_of(&settings, settings.promote(None).await?, wait).await))
}

/// `POST /settings/canary/abort`: the settings that all others have are issued again.
#[utoipa::path(post, path = "/settings/canary/abort", tag = "settings", params(SettingsWrite, ReasonHeaders), responses((status = 200, description = "Given up", body = Ended), (status = 202, description = "Some Envoys do not run on it yet", body = Ended), (status = 409, description = "No canary is under way"), (status = 503, description = "The replicas cannot agree at the moment")))]
pub(crate) async fn abort(
    State(settings): State<Arc<SettingsService>>,
    caller: Caller,
    Params(write): Params<SettingsWrite>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wait = write.wait()?;
    if write.share()?.is_some() {
        return Err(Problem::bad_query("canary", "", "nothing: all who had it lose it"));
    }
    if write.dry_run {
        return would_end(&settings);
    }
    let number = settings.abort(None, caller.name, &reason(&headers, &write)).await?;
    Ok(done(rollout_of(&settings, number, wait).await))
}

fn would_end(settings: &SettingsService) -> Result<Response, Problem> {
    let published = settings.published();
    let canary = published.canary().ok_or_else(|| Problem::from(Refused::NoCanary))?;
    let would = WouldEnd {
        dry_run: true,
        revision: canary.revision.number,
    };
    Ok(Json(Ended::Would(would)).into_response())
}

fn done((status, reached): (StatusCode, Reached)) -> Response {
    (status, Json(Ended::Done(reached))).into_response()
}

/// How one part of the fleet fares since the trial began, at the resolution of the windows.
fn figures(fleet: &Fleet, canary: &Canary, of_canary: bool, window_ms: u64, now_ms: u64) -> PartFigures {
    let mut sum = Sum::default();
    let wanted = |(name, _): &(&str, &Envoy)| canary.envoys.contains(*name) == of_canary;
    for (_, envoy) in fleet.envoys().filter(wanted) {
        envoy
            .windows
            .recent(window_ms, now_ms)
            .for_each(|(_, delta)| sum.add(&delta));
    }
    let requests = sum.requests();
    PartFigures {
        requests,
        error_rate: percent(sum.count(Outcome::Error), requests),
        cache_hit_ratio: percent(sum.cache.hits, sum.cache.lookups),
        p95_latency: sum.latency().quantile(0.95).unwrap_or(0.0) / 1_000.0,
    }
}
