//! What another size would do, and which one is recommended.

use super::identity::Caller;
use super::problem::{Params, Problem};
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::settings::{SettingsService, proposing};
use axum::Json;
use axum::extract::State;
use control_domain::cache::advice;
use control_domain::cache::predictions::{self, CacheShape, Predictions};
use control_domain::cache::ttl_advice::{TtlAdvice, ttl_advice};
use control_domain::settings::change::Change;
use control_domain::settings::history::Author;
use control_domain::views::MAX_WINDOW_MS;
use optimizer_proto::settings::EvictionPolicy;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// A size per Envoy.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Size {
    /// Entries; those in force when absent.
    cache_size: Option<u64>,
    /// Megabytes; those in force when absent.
    cache_memory_mb: Option<u64>,
    /// Who makes room: `s3_fifo`, `sieve`, `lru`, `lfu`, `fifo`, `gdsf`; the policy in force when absent.
    #[param(pattern = "^(s3_fifo|sieve|lru|lfu|fifo|gdsf)$")]
    policy: Option<String>,
    /// Only this Envoy, by instance or node id.
    envoy: Option<String>,
}

fn policy_of(as_str: &str) -> Option<EvictionPolicy> {
    let mut words = EvictionPolicy::WORDS.into_iter();
    words.find(|(own, _)| *own == as_str).map(|(_, policy)| policy)
}

pub(super) fn present(settings: &SettingsService) -> CacheShape {
    let published = settings.published();
    let settings = published.readable();
    CacheShape {
        cache_size: settings.cache_size.into(),
        cache_memory_mb: settings.cache_memory_mb.into(),
        policy: settings.eviction_policy,
    }
}

/// What the fleet's hit ratio and origin load would be with another size or policy of every cache, from the lookups seen so far.
#[utoipa::path(get, path = "/cache/what-if", tag = "cache", params(Size), responses((status = 200, description = "Prediction with its interval, and the curve around it", body = Predictions), (status = 400, description = "Not a size, not a policy")))]
pub(crate) async fn what_if(
    State(settings): State<Arc<SettingsService>>,
    State(fleet): State<Arc<FleetService>>,
    Params(size): Params<Size>,
) -> Result<Json<Predictions>, Problem> {
    let present = present(&settings);
    let policy = size.policy.as_deref().map_or(Ok(present.policy), |as_str| {
        policy_of(as_str).ok_or_else(|| Problem::bad_query("policy", as_str, "s3_fifo, sieve, lru, lfu, fifo or gdsf"))
    })?;
    let wanted = CacheShape {
        policy,
        cache_size: size.cache_size.unwrap_or(present.cache_size),
        cache_memory_mb: size.cache_memory_mb.unwrap_or(present.cache_memory_mb),
    };
    if wanted.cache_size == 0 || wanted.cache_memory_mb == 0 {
        return Err(Problem::bad_query("cache_size", "0", "a whole number above 0"));
    }
    let envoy = size.envoy.as_deref();
    Ok(Json(fleet.read(|fleet, _| {
        predictions::what_if(fleet, envoy, present, wanted, now_ms())
    })))
}

/// What is recommended.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Recommended {
    #[serde(flatten)]
    pub(super) size: advice::Recommendation,
    /// Lifetimes of routes with enough validations.
    pub(super) ttl: Vec<TtlAdvice>,
}

/// What is recommended now.
pub(super) fn recommendation(settings: &SettingsService, fleet: &FleetService) -> Recommended {
    let present = present(settings);
    let memory_mb = settings.machine().memory_mb;
    fleet.read(|fleet, _| Recommended {
        size: advice::recommendation(fleet, present, memory_mb, now_ms()),
        ttl: ttl_advice(&fleet.recent(MAX_WINDOW_MS, now_ms())),
    })
}

/// Puts a recommendation into force. False when it is what is in force already.
pub(super) async fn apply(
    settings: &SettingsService,
    recommendation: &Recommended,
    caller: &Caller,
) -> Result<bool, Problem> {
    let size = &recommendation.size;
    let change = Change::Merge(json!({
        "cache_size": size.cache_size,
        "cache_memory_mb": size.cache_memory_mb,
    }));
    let author = Author {
        who: caller.name.clone(),
        source: "optimize".to_owned(),
        reason: size.reason.clone(),
    };
    Ok(settings
        .change(None, author, false, None, proposing(&change))
        .await?
        .accepted
        .changed)
}
