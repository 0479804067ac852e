//! The cache tier behind all Envoys of a fleet.

use serde_json::Value;

use super::kinds::Set;
use super::reader::{Findings, ObjectReader, Outcome, Problem, Reading};
use super::rows::{Rows, Topic, settings};
use super::scalars::{Flag, Text, count, duration, size};
use super::size::format_size;
use super::{MAX_ROUTES, ViolationCode};

/// Largest stored response that a message carries: above this a worker would stall over one message. Bytes.
const MAX_OBJECT: u64 = 1 << 20;

settings! {
    /// When an Envoy asks the shared tier before the origin, and what it offers to it.
    SharedTier {
        /// True: a miss asks the tier first, and what is stored is offered to it. Needs a control plane.
        "enabled" => enabled: bool = false, Flag, example true;
        /// Names of the routes that take part. None: all that are cached.
        "routes" => routes: Vec<String> = Vec::new(), Set { item: ROUTE, max: MAX_ROUTES, sorted: false }, example ["catalogue"];
        /// Smallest stored response offered, with its head.
        "min_size" => min_size: u64 = 0, size(0..=MAX_OBJECT), example "1KiB";
        /// Largest stored response offered, with its head.
        "max_size" => max_size: u64 = 256 << 10, size(0..=MAX_OBJECT), example "512KiB";
        /// Longest wait for the tier's answer; then the request goes to the origin.
        "deadline" => deadline_ms: u64 = 5, duration(1..=1_000), example "10ms";
        /// Answers missing in a row after which a worker stops asking.
        "breaker_failures" => breaker_failures: u32 = 5, count(1..=1_000, "answers"), example 10;
        /// How long it does not ask then.
        "breaker_wait" => breaker_wait_ms: u64 = 1_000, duration(100..=60_000), example "5s";
        /// True: of all Envoys that miss the same key at once, one fetches it and the others wait for it.
        "coalesce" => coalesce: bool = true, Flag, example false;
        /// Longest wait for another Envoy's fetch.
        "coalesce_wait" => coalesce_wait_ms: u64 = 1_000, duration(1..=10_000), example "500ms";
    }
}

impl Topic for SharedTier {
    fn read(path: String, value: &Value, base: Self, findings: &mut Findings) -> Self {
        let Some(mut object) = ObjectReader::open(path, value, findings) else {
            return base;
        };
        let tier = Self::read_rows(&mut object, base);
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
}

/// A name as routes have it; whether there is such a route is the operator's affair: routes come and go.
const ROUTE: Text = Text {
    read: route_name,
    spell: String::clone,
    pattern: r"^[\s\S]+$",
    max: 64,
    allowed: "the name of a route",
};

fn route_name(value: &Value) -> Outcome<String> {
    match value.as_str() {
        Some(text) if !text.is_empty() && text.len() <= ROUTE.max => Ok(Reading::exact(text.to_owned())),
        _ => Err(Problem::of(ViolationCode::Malformed, value, ROUTE.allowed)),
    }
}
