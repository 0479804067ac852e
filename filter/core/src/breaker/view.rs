//! Breakers as an operator sees them.

use super::record::{Cause, Evidence, Forced, Record, State};
use super::{BreakerPolicy, table};
use crate::Millis;
use crate::shared_map::SharedMap;
use optimizer_proto::codes::BreakerState;

impl From<State> for BreakerState {
    fn from(state: State) -> Self {
        match state {
            State::Closed => Self::Closed,
            State::Open => Self::Open,
            State::HalfOpen => Self::HalfOpen,
        }
    }
}

/// A breaker and its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The upstream of the breaker.
    pub upstream: String,
    /// Its state, as calls observe it.
    pub state: BreakerState,
    /// Its own state, which calls observe unless an operator's override or a dry run takes precedence.
    pub judged: BreakerState,
    /// Since when it stands there.
    pub since_ms: Millis,
    /// Calls, failures and slow calls in the window.
    pub window: (u64, u64, u64),
    /// Connect failures in a row.
    pub connect_failures: u32,
    /// What it saw when it last opened; nothing while it is closed.
    pub evidence: Evidence,
    /// Calls refused since the Envoy started.
    pub refused: u64,
    /// Calls it would have refused.
    pub would_refuse: u64,
    /// Calls put off during recoveries.
    pub deferred: u64,
    /// When the next probe may pass; 0 unless open. Never in the past.
    pub next_probe_ms: Millis,
    /// Why it is in this state.
    pub cause: Cause,
    /// Probes under way.
    pub probes: u32,
    /// When the operator's override ends; 0 = there is none.
    pub forced_until_ms: Millis,
    /// When the recovery under way began; 0 = there is none.
    pub recovering_since_ms: Millis,
}

/// All breakers that have seen a call, by name; none where breakers are switched off.
pub fn all(map: &impl SharedMap, policy: &BreakerPolicy, now_ms: Millis) -> Vec<View> {
    if !policy.enabled {
        return Vec::new();
    }
    let mut views: Vec<View> = table::records(map)
        .map(|(upstream, record)| view(upstream, record, policy, now_ms))
        .collect();
    views.sort_by(|a, b| a.upstream.cmp(&b.upstream));
    views
}

fn view(upstream: String, mut record: Record, policy: &BreakerPolicy, now_ms: Millis) -> View {
    record.lapse(policy, now_ms);
    let forced = record.forced != Forced::None;
    // By time, whoever has noticed: with the wait over the next call may try, and so it is half-open.
    if record.is_due(policy, now_ms) {
        record.state = State::HalfOpen;
        record.since_ms = record.wait_until_ms.min(now_ms);
    }
    View {
        upstream,
        state: record.shown(policy),
        judged: record.state.into(),
        since_ms: if forced {
            record.forced_since_ms
        } else {
            record.since_ms
        },
        window: record.window(policy, now_ms),
        connect_failures: record.connect_failures,
        evidence: if record.state == State::Closed {
            Evidence::default()
        } else {
            record.evidence
        },
        refused: record.refused,
        would_refuse: record.would_refuse,
        deferred: record.deferred,
        next_probe_ms: if record.state == State::Open {
            record.wait_until_ms
        } else {
            0
        },
        cause: if forced { Cause::Operator } else { record.cause },
        probes: u32::try_from(record.probes.len()).unwrap_or(u32::MAX),
        forced_until_ms: record.forced_until_ms,
        recovering_since_ms: record.ramp.since_ms,
    }
}
