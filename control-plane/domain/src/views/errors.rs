//! `GET /metrics/errors`: what kinds of failures, how often, where and when last.

use super::{Part, per_second};
use crate::Millis;
use crate::fleet::Fleet;
use crate::telemetry::figure::{Figure, number, percent};
use crate::telemetry::sum::{ErrorExample, Filter};
use optimizer_proto::codes::ErrorKind;
use optimizer_proto::v1::Outcome;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Failures of upstreams.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Errors {
    /// Failures in the window by type; known types are always listed.
    pub errors_by_type: BTreeMap<String, u64>,
    /// More about each type.
    pub details: BTreeMap<String, ErrorDetail>,
    /// Requests that failed or were shed, percent.
    pub error_rate: Figure,
    /// Number of requests that failed.
    pub failed: u64,
    /// Requests answered by the breaker or the limit instead of the upstream.
    pub shed: u64,
    /// Number of all requests.
    pub requests: u64,
    /// The part of the traffic that was asked for.
    pub filter: Part,
    /// Fields that are of more than that part.
    pub not_filtered: Vec<&'static str>,
    /// The window asked for.
    pub window: String,
    /// How much of it is known.
    pub covered: String,
    /// Now, milliseconds since 1970.
    pub as_of: Millis,
}

/// One type of failure.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// Errors per second.
    pub rate: Figure,
    /// Milliseconds since 1970; 0 = not in the window.
    pub last_seen: Millis,
    /// Some of the upstreams.
    pub upstreams: BTreeSet<String>,
}

/// Everything in one document. Failures are not counted by route: with one asked for, the types are those of all routes.
#[must_use]
pub fn errors(fleet: &Fleet, filter: &Filter, window_ms: Millis, now_ms: Millis) -> Errors {
    let window = fleet.recent_of(filter, window_ms, now_ms);
    let covered_ms = fleet.covered_ms(filter, window_ms, now_ms);
    let none = ErrorExample::default();
    let kinds = ErrorKind::ALL
        .iter()
        .map(|kind| kind.as_str())
        .chain(window.errors.keys().map(String::as_str));
    let (mut by_type, mut details) = (BTreeMap::new(), BTreeMap::new());
    for kind in kinds {
        let count = window.errors.get(kind).copied().unwrap_or(0);
        let example = window.error_examples.get(kind).unwrap_or(&none);
        by_type.insert(kind.to_owned(), count);
        let detail = ErrorDetail {
            rate: number(per_second(count, covered_ms)),
            last_seen: example.last_seen_ms,
            upstreams: example.upstreams.clone(),
        };
        details.insert(kind.to_owned(), detail);
    }
    Errors {
        errors_by_type: by_type,
        details,
        error_rate: number(percent(window.failed(), window.requests())),
        failed: window.count(Outcome::Error),
        shed: window.count(Outcome::Shed),
        requests: window.requests(),
        filter: super::shown(filter),
        not_filtered: filter.route.iter().map(|_| "errors_by_type").collect(),
        window: super::seconds(window_ms),
        covered: super::seconds(covered_ms),
        as_of: now_ms,
    }
}
