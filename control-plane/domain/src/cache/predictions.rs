//! `GET /cache/what-if`: what caches of another size or policy would do.

use crate::Millis;
use crate::fleet::{Envoy, Fleet};
use crate::telemetry::figure::{Figure, number};
use crate::telemetry::sum::Filter;
use crate::what_if::{Curve, Prediction};
use optimizer_proto::settings::EvictionPolicy;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Lookups below which nothing should be concluded.
pub const ENOUGH: u64 = 2_000;
pub(crate) const MB: u64 = 1 << 20;
/// Sizes looked at, each so much larger than the one before.
pub(crate) const STEP: f64 = 1.25;
const SMALLEST: u64 = 100;
pub(crate) const LARGEST: u64 = 1_000_000;
/// The load that is shown is that of so long.
const RECENT_MS: Millis = 300_000;

/// The cache of each Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Entries.
    pub cache_size: u64,
    /// Megabytes.
    pub cache_memory_mb: u64,
    /// Who makes room.
    pub policy: EvictionPolicy,
}

impl CacheShape {
    pub(crate) fn predicted(&self, curve: &Curve) -> Prediction {
        curve.predict(self.cache_size, self.cache_memory_mb.saturating_mul(MB))
    }
}

/// What other caches would do.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Predictions {
    /// With the settings in force.
    pub present: ShapePrediction,
    /// With what was asked for.
    pub predicted: ShapePrediction,
    /// Sampled lookups behind it.
    pub samples: u64,
    /// Enough lookups to go by it.
    pub enough: bool,
    /// Hit ratio of the size asked for under each eviction policy, percent.
    pub policies: BTreeMap<&'static str, Figure>,
    /// Hit ratios of sizes under the policy asked for, each a quarter larger than the one before.
    pub curve: Vec<CurvePoint>,
    /// The prediction for each Envoy.
    pub envoys: Vec<EnvoyPrediction>,
    /// How it is predicted: always `miniature-simulation`, small caches led through a sample of the lookups.
    pub model: &'static str,
    /// The smallest size, in entries, after which no larger one wins a point more.
    pub knee: u64,
    /// Now, milliseconds since 1970.
    pub as_of: Millis,
}

/// What one kind of cache would do. Intervals hold the true value in 95 of 100 cases.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ShapePrediction {
    /// Entries of each Envoy.
    pub cache_size: u64,
    /// Megabytes of each Envoy.
    pub cache_memory_mb: u64,
    /// Eviction policy.
    pub policy: &'static str,
    /// Share of requests that the cache would answer, percent.
    pub hit_ratio: Figure,
    /// Lower end of its interval.
    pub hit_ratio_low: Figure,
    /// Upper end of its interval.
    pub hit_ratio_high: Figure,
    /// Percent of the bytes.
    pub byte_hit_ratio: Figure,
    /// Lower end of its interval.
    pub byte_hit_ratio_low: Figure,
    /// Upper end of its interval.
    pub byte_hit_ratio_high: Figure,
    /// Share of the lookups that the origins would see, percent.
    pub origin_share: Figure,
    /// Lower end of its interval.
    pub origin_share_low: Figure,
    /// Upper end of its interval.
    pub origin_share_high: Figure,
    /// Requests per second that the origins would see, at the load of the last five minutes.
    pub origin_requests_per_second: Figure,
    /// Lower end of its interval.
    pub origin_requests_per_second_low: Figure,
    /// Upper end of its interval.
    pub origin_requests_per_second_high: Figure,
}

/// A size and its hit ratio.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CurvePoint {
    /// Entries of each Envoy.
    pub cache_size: u64,
    /// Share of requests that the cache answers, percent.
    pub hit_ratio: Figure,
}

/// What the cache asked for would do on one Envoy.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EnvoyPrediction {
    /// Instance id of the Envoy.
    pub envoy: String,
    /// Node id of the Envoy.
    pub node_id: String,
    /// Share of requests that its cache would answer, percent.
    pub hit_ratio: Figure,
    /// The interval is so much wide to both sides.
    pub margin: Figure,
    /// Sampled lookups behind it.
    pub samples: u64,
}

fn is_meant(only: Option<&str>, name: &str, envoy: &Envoy) -> bool {
    only.is_none_or(|only| only == name || only == envoy.node_id)
}

/// Of one Envoy, by instance or node id, or of all.
pub(crate) fn curve(fleet: &Fleet, only: Option<&str>, policy: EvictionPolicy) -> Curve {
    let mut sum = Curve::default();
    let meant = fleet.envoys().filter(|(name, envoy)| is_meant(only, name, envoy));
    meant.for_each(|(_, envoy)| sum.add(&envoy.what_if.curve(policy)));
    sum
}

/// What would be with `wanted` in place of `present`, of one Envoy or of all.
#[must_use]
pub fn what_if(
    fleet: &Fleet,
    only: Option<&str>,
    present: CacheShape,
    wanted: CacheShape,
    now_ms: Millis,
) -> Predictions {
    let meant = curve(fleet, only, wanted.policy);
    let load = lookups_per_second(fleet, only, now_ms);
    let policies = EvictionPolicy::WORDS.map(|(word, policy)| {
        let prediction = wanted.predicted(&curve(fleet, only, policy));
        (word, number(prediction.hit_ratio))
    });
    let around = sizes().map(|size| CurvePoint {
        cache_size: size,
        hit_ratio: number(meant.predict(size, u64::MAX).hit_ratio),
    });
    Predictions {
        present: shown(present, &curve(fleet, only, present.policy), load),
        predicted: shown(wanted, &meant, load),
        samples: meant.samples(),
        enough: meant.samples() >= ENOUGH,
        policies: BTreeMap::from(policies),
        curve: around.collect(),
        envoys: each(fleet, only, wanted, now_ms),
        model: "miniature-simulation",
        knee: knee(&meant),
        as_of: now_ms,
    }
}

/// Points by which the hit ratio is to grow with `wanted` in place of `present`, and the sampled lookups behind it; `None` while they are
/// too few.
#[must_use]
pub fn gain(fleet: &Fleet, present: CacheShape, wanted: CacheShape) -> Option<(Figure, u64)> {
    let then = curve(fleet, None, wanted.policy);
    let now = curve(fleet, None, present.policy);
    let gain = wanted.predicted(&then).hit_ratio - present.predicted(&now).hit_ratio;
    (then.samples() >= ENOUGH).then(|| (number(gain), then.samples()))
}

fn each(fleet: &Fleet, only: Option<&str>, wanted: CacheShape, now_ms: Millis) -> Vec<EnvoyPrediction> {
    let meant = fleet
        .present(now_ms)
        .filter(|(name, envoy)| is_meant(only, name, envoy));
    let predicted = meant.map(|(name, envoy)| {
        let prediction = wanted.predicted(&envoy.what_if.curve(wanted.policy));
        EnvoyPrediction {
            envoy: name.to_owned(),
            node_id: envoy.node_id.clone(),
            hit_ratio: number(prediction.hit_ratio),
            margin: number(prediction.margin),
            samples: envoy.what_if.samples(),
        }
    });
    predicted.collect()
}

fn shown(shape: CacheShape, curve: &Curve, lookups_per_second: f64) -> ShapePrediction {
    let prediction = shape.predicted(curve);
    let within = |value: f64| number(value.clamp(0.0, 100.0));
    let load = |share: f64| number(lookups_per_second * share.clamp(0.0, 100.0) / 100.0);
    let (hits, bytes, margin) = (prediction.hit_ratio, prediction.byte_hit_ratio, prediction.margin);
    let misses = 100.0 - hits;
    ShapePrediction {
        cache_size: shape.cache_size,
        cache_memory_mb: shape.cache_memory_mb,
        policy: shape.policy.as_str(),
        hit_ratio: within(hits),
        hit_ratio_low: within(hits - margin),
        hit_ratio_high: within(hits + margin),
        byte_hit_ratio: within(bytes),
        byte_hit_ratio_low: within(bytes - prediction.byte_margin),
        byte_hit_ratio_high: within(bytes + prediction.byte_margin),
        origin_share: within(misses),
        origin_share_low: within(misses - margin),
        origin_share_high: within(misses + margin),
        origin_requests_per_second: load(misses),
        origin_requests_per_second_low: load(misses - margin),
        origin_requests_per_second_high: load(misses + margin),
    }
}

fn lookups_per_second(fleet: &Fleet, only: Option<&str>, now_ms: Millis) -> f64 {
    let filter = Filter {
        envoy: only.map(ToOwned::to_owned),
        ..Filter::default()
    };
    let window = fleet.recent_of(&filter, RECENT_MS, now_ms);
    let counts = window.by_outcome.values().map(|requests| requests.count);
    let requests = counts.fold(0_u64, u64::saturating_add);
    let rate = fleet.requests_per_second(&filter, &window, RECENT_MS, now_ms);
    rate * window.cache.lookups as f64 / requests.max(1) as f64
}

fn sizes() -> impl Iterator<Item = u64> {
    let next = |size: &u64| Some(((*size as f64) * STEP) as u64).filter(|next| *next <= LARGEST);
    std::iter::successors(Some(SMALLEST), next)
}

/// Percentage points that a larger cache must gain to be worth its memory.
const WORTH: f64 = 1.0;

/// The smallest size after which no larger one wins a point more.
pub(crate) fn knee(curve: &Curve) -> u64 {
    let ratio = |size: u64| curve.predict(size, u64::MAX).hit_ratio;
    let best = ratio(LARGEST);
    sizes().find(|size| best - ratio(*size) < WORTH).unwrap_or(LARGEST)
}
