//! What an Envoy's own statistics say about its state: overload, and configuration that it refused or never got.
//!
//! The names are those of Envoy 1.40. A statistic that was never set is not reported; it counts as 0.

use std::collections::BTreeMap;

/// Overload actions and load shed points kept of an Envoy; it knows less than thirty.
const MAX_ACTIONS: usize = 32;
/// Subscriptions with failures kept of an Envoy.
const MAX_SUBSCRIPTIONS: usize = 64;
/// Subscriptions looked at in one reading: an Envoy may have thousands of clusters.
const MAX_READ: usize = 20_000;
/// Longest name kept.
const MAX_NAME: usize = 256;
/// The creation of listeners, under the name that it has among subscriptions.
const LISTENERS: &str = "listener_manager.listener_create";

/// Overload actions that only save memory, or let go of connections that nobody uses. All others turn clients away or cut them off.
const MILD: [&str; 3] = [
    "envoy.overload_actions.shrink_heap",
    "envoy.overload_actions.disable_http_keepalive",
    "envoy.overload_actions.reduce_timeouts",
];

/// The state of an Envoy, from one reading of its statistics and those before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// By the name of an overload action or load shed point that acts: how far, percent, 1..=100.
    actions: BTreeMap<String, u64>,
    /// By the name of a resource: how much of it is used, percent.
    pressures: BTreeMap<String, u64>,
    /// By name, such as `listener_manager.lds`.
    subscriptions: BTreeMap<String, Subscription>,
}

/// Where Envoy gets a part of its configuration from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Subscription {
    /// Updates taken since Envoy started.
    taken: u64,
    /// Updates refused since then, and first ones that did not come in time.
    failed: u64,
    /// The last one that is known of failed.
    is_failing: bool,
}

/// An overload action or load shed point that acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Envoy's name for it.
    pub name: String,
    /// How far it acts, percent, 1..=100.
    pub percent: u64,
    /// It turns clients away or cuts them off.
    pub refuses: bool,
}

impl State {
    /// Takes in a statistic; false for one of no interest.
    pub fn take(&mut self, name: &str, value: u64) -> bool {
        if name.len() > MAX_NAME {
            return false;
        }
        if let Some(name) = name.strip_prefix("overload.") {
            return self.take_overload(name, value);
        }
        let (of, failed) = if let Some(of) = name.strip_suffix("_failure").filter(|of| *of == LISTENERS) {
            (of, true)
        } else if let Some(of) = name.strip_suffix("_success").filter(|of| *of == LISTENERS) {
            (of, false)
        } else if let Some((of, what)) = name.rsplit_once('.') {
            match what {
                "update_rejected" | "init_fetch_timeout" => (of, true),
                "update_success" => (of, false),
                _ => return false,
            }
        } else {
            return false;
        };
        if value == 0 || self.subscriptions.len() >= MAX_READ && !self.subscriptions.contains_key(of) {
            return false;
        }
        let subscription = self.subscriptions.entry(of.to_owned()).or_default();
        let count = if failed {
            &mut subscription.failed
        } else {
            &mut subscription.taken
        };
        *count = count.saturating_add(value);
        true
    }

    fn take_overload(&mut self, name: &str, value: u64) -> bool {
        let Some((name, what)) = name.rsplit_once('.') else {
            return false;
        };
        let (all, value) = match what {
            "scale_percent" => (&mut self.actions, value.min(100)),
            // Older Envoys tell of some actions only whether they act at all.
            "active" => (&mut self.actions, value.min(1).saturating_mul(100)),
            "pressure" => (&mut self.pressures, value),
            _ => return false,
        };
        if value == 0 || all.len() >= MAX_ACTIONS && !all.contains_key(name) {
            return false;
        }
        let greatest = all.entry(name.to_owned()).or_default();
        *greatest = value.max(*greatest);
        true
    }

    /// Takes in a later part of the same reading.
    pub(crate) fn join(&mut self, later: Self) {
        for (all, more) in [
            (&mut self.actions, later.actions),
            (&mut self.pressures, later.pressures),
        ] {
            for (name, value) in more {
                if all.len() < MAX_ACTIONS || all.contains_key(&name) {
                    let greatest = all.entry(name).or_default();
                    *greatest = value.max(*greatest);
                }
            }
        }
        for (name, more) in later.subscriptions {
            if self.subscriptions.len() < MAX_READ || self.subscriptions.contains_key(&name) {
                let subscription = self.subscriptions.entry(name).or_default();
                subscription.taken = subscription.taken.saturating_add(more.taken);
                subscription.failed = subscription.failed.saturating_add(more.failed);
            }
        }
    }

    /// What has become of each subscription since the reading before of the same process, if there was one. Where an update was refused and another one taken between the two,
    /// nobody knows which was last; the one that was taken is believed, as a refused one is mostly followed by its correction. Listeners
    /// are made by each worker: there one that failed is believed.
    #[must_use]
    pub fn after(mut self, before: Option<&Self>) -> Self {
        self.subscriptions.retain(|_, subscription| subscription.failed > 0);
        while self.subscriptions.len() > MAX_SUBSCRIPTIONS {
            self.subscriptions.pop_last();
        }
        for (name, now) in &mut self.subscriptions {
            let then = match before {
                // Updates that were taken are not kept where none had failed.
                Some(before) => before.subscriptions.get(name).copied().unwrap_or(Subscription {
                    taken: now.taken,
                    ..Subscription::default()
                }),
                None => Subscription::default(),
            };
            let (failed, taken) = (now.failed > then.failed, now.taken > then.taken);
            now.is_failing = match (failed, taken) {
                (true, true) => name == LISTENERS,
                (true, false) => true,
                (false, true) => false,
                (false, false) => then.is_failing,
            };
        }
        self
    }

    /// Overload actions and load shed points that act, the worst first.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        let action = |(name, percent): (&String, &u64)| Action {
            name: name.clone(),
            percent: *percent,
            refuses: !MILD.contains(&name.as_str()),
        };
        let mut actions: Vec<Action> = self.actions.iter().map(action).collect();
        actions.sort_by_key(|action| std::cmp::Reverse((action.refuses, action.percent)));
        actions
    }

    /// Resources that are in use, with how much of them, percent.
    #[must_use]
    pub fn pressures(&self) -> &BTreeMap<String, u64> {
        &self.pressures
    }

    /// Parts of the configuration whose last update was refused or never came, by Envoy's name for them.
    pub fn failing(&self) -> impl Iterator<Item = &str> {
        let failing = self
            .subscriptions
            .iter()
            .filter(|(_, subscription)| subscription.is_failing);
        failing.map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(statistics: &[(&str, u64)], before: Option<&State>) -> State {
        let mut state = State::default();
        for (name, value) in statistics {
            state.take(name, *value);
        }
        state.after(before)
    }

    #[test]
    fn actions_that_act_are_told_the_worst_first() {
        let state = read(
            &[
                ("overload.envoy.overload_actions.shrink_heap.active", 1),
                ("overload.envoy.overload_actions.shrink_heap.scale_percent", 100),
                ("overload.envoy.overload_actions.reduce_timeouts.scale_percent", 40),
                ("overload.envoy.overload_actions.reduce_timeouts.active", 0),
                ("overload.envoy.overload_actions.stop_accepting_requests.active", 1),
                (
                    "overload.envoy.overload_actions.disable_http_keepalive.scale_percent",
                    0,
                ),
                ("overload.envoy.load_shed_points.tcp_listener_accept.scale_percent", 30),
                ("overload.envoy.resource_monitors.fixed_heap.pressure", 98),
                ("overload.envoy.resource_monitors.fixed_heap.failed_updates", 7),
                ("overload.envoy.overload_actions.shrink_heap.shrink_count", 5),
            ],
            None,
        );
        let found: Vec<_> = state
            .actions()
            .into_iter()
            .map(|one| (one.name, one.percent, one.refuses))
            .collect();
        let named = |name: &str, percent, refuses| (format!("envoy.{name}"), percent, refuses);
        assert_eq!(
            found,
            [
                named("overload_actions.stop_accepting_requests", 100, true),
                named("load_shed_points.tcp_listener_accept", 30, true),
                named("overload_actions.shrink_heap", 100, false),
                named("overload_actions.reduce_timeouts", 40, false),
            ]
        );
        assert_eq!(state.pressures()["envoy.resource_monitors.fixed_heap"], 98);
        assert!(read(&[], Some(&state)).actions().is_empty());
    }

    #[test]
    fn a_subscription_fails_until_an_update_is_taken() {
        const LDS: &str = "listener_manager.lds";
        let of = |rejected: u64, late: u64, taken: u64| {
            [
                ("listener_manager.lds.update_rejected", rejected),
                ("listener_manager.lds.init_fetch_timeout", late),
                ("listener_manager.lds.update_success", taken),
                ("cluster_manager.cds.update_success", 9),
            ]
        };
        let table = [
            ("nothing yet", (0, 0, 0), false),
            ("late", (0, 1, 0), true),
            ("still late", (0, 1, 0), true),
            ("there", (0, 1, 1), false),
            ("refused", (1, 1, 1), true),
            ("nothing new", (1, 1, 1), true),
            ("refused again, then taken", (2, 1, 2), false),
            ("refused", (3, 1, 2), true),
            ("taken", (3, 1, 3), false),
        ];
        let mut state: Option<State> = None;
        for (what, (rejected, late, taken), failing) in table {
            let now = read(&of(rejected, late, taken), state.as_ref());
            let found: Vec<_> = now.failing().collect();
            assert_eq!(found, if failing { vec![LDS] } else { vec![] }, "{what}");
            state = Some(now);
        }
        let first_refusal = read(&of(1, 0, 5), Some(&read(&of(0, 0, 5), None)));
        assert_eq!(first_refusal.failing().count(), 1);
        let before_us = read(&of(4, 0, 7), None);
        assert!(
            before_us.failing().next().is_none(),
            "what was last before the first reading is unknown"
        );
    }

    #[test]
    fn a_listener_that_one_worker_could_not_make_is_told() {
        let of = |failure: u64, success: u64| {
            [
                ("listener_manager.listener_create_failure", failure),
                ("listener_manager.listener_create_success", success),
            ]
        };
        let good = read(&of(0, 2), None);
        assert_eq!(good.failing().count(), 0);
        let bad = read(&of(1, 3), Some(&good));
        assert_eq!(bad.failing().collect::<Vec<_>>(), [LISTENERS]);
        assert_eq!(read(&of(1, 5), Some(&bad)).failing().count(), 0);
    }

    #[test]
    fn what_an_envoy_can_make_the_control_plane_keep_is_bounded() {
        let mut state = State::default();
        for number in 0..30_000 {
            state.take(&format!("overload.action-{number}.active"), 1);
            state.take(&format!("rds.{number}.update_rejected"), 1);
        }
        state.take(&format!("rds.{}.update_rejected", "x".repeat(300)), 1);
        let state = state.after(None);
        assert_eq!(
            (state.actions().len(), state.failing().count()),
            (MAX_ACTIONS, MAX_SUBSCRIPTIONS)
        );
        assert!(state.failing().all(|name| name.len() <= MAX_NAME));
    }
}
