//! The circuit breaker's settings.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::duration::{HOUR_MS, MINUTE_MS, SECOND_MS};
use super::forms::{Shared, View, either, with_default};
use super::health_check::{ActiveHealthCheck, MAX_HEALTH_CHECKS};
use super::kinds::{Scalar, Set, list};
use super::number;
use super::reader::{Outcome, Problem};
use super::rows::{Describe, Topic, settings};
use super::scalars::{Flag, Words, count, duration, percent};

const MAX_CALLS: u32 = 1_000_000;
const MAX_STATUSES: usize = 64;

/// What can count as a failure of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// No connection could be made.
    ConnectFailure,
    /// The connection broke before the response was complete.
    Reset,
    /// No response in time.
    Timeout,
    /// The upstream refused the request before processing it.
    Refused,
    /// The response broke the protocol.
    ProtocolError,
    /// A response with one of [`Breaker::failure_statuses`].
    Status,
}

impl FailureClass {
    /// Every class with its word in the document, in canonical order.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("connect_failure", Self::ConnectFailure),
        ("reset", Self::Reset),
        ("timeout", Self::Timeout),
        ("refused", Self::Refused),
        ("protocol_error", Self::ProtocolError),
        ("status", Self::Status),
    ];
}

settings! {
    /// When calls to an upstream stop, and how they resume.
    Breaker {
        /// False: every call passes and nothing is counted.
        "enabled" => enabled: bool = true, Flag, example false;
        /// Share of failed calls in the window that opens.
        "failure_rate_percent" => failure_rate_percent: u32 = 50, percent(1..=100), example 40;
        /// Share of slow calls in the window that opens.
        "slow_call_rate_percent" => slow_call_rate_percent: u32 = 100, percent(1..=100), example 80;
        /// From which duration a call is slow.
        "slow_call_duration" => slow_call_duration_ms: u64 = MINUTE_MS, duration(1..=HOUR_MS), example "250ms";
        /// Span of the sliding window.
        "window" => window_ms: u64 = 10 * SECOND_MS, duration(SECOND_MS..=10 * MINUTE_MS), example "30s";
        /// Calls in the window below which no rate is judged.
        "minimum_calls" => minimum_calls: u32 = 20, count(1..=MAX_CALLS, "calls"), example 50;
        /// Connect failures in a row that open at once. 0: off.
        "consecutive_connect_failures" => consecutive_connect_failures: u32 = 5, count(0..=MAX_CALLS, "calls"), example 3;
        /// First wait in the open state.
        "open_wait" => open_wait_ms: u64 = 5 * SECOND_MS, duration(100..=10 * MINUTE_MS), example "2s";
        /// Greatest wait, to which repeated failures of the probes grow. Not below open_wait.
        "open_wait_max" => open_wait_max_ms: u64 = MINUTE_MS, duration(100..=HOUR_MS), example "2m";
        /// Greatest random lengthening of a wait.
        "jitter_percent" => jitter_percent: u32 = 20, percent(0..=100), example 10;
        /// Calls let through in the half-open state.
        "probes" => probes: u32 = 3, count(1..=1_000, "calls"), example 5;
        /// How long after a recovery calls that can wait are held to the usual rate. 0s: not at all. Then, as long as some have to wait,
        /// twice as many for as long, and so on.
        "recovery_ramp" => recovery_ramp_ms: u64 = 30 * SECOND_MS, duration(0..=10 * MINUTE_MS), example "1m";
        /// Longest Retry-After that a refused client is told: an operator may end a forced state sooner.
        "retry_after_max" => retry_after_max_ms: u64 = MINUTE_MS, duration(SECOND_MS..=HOUR_MS), example "10s";
        /// Statuses that are failures.
        "failure_statuses" => failure_statuses: Vec<u16> = vec![500, 502, 503, 504],
            Set { item: FailureStatus, max: MAX_STATUSES, sorted: true }, example [429, 503];
        /// What counts as a failure. status: a response with one of failure_statuses.
        "failure_classes" => failure_classes: Vec<FailureClass> = FailureClass::WORDS.map(|(_, class)| class).to_vec(),
            Set { item: Words(&FailureClass::WORDS), max: FailureClass::WORDS.len(), sorted: true }, example ["timeout", "status"];
        /// True: judge and report, but let every call pass.
        "dry_run" => dry_run: bool = false, Flag, example true;
        /// Requests that try half-open breakers' upstreams while no client does. None: only clients do. Each breaker has one at most.
        "active_health_checks" => active_health_checks: Vec<ActiveHealthCheck> = Vec::new(),
            list::<ActiveHealthCheck>(MAX_HEALTH_CHECKS), example [{"upstream": "*", "path": "/health"}];
    }
}

impl Topic for Breaker {}

/// A status that can be a failure of the upstream: what a client has done wrong is none, except that "too many requests" is how many
/// an upstream says that it is overloaded.
struct FailureStatus;

const SERVER_ERRORS: RangeInclusive<u64> = 500..=599;
const TOO_MANY_REQUESTS: RangeInclusive<u64> = 429..=429;

impl Describe for FailureStatus {
    fn schema(&self, view: View, default: Option<&Value>) -> Value {
        let ranges = [&TOO_MANY_REQUESTS, &SERVER_ERRORS];
        let numbers = json!({"anyOf": ranges.map(|range| view.whole_number(range))});
        with_default(either(view, numbers, Shared::Number), default)
    }

    fn allowed(&self) -> String {
        "429, 500 to 599".to_owned()
    }

    fn unit(&self) -> Option<&'static str> {
        Some("status")
    }
}

impl Scalar for FailureStatus {
    type Value = u16;

    fn read(&self, value: &Value) -> Outcome<u16> {
        let reading = match number::integer(value, &TOO_MANY_REQUESTS) {
            Ok(reading) => reading,
            Err(_) => number::integer(value, &SERVER_ERRORS).map_err(|problem| {
                let (code, message) = (problem.code, format!("{}, or 429", problem.message));
                Problem::new(code, message)
            })?,
        };
        Ok(reading.map(|status| u16::try_from(status).unwrap_or(u16::MAX)))
    }

    fn spell(&self, status: &u16) -> Value {
        json!(status)
    }
}
