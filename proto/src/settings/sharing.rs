//! Which responses are shared between clients.

/// What becomes of a response with `Set-Cookie`, which changes one client's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SetCookie {
    /// It is not stored.
    #[default]
    Refuse,
    /// It is stored without these fields.
    Strip,
    /// It is stored as it is, and every client gets these fields.
    Share,
}

impl SetCookie {
    /// Every choice with its word in the document.
    pub const WORDS: [(&'static str, Self); 3] =
        [("refuse", Self::Refuse), ("strip", Self::Strip), ("share", Self::Share)];

    /// The word in the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        super::reader::word_of(&Self::WORDS, self)
    }
}
