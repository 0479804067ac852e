//! Queries that make no difference (draft-ietf-httpbis-no-vary-search): what a response says of the query of its URL.
//!
//! A response that says so is stored under a key with the query in a form that all equivalent ones have, so that each of them finds it.
//! Where servers may split a query otherwise than the draft does, no form is made: the query counts as it stands.

use crate::http::fields::Fields;
use crate::http::percent::{decoded, is_malformed};
use optimizer_proto::url;

const FIELD: &[u8] = b"no-vary-search";
/// Most names in one field; with more it counts as absent.
const MAX_NAMES: usize = 32;
/// Longest text of a variance in a key, bytes.
const MAX_TEXT: usize = 512;
/// Longest query that is brought into a form, bytes.
const MAX_QUERY: usize = 8 << 10;

/// Which parameters make a difference, and whether their order does (the draft's URL search variance); never the default one, by which all
/// do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variance {
    /// Decoded names, sorted.
    names: Vec<Vec<u8>>,
    /// These alone make a difference; else all but these.
    only: bool,
    ordered: bool,
}

impl Variance {
    /// What a response says; `None` where it says nothing, or nothing that is well-formed.
    #[must_use]
    pub fn of(response: &Fields<'_>) -> Option<Self> {
        if !response.has(FIELD) {
            return None;
        }
        let joined = response.all(FIELD).collect::<Vec<_>>().join(&b", "[..]);
        let dictionary = sfv::Parser::new(joined.as_slice()).parse::<sfv::Dictionary>().ok()?;
        let boolean = |entry: &sfv::ListEntry| match entry {
            sfv::ListEntry::Item(item) => item.bare_item.as_boolean(),
            sfv::ListEntry::InnerList(_) => None,
        };
        let ordered = match dictionary.get("key-order") {
            Some(entry) => !boolean(entry)?,
            None => true,
        };
        let params = dictionary.get("params");
        let all = params.and_then(boolean);
        let (only, mut names) = match (params, dictionary.get("except")) {
            (_, Some(except)) if all == Some(true) => (true, keys(except)?),
            (_, Some(_)) => return None,
            (None, None) => (false, Vec::new()),
            (Some(_), None) if all.is_some() => (all == Some(true), Vec::new()),
            (Some(entry), None) => (false, keys(entry)?),
        };
        names.sort_unstable();
        names.dedup();
        let variance = Self { names, only, ordered };
        let is_default = !only && variance.names.is_empty() && ordered;
        (!is_default && variance.names.len() <= MAX_NAMES && variance.text().len() <= MAX_TEXT).then_some(variance)
    }

    /// In letters, digits and signs, the same for the same variance.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = vec![
            if self.ordered { b'o' } else { b'-' },
            if self.only { b'+' } else { b'-' },
        ];
        for name in &self.names {
            push_encoded(&mut text, name);
            text.push(b',');
        }
        text
    }

    /// What [`Variance::text`] has written.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(2)?;
        let names: Vec<Vec<u8>> = rest.split(|byte| *byte == b',').map(decoded).collect();
        let (last, names) = names.split_last()?;
        let variance = Self {
            names: names.to_vec(),
            only: head.get(1) == Some(&b'+'),
            ordered: head.first() == Some(&b'o'),
        };
        (last.is_empty() && variance.text() == text).then_some(variance)
    }

    /// The form of a query that all equivalent ones have, with what begins it in a URL; `None` where servers may not read it alike. `query`:
    /// without the `?`; absent and empty are the same.
    #[must_use]
    pub fn form(&self, query: &[u8]) -> Option<Vec<u8>> {
        if query.len() > MAX_QUERY
            || is_malformed(query)
            || !query.iter().all(u8::is_ascii_graphic)
            || query.contains(&b';')
        {
            return None;
        }
        let mut relevant = Vec::new();
        for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = pair.split_at(end);
            let (name, value) = (plain(name), plain(value.get(1..).unwrap_or_default()));
            // What decodes to a separator some server splits at once more.
            if [&name, &value].iter().any(|part| part.iter().any(|byte| splits(*byte))) {
                return None;
            }
            if self.names.binary_search(&name).is_ok() == self.only {
                relevant.push((name, value));
            }
        }
        if !self.ordered {
            relevant.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        let mut form = Vec::with_capacity(query.len() + 1);
        for (name, value) in relevant {
            form.push(if form.is_empty() { b'?' } else { b'&' });
            push_encoded(&mut form, &name);
            form.push(b'=');
            push_encoded(&mut form, &value);
        }
        Some(form)
    }
}

/// The tag of responses that were stored for more than one query of a path. A purge of one URL of that path is one of all of them.
#[must_use]
pub fn tag(path: &[u8]) -> Vec<u8> {
    optimizer_proto::purge::search_tag(&url::path(path))
}

/// Strings of an inner list, as names of parameters.
fn keys(entry: &sfv::ListEntry) -> Option<Vec<Vec<u8>>> {
    let sfv::ListEntry::InnerList(list) = entry else {
        return None;
    };
    let name = |item: &sfv::Item| item.bare_item.as_string().map(|text| plain(text.as_str().as_bytes()));
    list.items.iter().map(name).collect()
}

/// A name or value without its encoding (application/x-www-form-urlencoded).
fn plain(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    decoded(&spaced)
}

fn splits(byte: u8) -> bool {
    matches!(byte, b'&' | b';') || byte.is_ascii_control()
}

fn push_encoded(into: &mut Vec<u8>, text: &[u8]) {
    let digit = |number: u8| if number < 10 { b'0' + number } else { b'A' + number - 10 };
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            into.push(*byte);
        } else {
            into.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(value: &str) -> Option<Variance> {
        Variance::of(&[(FIELD, value.as_bytes())].into_iter().collect())
    }

    #[test]
    fn what_is_malformed_or_says_nothing_is_absent() {
        for value in [
            "unknown-key",
            "key-order=\"not a boolean\"",
            "params=\"not a boolean or inner list\"",
            "params=(not-a-string)",
            "params=(\"a\"), except=(\"x\")",
            "params=(), except=()",
            "params=?0, except=(\"x\")",
            "params, except=(not-a-string)",
            "params, except=\"not an inner list\"",
            "params, except=?1",
            "except=(\"x\")",
            "except=()",
            "params=?0",
            "params=()",
            "key-order=?0",
            "params=(\"a\"",
            "",
        ] {
            assert_eq!(of(value), None, "{value}");
        }
        let many: Vec<String> = (0..33).map(|number| format!("\"p{number}\"")).collect();
        assert_eq!(of(&format!("params=({})", many.join(" "))), None);
        for (value, text) in [
            ("params", "o+"),
            ("params=?1", "o+"),
            ("key-order", "--"),
            ("params=(\"b\" \"a\" \"b\")", "o-a,b,"),
            ("params, key-order, except=(\"x\"), other=1", "-+x,"),
            ("params=(\"%C3%A9+%E6%B0%97\")", "o-%C3%A9%20%E6%B0%97,"),
        ] {
            let variance = of(value).unwrap();
            assert_eq!(String::from_utf8(variance.text()).unwrap(), text, "{value}");
            assert_eq!(Variance::read(text.as_bytes()), Some(variance));
        }
        for text in ["", "o", "o-a", "x-", "o-b,a,x"] {
            assert_eq!(Variance::read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn queries_that_servers_may_read_otherwise_have_no_form() {
        let utm = of("params=(\"utm\")").unwrap();
        assert_eq!(utm.form(b"utm=1&a=%62&utm=2&"), Some(b"?a=b".to_vec()));
        assert_eq!(utm.form(b""), utm.form(b"utm"));
        for query in [
            &b"a=1;utm=2"[..],
            b"utm=1;admin=1",
            b"utm=%zz",
            b"utm=1%26admin=1",
            b"utm=%00",
            b"utm=\xc3\xa9",
            b"a=%3b",
        ] {
            assert_eq!(utm.form(query), None, "{}", String::from_utf8_lossy(query));
        }
    }

    /// The draft's algorithms, read plainly: parse both, drop what is irrelevant, sort, compare.
    fn equivalent(value: &str, one: &str, other: &str) -> bool {
        let dictionary = sfv::Parser::new(value.as_bytes()).parse::<sfv::Dictionary>();
        let list = |entry: Option<&sfv::ListEntry>| -> Option<Vec<String>> {
            let sfv::ListEntry::InnerList(list) = entry? else {
                return None;
            };
            let text = |item: &sfv::Item| Some(form_decode(item.bare_item.as_string()?.as_str()));
            list.items.iter().map(text).collect()
        };
        let truth = |entry: Option<&sfv::ListEntry>| match entry {
            Some(sfv::ListEntry::Item(item)) => item.bare_item.as_boolean(),
            _ => None,
        };
        let (mut no_vary, mut vary, mut order) = (Some(vec![]), None, true);
        let mut sound = true;
        if let Ok(dictionary) = &dictionary {
            if dictionary.contains_key("key-order") {
                match truth(dictionary.get("key-order")) {
                    Some(any) => order = !any,
                    None => sound = false,
                }
            }
            let params = dictionary.get("params");
            if params.is_some() {
                match (truth(params), list(params)) {
                    (Some(true), _) => (no_vary, vary) = (None, Some(vec![])),
                    (Some(false), _) => {}
                    (None, Some(names)) => no_vary = Some(names),
                    (None, None) => sound = false,
                }
            }
            if dictionary.contains_key("except") {
                match (truth(params), list(dictionary.get("except"))) {
                    (Some(true), Some(names)) => vary = Some(names),
                    _ => sound = false,
                }
            }
        } else {
            sound = false;
        }
        if !sound || no_vary == Some(vec![]) && order {
            return one == other;
        }
        let reduced = |query: &str| {
            let mut pairs: Vec<(String, String)> = query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (form_decode(name), form_decode(value))
                })
                .filter(|(name, _)| match (&no_vary, &vary) {
                    (Some(no_vary), _) => !no_vary.contains(name),
                    (None, Some(vary)) => vary.contains(name),
                    (None, None) => true,
                })
                .collect();
            if !order {
                pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
            }
            pairs
        };
        reduced(one) == reduced(other)
    }

    fn form_decode(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.replace('+', " ").into_bytes();
        rest.reverse();
        while let Some(byte) = rest.pop() {
            let pair = || Some((*rest.last()?, *rest.get(rest.len().checked_sub(2)?)?));
            match (byte, pair()) {
                (b'%', Some((high, low))) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    let digits = [high, low];
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                    rest.truncate(rest.len() - 2);
                }
                _ => bytes.push(byte),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn values() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec!["a", "b", "utm", "%75tm", "a+b", "%C3%A9", "", "x"]);
        let names = prop::collection::vec(name, 0..4);
        let named = (names, 0..8_usize).prop_map(|(names, kind)| {
            let list = names
                .iter()
                .map(|name| format!("\"{name}\""))
                .collect::<Vec<_>>()
                .join(" ");
            match kind {
                0 => format!("params=({list})"),
                1 => format!("params, except=({list})"),
                2 => format!("key-order, params=({list})"),
                3 => format!("key-order, params, except=({list})"),
                4 => "key-order".to_owned(),
                5 => "params".to_owned(),
                6 => format!("except=({list})"),
                _ => format!("params=({list}), key-order=1"),
            }
        });
        prop_oneof![9 => named, 1 => "[a-z=?(), \"]{0,20}"]
    }

    fn queries() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a=1", "b=2", "utm=3", "u%74m=3", "utm", "a=%31", "a+b=4", "a%20b=4", "%C3%A9=5", "=6", "", "x=&", "a=2",
            "b", "b=",
        ]);
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.join("&"))
    }

    proptest! {
        #[test]
        fn forms_are_equal_exactly_where_the_draft_finds_queries_equivalent(
            value in values(), one in queries(), other in queries(),
        ) {
            let same = match of(&value) {
                Some(variance) => variance.form(one.as_bytes()).unwrap() == variance.form(other.as_bytes()).unwrap(),
                None => one == other,
            };
            prop_assert_eq!(same, equivalent(&value, &one, &other), "{} {} {}", value, one, other);
        }

        #[test]
        fn of_any_bytes_no_more_is_equivalent_than_in_the_draft(value in values(), one in "[ -~]{0,40}", other in "[ -~]{0,40}") {
            let Some(variance) = of(&value) else { return Ok(()) };
            let forms = (variance.form(one.as_bytes()), variance.form(other.as_bytes()));
            if let (Some(a), Some(b)) = forms && a == b {
                prop_assert!(equivalent(&value, &one, &other));
            }
            prop_assert_eq!(Variance::read(&variance.text()), Some(variance));
        }
    }
}
