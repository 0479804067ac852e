//! The cache tier behind all Envoys of a fleet.

use serde_json::{Value, json};

use super::duration::format_duration;
use super::reader::{Findings, ObjectReader, Outcome, Problem, Reading};
use super::size::{format_size, size};
use super::{MAX_ROUTES, ViolationCode};

/// What a message can carry beside the stored response is small; above this a worker would stall over one message.
const TIER_OBJECT: std::ops::RangeInclusive<u64> = 0..=1 << 20;

/// When an Envoy asks the shared tier before the origin, and what it offers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedTier {
    /// True: a miss asks the tier first, and what is stored is offered to it. Needs a control plane.
    pub enabled: bool,
    /// Names of the routes that take part; none = all that are cached.
    pub routes: Vec<String>,
    /// Smallest stored response offered, bytes with its head, 0..=1 MiB.
    pub min_size: u64,
    /// Largest stored response offered, bytes with its head, 0..=1 MiB.
    pub max_size: u64,
    /// Longest wait for the tier's answer, ms, 1..=1,000; then the request goes to the origin.
    pub deadline_ms: u64,
    /// Answers missing in a row after which a worker stops asking, 1..=1,000.
    pub breaker_failures: u32,
    /// How long it does not ask then, ms, 100 ms..=1 min.
    pub breaker_wait_ms: u64,
    /// True: of all Envoys that miss the same key at once, one fetches it and the others wait for it.
    pub coalesce: bool,
    /// Longest wait for another Envoy's fetch, ms, 1 ms..=10 s.
    pub coalesce_wait_ms: u64,
}

impl Default for SharedTier {
    fn default() -> Self {
        Self {
            enabled: false,
            routes: Vec::new(),
            min_size: 0,
            max_size: 256 << 10,
            deadline_ms: 5,
            breaker_failures: 5,
            breaker_wait_ms: 1_000,
            coalesce: true,
            coalesce_wait_ms: 1_000,
        }
    }
}

impl SharedTier {
    pub(super) fn read(path: String, value: &Value, findings: &mut Findings) -> Self {
        let base = Self::default();
        let Some(mut object) = ObjectReader::open(path, value, findings) else {
            return base;
        };
        let tier = Self {
            enabled: object.boolean("enabled", base.enabled),
            routes: object.set("routes", MAX_ROUTES, route_name).unwrap_or_default(),
            min_size: object
                .read("min_size", |value| size(value, &TIER_OBJECT))
                .unwrap_or(base.min_size),
            max_size: object
                .read("max_size", |value| size(value, &TIER_OBJECT))
                .unwrap_or(base.max_size),
            deadline_ms: object.duration("deadline", base.deadline_ms, 1..=1_000),
            breaker_failures: object.integer("breaker_failures", base.breaker_failures, 1..=1_000),
            breaker_wait_ms: object.duration("breaker_wait", base.breaker_wait_ms, 100..=60_000),
            coalesce: object.boolean("coalesce", base.coalesce),
            coalesce_wait_ms: object.duration("coalesce_wait", base.coalesce_wait_ms, 1..=10_000),
        };
        if tier.min_size > tier.max_size {
            let place = object.place("min_size");
            let message = format!(
                "given {}, allowed is at most max_size, {}",
                format_size(tier.min_size),
                format_size(tier.max_size)
            );
            object
                .findings
                .refuse(place, Problem::new(ViolationCode::OutOfRange, message));
        }
        object.finish();
        tier
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "enabled": self.enabled,
            "routes": self.routes,
            "min_size": format_size(self.min_size),
            "max_size": format_size(self.max_size),
            "deadline": format_duration(self.deadline_ms),
            "breaker_failures": self.breaker_failures,
            "breaker_wait": format_duration(self.breaker_wait_ms),
            "coalesce": self.coalesce,
            "coalesce_wait": format_duration(self.coalesce_wait_ms),
        })
    }
}

/// A name as routes have it; whether there is such a route is the operator's affair: routes come and go.
fn route_name(value: &Value) -> Outcome<String> {
    match value.as_str() {
        Some(text) if !text.is_empty() && text.len() <= 64 => Ok(Reading::exact(text.to_owned())),
        _ => Err(Problem::of(ViolationCode::Malformed, value, "the name of a route")),
    }
}
