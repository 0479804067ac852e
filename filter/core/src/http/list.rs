//! Comma-separated lists with quoted strings in them (RFC 9110 section 5.6.1).

use super::fields::trim;

/// The non-empty members of one field line, trimmed. A comma within a quoted string separates nothing.
pub fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        loop {
            let line = rest?;
            let end = end_of_member(line);
            rest = line.get(end + 1..);
            let member = trim(line.get(..end).unwrap_or_default());
            if !member.is_empty() {
                return Some(member);
            }
        }
    })
}

fn end_of_member(line: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_commas_separate_nothing() {
        for (line, expected) in [
            (&b"a, b ,c"[..], vec![&b"a"[..], b"b", b"c"]),
            (b"no-cache=\"a, b\", x", vec![b"no-cache=\"a, b\"", b"x"]),
            (b"a=\"\\\",\", b", vec![b"a=\"\\\",\"", b"b"]),
            (b",, ,", vec![]),
            (b"", vec![]),
            (b"\"open, b", vec![b"\"open, b"]),
        ] {
            assert_eq!(members(line).collect::<Vec<_>>(), expected);
        }
    }
}
