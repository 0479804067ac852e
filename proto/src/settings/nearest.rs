//! The name somebody probably meant.

/// Longer names are not compared: a hostile document could make it expensive.
const MAX_COMPARED: usize = 64;

/// The candidate nearest to what was written, if any is near enough to be worth naming.
pub(super) fn nearest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if written.len() > MAX_COMPARED {
        return None;
    }
    let written = normal(written);
    let (distance, candidate) = candidates
        .map(|candidate| (strsim::generic_levenshtein(&written, &normal(candidate)), candidate))
        .min_by_key(|(near, _)| *near)?;
    let tolerated = (candidate.len() / 3).max(1);
    (distance <= tolerated).then_some(candidate)
}

/// Spelling variants that mean the same: `cacheSize`, `cache-size`, `CACHE_SIZE`.
fn normal(name: &str) -> Vec<char> {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_field_probably_meant() {
        let known = ["cache_size", "cache_enabled", "default_ttl", "max_connections"];
        let cases = [
            ("cache_sise", Some("cache_size")),
            ("cacheSize", Some("cache_size")),
            ("CACHE-SIZE", Some("cache_size")),
            ("default_tll", Some("default_ttl")),
            ("max_conections", Some("max_connections")),
            ("zebra", None),
            ("", None),
        ];
        for (written, expected) in cases {
            assert_eq!(nearest(written, known.into_iter()), expected, "{written}");
        }
    }
}
