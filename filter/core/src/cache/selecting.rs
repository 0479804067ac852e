//! Selecting a stored response by the fields `Vary` nominates (RFC 9111 section 4.1).

use super::language;
use super::stored_response::StoredView;
use crate::http::fields::{Fields, is_token};
use crate::http::list::members;

/// The field names of all `Vary` lines: lower-case, sorted, without repetition. `None` when `*` is among them.
#[must_use]
pub fn vary_names<'a>(response: &Fields<'a>) -> Option<Vec<std::borrow::Cow<'a, [u8]>>> {
    let mut names: Vec<std::borrow::Cow<'a, [u8]>> = Vec::new();
    for line in response.lines_of(b"vary") {
        for name in members(line) {
            // What is no field name is read cautiously, as the asterisk: no telling what it selects by.
            if name == b"*" || !is_token(name) {
                return None;
            }
            names.push(std::borrow::Cow::Owned(name.to_ascii_lowercase()));
        }
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// Hash of the request's values of the nominated fields, normalised. Equal values have equal hashes whatever the order of
/// `names`; the full comparison is [`matches`].
#[must_use]
pub fn variant_hash<'n>(names: impl Iterator<Item = &'n [u8]>, request: &Fields<'_>) -> u64 {
    names.fold(0, |hash, name| {
        let mut named = name.to_vec();
        if let Some(value) = normalised(name, request) {
            named.push(b':');
            named.extend_from_slice(&value);
        }
        // Added up, so that the order of the names does not matter.
        hash.wrapping_add(xxhash_rust::xxh3::xxh3_64(&named))
    })
}

/// True when the request has the values with which the stored response was selected.
#[must_use]
pub fn matches(stored: &StoredView<'_>, request: &Fields<'_>) -> bool {
    stored
        .selecting()
        .all(|(name, value)| normalised(name, request).as_deref() == value)
}

/// The request's value of a field: all lines joined, white space around commas dropped. Languages are put into the order of their
/// weights, and among equals of their names. `None` when absent.
#[must_use]
pub fn normalised(name: &[u8], request: &Fields<'_>) -> Option<Vec<u8>> {
    if let Some(chosen) = language::value(name, request) {
        return chosen;
    }
    if !request.has(name) {
        return None;
    }
    let fold_case = matches!(name, b"accept-encoding" | b"accept-language" | b"accept-charset");
    let fold = |member: &[u8]| {
        if fold_case {
            member.to_ascii_lowercase()
        } else {
            member.to_vec()
        }
    };
    let mut listed: Vec<Vec<u8>> = request.all(name).flat_map(members).map(fold).collect();
    if name == b"accept-language" {
        listed.sort_by_cached_key(|member| (std::cmp::Reverse(language::weight(member)), member.clone()));
    }
    Some(listed.join(&b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_normalised() {
        for (name, one, other, same) in [
            ("accept-language", "en, de", "de,en", true),
            ("accept-language", "en;q=0.5, de", "de, EN;q=0.5", true),
            ("accept-language", "en;q=0.5, de", "en, de", false),
            ("accept-encoding", "GZIP , br", "gzip,br", true),
            ("x-tenant", "a", "A", false),
            ("x-tenant", "1, 2", "1,2", true),
        ] {
            let of = |value: &str| {
                let lines = vec![(name.as_bytes(), value.as_bytes())];
                normalised(name.as_bytes(), &Fields::from(lines))
            };
            assert_eq!(of(one) == of(other), same, "{name}: {one} / {other}");
        }
        assert_eq!(normalised(b"x", &Fields::default()), None);
    }
}
