//! `proxy_set_header` that takes a field of the client away: the origin sees it now, so that the key has to tell its values apart.

use super::Caching;
use crate::look::Look;
use crate::report::Note;

/// Fields that are about a connection or the way of a request, and those that are always in the key.
const OF_THE_WAY: [&str; 10] = [
    "connection",
    "content-length",
    "forwarded",
    "host",
    "keep-alive",
    "range",
    "te",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Adds to the key the fields that nginx kept from the origin.
pub(crate) fn set(look: &mut Look<'_, '_>, caching: &mut Caching) {
    for directive in look.scope.all("proxy_set_header") {
        let name = directive.first().to_ascii_lowercase();
        let value = directive.args.get(1).map_or("", String::as_str);
        let of_the_way =
            OF_THE_WAY.contains(&name.as_str()) || name.starts_with("x-forwarded-") || name.starts_with("proxy-");
        if value.contains('$') || of_the_way {
            continue;
        }
        if name == "authorization" {
            caching.isolate_authorization = true;
        } else {
            caching.key_headers.insert(name.clone());
        }
        let says = format!(
            "nginx sent its own {name} to the origin, or none; Envoy sends the client's, so that it is in the key. Where Envoy takes it away \
             before the filter, take it out of the key."
        );
        look.note_of_cache(directive, Note::changed("field_in_key", says));
    }
}
