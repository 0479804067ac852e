//! How the breakers of a part of the fleet stand.

use crate::Millis;
use crate::fleet::Fleet;
use crate::sum::Filter;

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
