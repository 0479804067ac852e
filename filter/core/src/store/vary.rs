//! Sets of field names nominated by `Vary` (RFC 9110 section 12.5.5), each known by a small number.

/// A set of field names: lower-case, sorted, without repetition. The same set always lists its names in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaryNames<'a> {
    pub(super) joined: &'a [u8],
}

impl<'a> VaryNames<'a> {
    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.joined.split(|byte| *byte == b',').filter(|name| !name.is_empty())
    }
}
