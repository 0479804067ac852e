//! Names of query parameters and cookies, compared as the most lenient server compares them.
//!
//! Servers do not agree on what a name is: some decode escapes twice, split at `;`, trim blanks and quotes, fold case, or cut at `[`.
//! A key that is made of named parameters must hold each parameter that any of them may take for the named one. So the key may tell
//! two requests apart that are the same, and never the other way round.

use crate::http::percent::{ROUNDS, decoded, is_malformed};
use std::borrow::Cow;

/// Whether some server may find one of the names in a parameter or a cookie. `separators` are the bytes at which servers split it.
#[must_use]
pub fn mentions(text: &[u8], separators: &[u8], wanted: &[Vec<u8>]) -> bool {
    let mut text = Cow::Borrowed(text);
    for round in 0..=ROUNDS {
        let last = round == ROUNDS;
        let mut parts = text.split(|byte| separators.contains(byte));
        if parts.any(|part| may_be_named(part, wanted, last)) {
            return true;
        }
        if last || !text.contains(&b'%') {
            return false;
        }
        text = Cow::Owned(decoded(&text));
    }
    false
}

/// Whether every server takes a parameter for one of exactly this name. Only such a one may be left out of a key.
#[must_use]
pub fn is_exactly(parameter: &[u8], names: &[Vec<u8>]) -> bool {
    let name = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
    if !names.iter().any(|wanted| wanted == name) || !parameter.iter().all(u8::is_ascii_graphic) {
        return false;
    }
    let mut text = Cow::Borrowed(parameter);
    for _ in 0..ROUNDS {
        if splits(&text) || is_malformed(&text) {
            return false;
        }
        if !text.contains(&b'%') {
            return true;
        }
        text = Cow::Owned(decoded(&text));
    }
    !text.contains(&b'%') && !splits(&text)
}

fn splits(text: &[u8]) -> bool {
    text.iter()
        .any(|byte| matches!(byte, b'&' | b';') || byte.is_ascii_control())
}

fn may_be_named(part: &[u8], wanted: &[Vec<u8>], last: bool) -> bool {
    let start = part.iter().position(|byte| *byte != b'=').unwrap_or(part.len());
    let part = part.get(start..).unwrap_or_default();
    let name = trimmed(part.split(|byte| *byte == b'=').next().unwrap_or_default());
    is_unclear(name, last) || wanted.iter().any(|wanted| are_folded_equal(name, trimmed(wanted)))
}

/// Names that servers read in ways of their own: such a one may be any.
fn is_unclear(name: &[u8], last: bool) -> bool {
    let odd = |byte: &u8| !byte.is_ascii() || byte.is_ascii_control();
    name.iter().any(odd) || is_malformed(name) || last && name.contains(&b'%')
}

/// Without blanks, control bytes, quotes, and the `+` that stands for a blank, at both ends.
fn trimmed(mut name: &[u8]) -> &[u8] {
    let dropped = |byte: u8| byte <= b' ' || matches!(byte, 0x7f | b'+' | b'"');
    while let [first, rest @ ..] = name
        && dropped(*first)
    {
        name = rest;
    }
    while let [rest @ .., last] = name
        && dropped(*last)
    {
        name = rest;
    }
    name
}

fn are_folded_equal(name: &[u8], wanted: &[u8]) -> bool {
    let whole = |name: &[u8]| name.iter().copied().map(folded).collect::<Vec<u8>>();
    let cut = |name: &[u8]| whole(name.split(|byte| *byte == b'[').next().unwrap_or_default());
    let plain = |name: &[u8]| name.iter().all(|byte| !matches!(byte, b'.' | b' ' | b'+' | b'['));
    if plain(name) && plain(wanted) {
        return name.eq_ignore_ascii_case(wanted);
    }
    whole(name) == whole(wanted) || cut(name) == cut(wanted)
}

/// As PHP folds names, and in lower case.
fn folded(byte: u8) -> u8 {
    match byte {
        b'.' | b' ' | b'+' | b'[' => b'_',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id() -> Vec<Vec<u8>> {
        vec![b"id".to_vec(), b"user.id".to_vec()]
    }

    #[test]
    fn a_name_is_found_in_whatever_spelling() {
        for text in [
            "id=2",
            "ID=2",
            "%69d=2",
            "%2569d=2",
            "%252569d=2",
            "+id=2",
            "%20id=2",
            "id%00=2",
            "id%00x=2",
            "id%0a=2",
            "\tid =2",
            "\"id\"=2",
            "id[]=2",
            "id%5B0%5D=2",
            "x=1;id=2",
            "x=1%3Bid=2",
            "x=1%26id=2",
            "x=1%2526id%253D2",
            "id",
            "=id=2",
            "user_id=2",
            "user.id=2",
            "user+id=2",
            "user[id=2",
            "%u0069d=2",
            "%c1%a9d=2",
            "i%=2",
            "\u{ff49}d=2",
            "%25252569d=2",
        ] {
            assert!(mentions(text.as_bytes(), b"&;", &id()), "{text}");
        }
        for text in [
            "idx=2",
            "x=id",
            "xid=2",
            "x=%20id",
            "x=100%",
            "",
            "id2=1",
            "x[id]=2",
            "filter.id=1",
        ] {
            assert!(!mentions(text.as_bytes(), b"&;", &id()), "{text}");
        }
    }

    #[test]
    fn only_what_all_read_alike_is_left_out() {
        let names = [b"utm_source".to_vec()];
        for (text, left_out) in [
            ("utm_source=a", true),
            ("utm_source", true),
            ("utm_source=a%20b%C3%A9", true),
            ("utm_source=a;id=2", false),
            ("utm_source=a%3Bid=2", false),
            ("utm_source=a%26id=2", false),
            ("utm_source=a%2526id=2", false),
            ("utm_source=%", false),
            ("utm_source=%00", false),
            ("utm_source=%2525252526", false),
            ("utm%5Fsource=a", false),
            ("UTM_SOURCE=a", false),
            ("utm_source[]=a", false),
            ("x=utm_source", false),
        ] {
            assert_eq!(is_exactly(text.as_bytes(), &names), left_out, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(text in prop::collection::vec(any::<u8>(), 0..40), name in prop::collection::vec(any::<u8>(), 1..8)) {
            let names = [name.clone()];
            let exact = is_exactly(&text, &names);
            if exact {
                prop_assert!(mentions(&text, b"&;", &names));
            }
            prop_assert!(mentions(&[name.as_slice(), b"=1"].concat(), b"", &names) || name.contains(&b'='));
        }
    }
}
