//! How the breakers of a part of the fleet stand.

use crate::Millis;
use crate::fleet::Fleet;
use crate::sum::Filter;
use optimizer_proto::v1::BreakerGauge;

/// How bad a state is; the runbook knows three of them.
pub(crate) fn rank(state: &str) -> u8 {
    match state {
        "open" | "forced_open" => 2,
        "half_open" => 1,
        _ => 0,
    }
}

pub(crate) fn state_of(rank: u8) -> &'static str {
    match rank {
        2 => "open",
        1 => "half_open",
        _ => "closed",
    }
}

/// Half-open, and no probe under way: nothing is known to be amiss, and the next request tries the upstream.
pub(crate) fn awaits_request(gauge: &BreakerGauge) -> bool {
    gauge.state == "half_open" && gauge.in_flight == 0
}

/// Breakers that stand elsewhere than closed only because nobody has asked for the upstream since the wait was over; `None` when one
/// stands elsewhere for another reason.
pub(crate) fn awaiting_request(fleet: &Fleet, now_ms: Millis) -> Option<Vec<String>> {
    let gauges = fleet.present(now_ms).flat_map(|(_, envoy)| &envoy.gauges.breakers);
    let mut waiting = Vec::new();
    for gauge in gauges.filter(|gauge| rank(&gauge.state) > 0) {
        if !awaits_request(gauge) {
            return None;
        }
        waiting.push(gauge.upstream.clone());
    }
    waiting.sort_unstable();
    waiting.dedup();
    Some(waiting)
}

/// The worst state of all breakers of the present Envoys, in the runbook's three words.
#[must_use]
pub fn worst_state(fleet: &Fleet, filter: &Filter, now_ms: Millis) -> &'static str {
    let worst = fleet
        .present_of(filter, now_ms)
        .flat_map(|(_, envoy)| &envoy.gauges.breakers)
        // A route's own breaker is named after its upstream and itself.
        .filter(|gauge| {
            let upstream = gauge.upstream.split('/').next().unwrap_or_default();
            filter.takes_upstream(&gauge.upstream) || filter.takes_upstream(upstream)
        })
        .map(|gauge| rank(&gauge.state))
        .max();
    state_of(worst.unwrap_or(0))
}
