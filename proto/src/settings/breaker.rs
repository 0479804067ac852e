//! The circuit breaker's settings.

use serde_json::{Value, json};

use super::duration::format_duration;
use super::health_check::{ActiveHealthCheck, MAX_HEALTH_CHECKS};
use super::number;
use super::reader::{Findings, ObjectReader, Outcome, Problem, word};

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
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

    /// The word in the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        super::reader::word_of(&Self::WORDS, self)
    }
}

/// When calls to an upstream stop, and how they resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// False: every call passes and nothing is counted.
    pub enabled: bool,
    /// Share of failed calls in the window that opens, percent, 1..=100.
    pub failure_rate_percent: u32,
    /// Share of slow calls in the window that opens, percent, 1..=100.
    pub slow_call_rate_percent: u32,
    /// From which duration a call is slow, ms, 1 ms..=1 h.
    pub slow_call_duration_ms: u64,
    /// Span of the sliding window, ms, 1 s..=10 min.
    pub window_ms: u64,
    /// Calls in the window below which no rate is judged, 1..=1,000,000.
    pub minimum_calls: u32,
    /// Connect failures in a row that open at once, 0..=1,000,000; 0 = off.
    pub consecutive_connect_failures: u32,
    /// First wait in the open state, ms, 100 ms..=10 min.
    pub open_wait_ms: u64,
    /// Greatest wait, to which repeated failures of the probes grow, ms, `open_wait`..=1 h.
    pub open_wait_max_ms: u64,
    /// Greatest random lengthening of a wait, percent, 0..=100.
    pub jitter_percent: u32,
    /// Calls let through in the half-open state, 1..=1,000.
    pub probes: u32,
    /// How long after a recovery calls that can wait are held to the usual rate, ms, 0..=10 min; 0 = not. Then, as long as some have
    /// to wait, twice as many for as long, and so on.
    pub recovery_ramp_ms: u64,
    /// Statuses that are failures: ascending, each once, 429 or 500..=599, at most 64.
    pub failure_statuses: Vec<u16>,
    /// What counts as a failure: in the order of [`FailureClass::WORDS`], each once.
    pub failure_classes: Vec<FailureClass>,
    /// True: judge and report, but let every call pass.
    pub dry_run: bool,
    /// Requests that try half-open breakers' upstreams while no client does; none = only clients do. At most 256, each breaker once.
    pub active_health_checks: Vec<ActiveHealthCheck>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_rate_percent: 50,
            slow_call_rate_percent: 100,
            slow_call_duration_ms: 60_000,
            window_ms: 10_000,
            minimum_calls: 20,
            consecutive_connect_failures: 5,
            open_wait_ms: 5_000,
            open_wait_max_ms: 60_000,
            jitter_percent: 20,
            probes: 3,
            recovery_ramp_ms: 30 * SECOND_MS,
            failure_statuses: vec![500, 502, 503, 504],
            failure_classes: FailureClass::WORDS.map(|(_, class)| class).to_vec(),
            dry_run: false,
            active_health_checks: Vec::new(),
        }
    }
}

impl Breaker {
    pub(super) fn read(path: String, value: &Value, findings: &mut Findings) -> Self {
        let base = Self::default();
        let Some(mut object) = ObjectReader::open(path, value, findings) else {
            return base;
        };
        let breaker = Self {
            enabled: object.boolean("enabled", base.enabled),
            failure_rate_percent: object.integer("failure_rate_percent", base.failure_rate_percent, 1..=100),
            slow_call_rate_percent: object.integer("slow_call_rate_percent", base.slow_call_rate_percent, 1..=100),
            slow_call_duration_ms: object.duration("slow_call_duration", base.slow_call_duration_ms, 1..=HOUR_MS),
            window_ms: object.duration("window", base.window_ms, SECOND_MS..=10 * MINUTE_MS),
            minimum_calls: object.integer("minimum_calls", base.minimum_calls, 1..=MAX_CALLS),
            consecutive_connect_failures: object.integer(
                "consecutive_connect_failures",
                base.consecutive_connect_failures,
                0..=MAX_CALLS,
            ),
            open_wait_ms: object.duration("open_wait", base.open_wait_ms, 100..=10 * MINUTE_MS),
            open_wait_max_ms: object.duration("open_wait_max", base.open_wait_max_ms, 100..=HOUR_MS),
            jitter_percent: object.integer("jitter_percent", base.jitter_percent, 0..=100),
            probes: object.integer("probes", base.probes, 1..=1_000),
            recovery_ramp_ms: object.duration("recovery_ramp", base.recovery_ramp_ms, 0..=10 * MINUTE_MS),
            failure_statuses: sorted(object.set("failure_statuses", MAX_STATUSES, status))
                .unwrap_or(base.failure_statuses),
            failure_classes: sorted(object.set("failure_classes", FailureClass::WORDS.len(), |item| {
                word(item, &FailureClass::WORDS)
            }))
            .unwrap_or(base.failure_classes),
            dry_run: object.boolean("dry_run", base.dry_run),
            active_health_checks: object
                .list("active_health_checks", MAX_HEALTH_CHECKS)
                .unwrap_or_default()
                .into_iter()
                .filter_map(|(path, value)| ActiveHealthCheck::read(path, value, object.findings))
                .collect(),
        };
        object.finish();
        breaker
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "enabled": self.enabled,
            "failure_rate_percent": self.failure_rate_percent,
            "slow_call_rate_percent": self.slow_call_rate_percent,
            "slow_call_duration": format_duration(self.slow_call_duration_ms),
            "window": format_duration(self.window_ms),
            "minimum_calls": self.minimum_calls,
            "consecutive_connect_failures": self.consecutive_connect_failures,
            "open_wait": format_duration(self.open_wait_ms),
            "open_wait_max": format_duration(self.open_wait_max_ms),
            "jitter_percent": self.jitter_percent,
            "probes": self.probes,
            "recovery_ramp": format_duration(self.recovery_ramp_ms),
            "failure_statuses": self.failure_statuses,
            "failure_classes": self.failure_classes.iter().map(|class| class.as_str()).collect::<Vec<_>>(),
            "dry_run": self.dry_run,
            "active_health_checks": self.active_health_checks.iter().map(ActiveHealthCheck::to_json).collect::<Vec<_>>(),
        })
    }
}

/// A status that can be a failure of the upstream: what a client has done wrong is none, except that "too many requests" is how many
/// an upstream says that it is overloaded.
fn status(value: &Value) -> Outcome<u16> {
    let reading = match number::integer(value, &(429..=429)) {
        Ok(reading) => reading,
        Err(_) => number::integer(value, &(500..=599)).map_err(|problem| {
            let (code, message) = (problem.code, format!("{}, or 429", problem.message));
            Problem::new(code, message)
        })?,
    };
    Ok(reading.map(|status| u16::try_from(status).unwrap_or(u16::MAX)))
}

fn sorted<T: Ord>(list: Option<Vec<T>>) -> Option<Vec<T>> {
    let mut list = list?;
    list.sort_unstable();
    Some(list)
}
