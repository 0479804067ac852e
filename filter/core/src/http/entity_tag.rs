//! Entity tags and their comparison (RFC 9110 section 8.8.3).

/// An entity tag as sent, with the quotes, without `W/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// `W/` was in front.
    pub weak: bool,
    /// The opaque part, quotes included where sent.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads one tag. Origins that forget the quotes are common, so a bare value counts as a strong tag; an empty one does not.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = super::fields::trim(value);
        let (weak, opaque) = match value.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        (!opaque.is_empty()).then_some(Self { weak, opaque })
    }

    /// Both strong and equal.
    #[must_use]
    pub fn strong_eq(self, other: EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Equal, whatever their strength.
    #[must_use]
    pub fn weak_eq(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}
