//! A breaker's shared state: counts, where it stands, and its form as bytes.

use super::ramp::Ramp;
use crate::Millis;

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Calls pass and are counted.
    #[default]
    Closed,
    /// Calls are refused until the wait is over.
    Open,
    /// A few calls pass as probes.
    HalfOpen,
}

/// What an operator has put in place of the breaker's own judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Forced {
    /// Nothing.
    #[default]
    None,
    /// Refuse every call.
    Open,
    /// Let every call pass.
    Closed,
    /// Judge, count what would be refused, refuse nothing.
    DryRun,
}

/// Why a breaker stands where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cause {
    /// It was never elsewhere.
    #[default]
    None,
    /// Failure rate.
    FailureRate,
    /// Slow-call rate.
    SlowCallRate,
    /// Connect failures in a row.
    ConnectFailures,
    /// A probe failed.
    ProbeFailed,
    /// An operator's override.
    Operator,
    /// An operator's override has run out.
    OverrideExpired,
    /// The probes went well.
    Recovered,
}

impl Cause {
    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::FailureRate => "failure_rate",
            Self::SlowCallRate => "slow_call_rate",
            Self::ConnectFailures => "connect_failures",
            Self::ProbeFailed => "probe_failed",
            Self::Operator => "operator",
            Self::OverrideExpired => "word_expired",
            Self::Recovered => "recovered",
        }
    }
}

/// Buckets of the window.
pub(super) const BUCKETS: usize = 10;
/// Probes tracked at once: as many as the settings allow.
pub(super) const MAX_PROBES: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bucket {
    /// Number of the bucket's span since the epoch; tells an old bucket from a new one in the same place.
    pub(super) span: u64,
    pub(super) calls: u32,
    pub(super) failures: u32,
    pub(super) slow: u32,
}

/// A probe under way. A VM that traps never resolves it: it is taken back when the VM is known to be gone, at the latest when its
/// time runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) id: u64,
    pub(super) until_ms: Millis,
    /// The VM that has it.
    pub(super) holder: u64,
}

/// What a breaker saw when it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Calls in the window.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that were slow.
    pub slow: u64,
    /// Connect failures in a row.
    pub connect_failures: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Record {
    pub(super) state: State,
    pub(super) since_ms: Millis,
    pub(super) cause: Cause,
    /// Changes with each transition; a permit of an older one is worth nothing.
    pub(super) generation: u64,
    /// Openings in a row without closing.
    pub(super) attempts: u32,
    pub(super) wait_until_ms: Millis,
    pub(super) connect_failures: u32,
    pub(super) probe_successes: u32,
    pub(super) probes: Vec<Probe>,
    pub(super) refused: u64,
    /// Calls that passed only because the breaker's judgement was not in force.
    pub(super) would_refuse: u64,
    /// Calls put off while the upstream recovers.
    pub(super) deferred: u64,
    pub(super) forced: Forced,
    pub(super) forced_since_ms: Millis,
    pub(super) forced_until_ms: Millis,
    pub(super) evidence: Evidence,
    pub(super) ramp: Ramp,
    pub(super) buckets: [Bucket; BUCKETS],
}

/// First byte; another format reads as a fresh breaker.
const FORMAT: u8 = 2;

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(420);
        out.extend_from_slice(&[FORMAT, self.state as u8, self.cause as u8, self.forced as u8]);
        for word in [
            self.since_ms,
            self.generation,
            u64::from(self.attempts),
            self.wait_until_ms,
            u64::from(self.connect_failures),
            u64::from(self.probe_successes),
            self.refused,
            self.would_refuse,
            self.deferred,
            self.forced_since_ms,
            self.forced_until_ms,
            self.evidence.calls,
            self.evidence.failures,
            self.evidence.slow,
            u64::from(self.evidence.connect_failures),
            self.ramp.usual,
            self.ramp.since_ms,
            self.ramp.filled_ms,
            self.ramp.deferred_ms,
            self.ramp.tokens.cast_unsigned(),
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for bucket in &self.buckets {
            out.extend_from_slice(&bucket.span.to_le_bytes());
            for count in [bucket.calls, bucket.failures, bucket.slow] {
                out.extend_from_slice(&count.to_le_bytes());
            }
        }
        for probe in self.probes.iter().take(MAX_PROBES) {
            out.extend_from_slice(&probe.id.to_le_bytes());
            out.extend_from_slice(&probe.until_ms.to_le_bytes());
            out.extend_from_slice(&probe.holder.to_le_bytes());
        }
        out
    }

    /// Reads a record; what does not decode is a breaker that has seen nothing.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        Self::read(bytes).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut input = Input { rest: bytes };
        let &[format, state, cause, forced] = input.take(4)? else {
            return None;
        };
        if format != FORMAT {
            return None;
        }
        let mut record = Self {
            state: match state {
                0 => State::Closed,
                1 => State::Open,
                2 => State::HalfOpen,
                _ => return None,
            },
            cause: match cause {
                0 => Cause::None,
                1 => Cause::FailureRate,
                2 => Cause::SlowCallRate,
                3 => Cause::ConnectFailures,
                4 => Cause::ProbeFailed,
                5 => Cause::Operator,
                6 => Cause::OverrideExpired,
                7 => Cause::Recovered,
                _ => return None,
            },
            forced: match forced {
                0 => Forced::None,
                1 => Forced::Open,
                2 => Forced::Closed,
                3 => Forced::DryRun,
                _ => return None,
            },
            since_ms: input.u64()?,
            generation: input.u64()?,
            attempts: u32::try_from(input.u64()?).ok()?,
            wait_until_ms: input.u64()?,
            connect_failures: u32::try_from(input.u64()?).ok()?,
            probe_successes: u32::try_from(input.u64()?).ok()?,
            refused: input.u64()?,
            would_refuse: input.u64()?,
            deferred: input.u64()?,
            forced_since_ms: input.u64()?,
            forced_until_ms: input.u64()?,
            evidence: Evidence {
                calls: input.u64()?,
                failures: input.u64()?,
                slow: input.u64()?,
                connect_failures: u32::try_from(input.u64()?).ok()?,
            },
            ramp: Ramp {
                usual: input.u64()?,
                since_ms: input.u64()?,
                filled_ms: input.u64()?,
                deferred_ms: input.u64()?,
                tokens: input.u64()?.cast_signed(),
            },
            ..Self::default()
        };
        for bucket in &mut record.buckets {
            *bucket = Bucket {
                span: input.u64()?,
                calls: input.u32()?,
                failures: input.u32()?,
                slow: input.u32()?,
            };
        }
        while let (Some(id), Some(until_ms), Some(holder)) = (input.u64(), input.u64(), input.u64()) {
            record.probes.push(Probe { id, until_ms, holder });
        }
        record.probes.truncate(MAX_PROBES);
        Some(record)
    }
}

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_bytes() {
        let mut record = Record {
            state: State::HalfOpen,
            cause: Cause::SlowCallRate,
            generation: 7,
            ..Record::default()
        };
        record.buckets[3] = Bucket {
            span: 9,
            calls: 4,
            failures: 3,
            slow: 2,
        };
        record.ramp.tokens = -5;
        record.evidence.connect_failures = 6;
        record.probes.push(Probe {
            id: 1,
            until_ms: 2,
            holder: 3,
        });
        assert_eq!(Record::decode(&record.encode()), record);
    }

    #[test]
    fn garbage_is_a_fresh_breaker() {
        let bytes = Record::default().encode();
        for cut in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..cut]), Record::default());
        }
        assert_eq!(Record::decode(&[9; 500]), Record::default());
    }
}
