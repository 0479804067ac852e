//! Fields that tell the origin another URL than the request's own: what a proxy says the client has asked for (RFC 7239, and the fields
//! before it), and what frameworks choose a page by. Origins build pages, links and redirects from them and do not say so in `Vary`. Any
//! client can send them. So they belong to the key.

use super::key_text::push_text;
use crate::http::fields::{Fields, trim};
use std::borrow::Cow;

/// `X-Forwarded-Proto` is the scheme of the key. Addresses, such as `X-Forwarded-For` or `X-Forwarded-Server`, differ from client to client
/// or from proxy to proxy: an origin that answers by them says `Vary`, or is not to be cached.
const NAMES: [&[u8]; 23] = [
    b"front-end-https",
    b"forwarded",
    b"x-envoy-original-host",
    b"x-envoy-original-path",
    b"x-forwarded-host",
    b"x-forwarded-method",
    b"x-forwarded-path",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-protocol",
    b"x-forwarded-scheme",
    b"x-forwarded-ssl",
    b"x-forwarded-uri",
    b"x-host",
    b"x-http-host-override",
    b"x-original-host",
    b"x-original-method",
    b"x-original-uri",
    b"x-original-url",
    b"x-rewrite-url",
    b"x-scheme",
    b"x-script-name",
    b"x-url-scheme",
];

/// Adds them to a key, each with its name. What only repeats the request's own path and query tells nothing: proxies send it with every
/// request.
pub(super) fn push(key: &mut Vec<u8>, path: &[u8], request: &Fields<'_>) {
    for (line, value) in request.iter() {
        if !may_tell(line) {
            continue;
        }
        match &*unaliased(line) {
            b"forwarded" => push_forwarded(key, line, value),
            name if NAMES.contains(&name) && trim(value) != path => push_line(key, line, trim(value)),
            _ => {}
        }
    }
}

/// Whether the request asks for another method than its own.
pub(super) fn overrides_method(request: &Fields<'_>) -> bool {
    request.iter().any(|(line, _)| {
        // `x-http-method`, `x-method-override`, `x-http-method-override`.
        matches!(line.len(), 13 | 17 | 22)
            && line.first() == Some(&b'x')
            && matches!(
                &*unaliased(line),
                b"x-http-method-override" | b"x-http-method" | b"x-method-override"
            )
    })
}

/// The name that a CGI application takes a line for (RFC 3875 section 4.1.18).
fn unaliased(line: &[u8]) -> Cow<'_, [u8]> {
    if !line.contains(&b'_') {
        return Cow::Borrowed(line);
    }
    let dashed = line.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte });
    Cow::Owned(dashed.collect())
}

/// Nearly all other fields end here: by their first letter, and by their last for their length.
fn may_tell(line: &[u8]) -> bool {
    /// For each length, a bit for each letter that a name of it ends with.
    // Indexed by the compiler alone.
    #[allow(clippy::indexing_slicing)]
    const LAST: [u32; 32] = {
        let (mut last, mut at) = ([0; 32], 0);
        while at < NAMES.len() {
            let name = NAMES[at];
            last[name.len()] |= 1 << (name[name.len() - 1] - b'a');
            at += 1;
        }
        last
    };
    let ([b'x' | b'f', .., last], Some(ends)) = (line, LAST.get(line.len())) else {
        return false;
    };
    last.is_ascii_lowercase() && ends >> (last - b'a') & 1 == 1
}

fn push_line(key: &mut Vec<u8>, line: &[u8], value: &[u8]) {
    key.push(0);
    key.extend_from_slice(line);
    key.push(1);
    push_text(key, value);
}

/// Of `Forwarded` all but addresses, which are the client's own (RFC 7239 sections 4 and 6). Readers do not agree on where a pair ends: what
/// is not plainly an address is taken.
fn push_forwarded(key: &mut Vec<u8>, line: &[u8], value: &[u8]) {
    for pair in value.split(|byte| matches!(byte, b';' | b',')) {
        if !is_address(pair.trim_ascii()) {
            push_line(key, line, pair.trim_ascii());
        }
    }
}

/// Whether a pair is `for` or `by` with a node: an IP address or an obfuscated name, perhaps with a port, whole or without quotes.
fn is_address(pair: &[u8]) -> bool {
    let Some((name, node)) = pair
        .iter()
        .position(|byte| *byte == b'=')
        .and_then(|at| pair.split_at_checked(at))
    else {
        return false;
    };
    let node = node.strip_prefix(b"=").unwrap_or_default();
    let quoted = node.strip_prefix(b"\"").and_then(|node| node.strip_suffix(b"\""));
    let is_node = |byte: &u8| byte.is_ascii_alphanumeric() || b".:_-[]".contains(byte);
    (name.eq_ignore_ascii_case(b"for") || name.eq_ignore_ascii_case(b"by"))
        && quoted.unwrap_or(node).iter().all(is_node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(lines: &[(&str, &str)]) -> String {
        let lines: Vec<_> = lines
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        let mut key = Vec::new();
        push(&mut key, b"/own?x=1", &Fields::from(lines));
        String::from_utf8(key).unwrap().replace('\0', "|").replace('\u{1}', "=")
    }

    #[test]
    fn what_tells_another_url_is_in_the_key() {
        for (lines, expected) in [
            (&[][..], ""),
            (
                &[
                    ("accept", "*/*"),
                    ("x-forwarded-for", "10.0.0.1"),
                    ("x-forwarded-proto", "https"),
                    ("x-request-id", "1"),
                ],
                "",
            ),
            (&[("x-forwarded-host", " a ")], "|x-forwarded-host=a"),
            (&[("x_forwarded_host", "a")], "|x_forwarded_host=a"),
            (
                &[("x-original-url", "/admin"), ("x-rewrite-url", "/b")],
                "|x-original-url=/admin|x-rewrite-url=/b",
            ),
            (
                &[("x-original-uri", "/own?x=1"), ("x-forwarded-uri", "/own")],
                "|x-forwarded-uri=/own",
            ),
            (&[("x-host", "a"), ("x-host", "b")], "|x-host=a|x-host=b"),
            (&[("front-end-https", "on")], "|front-end-https=on"),
            (&[("forwarded", "for=10.0.0.1;by=10.0.0.2, For=\"[::1]:80\"")], ""),
            (
                &[("forwarded", "for=10.0.0.1;Host=a;proto=https")],
                "|forwarded=Host=a|forwarded=proto=https",
            ),
            (
                &[("forwarded", "for=1, host = \"a,b\"")],
                "|forwarded=host = \"a|forwarded=b\"",
            ),
            (
                &[("forwarded", "for=\"1;host=a")],
                "|forwarded=for=\"1|forwarded=host=a",
            ),
            (
                &[("forwarded", "host=\"a,for=b\"")],
                "|forwarded=host=\"a|forwarded=for=b\"",
            ),
            (&[("forwarded", "for=1 host=a")], "|forwarded=for=1 host=a"),
            (
                &[("forwarded", "for=\"\\\";host=a")],
                "|forwarded=for=\"\\\"|forwarded=host=a",
            ),
        ] {
            assert_eq!(key_of(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn each_name_is_found_and_each_beginning_is_known() {
        for name in NAMES {
            let name = std::str::from_utf8(name).unwrap();
            assert_eq!(key_of(&[(name, "host=v")]), format!("|{name}=host=v"));
            let alias = name.replace('-', "_");
            assert_eq!(key_of(&[(&alias, "host=v")]), format!("|{alias}=host=v"));
        }
    }

    #[test]
    fn another_method_is_asked_for_by_each_spelling() {
        for (name, expected) in [
            ("x-http-method-override", true),
            ("x_http_method_override", true),
            ("x-http-method", true),
            ("x-method-override", true),
            ("x-method", false),
            ("accept", false),
        ] {
            let lines: Vec<(&[u8], &[u8])> = vec![(name.as_bytes(), b"DELETE")];
            assert_eq!(overrides_method(&Fields::from(lines)), expected, "{name}");
        }
    }
}
