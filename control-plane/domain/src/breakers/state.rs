//! How the breakers of a part of the fleet stand.

use crate::Millis;
use crate::fleet::Fleet;
use crate::telemetry::sum::Filter;
use optimizer_proto::codes::BreakerState;
use optimizer_proto::v1::BreakerGauge;

/// Where a breaker stands. A state that this version does not know counts as closed.
#[must_use]
pub fn state_of(gauge: &BreakerGauge) -> BreakerState {
    gauge.state.parse().unwrap_or(BreakerState::Closed)
}

/// Half-open, and no probe under way: nothing is known to be amiss, and the next request tries the upstream.
pub(crate) fn awaits_request(gauge: &BreakerGauge) -> bool {
    state_of(gauge) == BreakerState::HalfOpen && gauge.in_flight == 0
}

/// Breakers that are not closed only because no request has come since the wait was over; `None` when one is not closed
/// for another reason.
pub(crate) fn awaiting_request(fleet: &Fleet, now_ms: Millis) -> Option<Vec<String>> {
    let gauges = fleet.present(now_ms).flat_map(|(_, envoy)| &envoy.gauges.breakers);
    let mut waiting = Vec::new();
    for gauge in gauges.filter(|gauge| state_of(gauge).severity() > 0) {
        if !awaits_request(gauge) {
            return None;
        }
        waiting.push(gauge.upstream.clone());
    }
    waiting.sort_unstable();
    waiting.dedup();
    Some(waiting)
}

/// The worst state of all breakers of the present Envoys, as one of the runbook's three.
#[must_use]
pub fn worst_state(fleet: &Fleet, filter: &Filter, now_ms: Millis) -> BreakerState {
    let worst = fleet
        .present_of(filter, now_ms)
        .flat_map(|(_, envoy)| &envoy.gauges.breakers)
        // A route's own breaker is named after its upstream and itself.
        .filter(|gauge| {
            let upstream = gauge.upstream.split('/').next().unwrap_or_default();
            filter.takes_upstream(&gauge.upstream) || filter.takes_upstream(upstream)
        })
        .map(|gauge| state_of(gauge).for_runbook())
        .max_by_key(|state| state.severity());
    worst.unwrap_or(BreakerState::Closed)
}
