//! The canonical form in which URLs of purges and of stored responses are compared (RFC 3986 section 6.2.2).
//!
//! Every spelling of a URL that Envoy may serve from one stored response has the same form. Where two URLs may or may not name
//! the same resource, they have the same form too: a purge then removes too much, never too little. The form is for comparing
//! only; nothing is requested or stored by it.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// Splits an absolute `http` or `https` URL into authority and path with query; `None` for anything else.
#[must_use]
pub fn split(url: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = without_scheme(url)?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'\\' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    (!authority.is_empty()).then_some((authority, path))
}

/// What follows `http://` or `https://`, in any case.
#[must_use]
pub fn without_scheme(url: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
        let (begin, rest) = url.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// Host and port: lower case, without user information, a trailing dot, an empty port, and the default port of either scheme. An
/// address of IPv6 in the form of RFC 5952. What is no authority is left as it is.
#[must_use]
pub fn host(authority: &[u8]) -> Cow<'_, [u8]> {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    let dots_inside = |name: &[u8]| !name.ends_with(b".");
    if authority.iter().all(|byte| plain(byte) || *byte == b'.') && dots_inside(authority) {
        return Cow::Borrowed(authority);
    }
    if !is_authority(authority) {
        return Cow::Owned(authority.to_ascii_lowercase());
    }
    let authority = authority.rsplit(|byte| *byte == b'@').next().unwrap_or(authority);
    let (name, port) = split_port(authority);
    let mut out = match ipv6(name) {
        Some(address) => format!("[{address}]").into_bytes(),
        None => name.to_ascii_lowercase(),
    };
    while out.len() > 1 && out.ends_with(b".") {
        out.pop();
    }
    let port = port.get(port.iter().position(|digit| *digit != b'0').unwrap_or(port.len())..);
    match port.unwrap_or_default() {
        b"" | b"80" | b"443" => {}
        other => {
            out.push(b':');
            out.extend_from_slice(other);
        }
    }
    Cow::Owned(out)
}

/// The name and the digits of the port, if there is one.
fn split_port(authority: &[u8]) -> (&[u8], &[u8]) {
    let end = authority
        .iter()
        .rposition(|byte| !byte.is_ascii_digit())
        .map_or(0, |at| at + 1);
    let (before, digits) = authority.split_at(end);
    match before.strip_suffix(b":") {
        // Without brackets more than one colon is no port.
        Some(name) if name.ends_with(b"]") || !name.contains(&b':') => (name, digits),
        _ => (authority, b""),
    }
}

fn ipv6(name: &[u8]) -> Option<Ipv6Addr> {
    let inner = name.strip_prefix(b"[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inner).ok()?.parse().ok()
}

/// Path and query: escapes of what stands for itself decoded, other escapes in upper case, what a URL may not hold encoded. In the
/// path `\`, `%2F` and `%5C` are slashes, dot segments are removed and repeated slashes are one. Without a fragment.
///
/// Most servers take `%40` for `@`, as with all delimiters of RFC 3986 section 2.2. Only `?` is never decoded, nor is `&` in a query.
#[must_use]
pub fn path(path: &[u8]) -> Cow<'_, [u8]> {
    if is_canonical(path) {
        return Cow::Borrowed(path);
    }
    let whole = path.split(|byte| *byte == b'#').next().unwrap_or_default();
    let question = whole.iter().position(|byte| *byte == b'?').unwrap_or(whole.len());
    let (before, query) = whole.split_at(question);
    let before = escaped(before, true);
    let mut out = without_dots(&before);
    out.extend(escaped(query, false));
    Cow::Owned(out)
}

/// As [`path`], of the beginning of one. An escape that is cut off at the end is left out, so that the prefix is shorter.
#[must_use]
pub fn prefix(prefix: &[u8]) -> Cow<'_, [u8]> {
    let whole = match prefix {
        [rest @ .., b'%'] => rest,
        [rest @ .., b'%', digit] if digit.is_ascii_hexdigit() => rest,
        _ => prefix,
    };
    path(whole)
}

/// The canonical path of one URL: `/p?` is `/p`.
#[must_use]
pub fn without_empty_query(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"?")
        .filter(|path| !path.contains(&b'?'))
        .unwrap_or(path)
}

/// A canonical path without its query.
#[must_use]
pub fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// Whether this can be the authority of a URL of `http` (RFC 3986 section 3.2): a name in ASCII or an address, and a port.
#[must_use]
pub fn is_authority(authority: &[u8]) -> bool {
    let authority = authority.rsplit(|byte| *byte == b'@').next().unwrap_or(authority);
    let (name, _) = split_port(authority);
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(byte);
    !name.is_empty() && (ipv6(name).is_some() || name.iter().all(fits))
}

/// Whether a text holds no blank and no control character: these stand in no URL.
#[must_use]
pub fn is_unbroken(text: &[u8]) -> bool {
    !text.iter().any(|byte| byte.is_ascii_control() || *byte == b' ')
}

/// Whether a path is surely canonical; true for nearly all.
fn is_canonical(path: &[u8]) -> bool {
    let mut before = None;
    let mut in_query = false;
    for byte in path {
        let fits = match byte {
            b'?' => {
                in_query = true;
                true
            }
            b'/' | b'.' if !in_query => before != Some(b'/'),
            other => is_allowed(*other),
        };
        if !fits {
            return false;
        }
        before = Some(*byte);
    }
    path.first() == Some(&b'/')
}

/// Characters that stand for themselves in a path or query (RFC 3986 sections 3.3 and 3.4), without `%`.
fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte)
}

/// Characters whose escape means the same in most servers' eyes.
fn is_same_escaped(byte: u8, in_path: bool) -> bool {
    is_allowed(byte) && byte != b'?' && (in_path || byte != b'&')
}

fn escaped(text: &[u8], in_path: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut rest = text;
    while let [first, more @ ..] = rest {
        let (byte, after) = match (first, more) {
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (Escape::Was(high << 4 | low), after),
                _ => (Escape::Not(b'%'), more),
            },
            _ => (Escape::Not(*first), more),
        };
        rest = after;
        match byte {
            Escape::Was(b'/' | b'\\') | Escape::Not(b'\\') if in_path => out.push(b'/'),
            Escape::Was(byte) if is_same_escaped(byte, in_path) => out.push(byte),
            Escape::Not(byte) if is_allowed(byte) => out.push(byte),
            Escape::Was(byte) | Escape::Not(byte) => push_escape(&mut out, byte),
        }
    }
    out
}

/// A byte, and whether it was written as an escape.
enum Escape {
    Was(u8),
    Not(u8),
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value & 15)).copied().unwrap_or(b'0');
    out.extend([b'%', digit(byte >> 4), digit(byte)]);
}

/// RFC 3986 section 5.2.4, in the order of Envoy: first the dot segments, which count empty segments, then repeated slashes.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_in_slash = true;
    for segment in path.split(|byte| *byte == b'/') {
        ends_in_slash = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"." => {}
            b".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let mut out = Vec::with_capacity(path.len() + 1);
    for segment in segments.iter().filter(|segment| !segment.is_empty()) {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if ends_in_slash {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn hosts_in_their_canonical_form() {
        for (spelling, expected) in [
            ("shop.example", "shop.example"),
            ("Shop.EXAMPLE", "shop.example"),
            ("shop.example.", "shop.example"),
            ("shop.example:80", "shop.example"),
            ("shop.example:443", "shop.example"),
            ("shop.example.:0080", "shop.example"),
            ("shop.example:", "shop.example"),
            ("shop.example:8080", "shop.example:8080"),
            ("shop.example.:8080", "shop.example:8080"),
            ("user:secret@Shop.example", "shop.example"),
            ("a@b@shop.example:80", "shop.example"),
            ("[::1]", "[::1]"),
            ("[0:0::1]:80", "[::1]"),
            ("[2001:DB8::A]:8443", "[2001:db8::a]:8443"),
            ("1", "1"),
            ("80", "80"),
            (".", "."),
            ("", ""),
        ] {
            assert_eq!(text(&host(spelling.as_bytes())), expected, "{spelling}");
        }
    }

    #[test]
    fn paths_in_their_canonical_form() {
        for (spelling, expected) in [
            ("/", "/"),
            ("", "/"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/%7Eu", "/~u"),
            ("/%70g", "/pg"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/./b/.", "/a/b/"),
            ("/a/..", "/"),
            ("/../../x", "/x"),
            ("/a//../b", "/a/b"),
            ("//a///b//", "/a/b/"),
            (r"\a\b", "/a/b"),
            ("/a%2fb%5Cc", "/a/b/c"),
            ("/a b", "/a%20b"),
            ("/a%20b", "/a%20b"),
            ("/100%", "/100%25"),
            ("/%zz", "/%25zz"),
            ("/%252f", "/%252f"),
            ("/a;b=c,d@e:f", "/a;b=c,d@e:f"),
            ("/a!b", "/a!b"),
            ("/a%21b", "/a!b"),
            ("/me%40x.example,%2C%3b%3d%26%2b%2a", "/me@x.example,,;=&+*"),
            ("/a%3Fb%23c", "/a%3Fb%23c"),
            ("/p?a=b%26c%3Fd%3a%2C", "/p?a=b%26c%3Fd:,"),
            ("/p#f", "/p"),
            ("/p?q#f", "/p?q"),
            ("/p?", "/p?"),
            ("/p?a=%c3%A9&b=é", "/p?a=%C3%A9&b=%C3%A9"),
            ("/p?a[]=1&b=%7e", "/p?a%5B%5D=1&b=~"),
            ("/p?a=%2f/../b//c", "/p?a=//../b//c"),
            ("/p?b=2&a=1", "/p?b=2&a=1"),
            ("?x", "/?x"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/..b/...", "/a/..b/..."),
        ] {
            assert_eq!(text(&path(spelling.as_bytes())), expected, "{spelling}");
        }
    }

    #[test]
    fn a_prefix_that_ends_within_an_escape_is_shorter() {
        for (spelling, expected) in [
            ("/caf%C3%A9", "/caf%C3%A9"),
            ("/caf%C3%A", "/caf%C3"),
            ("/caf%C3%", "/caf%C3"),
            ("/caf%c3", "/caf%C3"),
            ("/a//", "/a/"),
            ("/a/.", "/a/"),
            ("", "/"),
        ] {
            assert_eq!(text(&prefix(spelling.as_bytes())), expected, "{spelling}");
        }
    }

    #[test]
    fn what_is_canonical_costs_nothing() {
        assert!(matches!(path(b"/products/7?x=1&y=/a//b/.."), Cow::Borrowed(_)));
        assert!(matches!(host(b"shop.example"), Cow::Borrowed(_)));
    }

    #[test]
    fn an_authority_is_a_name_or_an_address_and_a_port() {
        for fits in [
            "h",
            "h.:80",
            "h:",
            "u:p@h",
            "[::1]",
            "[::1]:80",
            "xn--caf-dma.example",
            "a_b",
        ] {
            assert!(is_authority(fits.as_bytes()), "{fits}");
        }
        for other in [
            "", ":80", "u@", "café", "h/p", "h:80:80", "h:x", "[::1", "[x]", "h h", "a\\b",
        ] {
            assert!(!is_authority(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn urls_are_split_where_the_authority_ends() {
        for (url, expected) in [
            ("HTTP://h/p", Some(("h", "/p"))),
            ("https://h", Some(("h", ""))),
            ("http://h?x", Some(("h", "?x"))),
            ("http://u@h:80\\p", Some(("u@h:80", "\\p"))),
            ("http:///p", None),
            ("/p", None),
            ("ftp://h/p", None),
        ] {
            let found = split(url.as_bytes()).map(|(host, path)| (text(host), text(path)));
            assert_eq!(found, expected, "{url}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own(bytes in proptest::collection::vec(any::<u8>(), 0..40), spelt in "[/.%2eEfF\\\\?#a~é]{0,24}") {
            for text in [bytes.as_slice(), spelt.as_bytes()] {
                let once = path(text).into_owned();
                prop_assert_eq!(path(&once), once.as_slice());
                let name = host(text).into_owned();
                prop_assert_eq!(host(&name), name.as_slice());
            }
        }
    }
}
