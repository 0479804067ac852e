//! The same totals as Envoy statistics (`api_optimizer_*`), for whoever scrapes Envoy instead of the control plane.

use crate::driver::host::{Host, Metrics};
use optimizer_proto::codes::{ErrorKind, TierResult};
use optimizer_proto::telemetry::counters::{self, Counter};
use optimizer_proto::v1::{Outcome, RequestSeries, TelemetryDelta};
use std::collections::BTreeMap;

/// Envoy's numbers of the metrics defined so far. Names are a closed set, so this is bounded.
#[derive(Debug, Default)]
pub struct Stats {
    ids: BTreeMap<&'static str, u32>,
}

impl Stats {
    /// Adds a delta, once, on its way to the mailbox.
    pub fn count(&mut self, host: &impl Host, delta: &TelemetryDelta) {
        for series in &delta.requests {
            self.add(host, outcome_name(series.outcome), series.count);
        }
        for row in counters::SERIES {
            self.add_row(host, row, sum(delta, |series| row.of(series)));
        }
        self.add(host, TRANSITIONS, delta.breaker_events.len() as u64);
        if let Some(cache) = &delta.cache {
            for row in counters::CACHE {
                self.add_row(host, row, row.of(cache));
            }
        }
        let [hits, misses, failures] = TIER;
        for reason in &delta.reasons {
            match reason.code.parse() {
                Ok(TierResult::Hit) => self.add(host, hits, reason.count),
                Ok(TierResult::Miss) => self.add(host, misses, reason.count),
                Ok(TierResult::Timeout | TierResult::Unreachable) => self.add(host, failures, reason.count),
                _ => {}
            }
        }
        for error in &delta.errors {
            self.add(host, error_name(&error.kind), error.count);
        }
    }

    fn add_row<M>(&mut self, host: &impl Metrics, row: &Counter<M>, count: u64) {
        if let Some(name) = row.statistic {
            self.add(host, name, count);
        }
    }

    fn add(&mut self, host: &impl Metrics, name: &'static str, count: u64) {
        if count == 0 {
            return;
        }
        let id = match self.ids.get(name) {
            Some(id) => *id,
            None => match host.define_counter(name) {
                Ok(id) => {
                    self.ids.insert(name, id);
                    id
                }
                Err(_) => return,
            },
        };
        host.increment(id, i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// All of them.
pub(crate) fn names() -> Vec<&'static str> {
    const OUTCOMES: [Outcome; 7] = [
        Outcome::Hit,
        Outcome::Stale,
        Outcome::Revalidated,
        Outcome::Miss,
        Outcome::Shed,
        Outcome::Error,
        Outcome::Bypass,
    ];
    let mut names: Vec<&str> = OUTCOMES.map(|outcome| outcome_name(outcome as i32)).to_vec();
    names.extend(counters::SERIES.iter().filter_map(|row| row.statistic));
    names.extend(counters::CACHE.iter().filter_map(|row| row.statistic));
    names.extend(TIER.iter().chain(&[TRANSITIONS]));
    names.extend(ErrorKind::ALL.iter().copied().map(error_statistic));
    names.push(OTHER_ERRORS);
    names
}

const TRANSITIONS: &str = "api_optimizer_breaker_transitions_total";

/// Hits, misses and failures of the shared tier.
const TIER: [&str; 3] = [
    "api_optimizer_tier_hits_total",
    "api_optimizer_tier_misses_total",
    "api_optimizer_tier_failures_total",
];

fn outcome_name(outcome: i32) -> &'static str {
    match Outcome::try_from(outcome).unwrap_or_default() {
        Outcome::Hit => "api_optimizer_requests_hit_total",
        Outcome::Stale => "api_optimizer_requests_stale_total",
        Outcome::Revalidated => "api_optimizer_requests_revalidated_total",
        Outcome::Miss => "api_optimizer_requests_miss_total",
        Outcome::Shed => "api_optimizer_requests_shed_total",
        Outcome::Error => "api_optimizer_requests_error_total",
        Outcome::Bypass | Outcome::Unspecified => "api_optimizer_requests_bypass_total",
    }
}

fn sum(delta: &TelemetryDelta, of: impl Fn(&RequestSeries) -> u64) -> u64 {
    delta.requests.iter().map(of).fold(0, u64::saturating_add)
}

/// Names of statistics have no labels, so each kind of failure has its own.
fn error_statistic(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ConnectFailure => "api_optimizer_upstream_errors_connect_failure_total",
        ErrorKind::Reset => "api_optimizer_upstream_errors_reset_total",
        ErrorKind::Timeout => "api_optimizer_upstream_errors_timeout_total",
        ErrorKind::Refused => "api_optimizer_upstream_errors_refused_total",
        ErrorKind::ProtocolError => "api_optimizer_upstream_errors_protocol_error_total",
        ErrorKind::Upstream5xx => "api_optimizer_upstream_errors_upstream_5xx_total",
        ErrorKind::Overflow => "api_optimizer_upstream_errors_overflow_total",
    }
}
const OTHER_ERRORS: &str = "api_optimizer_upstream_errors_other_total";

fn error_name(kind: &str) -> &'static str {
    kind.parse().map_or(OTHER_ERRORS, error_statistic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn whatever_is_counted_is_among_the_names() {
        let names: BTreeSet<&str> = names().into_iter().collect();
        assert_eq!(names.len(), super::names().len(), "each once");
        for outcome in 0..=8 {
            assert!(names.contains(outcome_name(outcome)), "{outcome}");
        }
        for kind in ["connect_failure", "overflow", "unheard_of"] {
            assert!(names.contains(error_name(kind)), "{kind}");
        }
        for row in counters::SERIES.iter().filter_map(|row| row.statistic) {
            assert!(names.contains(row), "{row}");
        }
    }
}
