//! A change of settings in steps, each of which is sound for every request: what routes lead to is there before them, and goes
//! after them.

use optimizer_proto::settings::{Settings, Upstream};

/// The settings to pass through from `old` to `new`, the last of them `new`.
pub(super) fn stages(old: &Settings, new: &Settings) -> Vec<Settings> {
    let added = names_only_in(new, old);
    let removed = names_only_in(old, new);
    let routes_change = old.routes != new.routes || first(old) != first(new);
    let mut stages = Vec::new();
    if routes_change && added {
        // All clusters that will be wanted, under the old routes. The old order comes first: a route that names none goes to
        // the first.
        let remaining = old
            .upstreams
            .iter()
            .map(|known| find(new, &known.name).unwrap_or(known));
        let upstreams = remaining.chain(
            new.upstreams
                .iter()
                .filter(|upstream| find(old, &upstream.name).is_none()),
        );
        stages.push(Settings {
            upstreams: upstreams.cloned().collect(),
            routes: old.routes.clone(),
            ..new.clone()
        });
    }
    if removed {
        let gone = old
            .upstreams
            .iter()
            .filter(|upstream| find(new, &upstream.name).is_none());
        stages.push(Settings {
            upstreams: new.upstreams.iter().chain(gone).cloned().collect(),
            ..new.clone()
        });
    }
    stages.push(new.clone());
    stages
}

fn first(settings: &Settings) -> Option<&str> {
    settings.upstreams.first().map(|upstream| upstream.name.as_str())
}

fn find<'s>(settings: &'s Settings, name: &str) -> Option<&'s Upstream> {
    settings.upstreams.iter().find(|upstream| upstream.name == name)
}

fn names_only_in(one: &Settings, other: &Settings) -> bool {
    one.upstreams
        .iter()
        .any(|upstream| find(other, &upstream.name).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::resources::tests::settings;
    use serde_json::json;

    /// Upstreams by name, and the one that a single route leads to.
    fn with(names: &[&str], target: &str) -> Settings {
        let upstream = |name: &&str| json!({"name": name, "endpoints": [{"address": "192.0.2.1:80"}]});
        let upstreams: Vec<_> = names.iter().map(upstream).collect();
        settings(json!({"upstreams": upstreams, "routes": [{"name": "all", "upstream": target}]}))
    }

    fn shape(settings: &Settings) -> (Vec<&str>, &str) {
        let names = settings
            .upstreams
            .iter()
            .map(|upstream| upstream.name.as_str())
            .collect();
        (names, settings.routes[0].upstream.as_deref().unwrap())
    }

    #[test]
    fn clusters_come_before_routes_and_go_after_them() {
        let stages = stages(&with(&["a", "b"], "a"), &with(&["c", "b"], "c"));
        let shapes: Vec<_> = stages.iter().map(shape).collect();
        assert_eq!(
            shapes,
            [
                (vec!["a", "b", "c"], "a"),
                (vec!["c", "b", "a"], "c"),
                (vec!["c", "b"], "c")
            ]
        );
    }

    #[test]
    fn what_needs_no_steps_takes_none() {
        let old = with(&["a", "b"], "a");
        let limits = Settings {
            max_connections: 7,
            ..old.clone()
        };
        assert_eq!(stages(&old, &limits), [limits]);
        assert_eq!(stages(&old, &with(&["a", "b"], "b")).len(), 1, "both are there");
        assert_eq!(
            stages(&old, &with(&["a", "b", "c"], "a")).len(),
            1,
            "nothing leads to it"
        );
        assert_eq!(stages(&old, &with(&["a"], "a")).len(), 2);
    }

    #[test]
    fn the_first_upstream_is_a_route_too() {
        let upstream = |name: &str| json!({"name": name, "endpoints": [{"address": "192.0.2.1:80"}]});
        let old = settings(json!({"upstreams": [upstream("a")]}));
        let new = settings(json!({"upstreams": [upstream("b"), upstream("a")]}));
        let stages = stages(&old, &new);
        assert_eq!(stages.len(), 2);
        assert_eq!(first(&stages[0]), Some("a"));
    }
}
