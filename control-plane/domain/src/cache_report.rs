//! What operators want to know about the cache beyond its size: by route, what was lost and to what, what was invalidated and why,
//! and the inventories of the Envoys added up.

use crate::sum::{RouteSum, Sum};
use crate::views::{number, percent};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Keys listed per measure.
const LISTED: usize = 20;

/// Causes of invalidation, always listed.
const CAUSES: [&str; 11] = [
    "unsafe-method",
    "cache-group",
    "purge-url",
    "purge-prefix",
    "purge-host",
    "purge-tag",
    "purge-all",
    "head-differs",
    "replaced",
    "revalidated-away",
    "purged-removed",
];

/// Hit ratio and bytes of every route with traffic, the busiest first.
#[must_use]
pub fn by_route(window: &Sum) -> Value {
    let mut routes: Vec<(&String, &RouteSum)> = window.routes.iter().collect();
    routes.sort_by(|a, b| b.1.requests.cmp(&a.1.requests).then(a.0.cmp(b.0)));
    let shown = routes.into_iter().map(|(name, route)| {
        json!({
            "route": name,
            "requests": route.requests,
            "hit_ratio": number(percent(route.hits, route.lookups)),
            "byte_hit_ratio": number(percent(route.hit_bytes, route.bytes)),
            "bytes": route.bytes,
        })
    });
    Value::Array(shown.collect())
}

/// Hits lost, by what they were lost to, the most first; each with what would have made it a hit.
#[must_use]
pub fn lost_hits(window: &Sum) -> Value {
    let mut lost: Vec<(&String, &u64)> = window.lost_hits.iter().collect();
    lost.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let shown = lost.into_iter().map(|(reason, count)| {
        json!({
            "reason": reason,
            "count": count,
            "points": number(percent(*count, window.cache.lookups)),
            "a_hit_if": a_hit_if(reason),
        })
    });
    Value::Array(shown.collect())
}

/// What would have to be otherwise.
fn a_hit_if(reason: &str) -> &'static str {
    match reason {
        "no-store" => "the origin did not send Cache-Control: no-store",
        "private" => "the origin sent public instead of private, where the response is the same for everybody",
        "no-freshness" => "the origin sent Cache-Control: max-age, or default_ttl were set",
        "stale" => "the origin sent a longer max-age, or stale-while-revalidate",
        "no-cache" => "the origin sent max-age instead of no-cache",
        "vary" => "the origin varied by fewer request fields, or clients sent them in fewer spellings",
        "vary-star" => "the origin named the fields in Vary instead of *",
        "set-cookie" => "the origin set no cookie on it, or sent max-age with it",
        "authorization" => "the origin sent public or s-maxage with it, or the route isolated identities",
        "too-large" => "max_object_size were larger",
        "unprovable-end" => "the origin sent Content-Length or chunked content",
        "request-no-store" | "request-no-cache" | "request-max-age" | "request-min-fresh" => {
            "clients did not ask for it, or the route ignored their directives"
        }
        "soft-purged" => "it had not been purged",
        "partial" => "clients asked for the whole instead of ranges",
        "status" | "not-modified" | "method" | "head-too-large" => "the origin answered otherwise",
        _ => "see the reason",
    }
}

/// `GET /cache/invalidation-stats`: counts by cause. `entries` is what is counted in entries that have gone and is no part of the
/// rate, which is about events.
#[must_use]
pub fn invalidations(window: &Sum) -> Value {
    let mut causes: BTreeMap<&str, u64> = CAUSES.iter().map(|cause| (*cause, 0)).collect();
    causes.extend(
        window
            .invalidations
            .iter()
            .map(|(cause, count)| (cause.as_str(), *count)),
    );
    json!(causes)
}

/// Inventories of several Envoys, added up.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    classes: BTreeMap<String, BTreeMap<String, (u64, u64)>>,
    top: BTreeMap<String, BTreeMap<String, (u64, u64)>>,
}

impl Inventory {
    /// Adds a step of an Envoy's; content types stand for `stride` times as many.
    pub fn add(&mut self, step: &Value, stride: u64) {
        for (kind, factor) in [("by_age", 1), ("by_size", 1), ("by_content_type", stride)] {
            let classes = self.classes.entry(kind.to_owned()).or_default();
            for (name, tally) in step[kind].as_object().into_iter().flatten() {
                let number = |at: usize| tally[at].as_u64().unwrap_or(0).saturating_mul(factor);
                let (entries, bytes) = classes.entry(name.clone()).or_default();
                *entries = entries.saturating_add(number(0));
                *bytes = bytes.saturating_add(number(1));
            }
        }
        for (measure, keys) in step["top"].as_object().into_iter().flatten() {
            let ranked = self.top.entry(measure.clone()).or_default();
            for key in keys.as_array().into_iter().flatten() {
                let number = |name: &str| key[name].as_u64().unwrap_or(0);
                let (count, error) = ranked
                    .entry(key["url"].as_str().unwrap_or_default().to_owned())
                    .or_default();
                *count = count.saturating_add(number("count"));
                *error = error.saturating_add(number("error"));
            }
        }
    }

    /// As shown.
    #[must_use]
    pub fn view(&self) -> Value {
        let mut view = Map::new();
        for (kind, classes) in &self.classes {
            let shown = classes
                .iter()
                .map(|(name, (entries, bytes))| (name.clone(), json!({ "entries": entries, "bytes": bytes })));
            view.insert(kind.clone(), Value::Object(shown.collect()));
        }
        let top = self.top.iter().map(|(measure, keys)| {
            let mut keys: Vec<_> = keys.iter().collect();
            keys.sort_by(|a, b| b.1.0.cmp(&a.1.0).then(a.0.cmp(b.0)));
            let shown = keys
                .into_iter()
                .take(LISTED)
                .map(|(url, (count, error))| json!({ "url": url, "count": count, "error": error }));
            (measure.clone(), Value::Array(shown.collect()))
        });
        view.insert("top_keys".to_owned(), Value::Object(top.collect()));
        Value::Object(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_hits_are_ranked_and_say_what_to_do() {
        let mut sum = Sum::default();
        sum.cache.lookups = 200;
        for (reason, count) in [("private", 5), ("no-store", 50)] {
            sum.lost_hits.insert(reason.to_owned(), count);
        }
        let view = lost_hits(&sum);
        assert_eq!(
            (&view[0]["reason"], &view[0]["points"]),
            (&json!("no-store"), &json!(25))
        );
        assert!(view[1]["a_hit_if"].as_str().is_some_and(|text| text.contains("public")));
    }

    #[test]
    fn inventories_add_up() {
        let mut inventory = Inventory::default();
        for count in [3, 4] {
            let step = json!({
                "by_age": {"under_10s": [count, 100]},
                "by_content_type": {"text/html": [1, 10]},
                "top": {"hits": [{"url": "a", "count": count, "error": 1}, {"url": format!("b{count}"), "count": 1, "error": 0}]},
            });
            inventory.add(&step, 10);
        }
        let view = inventory.view();
        assert_eq!(view["by_age"]["under_10s"], json!({"entries": 7, "bytes": 200}));
        assert_eq!(
            view["by_content_type"]["text/html"],
            json!({"entries": 20, "bytes": 200})
        );
        assert_eq!(view["top_keys"]["hits"][0], json!({"url": "a", "count": 7, "error": 2}));
        assert_eq!(view["top_keys"]["hits"].as_array().map(Vec::len), Some(3));
    }
}
