//! `proxy_cache_key`: never fewer parts than nginx had.

use super::{Caching, Query, not_cached};
use crate::look::Look;
use crate::report::Note;
use crate::variables::Source;
use std::collections::BTreeSet;

/// Most fields, and most cookies, in a key; most bytes of a name.
const MAX_PARTS: usize = 16;
const MAX_NAME: usize = 64;

/// Whether settings can hold the parts of the key.
pub(crate) fn is_expressible(caching: &Caching) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let sound = |name: &String| !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(token);
    let sets = [&caching.key_headers, &caching.key_cookies, &caching.credential_headers];
    sets.iter().all(|set| set.len() <= MAX_PARTS && set.iter().all(sound))
}

/// Sets the parts of the key. False: it has one that no setting names.
pub(crate) fn set(look: &mut Look<'_, '_>, caching: &mut Caching) -> bool {
    let Some(directive) = look.scope.one("proxy_cache_key") else {
        // $scheme$proxy_host$request_uri
        return true;
    };
    let sources = look.context.variables.resolve(&directive.args.join(" ")).sources;
    let mut arguments = BTreeSet::new();
    let (mut query, mut host) = (false, false);
    for source in &sources {
        match source {
            Source::Query => query = true,
            Source::Host => host = true,
            Source::Path | Source::Scheme | Source::Method | Source::Place => {}
            Source::Argument(name) => drop(arguments.insert(name.clone())),
            Source::Cookie(name) if look.context.options.exact_names => {
                caching.key_cookies.insert(name.clone());
            }
            Source::Cookie(name) => {
                caching.key_headers.insert("cookie".to_owned());
                let says = format!(
                    "The whole Cookie field is in the key: nginx finds the cookie {name} whatever the case of its name, and key_cookies does \
                     not. If your origin minds the case, assume exact-names."
                );
                look.note_of_cache(directive, Note::changed("whole_cookie", says));
            }
            Source::Field(name) if name == "authorization" => caching.isolate_authorization = true,
            Source::Field(name) if name == "host" => host = true,
            Source::Field(name) => drop(caching.key_headers.insert(name.clone())),
            Source::ResponseField(name) | Source::Other(name) => {
                let says = not_cached(&format!("No setting puts ${name} into the key"));
                look.note_of_cache(directive, Note::impossible("key_not_possible", says));
                return false;
            }
        }
    }
    caching.query = if query {
        Query::All
    } else if arguments.is_empty() {
        Query::None
    } else if look.context.options.exact_names {
        Query::Include(arguments)
    } else {
        let says = "The whole query is in the key: nginx finds a parameter whatever the case of its name, and key_query does not. If \
                    your origin minds the case, assume exact-names.";
        look.note_of_cache(directive, Note::changed("whole_query", says));
        Query::All
    };
    if !host {
        let says = "The host of the request is always in the key here: each host has stored responses of its own, where nginx shared \
                    them.";
        look.note_of_cache(directive, Note::changed("host_in_key", says));
    }
    if !sources.contains(&Source::Path) {
        let says = "The path is always in the key here; in nginx it was not.";
        look.note_of_cache(directive, Note::changed("path_in_key", says));
    }
    let says = "What it names is in the key of the route, beside scheme, host and path, which always are.";
    look.note_of_cache(directive, Note::taken("key", says));
    true
}
