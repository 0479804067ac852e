//! Targeted cache control (RFC 9213): fields meant for this kind of cache, as structured dictionaries (RFC 9651).

use super::cache_control::{CacheControl, DeltaSeconds, Qualified};
use super::fields::Fields;

/// Fields this cache is a target of, most specific first.
pub const TARGETS: [&[u8]; 2] = [b"api-optimizer-cache-control", b"cdn-cache-control"];

/// The directives of the first targeted field that is there, not empty and well-formed; `Cache-Control` and `Expires` do not
/// count then. A field that does not parse is ignored.
#[must_use]
pub fn targeted(fields: &Fields<'_>) -> Option<CacheControl> {
    TARGETS.iter().find_map(|name| {
        let joined = fields.all(name).collect::<Vec<_>>().join(&b", "[..]);
        let dictionary = sfv::Parser::new(joined.as_slice()).parse::<sfv::Dictionary>().ok()?;
        (!dictionary.is_empty()).then(|| read(&dictionary))
    })
}

fn read(dictionary: &sfv::Dictionary) -> CacheControl {
    let item = |name: &str| match dictionary.get(name) {
        Some(sfv::ListEntry::Item(item)) => Some(&item.bare_item),
        _ => None,
    };
    let flag = |name: &str| item(name).is_some_and(|value| value.as_boolean().unwrap_or(true));
    let seconds = |name: &str| -> Option<DeltaSeconds> {
        let value = item(name)?.as_integer().map(i64::from)?;
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
