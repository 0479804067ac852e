//! Changes that are worth an experiment, from what the control plane has worked out already.

use super::plan::Goal;
use super::record::{Prediction, Source};
use crate::cache::advice::Recommendation;
use crate::cache::predictions::{CacheShape, ENOUGH};
use crate::cache::ttl_advice::TtlAdvice;
use crate::telemetry::envoy_stats::Fullest;
use crate::telemetry::figure::{Figure, number};
use serde_json::{Map, Value, json};

/// A change, and what is to come of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Where it comes from.
    pub source: Source,
    /// A merge patch of the settings.
    pub settings: Value,
    /// What must have become better.
    pub goal: Goal,
    /// What is expected.
    pub predicted: Option<Prediction>,
    /// Why.
    pub reason: String,
}

/// The recommended size, where it is another one.
#[must_use]
pub fn of_size(advice: &Recommendation, present: CacheShape) -> Option<Proposal> {
    if (advice.cache_size, advice.cache_memory_mb) == (present.cache_size, present.cache_memory_mb) {
        return None;
    }
    // A smaller cache is to save memory, not to hit more.
    let gain = value(&advice.expected_hit_ratio) - value(&advice.hit_ratio);
    let goal = if advice.cache_size < present.cache_size || gain <= 0.0 {
        Goal::NoHarm
    } else {
        Goal::CacheHitRatio
    };
    Some(Proposal {
        source: Source::WhatIf,
        settings: json!({
            "cache_size": advice.cache_size,
            "cache_memory_mb": advice.cache_memory_mb,
        }),
        goal,
        predicted: (advice.samples >= ENOUGH).then(|| Prediction {
            cache_hit_ratio: number(gain),
            samples: advice.samples,
        }),
        reason: advice.reason.clone(),
    })
}

fn value(figure: &Figure) -> f64 {
    figure.to_string().parse().unwrap_or(0.0)
}

/// The advised lifetimes, each for its route as its default: what origins say of their responses stays.
#[must_use]
pub fn of_ttl(advice: &[TtlAdvice], document: &Value) -> Option<Proposal> {
    let mut settings = Map::new();
    let mut routes = document
        .get("routes")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut reasons = Vec::new();
    for one in advice {
        let own = routes.iter_mut().filter_map(Value::as_object_mut);
        let own = own
            .into_iter()
            .find(|route| route.get("name").and_then(Value::as_str) == Some(&one.route));
        match own {
            Some(route) => drop(route.insert("default_ttl".to_owned(), json!(one.recommended_ttl))),
            None if one.route == "default" => {
                settings.insert("default_ttl".to_owned(), json!(one.recommended_ttl));
            }
            None => continue,
        }
        reasons.push(format!("{}: {}", one.route, one.recommended_ttl));
    }
    if reasons.is_empty() {
        return None;
    }
    if document.get("routes").and_then(Value::as_array) != Some(&routes) {
        settings.insert("routes".to_owned(), Value::Array(routes));
    }
    Some(Proposal {
        source: Source::TtlAdvice,
        settings: Value::Object(settings),
        goal: Goal::CacheHitRatio,
        predicted: None,
        reason: format!("lifetimes by how often responses change: {}", reasons.join(", ")),
    })
}

/// Percent of the connections to an upstream from which on more are proposed.
const NEARLY_FULL: f64 = 80.0;

/// Half as many connections again, where those to an upstream are nearly all used.
#[must_use]
pub fn of_limits(fullest: Option<&Fullest>, max_connections: u64) -> Option<Proposal> {
    let fullest = fullest.filter(|fullest| fullest.percent >= NEARLY_FULL)?;
    let more = max_connections
        .saturating_add(max_connections.div_ceil(2))
        .min(1_000_000);
    (more > max_connections).then(|| Proposal {
        source: Source::Limits,
        settings: json!({ "max_connections": more }),
        goal: Goal::NoHarm,
        predicted: None,
        reason: format!(
            "{} of {max_connections} connections to {} are used at {}",
            format_args!("{:.0} %", fullest.percent),
            fullest.upstream,
            fullest.node
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(route: &str, ttl: &str) -> TtlAdvice {
        TtlAdvice {
            route: route.to_owned(),
            validations: 100,
            changed: 1,
            changes_per_hour: number(1.0),
            recommended_ttl: ttl.to_owned(),
            reason: String::new(),
        }
    }

    #[test]
    fn lifetimes_are_those_of_their_routes() {
        let document = json!({"default_ttl": "0s", "routes": [{"name": "a", "path_prefix": "/a"}, {"name": "b"}]});
        let advice = [advice("a", "60s"), advice("default", "9s"), advice("gone", "5s")];
        let proposal = of_ttl(&advice, &document).unwrap();
        let expected = json!({
            "default_ttl": "9s",
            "routes": [{"name": "a", "path_prefix": "/a", "default_ttl": "60s"}, {"name": "b"}],
        });
        assert_eq!(proposal.settings, expected);
        assert_eq!(of_ttl(&advice[2..], &document), None);
        assert_eq!(of_ttl(&[], &document), None);
    }

    #[test]
    fn connections_are_proposed_where_they_are_nearly_used_up() {
        let fullest = |percent: f64| Fullest {
            node: "n".to_owned(),
            upstream: "u".to_owned(),
            percent,
        };
        assert_eq!(of_limits(None, 20), None);
        assert_eq!(of_limits(Some(&fullest(79.0)), 20), None);
        let proposal = of_limits(Some(&fullest(95.0)), 21).unwrap();
        assert_eq!(proposal.settings, json!({"max_connections": 32}));
        assert_eq!(of_limits(Some(&fullest(95.0)), 1_000_000), None);
    }
}
