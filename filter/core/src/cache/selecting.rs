//! Selecting a stored response by the fields `Vary` nominates (RFC 9111 section 4.1).

use super::stored_response::StoredView;
use crate::http::fields::Fields;
use crate::http::list::members;

/// The field names of all `Vary` lines: lower-case, sorted, without repetition. `None` when `*` is among them.
#[must_use]
pub fn vary_names<'a>(response: &Fields<'a>) -> Option<Vec<std::borrow::Cow<'a, [u8]>>> {
    let mut names: Vec<std::borrow::Cow<'a, [u8]>> = Vec::new();
    for line in response.lines_of(b"vary") {
        for name in members(line) {
            if name == b"*" {
                return None;
            }
            names.push(std::borrow::Cow::Owned(name.to_ascii_lowercase()));
        }
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// Hash of the request's values of the nominated fields, normalised. Equal values have equal hashes whatever the order of
/// `names`; the full comparison is [`matches`].
#[must_use]
pub fn variant_hash<'n>(names: impl Iterator<Item = &'n [u8]>, request: &Fields<'_>) -> u64 {
    names.fold(0, |hash, name| {
        let mut named = name.to_vec();
        if let Some(value) = normalised(name, request) {
            named.push(b':');
            named.extend_from_slice(&value);
        }
        // Added up, so that the order of the names does not matter.
        hash.wrapping_add(xxhash_rust::xxh3::xxh3_64(&named))
    })
}

/// True when the request has the values with which the stored response was selected.
#[must_use]
pub fn matches(stored: &StoredView<'_>, request: &Fields<'_>) -> bool {
    stored
        .selecting()
        .all(|(name, value)| normalised(name, request).as_deref() == value)
}

/// The request's value of a field: all lines joined, white space around commas dropped. `None` when absent.
#[must_use]
pub fn normalised(name: &[u8], request: &Fields<'_>) -> Option<Vec<u8>> {
    if !request.has(name) {
        return None;
    }
    let fold_case = matches!(name, b"accept-encoding" | b"accept-language" | b"accept-charset");
    let mut out = Vec::new();
    for member in request.all(name).flat_map(members) {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend(
            member
                .iter()
                .map(|byte| if fold_case { byte.to_ascii_lowercase() } else { *byte }),
        );
    }
    Some(out)
}
