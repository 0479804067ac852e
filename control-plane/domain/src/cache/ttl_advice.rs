//! How long responses of a route could be kept, from how often validations found them changed.

use crate::telemetry::figure::{Figure, number};
use crate::telemetry::sum::Sum;
use serde::Serialize;
use utoipa::ToSchema;

/// Validations below which nothing is advised.
const ENOUGH: u64 = 20;
/// A response may have changed at the origin before its lifetime ends with this probability.
const WRONG: f64 = 0.05;
/// Changes assumed where none was seen: the upper bound of 95 % confidence (the rule of three).
const NONE_SEEN: f64 = 3.0;
/// Lifetimes advised, seconds.
const LEAST: f64 = 1.0;
const MOST: f64 = 30.0 * 86_400.0;

/// How long responses of a route could be kept.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TtlAdvice {
    /// Name of the route.
    pub route: String,
    /// Number of validations seen.
    pub validations: u64,
    /// How many of them found the response changed.
    pub changed: u64,
    /// Changes of a response per hour.
    pub changes_per_hour: Figure,
    /// In whole seconds, with its unit.
    pub recommended_ttl: String,
    /// Why this time is recommended.
    pub reason: String,
}

/// Advice for every route with enough validations. Changes are taken to come at a constant rate: then a response is unchanged after
/// a time `t` with probability `exp(-rate * t)`.
#[must_use]
pub fn ttl_advice(window: &Sum) -> Vec<TtlAdvice> {
    let advised = window
        .changes
        .iter()
        .filter_map(|(route, (unchanged, changed, observed_ms))| {
            let validations = unchanged.saturating_add(*changed);
            let observed_s = *observed_ms as f64 / 1_000.0;
            if validations < ENOUGH || observed_s <= 0.0 {
                return None;
            }
            let changes = if *changed == 0 { NONE_SEEN } else { *changed as f64 };
            let rate = changes / observed_s;
            let ttl = (-(1.0 - WRONG).ln() / rate).clamp(LEAST, MOST);
            Some(TtlAdvice {
                route: route.clone(),
                validations,
                changed: *changed,
                changes_per_hour: number(rate * 3_600.0),
                recommended_ttl: format!("{}s", ttl.floor()),
                reason: format!(
                    "kept for so long, a response has changed at the origin in {} of 100 cases",
                    WRONG * 100.0
                ),
            })
        });
    advised.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_seldom_may_be_kept_longer() {
        let mut sum = Sum::default();
        let hour = 3_600_000;
        sum.changes.insert("seldom".to_owned(), (990, 10, 1_000 * hour));
        sum.changes.insert("often".to_owned(), (500, 500, 100 * hour));
        sum.changes.insert("never".to_owned(), (100, 0, 100 * hour));
        sum.changes.insert("unknown".to_owned(), (3, 1, hour));
        let advice = ttl_advice(&sum);
        let ttl = |route: &str| {
            let found = advice.iter().find(|one| one.route == route)?;
            found.recommended_ttl.trim_end_matches('s').parse::<u64>().ok()
        };
        // Ten changes in a thousand hours: five percent of a hundred hours.
        assert_eq!(ttl("seldom"), Some(18_465));
        assert_eq!(ttl("often"), Some(36));
        assert!(ttl("never") > Some(6_000));
        assert_eq!(ttl("unknown"), None);
    }
}
