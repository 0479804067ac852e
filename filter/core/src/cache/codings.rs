//! One form for all spellings of the same `Accept-Encoding` (RFC 9110 section 12.5.3).

use crate::http::fields::{is_token, trim};

/// A member of the field: coding, the beginning of its weight, and the digits of it.
type Member<'a> = (&'a [u8], &'static [u8], &'a [u8]);

/// What browsers and usual clients send, and its normal form: most requests need no look at the members.
const USUAL: [(&[u8], &[u8]); 6] = [
    (b"gzip, deflate, br, zstd", b"br,deflate,gzip,zstd"),
    (b"gzip, deflate, br", b"br,deflate,gzip"),
    (b"gzip, deflate", b"deflate,gzip"),
    (b"gzip,deflate", b"deflate,gzip"),
    (b"gzip", b"gzip"),
    (b"identity", b"identity"),
];

/// The codings that a client takes, sorted: their order means nothing. In lower case, under one name each (RFC 9110 section 8.4.1), with
/// their weights in the shortest form. A member that cannot be read stays as it is.
#[must_use]
pub fn normalised(value: &[u8]) -> Vec<u8> {
    let usual = USUAL.iter().find(|(usual, _)| *usual == value);
    usual.map_or_else(|| sorted(value), |(_, normal)| normal.to_vec())
}

fn sorted(value: &[u8]) -> Vec<u8> {
    let value = value.to_ascii_lowercase();
    let mut codings: Vec<Member<'_>> = Vec::with_capacity(8);
    codings.extend(
        value
            .split(|byte| *byte == b',')
            .map(trim)
            .filter(|member| !member.is_empty())
            .map(member),
    );
    codings.sort_unstable();
    codings.dedup();
    let mut out = Vec::with_capacity(value.len());
    for (coding, weight, digits) in codings {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(coding);
        out.extend_from_slice(weight);
        out.extend_from_slice(digits);
    }
    out
}

fn member(text: &[u8]) -> Member<'_> {
    let end = text.iter().position(|byte| *byte == b';').unwrap_or(text.len());
    let coding = trim(text.get(..end).unwrap_or_default());
    let read = match text.get(end + 1..) {
        None => Some((&b""[..], &b""[..])),
        Some(parameter) => trim(parameter).strip_prefix(b"q=").and_then(weight),
    };
    match read {
        Some((weight, digits)) if is_token(coding) => (canonical(coding), weight, digits),
        _ => (text, b"", b""),
    }
}

/// `x-gzip` and `x-compress` are to be considered equivalent to `gzip` and `compress`.
fn canonical(coding: &[u8]) -> &[u8] {
    match coding {
        b"x-gzip" => b"gzip",
        b"x-compress" => b"compress",
        other => other,
    }
}

/// A weight (RFC 9110 section 12.4.2) as a parameter without needless digits; nothing for the highest. `None` when it is no weight.
fn weight(text: &[u8]) -> Option<(&'static [u8], &[u8])> {
    let (first, rest) = text.split_first()?;
    let mut digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    while let [rest @ .., b'0'] = digits {
        digits = rest;
    }
    match (first, digits) {
        (b'1', []) => Some((b"", b"")),
        (b'0', []) => Some((b";q=0", b"")),
        (b'0', digits) => Some((b";q=0.", digits)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_has_the_normal_form_of_its_members() {
        for (usual, normal) in USUAL {
            assert_eq!(sorted(usual), normal);
            assert_eq!(normalised(normal), normal);
        }
    }

    #[test]
    fn usual_spellings_of_the_same_codings_are_one() {
        for (text, expected) in [
            ("gzip, deflate, br", "br,deflate,gzip"),
            ("br,gzip , DEFLATE", "br,deflate,gzip"),
            ("deflate;q=1.0, gzip;Q=1 ,br ; q=1.000", "br,deflate,gzip"),
            ("x-gzip, x-compress", "compress,gzip"),
            ("gzip, x-gzip", "gzip"),
            ("gzip;q=0.50, *;q=0.0", "*;q=0,gzip;q=0.5"),
            ("identity;q=0", "identity;q=0"),
            ("gzip;q=0", "gzip;q=0"),
            ("gzip;q=2, br;level=1, x y", "br;level=1,gzip;q=2,x y"),
            ("gzip;q=0.1234, gzip;q=1.1, gzip;q=", "gzip;q=,gzip;q=0.1234,gzip;q=1.1"),
            (", ,", ""),
        ] {
            let once = normalised(text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&once), expected, "{text}");
            assert_eq!(normalised(&once), once, "its own normal form: {text}");
        }
    }
}
