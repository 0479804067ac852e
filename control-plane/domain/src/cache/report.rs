//! What operators want to know about the cache beyond its size: by route, what was lost and to what, what was invalidated and why,
//! and the inventories of the Envoys added up.

use crate::telemetry::figure::{Figure, number, percent};
use crate::telemetry::sum::{RouteSum, Sum};
use optimizer_proto::codes::InvalidationCause;
use optimizer_proto::v1::InventoryStep;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Keys listed per measure.
const LISTED: usize = 20;

/// How well a route is cached.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RouteCache {
    /// Name of the route.
    pub route: String,
    /// Number of requests.
    pub requests: u64,
    /// Percent of the lookups.
    pub hit_ratio: Figure,
    /// Percent of the bytes.
    pub byte_hit_ratio: Figure,
    /// Bytes sent to clients.
    pub bytes: u64,
}

/// Hits lost to one reason.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LostHit {
    /// Code of the reason.
    pub reason: String,
    /// Number of hits that were lost.
    pub count: u64,
    /// Percent of all lookups.
    pub points: Figure,
    /// What would have had to be otherwise.
    pub a_hit_if: &'static str,
}

/// Hit ratio and bytes of every route with traffic, the busiest first.
#[must_use]
pub fn by_route(window: &Sum) -> Vec<RouteCache> {
    let mut routes: Vec<(&String, &RouteSum)> = window.routes.iter().collect();
    routes.sort_by(|a, b| b.1.requests.cmp(&a.1.requests).then(a.0.cmp(b.0)));
    let shown = |(name, route): (&String, &RouteSum)| RouteCache {
        route: name.clone(),
        requests: route.requests,
        hit_ratio: number(percent(route.hits, route.lookups)),
        byte_hit_ratio: number(percent(route.hit_bytes, route.bytes)),
        bytes: route.bytes,
    };
    routes.into_iter().map(shown).collect()
}

/// Hits lost, by what they were lost to, the most first; each with what would have made it a hit.
#[must_use]
pub fn lost_hits(window: &Sum) -> Vec<LostHit> {
    let mut lost: Vec<(&String, &u64)> = window.lost_hits.iter().collect();
    lost.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let shown = |(reason, count): (&String, &u64)| LostHit {
        reason: reason.clone(),
        count: *count,
        points: number(percent(*count, window.cache.lookups)),
        a_hit_if: a_hit_if(reason),
    };
    lost.into_iter().map(shown).collect()
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
        "endless" => "it were no event stream",
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
pub fn invalidations(window: &Sum) -> BTreeMap<String, u64> {
    let mut causes: BTreeMap<String, u64> = InvalidationCause::ALL
        .iter()
        .map(|cause| (cause.as_str().to_owned(), 0))
        .collect();
    causes.extend(
        window
            .invalidations
            .iter()
            .map(|(cause, count)| (cause.clone(), *count)),
    );
    causes
}

/// What all Envoys have stored, as counted by them; absent what none of them counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Stored {
    /// Stored responses by their age.
    pub by_age: BTreeMap<String, EntryCounts>,
    /// By size of the body.
    pub by_size: BTreeMap<String, EntryCounts>,
    /// By content type, from a sample.
    pub by_content_type: BTreeMap<String, EntryCounts>,
    /// The top keys of each measure.
    pub top_keys: BTreeMap<String, Vec<TopKey>>,
}

/// Stored responses of a class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct EntryCounts {
    /// Number of stored responses.
    pub entries: u64,
    /// Their size, bytes.
    pub bytes: u64,
}

/// One of the top keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TopKey {
    /// URL of the stored response.
    pub url: String,
    /// Hits, misses or bytes; never too low.
    pub count: u64,
    /// By how much it may be too high.
    pub error: u64,
}

/// Inventories of several Envoys, added up.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    stored: Stored,
    top: BTreeMap<String, BTreeMap<String, (u64, u64)>>,
}

impl Inventory {
    /// Adds a step of an Envoy's; content types stand for `stride` times as many.
    pub fn add(&mut self, step: InventoryStep, stride: u64) {
        let stored = &mut self.stored;
        for (sums, classes, factor) in [
            (&mut stored.by_age, step.by_age, 1),
            (&mut stored.by_size, step.by_size, 1),
            (&mut stored.by_content_type, step.by_content_type, stride),
        ] {
            for class in classes {
                let sum = sums.entry(class.name).or_default();
                sum.entries = sum.entries.saturating_add(class.entries.saturating_mul(factor));
                sum.bytes = sum.bytes.saturating_add(class.bytes.saturating_mul(factor));
            }
        }
        for top in step.top {
            let ranked = self.top.entry(top.measure).or_default();
            for key in top.keys {
                let (count, error) = ranked.entry(key.url).or_default();
                *count = count.saturating_add(key.count);
                *error = error.saturating_add(key.error);
            }
        }
    }

    /// As shown.
    #[must_use]
    pub fn view(self) -> Stored {
        let ranked = |(measure, keys): (String, BTreeMap<String, (u64, u64)>)| {
            let mut keys: Vec<TopKey> = keys
                .into_iter()
                .map(|(url, (count, error))| TopKey { url, count, error })
                .collect();
            keys.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.url.cmp(&b.url)));
            keys.truncate(LISTED);
            (measure, keys)
        };
        Stored {
            top_keys: self.top.into_iter().map(ranked).collect(),
            ..self.stored
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::v1::{StoredClass, TopKey as SentKey, TopKeys};
    use serde_json::json;

    #[test]
    fn lost_hits_are_ranked_and_say_what_to_do() {
        let mut sum = Sum::default();
        sum.cache.lookups = 200;
        for (reason, count) in [("private", 5), ("no-store", 50)] {
            sum.lost_hits.insert(reason.to_owned(), count);
        }
        let view = json!(lost_hits(&sum));
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
            let class = |name: &str, entries, bytes| StoredClass {
                name: name.to_owned(),
                entries,
                bytes,
            };
            let key = |url: String, count, error| SentKey { url, count, error };
            let step = InventoryStep {
                by_age: vec![class("under_10s", count, 100)],
                by_content_type: vec![class("text/html", 1, 10)],
                top: vec![TopKeys {
                    measure: "hits".to_owned(),
                    keys: vec![key("a".to_owned(), count, 1), key(format!("b{count}"), 1, 0)],
                }],
                ..InventoryStep::default()
            };
            inventory.add(step, 10);
        }
        let view = json!(inventory.view());
        assert_eq!(view["by_age"]["under_10s"], json!({"entries": 7, "bytes": 200}));
        assert_eq!(
            view["by_content_type"]["text/html"],
            json!({"entries": 20, "bytes": 200})
        );
        assert_eq!(view["top_keys"]["hits"][0], json!({"url": "a", "count": 7, "error": 2}));
        assert_eq!(view["top_keys"]["hits"].as_array().map(Vec::len), Some(3));
    }
}
