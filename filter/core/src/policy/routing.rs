//! Which route a request belongs to, and whether all servers would agree.

use super::route_match::host_of;
use super::{Policies, RoutePolicy, readings};
use std::borrow::Cow;
use std::rc::Rc;

/// What the routes have in common, so that most requests need no second look.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// Some route has a path of its own.
    by_path: bool,
    /// Some route has a host of its own.
    by_host: bool,
    /// All paths are such that every server reads them alike.
    plain: bool,
    /// No path has an upper-case letter.
    lower: bool,
}

impl Shape {
    pub(super) fn of(routes: &[Rc<RoutePolicy>]) -> Self {
        let all = |test: fn(&RoutePolicy) -> bool| routes.iter().all(|route| test(route));
        Self {
            by_path: !all(|route| matches!(route.path_prefix.as_slice(), b"" | b"/")),
            by_host: !all(|route| route.host.is_any()),
            plain: all(|route| has_plain_path(&route.path_prefix)),
            lower: all(|route| !route.path_prefix.iter().any(u8::is_ascii_uppercase)),
        }
    }
}

/// What may follow decides whether a dot at the end is plain: `/v1.` is the beginning of `/v1.2`.
fn has_plain_path(prefix: &[u8]) -> bool {
    prefix.is_empty() || readings::is_plain(prefix) || readings::is_plain(&[prefix, b"0"].concat())
}

/// Host, path, whether in any case, and the route; false ends the list.
type Listener<'l> = &'l mut dyn FnMut(&[u8], &[u8], bool, &Rc<RoutePolicy>) -> bool;

/// One way to read a request, and the route that it leads to.
#[derive(Debug)]
pub struct Reading {
    /// The host.
    pub host: Vec<u8>,
    /// Path and query.
    pub path: Vec<u8>,
    /// Whatever the case of its letters.
    pub any_case: bool,
    /// The route's name.
    pub route: String,
}

impl Policies {
    /// The route of a request: the first of the list whose host and path prefix fit.
    #[must_use]
    pub fn route(&self, authority: &[u8], path: &[u8]) -> &Rc<RoutePolicy> {
        self.first(host_of(authority), |route| path.starts_with(&route.path_prefix))
    }

    /// Whether servers disagree on the route of a request. What one of them takes for a page of another route must not be stored, nor
    /// answered from what is stored, by the rules of this one.
    #[must_use]
    pub fn is_ambiguous(&self, authority: &[u8], path: &[u8]) -> bool {
        let shape = &self.shape;
        if !(shape.by_path || shape.by_host && is_odd_host(host_of(authority))) {
            return false;
        }
        if self.has_one_reading(authority, path) {
            return false;
        }
        let found = self.route(authority, path);
        self.each_reading(authority, path, &mut |_, _, _, route| Rc::ptr_eq(route, found))
            .is_none_or(|agreed| !agreed)
    }

    /// All readings of a request; none when it is too odd to be read.
    #[must_use]
    pub fn readings(&self, authority: &[u8], path: &[u8]) -> Vec<Reading> {
        let mut listed = Vec::new();
        let read = self.each_reading(authority, path, &mut |host, path, any_case, route| {
            listed.push(Reading {
                host: host.to_vec(),
                path: path.to_vec(),
                any_case,
                route: route.name.clone(),
            });
            true
        });
        if read.is_some() { listed } else { Vec::new() }
    }

    fn has_one_reading(&self, authority: &[u8], path: &[u8]) -> bool {
        let shape = &self.shape;
        let mut path_only = path.iter().take_while(|byte| **byte != b'?');
        shape.plain
            && shape.lower
            && readings::is_plain(path)
            && !path_only.any(u8::is_ascii_uppercase)
            && !(shape.by_host && is_odd_host(host_of(authority)))
    }

    /// Tells of each reading and its route, until the answer is false; answers that. `None` when the path is too odd to be read.
    fn each_reading(&self, authority: &[u8], path: &[u8], tell: Listener<'_>) -> Option<bool> {
        let host = host_of(authority);
        let one = !self.shape.by_path || self.shape.plain && readings::is_plain(path);
        let paths = if one { vec![path.to_vec()] } else { readings::of(path)? };
        for host in hosts(host) {
            for path in &paths {
                let plain = self.first(&host, |route| {
                    path.starts_with(&route.path_prefix) || path.starts_with(&route.canonical_prefix)
                });
                let folded = self.first(&host, |route| {
                    starts_in_any_case(path, &route.path_prefix) || starts_in_any_case(path, &route.canonical_prefix)
                });
                if !tell(&host, path, false, plain) || !tell(&host, path, true, folded) {
                    return Some(false);
                }
            }
        }
        Some(true)
    }

    fn first(&self, host: &[u8], fits: impl Fn(&RoutePolicy) -> bool) -> &Rc<RoutePolicy> {
        self.routes
            .iter()
            .find(|route| route.host.fits(host) && fits(route))
            .unwrap_or(&self.default)
    }
}

fn starts_in_any_case(path: &[u8], prefix: &[u8]) -> bool {
    path.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn is_odd_host(host: &[u8]) -> bool {
    host.ends_with(b".") || host.contains(&b'@')
}

/// As received, without the dot of the root, and without user information.
fn hosts(host: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let mut listed = vec![Cow::Borrowed(host)];
    let bare = host.rsplit(|byte| *byte == b'@').next().unwrap_or(host);
    for other in [host.strip_suffix(b"."), Some(bare), bare.strip_suffix(b".")] {
        if let Some(other) = other.filter(|other| !listed.iter().any(|known| known.as_ref() == *other)) {
            listed.push(Cow::Borrowed(other));
        }
    }
    listed
}
