//! Percent-encoding (RFC 3986 section 2.1), read as leniently as the most lenient server.

/// How many times over a text may be encoded and still be read.
pub const ROUNDS: usize = 3;

/// A text with each escape replaced by its byte, once. A `%` that begins no escape stays.
#[must_use]
pub fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match escape(rest) {
            Some((byte, after)) => {
                out.push(byte);
                rest = after;
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// Whether a `%` in it begins no escape.
#[must_use]
pub fn is_malformed(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match rest.get(at..).and_then(escape) {
            Some((_, after)) => rest = after,
            None => return true,
        }
    }
    false
}

/// The byte of the escape at the start of a text, and what follows it.
fn escape(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = text else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((digit(*high)? << 4 | digit(*low)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_once() {
        for (text, expected, malformed) in [
            (&b"%69d"[..], &b"id"[..], false),
            (b"%2569d", b"%69d", false),
            (b"a%", b"a%", true),
            (b"%4", b"%4", true),
            (b"%zz%41", b"%zzA", true),
            (b"%u0069", b"%u0069", true),
            (b"%%34", b"%4", true),
            (b"", b"", false),
        ] {
            assert_eq!(decoded(text), expected);
            assert_eq!(is_malformed(text), malformed);
        }
    }
}
