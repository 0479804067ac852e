//! Faults of Envoys that their filters cannot report, or no longer report.

use crate::Millis;
use crate::fleet::{ConnectionId, Envoy, Fleet};
use crate::telemetry::envoy_state::Action;
use crate::telemetry::envoy_stats::{EnvoyStats, NodeStats};
use crate::telemetry::figure::percent;
use crate::telemetry::sum::Filter;
use std::collections::BTreeMap;

/// For how long something may be missing: a filter connects a moment after its Envoy, and reports come each second.
const GRACE_MS: u64 = 10_000;
/// The window in which errors and refused connections count.
const WINDOW_MS: u64 = 60_000;

/// What is wrong, by the component of `/health` and the rule of the alert that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Envoy saves memory, or turns clients away.
    Overload,
    /// Envoy refused a part of its configuration, or never got it.
    Configuration,
    /// No filter reports from an Envoy that is there.
    FilterMissing,
    /// Figures of an Envoy do not come any more.
    FiguresMissing,
    /// Clients got errors that no filter has seen.
    UnseenErrors,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Overload,
        Self::Configuration,
        Self::FilterMissing,
        Self::FiguresMissing,
        Self::UnseenErrors,
    ];

    /// The component of `/health`.
    #[must_use]
    pub fn component(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::Configuration => "envoy_configuration",
            Self::FilterMissing => "filter",
            Self::FiguresMissing => "figures",
            Self::UnseenErrors => "clients",
        }
    }

    /// The alert rule.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::Overload => "envoy_overloaded",
            Self::Configuration => "envoy_configuration_refused",
            Self::FilterMissing => "filter_missing",
            Self::FiguresMissing => "figures_missing",
            Self::UnseenErrors => "errors_unseen",
        }
    }

    /// What the component says when nothing of the kind is wrong.
    #[must_use]
    pub fn well(self) -> &'static str {
        match self {
            Self::Overload => "no Envoy turns clients away",
            Self::Configuration => "no Envoy lacks a part of its configuration",
            Self::FilterMissing => "a filter reports from every Envoy",
            Self::FiguresMissing => "every connected Envoy reports",
            Self::UnseenErrors => "no errors but those that the filters report",
        }
    }
}

/// One thing that is wrong with one Envoy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// The Envoy's node id.
    pub envoy: String,
    /// Clients suffer.
    pub is_severe: bool,
    /// A sentence for people.
    pub reason: String,
}

/// What is known of the Envoys.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Their own statistics.
    pub stats: &'a EnvoyStats,
    /// Their filters.
    pub fleet: &'a Fleet,
    /// Since when an Envoy takes its configuration by xDS, by node id.
    pub xds: &'a BTreeMap<String, Millis>,
    /// Replicas share the Envoys: statistics of one may go to another replica at any time.
    pub shared: bool,
    /// Responses below which no share of errors is judged.
    pub minimum_samples: u64,
    /// Share of errors that is too much, percent.
    pub error_percent: f64,
}

impl Observed<'_> {
    /// Everything that is wrong, by kind and Envoy. `is_ours` tells connections whose reports reach this control plane.
    #[must_use]
    pub fn faults(&self, is_ours: impl Fn(ConnectionId) -> bool, now_ms: Millis) -> Vec<Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        let filters = self.newest_filters();
        for (node, stats) in self.stats.nodes() {
            if stats.is_present(now_ms) {
                faults.extend(self.overload(node, stats, now_ms));
                faults.extend(configuration(node, stats));
                faults.extend(self.unseen_errors(node, now_ms));
            } else if !self.shared && filters.get(node).is_some_and(|filter| filter.connection.is_some()) {
                let reason = format!("{node} is connected, and its own statistics do not come any more");
                faults.push(Fault::new(Kind::FiguresMissing, node, false, reason));
            }
        }
        faults.extend(self.without_filter(&filters, now_ms));
        for filter in filters.values() {
            let silent = filter.reported_ms.saturating_add(GRACE_MS) < now_ms;
            if silent && filter.connection.is_some_and(&is_ours) {
                let node = &filter.node_id;
                let reason = format!("{node} is connected, and its filter's figures do not come any more");
                faults.push(Fault::new(Kind::FiguresMissing, node, false, reason));
            }
        }
        faults.sort_by(|one, other| (one.kind, &one.envoy).cmp(&(other.kind, &other.envoy)));
        faults
    }

    /// The filter of each node; of an Envoy that was restarted, the newest.
    fn newest_filters(&self) -> BTreeMap<&str, &Envoy> {
        let mut newest: BTreeMap<&str, &Envoy> = BTreeMap::new();
        let age = |envoy: &Envoy| (envoy.connection, envoy.seen_ms);
        for (_, envoy) in self.fleet.envoys().filter(|(_, envoy)| !envoy.node_id.is_empty()) {
            let known = newest.entry(&envoy.node_id).or_insert(envoy);
            if age(envoy) > age(known) {
                *known = envoy;
            }
        }
        newest
    }

    /// Envoys that run without their filter. An Envoy counts if it has sent statistics since its filter was last heard:
    /// one that has ended as a whole lacks nothing.
    fn without_filter(&self, filters: &BTreeMap<&str, &Envoy>, now_ms: Millis) -> Vec<Fault> {
        let mut there: BTreeMap<&str, (Millis, Millis)> = BTreeMap::new();
        for (node, stats) in self.stats.nodes() {
            if stats.is_present(now_ms) && stats.live {
                there.insert(node, (stats.since_ms, stats.seen_ms));
            }
        }
        for (node, since_ms) in self.xds {
            let (since, seen) = there.entry(node).or_insert((*since_ms, now_ms));
            (*since, *seen) = (*since_ms.min(since), now_ms);
        }
        let missing = there.into_iter().filter(|(node, (since_ms, seen_ms))| {
            let filter = filters.get(node);
            let last_ms = filter.map_or(*since_ms, |filter| filter.seen_ms);
            filter.is_none_or(|filter| filter.connection.is_none()) && last_ms.saturating_add(GRACE_MS) < *seen_ms
        });
        let fault = |(node, _): (&str, _)| {
            let reason = format!("no filter reports from {node}: it may serve without the cache, or answer 500");
            Fault::new(Kind::FilterMissing, node, false, reason)
        };
        missing.map(fault).collect()
    }

    fn overload(&self, node: &str, stats: NodeStats<'_>, now_ms: Millis) -> Option<Fault> {
        let actions = stats.state.actions();
        let refused = self.stats.recent_of(Some(node), WINDOW_MS, now_ms).refused_connections;
        let mut descriptions: Vec<String> = actions.iter().map(described).collect();
        if refused > 0 {
            descriptions.push(format!("{refused} connections refused within a minute"));
        }
        let is_severe = refused > 0 || actions.iter().any(|action| action.refuses);
        let verb = if is_severe {
            "turns clients away"
        } else {
            "saves memory"
        };
        let reason = || format!("{node} {verb}: {}", descriptions.join(", "));
        (!descriptions.is_empty()).then(|| Fault::new(Kind::Overload, node, is_severe, reason()))
    }

    /// What Envoy answered without its filter having seen the request is known from the numbers of both.
    fn unseen_errors(&self, node: &str, now_ms: Millis) -> Option<Fault> {
        let counted = self.stats.recent_of(Some(node), WINDOW_MS, now_ms);
        let is_much = |errors: u64| percent(errors, counted.responses) > self.error_percent;
        if counted.responses < self.minimum_samples.max(1) || !is_much(counted.server_errors) {
            return None;
        }
        let filter = Filter {
            envoy: Some(node.to_owned()),
            ..Filter::default()
        };
        let seen = self.fleet.recent_of(&filter, WINDOW_MS, now_ms).requests();
        let unseen = counted.server_errors.min(counted.responses.saturating_sub(seen));
        let reason = || {
            format!(
                "{node} answered {unseen} of {} requests of the last minute with an error that its filter has not seen",
                counted.responses
            )
        };
        is_much(unseen).then(|| Fault::new(Kind::UnseenErrors, node, true, reason()))
    }
}

impl Fault {
    fn new(kind: Kind, envoy: &str, is_severe: bool, reason: String) -> Self {
        Self {
            kind,
            envoy: envoy.to_owned(),
            is_severe,
            reason,
        }
    }
}

/// An action without the prefix that all of them have.
fn described(action: &Action) -> String {
    let name = action.name.strip_prefix("envoy.").unwrap_or(&action.name);
    let name = name.split_once('.').map_or(name, |(_, name)| name);
    if action.percent == 100 {
        name.to_owned()
    } else {
        format!("{name} at {} %", action.percent)
    }
}

fn configuration(node: &str, stats: NodeStats<'_>) -> Option<Fault> {
    let failing: Vec<&str> = stats.state.failing().collect();
    let reason = || format!("{node} refused, or never got, an update of {}", failing.join(", "));
    (!failing.is_empty()).then(|| Fault::new(Kind::Configuration, node, false, reason()))
}

#[cfg(test)]
mod tests;
