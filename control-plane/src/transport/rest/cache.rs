//! The cache of the fleet.

use super::discreet::Discretion;
use super::problem::{Params, Problem};
use super::query::{Window, timeout};
use super::whole::whole_json;
use crate::cache::InventoryService;
use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::settings::SettingsService;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use control_domain::cache::report::Stored;
use control_domain::views::{self, CacheStats, InvalidationStats};
use optimizer_proto::answers;
use optimizer_proto::settings::format_duration;
use optimizer_proto::url;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::{CommandResult, ExplainCommand, HeaderField};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// What is stored, by counters and as counted by the Envoys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheView {
    #[serde(flatten)]
    stats: CacheStats,
    #[serde(flatten)]
    stored: Stored,
    /// Envoys that did not count in time.
    not_answered: Vec<String>,
    /// When the Envoys were asked to count, milliseconds since 1970: with a thousand of them or more it may be a moment ago.
    counted_at: u64,
}

/// What the Envoys would do with a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Explanations {
    /// What each Envoy says.
    envoys: Vec<Explained>,
}

/// What one Envoy would do with a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Explained {
    /// Instance id of the Envoy.
    envoy: String,
    /// It answered in time.
    answered: bool,
    /// As its filter answers, whose version may be another: decision, reason, route, policy, and what is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Value>,
}

#[utoipa::path(get, path = "/cache/stats", tag = "cache", params(Window), responses((status = 200, description = "What is stored", body = CacheView)))]
pub(crate) async fn stats(
    State(fleet): State<Arc<FleetService>>,
    State(settings): State<Arc<SettingsService>>,
    State(inventory): State<Arc<InventoryService>>,
    Params(window): Params<Window>,
) -> Result<Response, Problem> {
    let window_ms = window.milliseconds()?;
    let counted = inventory.count().await;
    let published = settings.published();
    let ttl = format_duration(published.readable().default_ttl_ms);
    let view = || CacheView {
        stats: fleet.read(|fleet, _| views::cache(fleet, &window.filter(), &ttl, window_ms, now_ms())),
        stored: counted.stored.clone(),
        not_answered: counted.silent.clone(),
        counted_at: counted.at,
    };
    Ok(whole_json(view).await)
}

#[utoipa::path(get, path = "/cache/invalidation-stats", tag = "cache", params(Window), responses((status = 200, description = "What was invalidated", body = InvalidationStats)))]
pub(crate) async fn invalidation(
    State(fleet): State<Arc<FleetService>>,
    Params(window): Params<Window>,
) -> Result<Json<InvalidationStats>, Problem> {
    let window_ms = window.milliseconds()?;
    Ok(Json(fleet.read(|fleet, _| {
        views::invalidation(fleet, &window.filter(), window_ms, now_ms())
    })))
}

/// `?url=…&method=…&header=Name: value` (repeatable): what each Envoy would do with this request now, and why.
#[utoipa::path(get, path = "/cache/explain", tag = "cache", params(("url" = String, Query, description = "Absolute URL"), ("method" = Option<String>, Query, description = "GET when absent"), ("header" = Option<Vec<String>>, Query, description = "`Name: value`, repeatable"), ("timeout" = Option<String>, Query, description = "How long to wait for Envoys, 2s when absent")), responses((status = 200, description = "What each Envoy would do with a request now, and why", body = Explanations), (status = 503, description = "No Envoy is connected to answer")))]
pub(crate) async fn explain(
    State(fleet): State<Arc<FleetService>>,
    State(discretion): State<Arc<Discretion>>,
    Params(parameters): Params<Vec<(String, String)>>,
) -> Result<Json<Explanations>, Problem> {
    let command = question(&parameters)?;
    let wait = timeout(
        parameters
            .iter()
            .find(|(name, _)| name == "timeout")
            .map(|(_, text)| text.as_str()),
    )?;
    let envoys: Vec<Explained> = fleet
        .command_all(Body::Explain(command), wait)
        .await
        .into_iter()
        .map(|(envoy, result)| Explained {
            envoy,
            answered: result.is_some(),
            explanation: result.map(|result| explanation(result, &discretion)),
        })
        .collect();
    if envoys.is_empty() {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_envoy",
            "No Envoy is connected to answer",
        ));
    }
    Ok(Json(Explanations { envoys }))
}

fn explanation(result: CommandResult, discretion: &Discretion) -> Value {
    if !result.ok {
        return json!({ "reason": answers::refusal(result) });
    }
    let mut told = serde_json::from_str(&result.detail).unwrap_or(Value::String(result.detail));
    discretion.veil(&mut told);
    told
}

fn question(parameters: &[(String, String)]) -> Result<ExplainCommand, Problem> {
    let mut command = ExplainCommand {
        method: "GET".to_owned(),
        scheme: "http".to_owned(),
        ..Default::default()
    };
    for (name, value) in parameters {
        match name.as_str() {
            "method" => command.method.clone_from(value),
            "timeout" => {}
            "header" => {
                let (field, text) = value
                    .split_once(':')
                    .ok_or_else(|| Problem::bad_query("header", value, "Name: value"))?;
                command.fields.push(HeaderField {
                    name: field.trim().to_ascii_lowercase().into_bytes(),
                    value: text.trim().as_bytes().to_vec(),
                });
            }
            "url" => {
                let bad = || Problem::bad_query("url", value, "an absolute http or https URL");
                let (authority, path) = url::split(value.as_bytes()).ok_or_else(bad)?;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                if !url::is_authority(authority) || !url::is_unbroken(path) {
                    return Err(bad());
                }
                let is_tls = value.get(..5).is_some_and(|begin| begin.eq_ignore_ascii_case("https"));
                if is_tls { "https" } else { "http" }.clone_into(&mut command.scheme);
                command.authority = text(authority);
                let path = text(path.split(|byte| *byte == b'#').next().unwrap_or_default());
                command.path = if path.starts_with('/') {
                    path
                } else {
                    format!("/{path}")
                };
            }
            other => {
                return Err(Problem::bad_query(
                    other,
                    value,
                    "known are url, method, header and timeout",
                ));
            }
        }
    }
    if command.authority.is_empty() {
        return Err(Problem::bad_query("url", "", "an absolute http or https URL"));
    }
    Ok(command)
}
