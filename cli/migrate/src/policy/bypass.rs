//! `proxy_cache_bypass` and `proxy_no_cache`: no setting sends single requests past the cache, so that most mean that nothing is cached.

use super::{Caching, not_cached};
use crate::look::Look;
use crate::nginx::tree::Directive;
use crate::report::Note;
use crate::variables::Source;

/// Adds what stands for the conditions. False: some condition can be met, and nothing stands for it.
pub(crate) fn set(look: &mut Look<'_, '_>, caching: &mut Caching) -> bool {
    let mut possible = true;
    for name in ["proxy_cache_bypass", "proxy_no_cache"] {
        for directive in look.scope.all(name) {
            for value in &directive.args {
                possible &= condition(look, caching, directive, value);
            }
        }
    }
    possible
}

fn condition(look: &mut Look<'_, '_>, caching: &mut Caching, directive: &Directive, value: &str) -> bool {
    let resolved = look.context.variables.resolve(value);
    if let Some(constant) = resolved.constant {
        let off = constant.is_empty() || constant == "0";
        let note = if off {
            Note::taken("never_bypassed", format!("{value} is never true."))
        } else {
            Note::taken("always_bypassed", not_cached(&format!("{value} is always true")))
        };
        look.note_of_cache(directive, note);
        return off;
    }
    let of_response = |source: &Source| *source == Source::ResponseField("set-cookie".to_owned());
    if directive.name == "proxy_no_cache" && !resolved.sources.is_empty() && resolved.sources.iter().all(of_response) {
        caching.strip_cookies = false;
        let says = "A response with Set-Cookie is not stored (set_cookie: refuse).";
        look.note_of_cache(directive, Note::taken("set_cookie_refuse", says));
        return true;
    }
    if resolved.sources.is_empty() {
        let says = format!("{value} depends only on methods that are never stored.");
        look.note_of_cache(directive, Note::taken("never_bypassed", says));
        return true;
    }
    let field = |source: &Source| match source {
        Source::Cookie(_) => Some("cookie".to_owned()),
        Source::Field(name) => Some(name.clone()),
        _ => None,
    };
    let fields: Option<Vec<String>> = resolved.sources.iter().map(field).collect();
    match fields {
        Some(fields) if look.context.options.silent_origin => {
            let says = format!(
                "A request with {} is neither stored nor answered from the store, because it counts as one with credentials, and the origin \
                 names no freshness, as you have assumed. nginx looked at single values, and stored what it fetched past the cache.",
                fields.join(" or ")
            );
            look.note_of_cache(directive, Note::changed("bypass_by_credentials", says));
            caching.credential_headers.extend(fields);
            true
        }
        fields => {
            let hint = match fields {
                Some(_) => " If your origin names no freshness of its own, assume silent-origin.",
                None => "",
            };
            let says = not_cached(&format!("No setting sends requests past the cache by {value}")) + hint;
            look.note_of_cache(directive, Note::impossible("bypass_not_possible", says));
            false
        }
    }
}
