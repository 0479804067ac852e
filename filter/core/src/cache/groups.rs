//! Cache groups (RFC 9875) and purge tags: names under which stored responses are invalidated together.

use crate::http::fields::Fields;

/// Most tags kept of one response.
pub const MAX_TAGS: usize = 128;
/// Longest tag kept, in bytes.
pub const MAX_TAG_LEN: usize = 1024;

/// Tag under which a cache group is stored; groups hold within one origin, so callers invalidate it with the host.
#[must_use]
pub fn group_tag(group: &[u8]) -> Vec<u8> {
    group.to_vec()
}

/// Tags of a response: `Surrogate-Key` and `xkey` (by space), `Cache-Tag` and `Edge-Cache-Tag` (by comma), `Cache-Groups` (as
/// [`group_tag`]).
#[must_use]
pub fn tags(response: &Fields<'_>) -> Vec<Vec<u8>> {
    let _ = response;
    Vec::new()
}

/// Groups a response to an unsafe request invalidates (RFC 9875 section 3); to be looked up as [`group_tag`].
#[must_use]
pub fn invalidated(response: &Fields<'_>) -> Vec<Vec<u8>> {
    let _ = response;
    Vec::new()
}

/// True for the fields that carry tags, which are not sent to clients. `Cache-Groups` is not one of them.
#[must_use]
pub fn is_tag_field(name: &[u8]) -> bool {
    matches!(name, b"surrogate-key" | b"xkey" | b"cache-tag" | b"edge-cache-tag")
}
