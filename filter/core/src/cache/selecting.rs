//! Selecting a stored response by the fields `Vary` nominates (RFC 9111 section 4.1).

use super::stored_response::StoredView;
use crate::http::fields::Fields;

/// The field names of all `Vary` lines: lower-case, sorted, without repetition. `None` when `*` is among them.
#[must_use]
pub fn vary_names<'a>(response: &Fields<'a>) -> Option<Vec<std::borrow::Cow<'a, [u8]>>> {
    let _ = response;
    None
}

/// Hash of the request's values of the nominated fields, normalised. Equal values have equal hashes whatever the order of
/// `names`; the full comparison is [`matches`].
#[must_use]
pub fn variant_hash<'n>(names: impl Iterator<Item = &'n [u8]>, request: &Fields<'_>) -> u64 {
    let _ = (names.count(), request);
    0
}

/// True when the request has the values with which the stored response was selected.
#[must_use]
pub fn matches(stored: &StoredView<'_>, request: &Fields<'_>) -> bool {
    let _ = (stored, request);
    false
}
