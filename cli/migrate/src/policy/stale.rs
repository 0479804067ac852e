//! `proxy_cache_use_stale` and what belongs to it: stale responses in no case that nginx did not serve them in.

use super::Caching;
use super::lifetime::LONGEST_MS;
use crate::look::{Look, duration};
use crate::report::Note;

/// What `stale_if_error` is for: all of these together, and none alone.
const FAILURES: [&str; 6] = ["error", "timeout", "http_500", "http_502", "http_503", "http_504"];

/// Sets the windows in which stale responses serve.
pub(crate) fn set(look: &mut Look<'_, '_>, caching: &mut Caching, inactive: u64) {
    let window = inactive.min(LONGEST_MS);
    let background = look.scope.is_on("proxy_cache_background_update");
    if let Some(directive) = look.scope.one("proxy_cache_background_update") {
        let note = if background {
            Note::taken(
                "background_update",
                "Refreshing in the background is what stale_while_revalidate does.",
            )
        } else {
            Note::taken(
                "background_update",
                "Without stale_while_revalidate nothing is refreshed in the background.",
            )
        };
        look.note_of_cache(directive, note);
    }
    let Some(directive) = look.scope.one("proxy_cache_use_stale") else {
        return;
    };
    let has = |word: &str| directive.args.iter().any(|given| given == word);
    if has("off") {
        let says = "Nothing stale serves, unless the origin itself allows it (stale-if-error, stale-while-revalidate).";
        look.note_of_cache(directive, Note::taken("stale_off", says));
        return;
    }
    let window_text = duration(window);
    if FAILURES.iter().all(|failure| has(failure)) {
        caching.stale_if_error = Some(window);
        caching.max_stale_on_outage = Some(window);
    } else if has("error") && has("timeout") {
        caching.max_stale_on_outage = Some(window);
    }
    if caching.max_stale_on_outage.is_some() {
        let says = format!(
            "Stale responses serve for {window_text} past their lifetime, which is the inactive time of the zone; nginx served them as long as \
             it kept them. Not those that must be revalidated, which s-maxage says as well."
        );
        look.note_of_cache(directive, Note::changed("stale_window", says));
    }
    let is_dropped = |word: &&String| {
        let failures = FAILURES.contains(&word.as_str());
        failures
            && caching.stale_if_error.is_none()
            && !(caching.max_stale_on_outage.is_some() && matches!(word.as_str(), "error" | "timeout"))
            || word.starts_with("http_4")
            || *word == "invalid_header"
    };
    let left_out: Vec<&str> = directive.args.iter().filter(is_dropped).map(String::as_str).collect();
    if !left_out.is_empty() {
        let says = format!(
            "Nothing stale serves for {}: stale_if_error means error, timeout, 500, 502, 503 and 504 together, max_stale_on_outage means error \
             and timeout together.",
            left_out.join(", ")
        );
        look.note_of_cache(directive, Note::impossible("stale_by_status", says));
    }
    if has("updating") && background {
        caching.stale_while_revalidate = Some(window);
        let says = format!(
            "Stale responses serve for {window_text} while they are refreshed, but to the one request that carries the refresh, where Envoy's \
             route changes requests or that is not known yet; nginx served them as long as it kept them."
        );
        look.note_of_cache(directive, Note::changed("stale_updating_window", says));
    } else if has("updating") {
        let says = "Requests that come while a stale response is fetched anew wait for that fetch; nginx gave them the stale one.";
        look.note_of_cache(directive, Note::changed("stale_updating", says));
    }
}
