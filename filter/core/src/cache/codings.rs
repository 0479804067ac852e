//! One form for all spellings of the same `Accept-Encoding` (RFC 9110 section 12.5.3).

use crate::http::fields::{is_token, trim};

/// The codings that a client takes, sorted: their order means nothing. In lower case, under one name each (RFC 9110 section 8.4.1), with
/// their weights in the shortest form. A member that cannot be read stays as it is.
#[must_use]
pub fn normalised(value: &[u8]) -> Vec<u8> {
    let mut codings: Vec<Vec<u8>> = value
        .split(|byte| *byte == b',')
        .map(trim)
        .filter(|member| !member.is_empty())
        .map(member)
        .collect();
    codings.sort_unstable();
    codings.dedup();
    codings.join(&b',')
}

fn member(text: &[u8]) -> Vec<u8> {
    let text = text.to_ascii_lowercase();
    let mut parts = text.splitn(2, |byte| *byte == b';').map(trim);
    let coding = parts.next().unwrap_or_default();
    let weight = match parts.next() {
        None => Some(Vec::new()),
        Some(parameter) => parameter.strip_prefix(b"q=").and_then(weight),
    };
    match weight {
        Some(weight) if is_token(coding) => [canonical(coding), &weight].concat(),
        _ => text,
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
fn weight(text: &[u8]) -> Option<Vec<u8>> {
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
        (b'1', []) => Some(Vec::new()),
        (b'0', []) => Some(b";q=0".to_vec()),
        (b'0', digits) => Some([b";q=0.", digits].concat()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
