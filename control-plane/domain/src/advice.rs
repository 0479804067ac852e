//! From miss-ratio curves to a recommendation.

use crate::Millis;
use crate::fleet::{Envoy, Fleet};
use crate::views::{Figure, number};
use crate::what_if::Curve;
use serde::Serialize;
use utoipa::ToSchema;

/// Lookups below which nothing is recommended.
const ENOUGH: u64 = 2_000;
/// A larger cache must win so many points to be worth its memory.
const WORTH: f64 = 1.0;
/// Sizes looked at, each so much larger than the one before.
const STEP: f64 = 1.25;
const SMALLEST: u64 = 100;
const LARGEST: u64 = 1_000_000;
const MB: u64 = 1 << 20;
const MOST_MB: u64 = 16_384;
/// Memory per stored response when nothing is stored that could be measured.
const USUAL_ENTRY: u64 = 4_096;

/// A size of the cache of each Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    /// Entries.
    pub cache_size: u64,
    /// Megabytes.
    pub cache_memory_mb: u64,
}

/// What other sizes would do.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Predictions {
    /// With the sizes in force.
    pub present: SizePrediction,
    /// With the sizes asked for.
    pub predicted: SizePrediction,
    /// Lookups behind it.
    pub samples: u64,
    /// Enough lookups to go by it.
    pub enough: bool,
    /// Hit ratios of sizes, each a quarter larger than the one before.
    pub curve: Vec<CurvePoint>,
    /// For each Envoy.
    pub envoys: Vec<EnvoyPrediction>,
    /// The cache that is modelled: always `lru`, which evicts what was least recently used.
    pub model: &'static str,
    /// The smallest size, in entries, after which no larger one wins a point more.
    pub knee: u64,
    /// Now, milliseconds since 1970.
    pub as_of: Millis,
}

/// What a size would do.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SizePrediction {
    /// Entries of each Envoy.
    pub cache_size: u64,
    /// Megabytes of each Envoy.
    pub cache_memory_mb: u64,
    /// Percent.
    pub hit_ratio: Figure,
    /// Lower end of its interval.
    pub hit_ratio_low: Figure,
    /// Upper end of its interval.
    pub hit_ratio_high: Figure,
    /// Percent of the bytes.
    pub byte_hit_ratio: Figure,
    /// Share of the lookups that the origins would see, percent.
    pub origin_share: Figure,
}

/// A size and its hit ratio.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CurvePoint {
    /// Entries of each Envoy.
    pub cache_size: u64,
    /// Percent.
    pub hit_ratio: Figure,
}

/// What the size asked for would do on one Envoy.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EnvoyPrediction {
    /// Its instance id.
    pub envoy: String,
    /// Its node id.
    pub node_id: String,
    /// Percent.
    pub hit_ratio: Figure,
    /// The interval is so much wide to both sides.
    pub margin: Figure,
    /// Lookups behind it.
    pub samples: u64,
}

/// Which size is recommended.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Recommendation {
    /// Entries of each Envoy.
    pub cache_size: u64,
    /// Megabytes of each Envoy.
    pub cache_memory_mb: u64,
    /// Predicted for the sizes in force, percent.
    pub hit_ratio: Figure,
    /// Predicted for the recommended ones, percent.
    pub expected_hit_ratio: Figure,
    /// Lookups behind it.
    pub samples: u64,
    /// Why.
    pub reason: String,
}

fn is_meant(only: Option<&str>, name: &str, envoy: &Envoy) -> bool {
    only.is_none_or(|only| only == name || only == envoy.node_id)
}

/// Of one Envoy, by instance or node id, or of all.
fn curve(fleet: &Fleet, only: Option<&str>) -> Curve {
    let mut sum = Curve::default();
    let meant = fleet.envoys().filter(|(name, envoy)| is_meant(only, name, envoy));
    meant.for_each(|(_, envoy)| sum.add(envoy.what_if.curve()));
    sum
}

/// `GET /cache/what-if`.
#[must_use]
pub fn what_if(fleet: &Fleet, only: Option<&str>, present: Present, wanted: Present, now_ms: Millis) -> Predictions {
    let curve = curve(fleet, only);
    let shown = |size: Present| {
        let prediction = curve.predict(size.cache_size, size.cache_memory_mb.saturating_mul(MB));
        SizePrediction {
            cache_size: size.cache_size,
            cache_memory_mb: size.cache_memory_mb,
            hit_ratio: number(prediction.hit_ratio),
            hit_ratio_low: number((prediction.hit_ratio - prediction.margin).max(0.0)),
            hit_ratio_high: number((prediction.hit_ratio + prediction.margin).min(100.0)),
            byte_hit_ratio: number(prediction.byte_hit_ratio),
            origin_share: number(100.0 - prediction.hit_ratio),
        }
    };
    let envoys = fleet
        .present(now_ms)
        .filter(|(name, envoy)| is_meant(only, name, envoy))
        .map(|(name, envoy)| {
            let own = envoy.what_if.curve();
            let prediction = own.predict(wanted.cache_size, wanted.cache_memory_mb.saturating_mul(MB));
            EnvoyPrediction {
                envoy: name.to_owned(),
                node_id: envoy.node_id.clone(),
                hit_ratio: number(prediction.hit_ratio),
                margin: number(prediction.margin),
                samples: own.samples(),
            }
        })
        .collect();
    let around = sizes()
        .map(|size| {
            let prediction = curve.predict(size, u64::MAX);
            CurvePoint {
                cache_size: size,
                hit_ratio: number(prediction.hit_ratio),
            }
        })
        .collect();
    Predictions {
        present: shown(present),
        predicted: shown(wanted),
        samples: curve.samples(),
        enough: curve.samples() >= ENOUGH,
        curve: around,
        envoys,
        // Distances are those of a cache that evicts what was least recently used.
        model: "lru",
        knee: knee(&curve),
        as_of: now_ms,
    }
}

fn sizes() -> impl Iterator<Item = u64> {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    let next = |size: &u64| Some(((*size as f64) * STEP) as u64).filter(|next| *next <= LARGEST);
    std::iter::successors(Some(SMALLEST), next)
}

/// The smallest size after which no larger one wins a point more.
fn knee(curve: &Curve) -> u64 {
    let ratio = |size: u64| curve.predict(size, u64::MAX).hit_ratio;
    let best = ratio(LARGEST);
    sizes().find(|size| best - ratio(*size) < WORTH).unwrap_or(LARGEST)
}

/// What is recommended: the knee of the curve, the smallest size after which no larger one wins a point more.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn recommendation(fleet: &Fleet, present: Present, now_ms: Millis) -> Recommendation {
    let curve = curve(fleet, None);
    let now = curve.predict(present.cache_size, present.cache_memory_mb.saturating_mul(MB));
    if curve.samples() < ENOUGH {
        return Recommendation {
            cache_size: present.cache_size,
            cache_memory_mb: present.cache_memory_mb,
            hit_ratio: number(now.hit_ratio),
            expected_hit_ratio: number(now.hit_ratio),
            samples: curve.samples(),
            reason: format!(
                "{} lookups seen, {ENOUGH} are needed: nothing is recommended yet",
                curve.samples()
            ),
        };
    }
    let knee = knee(&curve);
    // Within a step of what is there, and no loss: leave it.
    let close = (knee as f64 / present.cache_size.max(1) as f64).ln().abs() < STEP.ln() * 1.5;
    let size = if close { present.cache_size } else { knee };
    let memory = memory_for(fleet, size, now_ms).max(if close { present.cache_memory_mb } else { 1 });
    let expected = curve.predict(size, memory.saturating_mul(MB)).hit_ratio;
    let gain = expected - now.hit_ratio;
    let reason = if size == present.cache_size {
        format!(
            "{} entries are right: no larger cache wins a point more",
            present.cache_size
        )
    } else {
        format!(
            "{} -> {size} entries: {gain:+.1} points; beyond {size} less than a point",
            present.cache_size
        )
    };
    Recommendation {
        cache_size: size,
        cache_memory_mb: memory,
        hit_ratio: number(now.hit_ratio),
        expected_hit_ratio: number(expected),
        samples: curve.samples(),
        reason,
    }
}

/// Memory that so many entries of the usual size need, with a quarter to spare.
fn memory_for(fleet: &Fleet, entries: u64, now_ms: Millis) -> u64 {
    let held = crate::views::held(fleet, now_ms);
    let each = held.bytes.checked_div(held.entries).unwrap_or(USUAL_ENTRY);
    let bytes = entries.saturating_mul(each) / 4 * 5;
    bytes.div_ceil(MB).clamp(16, MOST_MB)
}
