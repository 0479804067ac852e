//! Alert rules without thresholds: about something that is either there or not.

use serde_json::{Map, Value, json};

use super::duration::{HOUR_MS, SECOND_MS};
use super::kinds::object;
use super::reader::ObjectReader;
use super::rows::{Kind, Row, Rows, Topic, settings};
use super::scalars::{Flag, duration};

/// A rule without thresholds, as the catalogue has it.
struct Known {
    name: &'static str,
    meaning: &'static str,
    /// How long it must last by default, ms.
    for_ms: u64,
}

const fn known(name: &'static str, meaning: &'static str) -> Known {
    Known {
        name,
        meaning,
        for_ms: 10 * SECOND_MS,
    }
}

/// One about what has happened and is over: there is nothing to wait for.
const fn happened(name: &'static str, meaning: &'static str) -> Known {
    Known {
        for_ms: 0,
        ..known(name, meaning)
    }
}

/// Every rule, in canonical order.
const KNOWN: [Known; 18] = [
    Known {
        // After a restart of the control plane the whole fleet needs a moment to come back.
        for_ms: 30 * SECOND_MS,
        ..known("no_envoy_connected", "No Envoy is connected to the control plane.")
    },
    known("settings_straggler", "An Envoy does not run on the settings in force."),
    known("settings_refused", "An Envoy refuses the settings in force."),
    known(
        "config_map_refused",
        "A key of the ConfigMap is refused; its last good value stays.",
    ),
    known("circuit_breaker_open", "The circuit breaker of an upstream is open."),
    known("settings_not_kept", "Settings that were accepted cannot be kept."),
    known(
        "shared_tier_unreachable",
        "The store behind the shared cache tier cannot be reached; every miss goes to the origin.",
    ),
    known("filter_reloads", "The filter was started anew within five minutes."),
    known(
        "cache_thrashing",
        "More than half of what is stored is evicted before long, and the hit ratio is low.",
    ),
    known(
        "reports_refused",
        "An Envoy sends reports that cannot be true; they are not counted.",
    ),
    known(
        "envoy_overloaded",
        "An Envoy turns clients away because it is overloaded.",
    ),
    known(
        "envoy_configuration_refused",
        "An Envoy refuses what the control plane tells it of clusters, routes and the like.",
    ),
    known(
        "sharing_quarantined",
        "A route is not cached: its responses depend on something that is not in the key.",
    ),
    happened(
        "experiment_harmful",
        "An experiment was rolled back because its change did harm. It ends when it is acknowledged, with the next experiment, or after a day.",
    ),
    happened(
        "experiment_unjudged",
        "An experiment was rolled back because the control plane that judged it was restarted or lost. It ends in the same way.",
    ),
    known("filter_missing", "An Envoy serves without the filter."),
    known("figures_missing", "An Envoy sends no figures of its own."),
    known(
        "errors_unseen",
        "An Envoy answers errors of its own that never reach the filter.",
    ),
];

/// Names of the rules about something that is either there or not, in canonical order.
#[must_use]
pub fn state_rules() -> [&'static str; KNOWN.len()] {
    KNOWN.map(|rule| rule.name)
}

settings! {
    /// A rule about something that is either there or not.
    StateRule {
        /// False: not raised.
        "enabled" => enabled: bool = true, Flag, example false;
        /// How long it must last before the alert fires.
        "for" => for_ms: u64 = 10 * SECOND_MS, duration(0..=HOUR_MS), example "1m";
    }
}

impl Copy for StateRule {}

impl Topic for StateRule {}

/// One rule for each of [`state_rules`], in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRules(pub [StateRule; KNOWN.len()]);

impl StateRules {
    /// A rule; the usual for a name that is none.
    #[must_use]
    pub fn of(&self, name: &str) -> StateRule {
        let known = state_rules().iter().position(|rule| *rule == name);
        known.and_then(|at| self.0.get(at)).copied().unwrap_or_default()
    }
}

impl Default for StateRules {
    fn default() -> Self {
        Self(KNOWN.map(|known| StateRule {
            for_ms: known.for_ms,
            ..StateRule::default()
        }))
    }
}

impl Rows for StateRules {
    fn about() -> String {
        "Rules about something that is either there or not.".to_owned()
    }

    fn rows() -> Vec<Row> {
        let row = |known: Known| Row {
            key: known.name,
            meaning: known.meaning.to_owned(),
            kind: Box::new(object::<StateRule>()),
            example: json!({"enabled": false}),
        };
        KNOWN.map(row).into()
    }

    fn read_rows(reader: &mut ObjectReader<'_, '_>, base: Self) -> Self {
        let mut rules = base;
        for (name, rule) in state_rules().into_iter().zip(&mut rules.0) {
            *rule = object::<StateRule>().take(reader, name, *rule);
        }
        rules
    }

    fn to_json(&self) -> Value {
        let rules = state_rules().into_iter().zip(&self.0);
        let rules: Map<String, Value> = rules.map(|(name, rule)| (name.to_owned(), rule.to_json())).collect();
        Value::Object(rules)
    }
}

impl Topic for StateRules {}
