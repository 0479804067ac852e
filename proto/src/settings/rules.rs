//! Rules that span several fields. Each judges only what is sound by itself, so that one mistake is reported once.

use super::duration::format_duration;
use super::reader::{Findings, Problem};
use super::{Route, Settings, ViolationCode};

/// Refuses contradictions.
pub(super) fn check(settings: &Settings, findings: &mut Findings) {
    check_ttls(settings, findings);
    check_breaker_waits(settings, findings);
    check_health_checks(settings, findings);
    check_alerts(settings, findings);
    if findings.sound("/quarantine") {
        check_quarantine(settings, findings);
    }
    if findings.sound("/upstreams") {
        check_upstreams(settings, findings);
    }
    // Positions in the list are those of the document only if no route was dropped.
    if findings.sound("/routes") {
        for (index, route) in settings.routes.iter().enumerate() {
            let earlier = settings.routes.get(..index).unwrap_or_default();
            check_unique(index, route, earlier, findings);
            check_route_ttls(index, route, settings, findings);
        }
    }
}

/// Three lifetimes that must be in order, each with where it was written.
struct Lifetimes {
    floor: (String, u64),
    default: (String, u64),
    ceiling: (String, u64),
}

impl Lifetimes {
    /// Floor at most default (unless that is 0, which stores nothing) at most ceiling.
    fn check(&self, findings: &mut Findings) {
        if !findings.sound(&self.floor.0) || !findings.sound(&self.ceiling.0) {
            return;
        }
        if self.floor.1 > self.ceiling.1 {
            // A route that contradicts what it inherits is told about its own field.
            if self.ceiling.0.starts_with("/routes/") && !self.floor.0.starts_with("/routes/") {
                conflict(findings, &self.ceiling, "below", &self.floor);
            } else {
                conflict(findings, &self.floor, "above", &self.ceiling);
            }
            return;
        }
        if self.default.1 == 0 || !findings.sound(&self.default.0) {
            return;
        }
        if self.default.1 < self.floor.1 {
            conflict(findings, &self.default, "below", &self.floor);
        }
        if self.default.1 > self.ceiling.1 {
            conflict(findings, &self.default, "above", &self.ceiling);
        }
    }
}

fn conflict(findings: &mut Findings, wrong: &(String, u64), relation: &str, limit: &(String, u64)) {
    let (given, bound) = (format_duration(wrong.1), format_duration(limit.1));
    let message = format!("given {given}, {relation} {} which is {bound}", limit.0);
    findings.refuse(wrong.0.clone(), Problem::new(ViolationCode::Conflict, message));
}

fn check_ttls(settings: &Settings, findings: &mut Findings) {
    let at = |path: &str, ms| (path.to_owned(), ms);
    Lifetimes {
        floor: at("/freshness/ttl_floor", settings.freshness.ttl_floor_ms),
        default: at("/default_ttl", settings.default_ttl_ms),
        ceiling: at("/freshness/ttl_ceiling", settings.freshness.ttl_ceiling_ms),
    }
    .check(findings);
}

/// A route's own lifetimes, against those it takes from the whole document. An inherited default is not judged: a
/// route's floor may lift it.
fn check_route_ttls(index: usize, route: &Route, settings: &Settings, findings: &mut Findings) {
    let own = [route.ttl_floor_ms, route.default_ttl_ms, route.ttl_ceiling_ms];
    if own.iter().all(Option::is_none) {
        return;
    }
    let own_path = |name: &str| format!("/routes/{index}/{name}");
    let at = |name: &str, own: Option<u64>, inherited| match own {
        Some(ms) => (own_path(name), ms),
        None => (format!("/freshness/{name}"), inherited),
    };
    Lifetimes {
        floor: at("ttl_floor", route.ttl_floor_ms, settings.freshness.ttl_floor_ms),
        default: (own_path("default_ttl"), route.default_ttl_ms.unwrap_or(0)),
        ceiling: at("ttl_ceiling", route.ttl_ceiling_ms, settings.freshness.ttl_ceiling_ms),
    }
    .check(findings);
}

fn check_breaker_waits(settings: &Settings, findings: &mut Findings) {
    let first = ("/breaker/open_wait".to_owned(), settings.breaker.open_wait_ms);
    let most = ("/breaker/open_wait_max".to_owned(), settings.breaker.open_wait_max_ms);
    if first.1 > most.1 && findings.sound(&first.0) && findings.sound(&most.0) {
        conflict(findings, &first, "above", &most);
    }
}

/// Each breaker has one check at most. Positions in the list are those of the document only if none was dropped.
fn check_health_checks(settings: &Settings, findings: &mut Findings) {
    let checks = &settings.breaker.active_health_checks;
    if !findings.sound("/breaker/active_health_checks") {
        return;
    }
    for (index, check) in checks.iter().enumerate() {
        let earlier = checks.get(..index).unwrap_or_default();
        if let Some(other) = earlier.iter().position(|other| other.upstream == check.upstream) {
            let place = format!("/breaker/active_health_checks/{other}");
            let message = format!("given \"{}\", already the upstream of {place}", check.upstream);
            findings.refuse(
                format!("/breaker/active_health_checks/{index}/upstream"),
                Problem::new(ViolationCode::Duplicate, message),
            );
        }
    }
}

/// A critical threshold is never on the harmless side of its warning.
fn check_alerts(settings: &Settings, findings: &mut Findings) {
    for (name, threshold, low_is_bad) in settings.alerts.thresholds() {
        let (warning, critical) = (threshold.warning, threshold.critical);
        let path = format!("/alerts/{name}");
        let contradicts = if low_is_bad {
            critical > warning
        } else {
            critical < warning
        };
        if contradicts && findings.sound(&path) {
            let relation = if low_is_bad { "above" } else { "below" };
            let message = format!("given {critical}, {relation} {path}/warning which is {warning}");
            findings.refuse(
                format!("{path}/critical"),
                Problem::new(ViolationCode::Conflict, message),
            );
        }
    }
}

/// Each entry can be named.
fn check_quarantine(settings: &Settings, findings: &mut Findings) {
    for (index, entry) in settings.quarantine.iter().enumerate() {
        let earlier = settings.quarantine.get(..index).unwrap_or_default();
        if let Some(other) = earlier.iter().position(|other| other.id == entry.id) {
            let message = format!("given \"{}\", already the id of /quarantine/{other}", entry.id);
            findings.refuse(
                format!("/quarantine/{index}/id"),
                Problem::new(ViolationCode::Duplicate, message),
            );
        }
    }
}

/// Names are unique, and routes name upstreams that exist.
fn check_upstreams(settings: &Settings, findings: &mut Findings) {
    for (index, upstream) in settings.upstreams.iter().enumerate() {
        let earlier = settings.upstreams.get(..index).unwrap_or_default();
        if let Some(other) = earlier.iter().position(|other| other.name == upstream.name) {
            let message = format!("given \"{}\", already the name of /upstreams/{other}", upstream.name);
            findings.refuse(
                format!("/upstreams/{index}/name"),
                Problem::new(ViolationCode::Duplicate, message),
            );
        }
    }
    for (index, route) in settings.routes.iter().enumerate() {
        let Some(wanted) = &route.upstream else { continue };
        if !settings.upstreams.iter().any(|upstream| upstream.name == *wanted) && findings.sound("/routes") {
            let message = format!("given \"{wanted}\", allowed is the name of one of /upstreams");
            findings.refuse(
                format!("/routes/{index}/upstream"),
                Problem::new(ViolationCode::Conflict, message),
            );
        }
    }
}

fn check_unique(index: usize, route: &Route, earlier: &[Route], findings: &mut Findings) {
    if let Some(other) = earlier.iter().position(|other| other.name == route.name) {
        let message = format!("given \"{}\", already the name of /routes/{other}", route.name);
        findings.refuse(
            format!("/routes/{index}/name"),
            Problem::new(ViolationCode::Duplicate, message),
        );
    }
    let same_match = |other: &Route| other.host == route.host && other.path_prefix == route.path_prefix;
    if let Some(other) = earlier.iter().position(same_match) {
        let message = format!("the same host and path_prefix as /routes/{other}; this route would never match");
        findings.refuse(
            format!("/routes/{index}"),
            Problem::new(ViolationCode::Duplicate, message),
        );
    }
}
