//! Requests whose responses were found to depend on something that is not in their key.

use super::route_match::{HostPattern, host_of};
use super::{DEFAULT_ROUTE, RoutePolicy};
use optimizer_proto::settings::{Quarantined, is_host};
use optimizer_proto::v1::SharingFinding;

/// Longest beginning of a path that names such requests.
const MAX_PREFIX: usize = 512;

/// A set of requests under one rule of the key: those of a route of the settings, or of a host and the beginning of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Name of the route.
    route: String,
    host: HostPattern,
    path_prefix: Vec<u8>,
    /// The rule that it was found under: another one may tell apart what this one did not.
    rule: String,
}

impl Scope {
    /// As the settings name it.
    #[must_use]
    pub fn of_setting(entry: &Quarantined) -> Self {
        Self {
            route: entry.route.clone().unwrap_or_else(|| DEFAULT_ROUTE.to_owned()),
            host: HostPattern::new(&entry.host),
            path_prefix: entry.path_prefix.as_bytes().to_vec(),
            rule: entry.rule.clone(),
        }
    }

    /// As a finding names it.
    #[must_use]
    pub fn of_finding(finding: &SharingFinding) -> Self {
        let route = match finding.route.as_str() {
            "" => DEFAULT_ROUTE,
            route => route,
        };
        Self {
            route: route.to_owned(),
            host: HostPattern::new(&finding.host),
            path_prefix: finding.path_prefix.as_bytes().to_vec(),
            rule: finding.rule.clone(),
        }
    }

    /// Whether a request of this route is one of them.
    #[must_use]
    pub fn covers(&self, route: &RoutePolicy, authority: &[u8], path: &[u8]) -> bool {
        self.route == route.name
            && self.rule == route.rule
            && (self.route != DEFAULT_ROUTE
                || self.host.fits(host_of(authority)) && path.starts_with(&self.path_prefix))
    }
}

impl RoutePolicy {
    /// Route, host and path prefix of the requests that a finding about this one speaks of: all of its route; without a route, those of its
    /// host in the same folder. `None` where no settings can name these alone: what a client writes into `Host` must not quarantine others.
    #[must_use]
    pub fn scope_of(&self, authority: &[u8], path: &[u8]) -> Option<(String, String, String)> {
        if self.name != DEFAULT_ROUTE {
            return Some((self.name.clone(), "*".to_owned(), "/".to_owned()));
        }
        let host = std::str::from_utf8(host_of(authority)).ok()?;
        let folder = std::str::from_utf8(folder(path)).ok()?;
        (is_host(host) && folder.starts_with('/'))
            .then(|| (String::new(), host.to_ascii_lowercase(), folder.to_owned()))
    }
}

/// The path up to its last slash; the path itself at the root.
fn folder(path: &[u8]) -> &[u8] {
    let sound = |byte: &u8| byte.is_ascii_graphic() && !b"?#".contains(byte);
    let whole = path.iter().take_while(|byte| sound(byte)).count();
    let cut = whole < path.len() && path.get(whole) != Some(&b'?') || whole > MAX_PREFIX;
    let path = path.get(..whole.min(MAX_PREFIX)).unwrap_or_default();
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) if slash > 0 || cut => path.get(..=slash).unwrap_or_default(),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policies;
    use optimizer_proto::settings::Settings;
    use serde_json::json;

    #[test]
    fn a_finding_covers_its_route_or_its_folder_and_no_more() {
        let document = json!({"routes": [{"name": "a", "path_prefix": "/a"}]});
        let policies = Policies::compile(&Settings::parse(&document).unwrap().0);
        for (host, path, scope, covered, not_covered) in [
            ("h:80", "/a/b?c", ("a", "*", "/"), &["/a/x", "/a"][..], &["/b/x"][..]),
            (
                "H:80",
                "/b/c/d?e=/f/",
                ("", "h", "/b/c/"),
                &["/b/c/x", "/b/c/x/y"],
                &["/b/x", "/a/x"],
            ),
            ("h", "/page?x", ("", "h", "/page"), &["/page", "/page?y"], &["/other"]),
            ("h", "/", ("", "h", "/"), &["/", "/other"], &["/a"]),
            ("[::1]:80", "/b/c", ("", "[::1]", "/b/"), &["/b/x"], &["/c"]),
            ("h", "/b/\u{e9}/d", ("", "h", "/b/"), &["/b/x"], &["/c"]),
        ] {
            let route = policies.route(host.as_bytes(), path.as_bytes());
            let (name, at, prefix) = route.scope_of(host.as_bytes(), path.as_bytes()).unwrap();
            assert_eq!((name.as_str(), at.as_str(), prefix.as_str()), scope);
            let scope = Scope::of_finding(&SharingFinding {
                route: name,
                host: at,
                path_prefix: prefix,
                rule: route.rule.clone(),
                ..SharingFinding::default()
            });
            let covers = |path: &str| {
                scope.covers(
                    policies.route(host.as_bytes(), path.as_bytes()),
                    host.as_bytes(),
                    path.as_bytes(),
                )
            };
            assert!(covered.iter().all(|path| covers(path)), "{scope:?}");
            assert!(!not_covered.iter().any(|path| covers(path)), "{scope:?}");
        }
    }
    #[test]
    fn what_settings_cannot_name_is_no_scope() {
        let document = json!({"routes": [{"name": "a", "path_prefix": "/a"}]});
        let policies = Policies::compile(&Settings::parse(&document).unwrap().0);
        let long = "a".repeat(256);
        let scope = |host: &str, path: &str| {
            let route = policies.route(host.as_bytes(), path.as_bytes());
            route.scope_of(host.as_bytes(), path.as_bytes())
        };
        for host in ["x!y", "a..b", "a.b.", "*", "*.b", "", "[x]", long.as_str()] {
            assert_eq!(scope(host, "/b/c"), None, "{host}");
            assert!(scope(host, "/a/c").is_some(), "of a route: {host}");
        }
        assert_eq!(scope("h", "*"), None);
    }
}
