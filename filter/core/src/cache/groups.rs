//! Cache groups (RFC 9875) and purge tags: names under which stored responses are invalidated together.

use crate::http::fields::Fields;
use crate::http::list::members;

/// Most tags kept of one response.
pub const MAX_TAGS: usize = 1_000;
/// Longest tag kept, in bytes.
pub const MAX_TAG_LEN: usize = 1024;

/// Tag under which a cache group is stored; groups hold within one origin, so callers invalidate it with the host.
#[must_use]
pub fn group_tag(group: &[u8]) -> Vec<u8> {
    [b"group:", group].concat()
}

/// Tags of a response: `Surrogate-Key` and `xkey` (by space), `Cache-Tag` and `Edge-Cache-Tag` (by comma), `Cache-Groups` (as
/// [`group_tag`]). `None` where there are more than [`MAX_TAGS`], or one is longer than [`MAX_TAG_LEN`].
#[must_use]
pub fn tags(response: &Fields<'_>) -> Option<Vec<Vec<u8>>> {
    let by_space = [&b"surrogate-key"[..], b"xkey"];
    let by_comma = [&b"cache-tag"[..], b"edge-cache-tag"];
    let by_space = by_space
        .iter()
        .flat_map(|name| response.all(name))
        .flat_map(spaced)
        .map(<[u8]>::to_vec);
    let listed = by_comma
        .iter()
        .flat_map(|name| response.all(name))
        .flat_map(members)
        .map(<[u8]>::to_vec);
    let groups = strings(response, b"cache-groups")
        .into_iter()
        .map(|group| group_tag(&group));
    let mut tags: Vec<Vec<u8>> = by_space.chain(listed).chain(groups).collect();
    tags.sort_unstable();
    tags.dedup();
    let fits = tags.len() <= MAX_TAGS && tags.iter().all(|tag| tag.len() <= MAX_TAG_LEN);
    fits.then_some(tags)
}

/// The tags of a `Surrogate-Key` line: separated by spaces, and by commas where somebody takes it for a list.
pub fn spaced(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t' | b','))
        .filter(|tag| !tag.is_empty())
}

/// The strings of a structured list (RFC 9651 section 3.1). A list that does not parse counts as absent.
fn strings(response: &Fields<'_>, name: &'static [u8]) -> Vec<Vec<u8>> {
    let joined = response.all(name).collect::<Vec<_>>().join(&b", "[..]);
    let Ok(list) = sfv::Parser::new(joined.as_slice()).parse::<sfv::List>() else {
        return Vec::new();
    };
    list.into_iter()
        .filter_map(|entry| match entry {
            sfv::ListEntry::Item(item) => item.bare_item.as_string().map(|text| text.as_str().as_bytes().to_vec()),
            sfv::ListEntry::InnerList(_) => None,
        })
        .collect()
}

/// Groups a response to an unsafe request invalidates (RFC 9875 section 3); to be looked up as [`group_tag`].
#[must_use]
pub fn invalidated(response: &Fields<'_>) -> Vec<Vec<u8>> {
    strings(response, b"cache-group-invalidation")
}

/// True for the fields meant for caches alone, which are not sent to clients: those that carry tags, and `Surrogate-Control`. `Cache-Groups` is not one of them.
#[must_use]
pub fn is_tag_field(name: &[u8]) -> bool {
    matches!(
        name,
        b"surrogate-key" | b"xkey" | b"cache-tag" | b"edge-cache-tag" | b"surrogate-control"
    )
}
