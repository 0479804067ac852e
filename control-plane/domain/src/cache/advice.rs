//! From miss-ratio curves to a recommendation.

use crate::Millis;
use crate::cache::predictions::{CacheShape, ENOUGH, MB, STEP, curve, knee};
use crate::fleet::Fleet;
use crate::telemetry::figure::{Figure, number};
use serde::Serialize;
use utoipa::ToSchema;

/// Least and most memory that the settings take.
const LEAST_MB: u64 = 16;
const MOST_MB: u64 = 16_384;
/// Memory per stored response when nothing is stored that could be measured.
const USUAL_ENTRY: u64 = 4_096;

/// Which size is recommended.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Recommendation {
    /// Entries of each Envoy.
    pub cache_size: u64,
    /// Megabytes of each Envoy.
    pub cache_memory_mb: u64,
    /// The smallest size, in entries, after which no larger one wins a point more; absent while nothing is recommended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knee: Option<u64>,
    /// Predicted for the sizes in force, percent.
    pub hit_ratio: Figure,
    /// Predicted for the recommended ones, percent.
    pub expected_hit_ratio: Figure,
    /// Sampled lookups behind it.
    pub samples: u64,
    /// Why it is recommended.
    pub reason: String,
}

/// What is recommended: the knee of the curve, as far as an Envoy's machine has the memory.
#[must_use]
pub fn recommendation(fleet: &Fleet, present: CacheShape, most_mb: Option<u64>, now_ms: Millis) -> Recommendation {
    let curve = curve(fleet, None, present.policy);
    let now = present.predicted(&curve).hit_ratio;
    let mut view = Recommendation {
        cache_size: present.cache_size,
        cache_memory_mb: present.cache_memory_mb,
        knee: None,
        hit_ratio: number(now),
        expected_hit_ratio: number(now),
        samples: curve.samples(),
        reason: format!(
            "{} lookups seen, {ENOUGH} are needed: nothing is recommended yet",
            curve.samples()
        ),
    };
    if curve.samples() < ENOUGH {
        return view;
    }
    let knee = knee(&curve);
    view.knee = Some(knee);
    let most_mb = most_mb.unwrap_or(MOST_MB).clamp(LEAST_MB, MOST_MB);
    let wanted = wanted(fleet, present, knee, most_mb, now_ms);
    let expected = wanted.predicted(&curve).hit_ratio;
    view.reason = reason(present, wanted, knee, expected - now);
    view.cache_size = wanted.cache_size;
    view.cache_memory_mb = wanted.cache_memory_mb;
    view.expected_hit_ratio = number(expected);
    view
}

fn wanted(fleet: &Fleet, present: CacheShape, knee: u64, most_mb: u64, now_ms: Millis) -> CacheShape {
    // Within a step of what is there: leave it.
    let close = (knee as f64 / present.cache_size.max(1) as f64).ln().abs() < STEP.ln() * 1.5;
    let size = if close { present.cache_size } else { knee };
    let needed = memory_for(fleet, size, now_ms);
    let memory = if close {
        needed.max(present.cache_memory_mb)
    } else {
        needed
    };
    CacheShape {
        cache_size: size,
        cache_memory_mb: memory.min(most_mb.max(present.cache_memory_mb)),
        ..present
    }
}

fn reason(present: CacheShape, wanted: CacheShape, knee: u64, gain: f64) -> String {
    let (before, after) = (present.cache_size, wanted.cache_size);
    let memory = |shape: CacheShape| shape.cache_memory_mb;
    if before != after {
        format!("{before} -> {after} entries: {gain:+.1} points; beyond {knee} less than a point")
    } else if memory(present) == memory(wanted) {
        format!("{before} entries are right: beyond {knee} no larger cache wins a point more")
    } else {
        format!(
            "{before} entries need {} MB, {} MB are allowed: {gain:+.1} points; beyond {knee} entries less than a point",
            memory(wanted),
            memory(present)
        )
    }
}

/// Memory for this many entries of the usual size, with a quarter to spare.
fn memory_for(fleet: &Fleet, entries: u64, now_ms: Millis) -> u64 {
    let held = crate::cache::held::held(fleet, now_ms);
    let each = held.bytes.checked_div(held.entries).unwrap_or(USUAL_ENTRY);
    let bytes = entries.saturating_mul(each) / 4 * 5;
    bytes.div_ceil(MB).clamp(LEAST_MB, MOST_MB)
}
