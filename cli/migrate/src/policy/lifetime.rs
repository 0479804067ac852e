//! `proxy_cache_valid` and `proxy_ignore_headers`: never a longer lifetime than nginx gave.

use super::{Caching, not_cached};
use crate::look::{Look, duration};
use crate::nginx::tree::Directive;
use crate::report::Note;
use crate::values;

/// The statuses that get a lifetime without a word of the origin here.
const BY_DEFAULT: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
/// More that are stored on the origin's word, whose own lifetime an override replaces.
const ON_ITS_WORD: [u16; 12] = [201, 202, 205, 207, 208, 302, 303, 304, 305, 306, 307, 226];
/// Longest lifetime of the settings: 720 h.
pub(crate) const LONGEST_MS: u64 = optimizer_proto::settings::MAX_TTL_MS;

/// One `proxy_cache_valid`.
struct Rule<'a> {
    directive: &'a Directive,
    /// None: any.
    statuses: Option<Vec<u16>>,
    ms: u64,
}

/// Sets the lifetimes. False: nginx stores by a rule that no setting says, so that nothing may be stored.
pub(crate) fn set(look: &mut Look<'_, '_>, caching: &mut Caching) -> bool {
    let rules = rules(look);
    let ignored = look.scope.all("proxy_ignore_headers");
    let ignores = |name: &str| {
        let mut names = ignored.iter().flat_map(|directive| directive.args.iter());
        names.any(|given| given.eq_ignore_ascii_case(name))
    };
    let (cache_control, expires) = (ignores("cache-control"), ignores("expires"));
    caching.strip_cookies = ignores("set-cookie");
    caching.ignores_freshness = cache_control || expires;
    for directive in &ignored {
        note_ignored(look, directive);
    }
    let of = |status: u16| lifetime_of(&rules, status);
    let every = |statuses: &[u16]| statuses.iter().map(|status| of(*status)).min().unwrap_or(0);
    let ttl = match (look.context.options.one_ttl, caching.ignores_freshness) {
        (true, _) => of(200),
        (false, false) => every(&BY_DEFAULT),
        (false, true) => every(&BY_DEFAULT).min(every(&ON_ITS_WORD)),
    }
    .min(LONGEST_MS);
    for rule in &rules {
        note_rule(look, rule, ttl, of(200));
    }
    if caching.ignores_freshness && ttl == 0 {
        for directive in &ignored {
            let says = not_cached(
                "nginx heard nothing of the origin about freshness, and no lifetime of its own holds for every status that would be stored",
            );
            look.note_of_cache(directive, Note::impossible("ignored_freshness", says));
        }
        return false;
    }
    match (cache_control && expires, caching.ignores_freshness) {
        (true, _) => caching.ttl_override = Some(ttl),
        (false, true) => {
            caching.default_ttl = Some(ttl);
            caching.ttl_ceiling = Some(ttl);
        }
        (false, false) => caching.default_ttl = Some(ttl).filter(|ttl| *ttl > 0),
    }
    true
}

fn rules<'a>(look: &mut Look<'a, '_>) -> Vec<Rule<'a>> {
    let mut rules = Vec::new();
    for directive in look.scope.all("proxy_cache_valid") {
        let Some((time, codes)) = directive.args.split_last() else {
            continue;
        };
        let Some(ms) = values::milliseconds(time) else {
            let says = format!("\"{time}\" is no time that can be read; the directive is left out.");
            look.note_of_cache(directive, Note::impossible("unreadable", says));
            continue;
        };
        let statuses = match codes {
            [] => Some(vec![200, 301, 302]),
            codes if codes.iter().any(|code| code == "any") => None,
            codes => Some(codes.iter().filter_map(|code| code.parse().ok()).collect()),
        };
        rules.push(Rule {
            directive,
            statuses,
            ms,
        });
    }
    rules
}

/// The first rule that fits a status counts, as in nginx.
fn lifetime_of(rules: &[Rule<'_>], status: u16) -> u64 {
    let fits = |rule: &&Rule<'_>| rule.statuses.as_ref().is_none_or(|statuses| statuses.contains(&status));
    rules.iter().find(fits).map_or(0, |rule| rule.ms)
}

fn note_rule(look: &mut Look<'_, '_>, rule: &Rule<'_>, ttl: u64, of_200: u64) {
    let directive = rule.directive;
    if ttl == 0 {
        let says = if of_200 == 0 {
            "Status 200 has no lifetime in nginx, so that the route has no default_ttl: a response without freshness of the origin's own is \
             not stored."
                .to_owned()
        } else {
            format!(
                "The route has no default_ttl: it would hold for 203, 204, 300, 301, 308, 404, 405, 410, 414 and 501 as well, and nginx \
                 stored not all of them. A response without freshness of the origin's own is not stored. If {} is right for all of them, \
                 assume one-ttl.",
                duration(of_200)
            )
        };
        look.note_of_cache(directive, Note::impossible("ttl_by_status", says));
        return;
    }
    let ttl_text = duration(ttl);
    let says_all = rule.statuses.is_none() && rule.ms == ttl;
    let note = if look.context.options.one_ttl && !says_all {
        let says = format!(
            "The lifetime of status 200, {ttl_text}, holds for 203, 204, 300, 301, 308, 404, 405, 410, 414 and 501 as well, as you have assumed."
        );
        Note::changed("one_ttl", says)
    } else if rule.ms == ttl {
        Note::taken(
            "ttl",
            format!("The lifetime is {ttl_text} where the origin names none."),
        )
    } else {
        let says = format!("One lifetime holds for all statuses: {ttl_text}, the shortest that nginx gave.");
        Note::changed("ttl_by_status", says)
    };
    look.note_of_cache(directive, note);
    let says = "Requests with cookies, Authorization or another credential are neither answered by this lifetime nor stored under it; \
                nginx did both. share_with_credentials lets them, where responses are the same for everybody.";
    look.note_of_cache(directive, Note::changed("credentials", says));
    let never = |status: &u16| !BY_DEFAULT.contains(status);
    let others: Vec<String> = match &rule.statuses {
        None => vec!["302, 307, 500 and the like".to_owned()],
        Some(statuses) => statuses
            .iter()
            .filter(|status| never(status))
            .map(u16::to_string)
            .collect(),
    };
    if !others.is_empty() {
        let says = format!(
            "Of these {} are stored only where the origin itself names a lifetime, and some never: 401, 403, 429 and others that speak of \
             one request.",
            others.join(", ")
        );
        look.note_of_cache(directive, Note::changed("status_not_stored", says));
    }
}

fn note_ignored(look: &mut Look<'_, '_>, directive: &Directive) {
    for name in &directive.args {
        let note = match name.to_ascii_lowercase().as_str() {
            "cache-control" | "expires" => Note::changed(
                "ignored_freshness",
                "The lifetimes of proxy_cache_valid replace the origin's; no-store, private and no-cache of the origin hold all the same.",
            ),
            "set-cookie" => Note::changed(
                "set_cookie_strip",
                "A response with Set-Cookie is stored without that field (set_cookie: strip), and only with freshness of the origin's own or \
                 where that is ignored; nginx gave one client's cookie to all.",
            ),
            "vary" => Note::changed(
                "vary",
                "Vary of the origin holds here always: responses are told apart by it.",
            ),
            "x-accel-expires" => Note::taken("x_accel_expires", "X-Accel-Expires is not read here."),
            other => Note::irrelevant("ignored_header", format!("{other} means nothing to the cache here.")),
        };
        look.note_of_cache(directive, note);
    }
}
