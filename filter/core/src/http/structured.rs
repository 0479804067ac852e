//! Targeted cache control (RFC 9213): fields meant for this kind of cache, as structured dictionaries (RFC 9651).

use super::cache_control::{CacheControl, DeltaSeconds, Qualified};
use super::fields::{Fields, Line, trim};
use super::list::members;

/// Fields this cache is a target of, most specific first.
pub const TARGETS: [&[u8]; 2] = [b"api-optimizer-cache-control", b"cdn-cache-control"];

/// This cache as a target of `Surrogate-Control`.
const OWN_NAME: &[u8] = b"api-optimizer";

/// The directives of the first targeted field that is there, not empty and well-formed; `Cache-Control` and `Expires` do not
/// count then. A field that does not parse is ignored.
#[must_use]
pub fn targeted(fields: &Fields<'_>) -> Option<CacheControl> {
    let structured = TARGETS.iter().filter(|name| fields.has(name)).find_map(|name| {
        let joined = fields.all(name).collect::<Vec<_>>().join(&b", "[..]);
        let dictionary = sfv::Parser::new(joined.as_slice()).parse::<sfv::Dictionary>().ok()?;
        (!dictionary.is_empty()).then(|| read(&dictionary))
    });
    structured.or_else(|| surrogate(fields))
}

/// `Surrogate-Control`, the older way to speak to a cache in front of an origin (W3C note "Edge Architecture"). Its directives may
/// name a target; those for others do not count, and when none about caching is left the field says nothing.
fn surrogate(fields: &Fields<'_>) -> Option<CacheControl> {
    if !fields.has(b"surrogate-control") {
        return None;
    }
    let mut ours: Vec<&[u8]> = Vec::new();
    for member in fields.all(b"surrogate-control").flat_map(members) {
        let mut parts = member.split(|byte| *byte == b';');
        let directive = parts.next().unwrap_or_default();
        if parts.all(|target| trim(target).eq_ignore_ascii_case(OWN_NAME)) {
            ours.push(directive);
        }
    }
    let lines: Vec<Line<'_>> = ours
        .into_iter()
        .map(|directive| (&b"cache-control"[..], directive))
        .collect();
    let read = CacheControl::of(&Fields::from(lines));
    // `content="ESI/1.0"` and the like say nothing about storing: then `Cache-Control` does.
    let silent = CacheControl {
        present: read.present,
        ..CacheControl::default()
    };
    (read != silent).then_some(read)
}

fn read(dictionary: &sfv::Dictionary) -> CacheControl {
    let item = |name: &str| match dictionary.get(name) {
        Some(sfv::ListEntry::Item(item)) => Some(&item.bare_item),
        _ => None,
    };
    let flag = |name: &str| item(name).is_some_and(|value| value.as_boolean().unwrap_or(true));
    // Of another type than an integer it is read as the cautious 0, as in `Cache-Control`.
    let seconds = |name: &str| -> Option<DeltaSeconds> {
        dictionary.get(name)?;
        let value = item(name).and_then(|value| value.as_integer()).map_or(0, i64::from);
        Some(u32::try_from(value.clamp(0, 1 << 31)).unwrap_or(0))
    };
    let whole = |present: bool| if present { Qualified::Whole } else { Qualified::Absent };
    CacheControl {
        present: true,
        no_store: flag("no-store"),
        no_cache: whole(dictionary.contains_key("no-cache") && flag("no-cache")),
        private: whole(flag("private")),
        public: flag("public"),
        must_revalidate: flag("must-revalidate"),
        proxy_revalidate: flag("proxy-revalidate"),
        must_understand: flag("must-understand"),
        immutable: flag("immutable"),
        only_if_cached: false,
        max_age: seconds("max-age"),
        s_maxage: seconds("s-maxage"),
        min_fresh: None,
        max_stale: None,
        stale_while_revalidate: seconds("stale-while-revalidate"),
        stale_if_error: seconds("stale-if-error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(&str, &str)]) -> Option<CacheControl> {
        targeted(
            &lines
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
                .collect(),
        )
    }

    #[test]
    fn surrogate_control_counts_where_nothing_newer_does() {
        let read = of(&[(
            "surrogate-control",
            "max-age=10;other, max-age=20, no-store;Api-Optimizer",
        )])
        .unwrap();
        assert_eq!((read.max_age, read.no_store), (Some(20), true));
        for silent in ["max-age=10;other", "content=\"ESI/1.0\"", "no-store-remote", ""] {
            assert_eq!(of(&[("surrogate-control", silent)]), None, "{silent}");
        }
        let read = of(&[("surrogate-control", "max-age=10"), ("cdn-cache-control", "max-age=5")]).unwrap();
        assert_eq!(read.max_age, Some(5));
    }

    #[test]
    fn the_most_specific_well_formed_field_counts() {
        let read = of(&[
            ("cdn-cache-control", "max-age=10"),
            ("api-optimizer-cache-control", "max-age=20, no-store"),
        ])
        .unwrap();
        assert_eq!((read.max_age, read.no_store), (Some(20), true));
        let read = of(&[
            ("cdn-cache-control", "max-age=10"),
            ("api-optimizer-cache-control", "max-age="),
        ])
        .unwrap();
        assert_eq!(read.max_age, Some(10));
        for ignored in [
            &[("cdn-cache-control", "")][..],
            &[("cdn-cache-control", "max-age=&")],
            &[("cache-control", "max-age=1")],
            &[],
        ] {
            assert_eq!(of(ignored), None);
        }
    }
}
