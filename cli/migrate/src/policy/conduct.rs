//! What nginx does with the requests of a location, and whether the settings can say it.

use super::guard::{self, Guard};
use super::{Caching, Query, bypass, key, lifetime, not_cached, request_fields, stale};
use crate::look::Look;
use crate::nginx::tree::Directive;
use crate::report::Note;
use crate::upstreams::Upstreams;
use crate::variables::Source;

/// What nginx does with the requests of a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// It sends them to an upstream, with a cache or without. The name is that of the settings.
    Upstream {
        /// As the settings say it; none: nothing is cached.
        caching: Option<Box<Caching>>,
        /// None: the settings cannot name it.
        upstream: Option<String>,
    },
    /// It answers by itself, the same to everybody: files, redirects.
    Itself,
    /// It refuses them all.
    Refuses,
}

impl Conduct {
    /// Nothing is cached, and the upstream is not known.
    pub(crate) const UNKNOWN: Self = Self::Upstream {
        caching: None,
        upstream: None,
    };

    /// How it is cached.
    pub(crate) fn caching(&self) -> Option<&Caching> {
        match self {
            Self::Upstream { caching, .. } => caching.as_deref(),
            _ => None,
        }
    }

    /// The upstream's name in the settings.
    pub(crate) fn upstream(&self) -> Option<&str> {
        match self {
            Self::Upstream { upstream, .. } => upstream.as_deref(),
            _ => None,
        }
    }

    /// Cached or not, nothing is asked of an upstream that has secrets of its own.
    pub(crate) fn is_itself(&self) -> bool {
        matches!(self, Self::Itself | Self::Refuses)
    }
}

/// Other protocols to an upstream than HTTP.
const OTHER_PASSES: [&str; 5] = ["fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass"];

/// What nginx does in a location.
pub(crate) fn of(look: &mut Look<'_, '_>, upstreams: &mut Upstreams<'_>) -> Conduct {
    let scope = look.scope;
    let own = |name: &str| scope.own().iter().find(|item| item.name == name);
    if let Some(directive) = OTHER_PASSES.iter().find_map(|name| own(name)) {
        let says = "The settings know upstreams that speak HTTP; the route does not cache.";
        look.note(directive, Note::impossible("other_protocol", says));
        return Conduct::UNKNOWN;
    }
    let guard = guard::of(scope);
    if let Guard::Closed(directive) = guard {
        let says = "nginx refuses these requests; Envoy has to (RBAC, or a direct response), before the filter.";
        look.note(directive, Note::impossible("access", says));
        return Conduct::Refuses;
    }
    if let Some(directive) = own("return") {
        let refuses = directive.first().starts_with(['4', '5']);
        let says = "nginx answers these requests itself; Envoy has to (a direct response, or a redirect).";
        look.note(directive, Note::impossible("answered_by_nginx", says));
        return if refuses { Conduct::Refuses } else { Conduct::Itself };
    }
    let Some(pass) = own("proxy_pass") else {
        if let Guard::Checked(directive) = guard {
            note_check(look, directive);
            return Conduct::UNKNOWN;
        }
        return if guard::detour(scope).is_some() {
            Conduct::UNKNOWN
        } else {
            Conduct::Itself
        };
    };
    let upstream = upstreams.of_pass(pass, look);
    let caching = caching(look, &guard).filter(|caching| is_chosen_by_the_key(look, pass, caching));
    let caching = caching.map(Box::new);
    Conduct::Upstream { caching, upstream }
}

/// Whether the parts of the URL in the key say which upstream it is. nginx's default key has the upstream's name, the key here has not.
fn is_chosen_by_the_key(look: &mut Look<'_, '_>, pass: &Directive, caching: &Caching) -> bool {
    let sources = look.context.variables.resolve(pass.first()).sources;
    let in_key = |source: &Source| match source {
        Source::Path | Source::Host | Source::Scheme | Source::Place => true,
        Source::Query | Source::Argument(_) => caching.query == Query::All,
        _ => false,
    };
    let all = sources.iter().all(in_key);
    if !all {
        let says = not_cached("What chooses the upstream is not in the key");
        look.note(pass, Note::impossible("upstream_by_request", says));
    }
    all
}

fn note_check(look: &mut Look<'_, '_>, directive: &Directive) {
    let says = not_cached(
        "nginx asks this before it answers from its cache, and no setting does; Envoy has to, before the filter",
    );
    look.note(directive, Note::impossible("access", says));
}

fn caching(look: &mut Look<'_, '_>, guard: &Guard<'_>) -> Option<Caching> {
    let directive = look
        .scope
        .one("proxy_cache")
        .filter(|directive| directive.first() != "off");
    let Some(directive) = directive else {
        if let Guard::Checked(check) = guard {
            note_check(look, check);
        }
        if let Some(off) = look.scope.one("proxy_cache") {
            look.note(off, Note::taken("cache_off", "The route does not cache."));
        }
        return None;
    };
    let mut caching = Caching::default();
    let zone = look.context.zones.get(directive.first());
    let inactive = zone.map_or(DEFAULT_INACTIVE_MS, |zone| zone.inactive);
    // Each says what it finds, also where another has found that nothing can be cached.
    let mut possible = key::set(look, &mut caching);
    possible &= lifetime::set(look, &mut caching);
    possible &= bypass::set(look, &mut caching);
    request_fields::set(look, &mut caching);
    if !key::is_expressible(&caching) {
        let says = not_cached("The settings take 16 fields and 16 cookies in a key, with names of 64 bytes");
        look.note(directive, Note::impossible("key_not_possible", says));
        possible = false;
    }
    stale::set(look, &mut caching, inactive);
    if let Guard::Checked(check) = guard {
        note_check(look, check);
        possible = false;
    }
    if let Some(detour) = guard::detour(look.scope) {
        let says = not_cached("Some requests go another way in nginx, which the settings cannot tell");
        look.note(detour, Note::impossible("detour", says));
        possible = false;
    }
    if directive.first().contains('$') {
        let says = not_cached("The zone depends on the request");
        look.note(directive, Note::impossible("zone", says));
        possible = false;
    }
    note_methods(look);
    if !possible {
        let says = not_cached("Something that belongs to this cache cannot be said by settings, as its own lines tell");
        look.note(directive, Note::impossible("not_cached", says));
        return None;
    }
    note_cache(look, directive);
    Some(caching)
}

/// `inactive` of `proxy_cache_path`, where it is not given.
pub(crate) const DEFAULT_INACTIVE_MS: u64 = 600_000;

fn note_methods(look: &mut Look<'_, '_>) {
    let Some(directive) = look.scope.one("proxy_cache_methods") else {
        return;
    };
    let other = |method: &&String| !["GET", "HEAD"].contains(&method.as_str());
    let note = match directive.args.iter().find(other) {
        Some(method) => Note::impossible(
            "methods",
            format!("{method} is never answered from the store here, only GET and HEAD are."),
        ),
        None => Note::taken("methods", "GET and HEAD are answered from the store."),
    };
    look.note_of_cache(directive, note);
}

/// What always differs.
fn note_cache(look: &mut Look<'_, '_>, directive: &Directive) {
    for note in [
        Note::taken(
            "cache",
            "The route caches. The client's own Cache-Control and Pragma are not obeyed, as in nginx.",
        ),
        Note::changed(
            "authorization",
            "A response to a request with Authorization is shared only where the origin says public, s-maxage or must-revalidate; nginx shared \
             it.",
        ),
        Note::changed(
            "x_accel_expires",
            "X-Accel-Expires of the origin is not read. An origin that forbids storing by it must say so in Cache-Control.",
        ),
        Note::changed(
            "request_statuses",
            "Statuses that speak of one request (401, 403, 429 and others) are never stored, and errors for 10 s at most, whatever the origin \
             says.",
        ),
        Note::changed(
            "head",
            "A HEAD that the store cannot answer is forwarded as HEAD, and its answer is not stored; nginx fetched by GET.",
        ),
        Note::changed(
            "invalidation",
            "A POST, PUT, PATCH or DELETE that succeeds makes what is stored under its URL invalid; in nginx it stayed.",
        ),
        Note::changed(
            "origins_stale",
            "stale-if-error of the origin also holds for its own answers 500, 502, 503 and 504; nginx 1.22 passed a 503 on.",
        ),
        Note::changed(
            "conditions",
            "Age of the origin counts against the lifetime, and what is stored with no-cache is validated each time; nginx did not store it.",
        ),
    ] {
        look.note_of_cache(directive, note);
    }
    if look.scope.one("proxy_cache_key").is_none() {
        let says = "The host of the request is in the key, where nginx's default has the upstream's name: each host has stored responses of \
                    its own.";
        look.note_of_cache(directive, Note::changed("host_in_key", says));
    }
}
