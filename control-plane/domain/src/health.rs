//! One answer to "is it well?", with every component's reason.

use crate::Millis;
use crate::breakers::state::{awaiting_request, worst_state};
use crate::fleet::Fleet;
use crate::fleet::faults::{Fault, Kind};
use crate::telemetry::sum::Filter;
use optimizer_proto::codes::BreakerState;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// How well the whole is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All well.
    Healthy,
    /// Serving, and something wants attention.
    Degraded,
    /// Not serving.
    Unhealthy,
}

/// The whole and every component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Summary {
    /// The worst of all components.
    pub status: Status,
    /// The components, by name.
    pub components: BTreeMap<&'static str, Component>,
    /// Whether writes need credentials.
    pub settings_writes: &'static str,
    /// Now, milliseconds since 1970.
    pub as_of: Millis,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Component {
    /// How well it is.
    pub status: Status,
    /// Why it is not healthy.
    pub reason: String,
}

/// What is known beside the fleet.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Keys of the ConfigMap whose value is refused, with the reason.
    pub refused_keys: BTreeMap<String, String>,
    /// Keys of the ConfigMap that are in force in an adjusted form, and how.
    pub adjusted_keys: BTreeMap<String, String>,
    /// Why the ConfigMap is out of reach.
    pub config_map_fault: Option<String>,
    /// The revision that is tried on a part of the fleet.
    pub canary: Option<u64>,
    /// Why settings cannot be kept on disk at the moment.
    pub storage_fault: Option<String>,
    /// The Envoys run on settings that this control plane does not have: what to do.
    pub doubt: Option<String>,
    /// Epoch and revision that ought to be in force.
    pub wanted: (String, u64),
    /// Writes need no credentials.
    pub open_writes: bool,
    /// Which ports ask for credentials.
    pub access: Access,
    /// Alerts that could not be delivered yet.
    pub notifications_waiting: usize,
    /// Configuration by xDS that Envoys rejected, and their upstreams without a reachable endpoint.
    pub xds_faults: Vec<String>,
    /// Why the shared cache tier cannot be used at the moment.
    pub tier_fault: Option<String>,
    /// There are, or may be, other replicas of this control plane.
    pub shared: bool,
    /// Why nothing can be agreed on with them at the moment.
    pub replicas_fault: Option<String>,
    /// What is wrong with Envoys that their filters do not tell.
    pub envoy_faults: Vec<Fault>,
    /// Envoys whose own statistics come.
    pub envoys_with_statistics: usize,
}

/// Which ports ask for credentials, and who reaches them.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Ports that everybody may use, by name.
    pub open: Vec<&'static str>,
    /// They are reached from other machines.
    pub exposed: bool,
    /// Envoys' streams that were refused.
    pub refused: u64,
    /// Operators' requests that were refused because no place or memory was free.
    pub requests_refused: u64,
}

fn access(facts: &Facts) -> (&'static str, Status, String) {
    let Access {
        open,
        exposed,
        refused,
        requests_refused,
    } = &facts.access;
    let (status, mut reason) = match (open.is_empty(), exposed) {
        (true, _) => (Status::Healthy, "REST and gRPC ask for credentials".to_owned()),
        (false, false) => (
            Status::Healthy,
            format!("{} open to everyone on this machine", open.join(" and ")),
        ),
        (false, true) => (
            Status::Degraded,
            format!("{} open to everyone who reaches this machine", open.join(" and ")),
        ),
    };
    if *refused > 0 {
        reason += &format!("; {refused} streams of Envoys refused");
    }
    if *requests_refused > 0 {
        reason += &format!("; {requests_refused} requests refused");
    }
    ("access", status, reason)
}

fn config_map(facts: &Facts) -> (&'static str, Status, String) {
    let reasons = |keys: &BTreeMap<String, String>| {
        let reasons: Vec<String> = keys.iter().map(|(key, reason)| format!("{key}: {reason}")).collect();
        reasons.join("; ")
    };
    let (status, reason) = match &facts.config_map_fault {
        Some(fault) => (Status::Degraded, fault.clone()),
        None if !facts.refused_keys.is_empty() => (Status::Degraded, reasons(&facts.refused_keys)),
        None if !facts.adjusted_keys.is_empty() => (Status::Healthy, reasons(&facts.adjusted_keys)),
        None => (Status::Healthy, "no key refused".to_owned()),
    };
    ("config_map", status, reason)
}

/// Envoys named in the reason of a component at most.
const NAMED: usize = 10;

/// What is wrong with Envoys, one component for each kind of it.
fn envoys(facts: &Facts) -> impl Iterator<Item = (&'static str, Status, String)> {
    Kind::ALL.into_iter().map(|kind| {
        let found: Vec<&Fault> = facts.envoy_faults.iter().filter(|fault| fault.kind == kind).collect();
        let mut reasons: Vec<String> = found.iter().take(NAMED).map(|fault| fault.reason.clone()).collect();
        if found.len() > NAMED {
            reasons.push(format!("and {} more", found.len() - NAMED));
        }
        let by_statistics = matches!(kind, Kind::Overload | Kind::Configuration | Kind::UnseenErrors);
        if !reasons.is_empty() {
            (kind.component(), Status::Degraded, reasons.join("; "))
        } else if by_statistics && facts.envoys_with_statistics == 0 {
            let reason = "not known: no Envoy sends its own statistics".to_owned();
            (kind.component(), Status::Healthy, reason)
        } else {
            (kind.component(), Status::Healthy, kind.well().to_owned())
        }
    })
}

/// `GET /health`.
#[must_use]
pub fn summary(fleet: &Fleet, facts: &Facts, now_ms: Millis) -> Summary {
    let mut components: Vec<(&'static str, Status, String)> = Vec::new();
    let present = fleet.present(now_ms).count();
    components.push(if present == 0 {
        ("fleet", Status::Degraded, "no Envoy is connected".to_owned())
    } else {
        ("fleet", Status::Healthy, format!("{present} connected"))
    });
    let (epoch, revision) = &facts.wanted;
    let refusing: Vec<String> = fleet
        .envoys()
        .filter(|(_, envoy)| envoy.connection.is_some())
        .filter_map(|(name, envoy)| {
            envoy
                .refused
                .as_ref()
                .map(|(refused, _)| format!("{name} refused revision {refused}"))
        })
        .collect();
    let stragglers = fleet.stragglers(epoch, *revision);
    components.push(if !refusing.is_empty() {
        ("rollout", Status::Degraded, refusing.join(", "))
    } else if stragglers.is_empty() {
        let canary = facts
            .canary
            .map_or_else(String::new, |number| format!(", {number} on trial"));
        (
            "rollout",
            Status::Healthy,
            format!("revision {revision} in force{canary}"),
        )
    } else {
        (
            "rollout",
            Status::Degraded,
            format!("without revision {revision}: {}", stragglers.join(", ")),
        )
    });
    components.push(match worst_state(fleet, &Filter::default(), now_ms) {
        BreakerState::Closed => ("circuit_breaker", Status::Healthy, "closed".to_owned()),
        state => match awaiting_request(fleet, now_ms) {
            Some(waiting) => (
                "circuit_breaker",
                Status::Healthy,
                format!("the next request tries {}", waiting.join(", ")),
            ),
            None => ("circuit_breaker", Status::Degraded, state.as_str().to_owned()),
        },
    });
    components.push(match &facts.storage_fault {
        None => ("storage", Status::Healthy, "settings are kept".to_owned()),
        Some(fault) => ("storage", Status::Degraded, fault.clone()),
    });
    components.push(match &facts.doubt {
        None => ("settings", Status::Healthy, "known".to_owned()),
        Some(reasons) => ("settings", Status::Unhealthy, reasons.clone()),
    });
    components.push(access(facts));
    components.push(config_map(facts));
    components.push(match &facts.tier_fault {
        None => ("shared_tier", Status::Healthy, "usable".to_owned()),
        Some(fault) => ("shared_tier", Status::Degraded, fault.clone()),
    });
    components.push(match &facts.replicas_fault {
        None if facts.shared => ("replicas", Status::Healthy, "in touch".to_owned()),
        None => ("replicas", Status::Healthy, "not shared".to_owned()),
        Some(fault) => (
            "replicas",
            Status::Degraded,
            format!("settings are read-only, and what is known of other replicas is old: {fault}"),
        ),
    });
    components.push(match facts.notifications_waiting {
        0 => ("notifications", Status::Healthy, "none waits".to_owned()),
        waiting => (
            "notifications",
            Status::Degraded,
            format!("{waiting} could not be delivered yet"),
        ),
    });
    components.push(if facts.xds_faults.is_empty() {
        (
            "xds",
            Status::Healthy,
            "nothing refused, every upstream has a healthy endpoint".to_owned(),
        )
    } else {
        ("xds", Status::Degraded, facts.xds_faults.join("; "))
    });
    components.extend(envoys(facts));
    let status = components
        .iter()
        .map(|(_, status, _)| *status)
        .max()
        .unwrap_or(Status::Healthy);
    let components = components
        .into_iter()
        .map(|(name, status, reason)| (name, Component { status, reason }))
        .collect();
    let writes = if facts.open_writes {
        "open to everyone who reaches this port"
    } else {
        "guarded"
    };
    Summary {
        status,
        components,
        settings_writes: writes,
        as_of: now_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::v1::{BreakerGauge, FilterGauges, Hello, SettingsAck, TelemetryReport};

    #[test]
    fn a_breaker_that_only_waits_for_a_request_is_well() {
        let gauge = |upstream: &str, state: &str, in_flight| BreakerGauge {
            upstream: upstream.to_owned(),
            state: state.to_owned(),
            in_flight,
            ..Default::default()
        };
        for (state, in_flight, status, reason) in [
            ("half_open", 0, Status::Healthy, "the next request tries api"),
            ("half_open", 1, Status::Degraded, "half_open"),
            ("open", 0, Status::Degraded, "open"),
            ("closed", 0, Status::Healthy, "closed"),
        ] {
            let mut fleet = Fleet::default();
            let hello = Hello {
                instance_id: "a".to_owned(),
                ..Default::default()
            };
            fleet.hello(&hello, 1, 1_000);
            let gauges = FilterGauges {
                breakers: vec![gauge("api", state, in_flight), gauge("other", "closed", 0)],
                ..Default::default()
            };
            let report = TelemetryReport {
                sequence: 1,
                gauges: Some(gauges),
                ..Default::default()
            };
            fleet.reported("a", &report, 1_000);
            let shown = summary(&fleet, &Facts::default(), 2_000).components["circuit_breaker"].clone();
            assert_eq!((shown.status, shown.reason.as_str()), (status, reason), "{state}");
        }
    }

    #[test]
    fn the_worst_component_decides_and_says_why() {
        let mut fleet = Fleet::default();
        let facts = Facts {
            wanted: ("e".to_owned(), 2),
            ..Facts::default()
        };
        let component = |summary: &Summary, name: &str| summary.components[name].clone();
        assert_eq!(component(&summary(&fleet, &facts, 0), "fleet").status, Status::Degraded);
        fleet.hello(
            &Hello {
                instance_id: "a".to_owned(),
                ..Default::default()
            },
            1,
            0,
        );
        assert_eq!(
            component(&summary(&fleet, &facts, 0), "rollout").status,
            Status::Degraded
        );
        let ack = SettingsAck {
            revision: 2,
            epoch: "e".to_owned(),
            accepted: true,
            ..Default::default()
        };
        fleet.acknowledged("a", &ack, 0);
        assert_eq!(summary(&fleet, &facts, 0).status, Status::Healthy);
        let refused = BTreeMap::from([("cache_size".to_owned(), "empty".to_owned())]);
        let whole = summary(
            &fleet,
            &Facts {
                refused_keys: refused,
                ..facts
            },
            0,
        );
        assert_eq!(whole.status, Status::Degraded);
        assert_eq!(component(&whole, "config_map").reason, "cache_size: empty");
    }
}
