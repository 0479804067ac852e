//! Selecting a stored response by the fields `Vary` nominates (RFC 9111 section 4.1).

use super::stored_response::StoredView;
use super::{codings, language};
use crate::http::fields::{Fields, is_alias, is_token, trim};
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

/// Stands before the value of a line that is no line of the field, but that a CGI application takes for one. No field's value can have
/// that byte.
const ALIAS: u8 = 3;

/// The request's value of a field, `None` when absent. Only what is a list by its own definition is normalised as one (RFC 9111 section
/// 4.1); of any other field the lines are joined, and every byte counts.
#[must_use]
pub fn normalised(name: &[u8], request: &Fields<'_>) -> Option<Vec<u8>> {
    if let Some(chosen) = language::value(name, request) {
        return chosen;
    }
    let value = joined(name, request)?;
    if value.contains(&ALIAS) {
        return Some(trim(&value).to_vec());
    }
    Some(match name {
        b"accept-language" => languages(&value).join(&b','),
        b"accept-encoding" => codings::normalised(&value),
        b"accept" => list(&value),
        b"accept-charset" => list(&value).to_ascii_lowercase(),
        _ => value.into_owned(),
    })
}

/// All lines in one (RFC 9110 section 5.3). They are joined before they are taken apart: a quoted string that one of them does not close
/// goes on in the next one, here as for whoever reads the joined value.
fn joined<'a>(name: &[u8], request: &Fields<'a>) -> Option<Cow<'a, [u8]>> {
    let mut joined: Option<Cow<'a, [u8]>> = None;
    for (line, value) in request.iter() {
        let alias = is_alias(line, name);
        if !alias && line != name {
            continue;
        }
        let value = trim(value);
        if joined.is_none() && !alias {
            joined = Some(Cow::Borrowed(value));
            continue;
        }
        let first = joined.is_none();
        let whole = joined.get_or_insert_default().to_mut();
        if !first {
            whole.extend_from_slice(b", ");
        }
        if alias {
            whole.push(ALIAS);
        }
        whole.extend_from_slice(value);
    }
    joined
}

/// Without blanks around commas, and without empty members.
fn list(value: &[u8]) -> Vec<u8> {
    let mut listed = Vec::with_capacity(value.len());
    for member in members(value) {
        if !listed.is_empty() {
            listed.push(b',');
        }
        listed.extend_from_slice(member);
    }
    listed
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
            ("x-tenant", "1, 2", "1,2", false),
            ("x-tenant", " 1\t", "1", true),
            ("cookie", "sid=1,,2", "sid=1,2", false),
            ("cookie", "a=1; b=2", "a=1;b=2", false),
            ("user-agent", "a (b,, c)", "a (b, c)", false),
            ("referer", "http://a/?x=1,,2", "http://a/?x=1,2", false),
            ("accept", "text/html , */*;q=0.1", "text/html,*/*;q=0.1", true),
            ("accept", "text/html, */*", "*/*, text/html", false),
            ("accept-charset", "UTF-8, x", "utf-8,,x", true),
            (
                "accept-encoding",
                "gzip, deflate, br;q=1.0",
                "br, x-gzip, deflate",
                true,
            ),
            ("accept-encoding", "gzip;q=0, br", "gzip, br", false),
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
    fn what_a_cgi_application_takes_for_the_field_counts() {
        let of = |lines: Vec<(&'static [u8], &'static [u8])>| normalised(b"x-tenant", &Fields::from(lines));
        let plain = of(vec![(b"x-tenant", b"a")]);
        for other in [
            of(vec![(b"x_tenant", b"a")]),
            of(vec![(b"x-tenant", b"a"), (b"x_tenant", b"b")]),
            of(vec![(b"x_tenant", b"b"), (b"x-tenant", b"a")]),
            of(vec![]),
        ] {
            assert_ne!(plain, other);
        }
        assert_eq!(plain, of(vec![(b"x-tenant", b"a"), (b"xxtenant", b"b")]));
        assert_eq!(
            of(vec![(b"x-tenant", b"a"), (b"x-tenant", b"b")]),
            of(vec![(b"x-tenant", b"a, b")])
        );
        let language =
            |lines: Vec<(&'static [u8], &'static [u8])>| normalised(b"accept-language=de", &Fields::from(lines));
        assert!(language(vec![(b"accept-language", b"de")]).is_some());
        assert_eq!(
            language(vec![(b"accept-language", b"de"), (b"accept_language", b"en")]),
            None
        );
    }

    #[test]
    fn a_normalised_value_is_its_own_normal_form() {
        // A restored response is found by the values it was stored with.
        for name in [
            "x-tenant",
            "accept",
            "accept-charset",
            "accept-language",
            "accept-encoding",
        ] {
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
