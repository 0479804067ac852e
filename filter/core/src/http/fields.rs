//! Field lines of a message (RFC 9110 section 5).

/// A field line: lower-case name, value as received.
pub type Line<'a> = (&'a [u8], &'a [u8]);

/// The field lines of a message in their order. Names must be lower-case (Envoy's are); pseudo-fields (`:status`) may be among
/// them. Values need not be UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    lines: Vec<Line<'a>>,
    /// A Bloom filter of the names: most names that are asked for are not there.
    names: u64,
}

/// The bit of a name in the Bloom filter.
fn bit(name: &[u8]) -> u64 {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return 1;
    };
    let mixed = usize::from(*first) * 7 + usize::from(*last) * 29 + name.len();
    1 << (mixed & 63)
}

impl<'a> From<Vec<Line<'a>>> for Fields<'a> {
    fn from(lines: Vec<Line<'a>>) -> Self {
        let names = lines.iter().fold(0, |names, (name, _)| names | bit(name));
        Self { lines, names }
    }
}

impl<'a> FromIterator<Line<'a>> for Fields<'a> {
    fn from_iter<I: IntoIterator<Item = Line<'a>>>(lines: I) -> Self {
        lines.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> Fields<'a> {
    /// All lines in order.
    pub fn iter(&self) -> impl Iterator<Item = Line<'a>> + '_ {
        self.lines.iter().copied()
    }

    /// All lines with this name.
    fn named<'s>(&'s self, name: &'s [u8]) -> impl Iterator<Item = &'s Line<'a>> + 's {
        let lines: &[Line<'a>] = if self.names & bit(name) == 0 { &[] } else { &self.lines };
        lines.iter().filter(move |(line, _)| *line == name)
    }

    /// Trimmed value of the first line with this (lower-case) name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Trimmed values of all lines with this (lower-case) name, in order.
    pub fn all<'s>(&'s self, name: &'s [u8]) -> impl Iterator<Item = &'a [u8]> + 's {
        self.named(name).map(|(_, value)| trim(value))
    }

    /// Trimmed values of all lines with this name, borrowed from the message alone.
    pub fn lines_of(&self, name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.all(name)
    }

    /// True when at least one line has this name.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        self.named(name).next().is_some()
    }

    /// Number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// True without any line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// Whether a line may go to the wire as it is: with a CR, LF or NUL in it, a space in its name, or without a name, it would split the
/// message.
#[must_use]
pub fn is_sound(name: &[u8], value: &[u8]) -> bool {
    let harmful = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
    !name.is_empty() && !name.iter().any(|byte| harmful(byte) || *byte == b' ') && !value.iter().any(harmful)
}

/// Without leading and trailing optional whitespace (RFC 9110 section 5.6.3).
#[must_use]
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether a line has another name which a CGI application takes for this one (RFC 3875 section 4.1.18): `_` in place of `-`. Both in
/// lower case.
#[must_use]
pub fn is_alias(line: &[u8], name: &[u8]) -> bool {
    let folded = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    line.len() == name.len() && line != name && line.iter().map(folded).eq(name.iter().map(folded))
}

/// True for a non-empty token of lower-case or other token characters (RFC 9110 section 5.6.2).
#[must_use]
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().copied().all(is_token_byte)
}

/// A `tchar` of RFC 9110 section 5.6.2.
#[must_use]
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_trimmed_and_keep_their_order() {
        let fields = Fields::from(vec![(&b"a"[..], &b" 1\t"[..]), (b"b", b"2"), (b"a", b"")]);
        assert_eq!(fields.get(b"a"), Some(&b"1"[..]));
        assert_eq!(fields.all(b"a").collect::<Vec<_>>(), [&b"1"[..], b""]);
        assert!(fields.has(b"b") && !fields.has(b"c"));
    }
}
