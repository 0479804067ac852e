//! Selecting a stored response by the fields `Vary` nominates (RFC 9111 section 4.1).

use super::language;
use super::stored_response::StoredView;
use crate::http::fields::{Fields, is_token, trim};
use crate::http::list::members;
use std::borrow::Cow;

/// The field names of all `Vary` lines: lower-case, sorted, without repetition. `None` when `*` is among them.
#[must_use]
pub fn vary_names<'a>(response: &Fields<'a>) -> Option<Vec<Cow<'a, [u8]>>> {
    let mut names: Vec<Cow<'a, [u8]>> = Vec::new();
    for line in response.lines_of(b"vary") {
        for name in members(line) {
            // What is no field name is read cautiously, as the asterisk: no telling what it selects by.
            if name == b"*" || !is_token(name) {
                return None;
            }
            names.push(Cow::Owned(name.to_ascii_lowercase()));
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
    let mut lines = request.all(name);
    // Lines are joined before they are taken apart: a quoted string that one of them does not close goes on in the next one, here as
    // for whoever reads the joined value.
    let mut joined = Cow::Borrowed(lines.next()?);
    for line in lines {
        let value = joined.to_mut();
        value.push(b',');
        value.extend_from_slice(line);
    }
    if name == b"accept-language" {
        return Some(languages(&joined).join(&b','));
    }
    let mut listed = Vec::with_capacity(joined.len());
    for member in members(&joined) {
        if !listed.is_empty() {
            listed.push(b',');
        }
        listed.extend_from_slice(member);
    }
    if matches!(name, b"accept-encoding" | b"accept-charset") {
        listed.make_ascii_lowercase();
    }
    Some(listed)
}

/// Quotes mean nothing in them: no order could be given to members that are halves of a quoted string.
fn languages(value: &[u8]) -> Vec<Vec<u8>> {
    let mut listed: Vec<Vec<u8>> = value
        .split(|byte| *byte == b',')
        .map(trim)
        .filter(|member| !member.is_empty())
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    listed.sort_by_cached_key(|member| (std::cmp::Reverse(language::weight(member)), member.clone()));
    listed
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
    #[test]
    fn a_normalised_value_is_its_own_normal_form() {
        // A restored response is found by the values it was stored with.
        for name in ["x-tenant", "accept-language", "accept-encoding"] {
            for lines in [
                vec!["a , \"b", "c ,, d\""],
                vec!["\"open", "x , \\\"", "y"],
                vec!["b\"x;q=0.1, a", "c\" , d;q=0.2"],
                vec!["\"x", "q\"r ,, s"],
                vec!["", " , ", "a"],
            ] {
                let of = |lines: &[&[u8]]| {
                    let fields = lines.iter().map(|line| (name.as_bytes(), *line)).collect();
                    normalised(name.as_bytes(), &fields)
                };
                let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
                let once = of(&lines).unwrap();
                assert_eq!(of(&[&once]).as_deref(), Some(once.as_slice()), "{name}: {lines:?}");
            }
        }
    }
}
