//! Which active health check is a breaker's.

use super::{Policies, RoutePolicy};
use optimizer_proto::settings::ActiveHealthCheck;

/// Stands for every cluster that is not named.
const ALL: &str = "*";

impl Policies {
    /// The check of a breaker, with the cluster to ask. A route's own breaker has one only under its own name: another path says nothing
    /// about it.
    #[must_use]
    pub fn health_check<'a>(&'a self, breaker: &'a str) -> Option<(&'a ActiveHealthCheck, &'a str)> {
        let named = |name: &str| {
            self.settings
                .breaker
                .active_health_checks
                .iter()
                .find(|check| check.upstream == name)
        };
        if let Some(cluster) = self.cluster_of_routes_own(breaker) {
            return named(breaker).map(|check| (check, cluster));
        }
        named(breaker).or_else(|| named(ALL)).map(|check| (check, breaker))
    }

    /// The cluster before the name of a route that has a breaker of its own.
    #[must_use]
    pub fn cluster_of_routes_own<'a>(&self, breaker: &'a str) -> Option<&'a str> {
        let own = self.routes.iter().filter(|route| route.own_breaker);
        let before = |route: &RoutePolicy| breaker.strip_suffix(&route.name)?.strip_suffix('/');
        own.filter_map(|route| before(route))
            .find(|cluster| !cluster.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use optimizer_proto::settings::Settings;

    fn policies(document: &str) -> Policies {
        let document = serde_json::from_str(document).unwrap();
        Policies::compile(&Settings::parse(&document).unwrap().0)
    }

    #[test]
    fn a_breaker_has_its_own_check_or_that_of_all() {
        let policies = policies(
            r#"{"routes":[{"name":"slow","path_prefix":"/slow","breaker":true},{"name":"quick","path_prefix":"/quick","breaker":true},
                {"name":"shared","path_prefix":"/shared"}],
                "breaker":{"active_health_checks":[{"upstream":"*","path":"/all"},{"upstream":"api","path":"/api"},
                {"upstream":"api/slow","path":"/slow/health"}]}}"#,
        );
        for (breaker, expected) in [
            ("api", Some(("/api", "api"))),
            ("other", Some(("/all", "other"))),
            ("api/slow", Some(("/slow/health", "api"))),
            ("api/quick", None),
            ("a/slow", None),
            ("api/shared", Some(("/all", "api/shared"))),
        ] {
            let found = policies.health_check(breaker);
            let found = found.map(|(check, cluster)| (check.path.as_str(), cluster));
            assert_eq!(found, expected, "{breaker}");
        }
    }

    #[test]
    fn by_default_there_is_none() {
        assert!(policies("{}").health_check("api").is_none());
    }
}
