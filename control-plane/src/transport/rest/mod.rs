//! REST for operators and scripts: one file per resource.

mod admission;
mod advice;
mod alerts;
mod answering;
mod answers;
mod board;
mod bodies;
mod breaker;
mod cache;
mod canary;
mod description;
mod discreet;
mod experiments;
mod findings;
mod fleet;
mod fleet_health;
mod health;
mod history;
mod identity;
mod metrics;
mod modules;
mod operations;
mod optimize;
mod origins;
mod problem;
mod prometheus;
mod purges;
mod query;
mod receipts;
mod restores;
mod server;
mod settings;
mod snapshots;
mod state;
mod stream;
mod tier;
mod traced;
mod warm;
mod whole;

pub(crate) use admission::Admission;
pub(crate) use discreet::Discretion;
pub(crate) use prometheus::Requests;
#[cfg(test)]
pub(crate) use server::{HEAD, STREAMS, WINDOW};
pub(crate) use state::{ApiState, Runbook};

use crate::credentials::Role;
use crate::net::bodies::Bodies;
use crate::net::incoming::Io;
use ::prometheus::proto::MetricFamily;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use identity::Access;
use problem::Problem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use utoipa::OpenApi;
use utoipa::openapi::path::Paths;
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

/// Largest request body: a settings document with all its routes is far smaller.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// A request that takes longer than this is given up on; the live streams are no requests in this sense.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(OpenApi)]
#[openapi(info(
    title = "API Latency Optimizer",
    description = "Settings, health, metrics, alerts, cache and circuit breakers of a fleet of Envoys. Percentages are 0-100, times bare milliseconds, sizes bare megabytes. Errors are problem+json (RFC 9457) with a stable code."
))]
struct Description;

/// Every resource with its description and with who may use it: one list makes all three, so none can lack what another has.
fn resources() -> OpenApiRouter<ApiState> {
    use Access::{Needs, Open, Probe};
    use Role::{Admin, Operator, Viewer};
    let resources = [
        (Needs(Viewer), routes!(health::summary)),
        (Probe, routes!(health::live)),
        (Probe, routes!(health::ready)),
        (Probe, routes!(prometheus::exposition)),
        (Needs(Viewer), routes!(metrics::performance)),
        (Needs(Viewer), routes!(metrics::errors)),
        (Needs(Viewer), routes!(metrics::machine)),
        (Needs(Viewer), routes!(stream::figures)),
        (Needs(Viewer), routes!(stream::events)),
        (Needs(Viewer), routes!(alerts::active)),
        (Needs(Viewer), routes!(alerts::history)),
        (Needs(Operator), routes!(alerts::acknowledge)),
        (Needs(Viewer), routes!(alerts::silences)),
        (Needs(Operator), routes!(alerts::silence)),
        (Needs(Operator), routes!(alerts::unsilence)),
        (Needs(Viewer), routes!(cache::stats)),
        (Needs(Viewer), routes!(cache::invalidation)),
        (Needs(Viewer), routes!(cache::explain)),
        (Needs(Viewer), routes!(findings::list)),
        (Needs(Operator), routes!(findings::release)),
        (Needs(Viewer), routes!(tier::show)),
        (Needs(Viewer), routes!(advice::what_if)),
        (Needs(Operator), routes!(purges::purge)),
        (Needs(Viewer), routes!(purges::list)),
        (Needs(Viewer), routes!(purges::show)),
        // It gives out users' data, and the other puts it in.
        (Needs(Operator), routes!(snapshots::snapshot)),
        (Needs(Admin), routes!(restores::restore)),
        (Needs(Operator), routes!(warm::warm)),
        (Needs(Operator), routes!(optimize::optimize)),
        (Needs(Viewer), routes!(operations::list)),
        (Needs(Viewer), routes!(operations::show)),
        // Also of a restore that an admin has begun: to stop it is safe.
        (Needs(Operator), routes!(operations::cancel)),
        (Needs(Operator), routes!(experiments::begin)),
        (Needs(Viewer), routes!(experiments::list)),
        (Needs(Viewer), routes!(experiments::show)),
        (Needs(Operator), routes!(experiments::stop)),
        (Needs(Viewer), routes!(breaker::status)),
        (Needs(Viewer), routes!(breaker::events)),
        (Needs(Viewer), routes!(breaker::audit)),
        (Needs(Operator), routes!(breaker::override_breaker)),
        (Needs(Viewer), routes!(settings::show)),
        (Needs(Operator), routes!(settings::replace, settings::patch)),
        (Needs(Viewer), routes!(settings::schema)),
        (Needs(Viewer), routes!(history::list)),
        (Needs(Viewer), routes!(history::show)),
        (Needs(Viewer), routes!(canary::show)),
        (Needs(Operator), routes!(canary::promote)),
        (Needs(Operator), routes!(canary::abort)),
        (Needs(Operator), routes!(settings::rollback)),
        (Needs(Viewer), routes!(settings::profiles)),
        (Needs(Operator), routes!(settings::apply_profile)),
        (Needs(Viewer), routes!(fleet::rollout)),
        (Needs(Viewer), routes!(fleet::list)),
        (Needs(Viewer), routes!(fleet_health::list)),
        // Code that runs in every Envoy. Envoys fetch it by its checksum, and have no token to show.
        (
            Needs(Admin),
            routes!(modules::upload).layer(DefaultBodyLimit::max(crate::xds::MAX_BYTES)),
        ),
        (Open, routes!(modules::fetch)),
        (Needs(Viewer), routes!(modules::show)),
        (Needs(Operator), routes!(modules::start)),
        (Needs(Operator), routes!(modules::promote)),
        (Needs(Operator), routes!(modules::abort)),
    ];
    let router = OpenApiRouter::with_openapi(Description::openapi());
    resources.into_iter().fold(router, |router, (access, mut resource)| {
        if access == Open || access == Probe {
            asks_for_no_token(&mut resource.1);
        }
        router.routes(resource.layer(middleware::from_fn_with_state(access, identity::admit)))
    })
}

/// Whatever is asked for at the other operations. With CLOSE_PROBES a token is asked for all the same.
fn asks_for_no_token(paths: &mut Paths) {
    for item in paths.paths.values_mut() {
        if let Some(operation) = &mut item.get {
            operation.security = Some(vec![SecurityRequirement::default()]);
        }
    }
}

/// The description of this API, as served and as kept in the repository.
pub(crate) fn description() -> String {
    let (_, api) = resources().split_for_parts();
    serde_json::to_string_pretty(&description::completed(&api, false)).unwrap_or_default() + "\n"
}

fn router(state: ApiState, bodies: Bodies) -> Router {
    let (router, api) = resources().split_for_parts();
    let description = description::completed(&api, state.admission.tokens().is_some());
    let requests = Arc::clone(&state.requests);
    router
        .merge(board::routes())
        .fallback(|| async { Problem::not_found() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(bodies, bodies::bounded))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&state.admission),
            identity::identify,
        ))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&state.admission),
            origins::same_site,
        ))
        .layer(middleware::from_fn_with_state(REQUEST_TIMEOUT, in_time))
        .layer(middleware::from_fn_with_state(requests, prometheus::Requests::count))
        .layer(middleware::from_fn(traced::traced))
        .with_state(state)
        .merge(SwaggerUi::new("/docs").external_url_unchecked("/openapi.json", description))
}

/// What takes as long as it takes: a gigabyte comes in and goes out at the pace of the Envoys.
const NO_TIMEOUT: [&str; 2] = ["/cache/restore", "/cache/optimize"];

async fn in_time(State(limit): State<Duration>, request: Request, next: Next) -> Result<Response, Problem> {
    if NO_TIMEOUT.contains(&request.uri().path()) {
        return Ok(next.run(request).await);
    }
    tokio::time::timeout(limit, next.run(request)).await.map_err(|_| {
        Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "took_too_long",
            "The request took longer than a minute and was given up on",
        )
    })
}

/// The families of `/metrics`, as they are now.
pub(crate) fn figures(state: &ApiState) -> Vec<MetricFamily> {
    prometheus::families(
        &state.fleet,
        &state.health,
        &state.settings,
        &state.alerts,
        &state.experiments,
        &state.requests,
    )
}

/// Serves until told to stop.
pub(crate) async fn serve(
    state: ApiState,
    bodies: Bodies,
    incoming: mpsc::Receiver<(Io, SocketAddr)>,
    stopped: watch::Receiver<bool>,
) {
    server::serve(router(state, bodies), incoming, stopped).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;

    /// What the middleware makes of a handler that takes a quarter of a second.
    async fn asked(path: &str, limit: Duration) -> (u16, String) {
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(250)).await;
            "done"
        };
        let router = Router::new()
            .route("/settings", get(slow))
            .route("/cache/restore", get(slow))
            .layer(middleware::from_fn_with_state(limit, in_time));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[tokio::test]
    async fn what_takes_too_long_is_given_up_on_but_for_what_may_take_long() {
        let short = Duration::from_millis(20);
        let (status, text) = asked("/settings", short).await;
        assert!(status == 504 && text.contains("took_too_long"), "{status}: {text}");
        assert_eq!(asked("/cache/restore", short).await, (200, "done".to_owned()));
        assert_eq!(asked("/settings", REQUEST_TIMEOUT).await, (200, "done".to_owned()));
    }
}
