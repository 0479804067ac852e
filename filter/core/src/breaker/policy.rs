//! When a breaker trips and how it recovers.

use super::OutcomeClass;
use crate::Millis;

/// Which ends of a call count as failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailurePolicy {
    /// Statuses of the upstream.
    pub statuses: Vec<u16>,
    /// No connection.
    pub connect_failure: bool,
    /// Reset before the end.
    pub reset: bool,
    /// No answer in time.
    pub timeout: bool,
    /// Stream refused.
    pub refused: bool,
    /// No HTTP.
    pub protocol_error: bool,
}

/// A breaker's thresholds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Off: every call passes and none is counted.
    pub enabled: bool,
    /// Counts what it would refuse, and refuses nothing.
    pub dry_run: bool,
    /// Opens at this share of failures among the calls of the window, 1..=100.
    pub failure_rate_percent: u32,
    /// Opens at this share of slow calls, 1..=100.
    pub slow_call_rate_percent: u32,
    /// A call is slow from this time to its response head on.
    pub slow_call_ms: Millis,
    /// The sliding window, ten buckets.
    pub window_ms: Millis,
    /// No rate is judged on fewer calls.
    pub minimum_calls: u32,
    /// Opens after so many connect failures in a row; 0 = not.
    pub consecutive_connect_failures: u32,
    /// First wait in open.
    pub open_wait_ms: Millis,
    /// Longest wait in open; each failed recovery doubles it up to here.
    pub open_wait_max_ms: Millis,
    /// The wait is lengthened by up to this share at random.
    pub jitter_percent: u32,
    /// Calls let through at once in half-open, and successes needed to close.
    pub probes: u32,
    /// How long calls that can wait are held to the usual rate after a recovery; then twice as many, and so on. 0 = not.
    pub ramp_ms: Millis,
    /// What counts as a failure.
    pub failures: FailurePolicy,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            dry_run: false,
            failure_rate_percent: 50,
            slow_call_rate_percent: 100,
            slow_call_ms: 60_000,
            window_ms: 10_000,
            minimum_calls: 20,
            consecutive_connect_failures: 5,
            open_wait_ms: 5_000,
            open_wait_max_ms: 60_000,
            jitter_percent: 20,
            probes: 3,
            ramp_ms: 30_000,
            failures: FailurePolicy {
                statuses: vec![500, 502, 503, 504],
                connect_failure: true,
                reset: true,
                timeout: true,
                refused: true,
                protocol_error: true,
            },
        }
    }
}

impl BreakerPolicy {
    /// Whether an end is a failure; `None` when it says nothing about the upstream.
    #[must_use]
    pub fn failed(&self, class: OutcomeClass) -> Option<bool> {
        Some(match class {
            OutcomeClass::Status(status) => self.failures.statuses.contains(&status),
            OutcomeClass::ConnectFailure => self.failures.connect_failure,
            OutcomeClass::Reset => self.failures.reset,
            OutcomeClass::Timeout => self.failures.timeout,
            OutcomeClass::Refused => self.failures.refused,
            OutcomeClass::ProtocolError => self.failures.protocol_error,
            OutcomeClass::ClientGone | OutcomeClass::Overflow | OutcomeClass::Local => return None,
        })
    }

    /// The wait of the `attempt`-th opening in a row, from 0.
    #[must_use]
    pub fn wait_ms(&self, attempt: u32, random: u64) -> Millis {
        let base = self
            .open_wait_ms
            .saturating_mul(1 << attempt.min(16))
            .min(self.open_wait_max_ms)
            .max(1);
        let spread = base.saturating_mul(u64::from(self.jitter_percent)) / 100;
        base.saturating_add(random % (spread + 1))
    }
}
