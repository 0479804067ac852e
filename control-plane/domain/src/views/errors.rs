//! `GET /metrics/errors`: what kinds of failures, how often, where and when last.

use super::{ERROR_TYPES, number, per_second, percent};
use crate::Millis;
use crate::fleet::Fleet;
use crate::sum::{ErrorExample, Filter};
use optimizer_proto::v1::Outcome;
use serde_json::{Map, Value, json};

/// Everything in one document. Failures are not counted by route: with one asked for, the types are those of all routes.
#[must_use]
pub fn errors(fleet: &Fleet, filter: &Filter, window_ms: Millis, now_ms: Millis) -> Value {
    let window = fleet.recent_of(filter, window_ms, now_ms);
    let covered_ms = fleet.covered_ms(filter, window_ms, now_ms);
    let none = ErrorExample::default();
    let kinds = ERROR_TYPES
        .iter()
        .copied()
        .chain(window.errors.keys().map(String::as_str));
    let (mut by_type, mut details) = (Map::new(), Map::new());
    for kind in kinds {
        let count = window.errors.get(kind).copied().unwrap_or(0);
        let example = window.error_examples.get(kind).unwrap_or(&none);
        by_type.insert(kind.to_owned(), json!(count));
        let detail = json!({
            "rate": number(per_second(count, covered_ms)),
            "last_seen": example.last_seen_ms,
            "upstreams": example.upstreams,
        });
        details.insert(kind.to_owned(), detail);
    }
    json!({
        "errors_by_type": by_type,
        "details": details,
        "error_rate": number(percent(window.failed(), window.requests())),
        "failed": window.count(Outcome::Error),
        "shed": window.count(Outcome::Shed),
        "requests": window.requests(),
        "filter": super::shown(filter),
        "not_filtered": if filter.route.is_some() { json!(["errors_by_type"]) } else { json!([]) },
        "window": super::seconds(window_ms),
        "covered": super::seconds(covered_ms),
        "as_of": now_ms,
    })
}
