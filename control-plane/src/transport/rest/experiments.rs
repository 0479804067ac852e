//! Changes of settings tried on part of the fleet, beside a control group: begun, looked at, stopped.

use super::advice;
use super::answers::SettingsPatch;
use super::identity::Caller;
use super::problem::{Body, Problem, Segments};
use crate::experiments::{ExperimentService, Unable};
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::settings::SettingsService;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use control_domain::cache::predictions::{self, CacheShape};
use control_domain::experiments::{
    Experiment, Goal, Plan, PlanRequest, Prediction, Proposal, Source, of_limits, of_size, of_ttl,
};
use control_domain::telemetry::sum::Filter;
use optimizer_proto::settings::{EvictionPolicy, parse_duration};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// What is to be tried, and how it is judged. Either `settings` or `from`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExperimentRequest {
    /// The change, as a merge patch.
    #[schema(value_type = Option<SettingsPatch>)]
    settings: Option<Value>,
    /// The change is what the control plane advises.
    from: Option<Basis>,
    /// Why, for the history.
    #[serde(default)]
    #[schema(max_length = 512)]
    reason: String,
    /// Percent of the Envoys that try it, rounded up to whole ones; 25 when absent.
    #[schema(minimum = 1, maximum = 50)]
    share: Option<f64>,
    /// Percent of experiments, at least, in which no finding is wrong by chance; 95 when absent.
    #[schema(minimum = 80, maximum = 99.9)]
    confidence: Option<f64>,
    /// What must have become better for the change to be promoted; by default what the advice is for, and `no_harm` for `settings`.
    goal: Option<Goal>,
    /// By how much at least: points of the hit ratio, or percent of the latency; 0 when absent.
    #[schema(minimum = 0, maximum = 50)]
    min_gain: Option<f64>,
    /// Points by which the error rate may grow; 1 when absent.
    #[schema(minimum = 0.1, maximum = 50)]
    max_error_rate_increase: Option<f64>,
    /// Percent by which the 95th percentile of the latency may grow; 20 when absent. A millisecond is always allowed.
    #[schema(minimum = 1, maximum = 1000)]
    max_p95_increase: Option<f64>,
    /// Requests that each arm must have had before the change is promoted; 1000 when absent.
    #[schema(minimum = 100, maximum = 10_000_000)]
    min_requests: Option<f64>,
    /// Latency and hits do not count for so long, while caches become warm; `5m` when absent, at most `1h`.
    warm_up: Option<String>,
    /// So long is measured at least before the change is promoted; `5m` when absent, from `20s` to `4h`.
    min_duration: Option<String>,
    /// After so long the experiment ends without a finding; `1h` when absent, from `40s` to `24h`.
    max_duration: Option<String>,
}

/// Which advice is tried.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExperimentBasis)]
pub(crate) enum Basis {
    /// The size of the cache, as `POST /cache/optimize` recommends it.
    WhatIf,
    /// Lifetimes of routes, as it recommends them.
    TtlAdvice,
    /// More connections, where those to an upstream are nearly all used.
    Limits,
}

impl ExperimentRequest {
    fn plan_request(&self) -> PlanRequest<'_> {
        PlanRequest {
            share: self.share,
            confidence: self.confidence,
            goal: self.goal,
            min_gain: self.min_gain,
            max_error_rate_increase: self.max_error_rate_increase,
            max_p95_increase: self.max_p95_increase,
            min_requests: self.min_requests,
            warm_up: self.warm_up.as_deref(),
            min_duration: self.min_duration.as_deref(),
            max_duration: self.max_duration.as_deref(),
        }
    }
}

/// Begins an experiment: a change of settings on part of the fleet. It is promoted or rolled back by itself, by what those Envoys and the
/// others do over the same time.
#[utoipa::path(post, path = "/tuning/experiments", tag = "tuning", operation_id = "begin_experiment", request_body = ExperimentRequest, responses((status = 201, description = "Begun; Location names it", body = Experiment), (status = 409, description = "There is no control group, something is on trial already, nothing is advised, or the settings are so already"), (status = 503, description = "The replicas cannot agree at the moment")))]
pub(crate) async fn begin(
    State(experiments): State<Arc<ExperimentService>>,
    State(settings): State<Arc<SettingsService>>,
    State(fleet): State<Arc<FleetService>>,
    caller: Caller,
    Body(request): Body<ExperimentRequest>,
) -> Result<(StatusCode, HeaderMap, Json<Experiment>), Problem> {
    settings.may_write(false)?;
    let proposal = match (&request.settings, request.from) {
        (Some(patch), None) => named(&settings, &fleet, patch)?,
        (None, Some(basis)) => advised(&settings, &fleet, basis).ok_or_else(|| {
            let title = "Nothing is advised at the moment that the settings do not say already";
            Problem::new(StatusCode::CONFLICT, "nothing_to_try", title)
        })?,
        _ => return Err(Problem::invalid("/settings", "", "either settings or from")),
    };
    let plan = Plan::check(&request.plan_request(), proposal.goal, parse_duration).map_err(Problem::invalid_fields)?;
    let begun = experiments.begin(proposal, plan, (caller.name, request.reason)).await;
    let begun = begun.map_err(problem)?;
    let place = format!("/tuning/experiments/{}", begun.id).parse();
    let place = place.map(|place| HeaderMap::from_iter([(header::LOCATION, place)]));
    Ok((StatusCode::CREATED, place.unwrap_or_default(), Json(begun)))
}

/// The newest 32 experiments, the newest first, of all replicas.
#[utoipa::path(get, path = "/tuning/experiments", tag = "tuning", operation_id = "list_experiments", responses((status = 200, description = "Experiments", body = [Experiment])))]
pub(crate) async fn list(State(experiments): State<Arc<ExperimentService>>) -> Json<Vec<Experiment>> {
    Json(experiments.newest())
}

/// An experiment: how it stands, what both arms do, and what was predicted.
#[utoipa::path(get, path = "/tuning/experiments/{id}", tag = "tuning", operation_id = "show_experiment", params(("id" = String, Path, description = "As listed")), responses((status = 200, description = "The experiment", body = Experiment), (status = 404, description = "No such experiment is remembered")))]
pub(crate) async fn show(
    State(experiments): State<Arc<ExperimentService>>,
    Segments(id): Segments<String>,
) -> Result<Json<Experiment>, Problem> {
    let one = experiments.get(&id).ok_or(Unable::Unknown).map_err(problem)?;
    Ok(Json(one))
}

/// Stops an experiment and rolls its change back.
#[utoipa::path(delete, path = "/tuning/experiments/{id}", tag = "tuning", operation_id = "stop_experiment", params(("id" = String, Path, description = "As listed")), responses((status = 200, description = "Stopped; the settings in force are issued again", body = Experiment), (status = 404, description = "No such experiment is remembered"), (status = 409, description = "It has ended"), (status = 503, description = "The replicas cannot agree at the moment")))]
pub(crate) async fn stop(
    State(experiments): State<Arc<ExperimentService>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Json<Experiment>, Problem> {
    Ok(Json(experiments.stop(&id, &caller.name).await.map_err(problem)?))
}

fn problem(unable: Unable) -> Problem {
    let conflict = |code, title: String| Problem::new(StatusCode::CONFLICT, code, title);
    match unable {
        Unable::NoControlGroup(connected) => conflict(
            "no_control_group",
            format!(
                "An experiment needs two Envoys at least with node ids of their own, one to try the change and one to compare with; connected: {connected}"
            ),
        ),
        Unable::TooLarge => Problem::too_large(&"a change for an experiment has 64 KiB at most"),
        Unable::NothingChanges => conflict("nothing_to_try", "The settings are so already".to_owned()),
        Unable::UnderWay(revision) => conflict(
            "experiment_under_way",
            format!("Another experiment is under way, with revision {revision}: see GET /tuning/experiments"),
        ),
        Unable::Settings(refused) => refused.into(),
        Unable::Ended => conflict("experiment_ended", "The experiment has ended".to_owned()),
        Unable::Unknown => {
            let title = "No experiment of this id is remembered";
            Problem::new(StatusCode::NOT_FOUND, "unknown_experiment", title)
        }
    }
}

/// A change that the caller names; what it does to the hit ratio is predicted where it is one of the cache.
fn named(settings: &SettingsService, fleet: &FleetService, patch: &Value) -> Result<Proposal, Problem> {
    let fields = patch.as_object().filter(|fields| !fields.is_empty());
    let fields =
        fields.ok_or_else(|| Problem::invalid("/settings", &patch.to_string(), "a merge patch of the settings"))?;
    let present = advice::present(settings);
    let number = |name: &str, present: u64| fields.get(name).and_then(Value::as_u64).unwrap_or(present);
    let policy = fields.get("eviction_policy").and_then(Value::as_str);
    let policy = EvictionPolicy::WORDS
        .into_iter()
        .find(|(word, _)| Some(*word) == policy);
    let wanted = CacheShape {
        cache_size: number("cache_size", present.cache_size),
        cache_memory_mb: number("cache_memory_mb", present.cache_memory_mb),
        policy: policy.map_or(present.policy, |(_, policy)| policy),
    };
    let predicted = (wanted != present && wanted.cache_size > 0 && wanted.cache_memory_mb > 0)
        .then(|| fleet.read(|fleet, _| predictions::gain(fleet, present, wanted)));
    Ok(Proposal {
        source: Source::Settings,
        settings: patch.clone(),
        goal: Goal::NoHarm,
        predicted: predicted.flatten().map(|(cache_hit_ratio, samples)| Prediction {
            cache_hit_ratio,
            samples,
        }),
        reason: String::new(),
    })
}

/// What the control plane advises; `None` where that is in force already, or nothing is known.
fn advised(settings: &SettingsService, fleet: &FleetService, basis: Basis) -> Option<Proposal> {
    match basis {
        Basis::WhatIf => of_size(&advice::recommendation(settings, fleet).size, advice::present(settings)),
        Basis::TtlAdvice => {
            let advised = advice::recommendation(settings, fleet).ttl;
            of_ttl(&advised, settings.published().document())
        }
        Basis::Limits => {
            let most = settings
                .published()
                .settings()
                .map_or(0, |settings| settings.max_connections);
            let most = u64::from(most);
            fleet.read(|_, stats| of_limits(stats.fullest(None, &Filter::default(), most, now_ms()).as_ref(), most))
        }
    }
}
