//! Which route a request belongs to: the first of the list whose host and path prefix fit.

use std::fmt;

/// A host pattern: `*`, an exact host, or `*.suffix` for every host below a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPattern {
    Any,
    Exact(Vec<u8>),
    Below(Vec<u8>),
}

impl HostPattern {
    pub(super) fn new(pattern: &str) -> Self {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.strip_prefix('*') {
            Some("") => Self::Any,
            Some(suffix) => Self::Below(suffix.as_bytes().to_vec()),
            None => Self::Exact(pattern.into_bytes()),
        }
    }

    /// Whether every host fits.
    pub(super) fn is_any(&self) -> bool {
        *self == Self::Any
    }

    /// `host` without port, in any case.
    pub(super) fn fits(&self, host: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => host.eq_ignore_ascii_case(exact),
            Self::Below(suffix) => {
                host.len() > suffix.len()
                    && host
                        .get(host.len() - suffix.len()..)
                        .is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
            }
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(exact) => f.write_str(&String::from_utf8_lossy(exact)),
            Self::Below(suffix) => write!(f, "*{}", String::from_utf8_lossy(suffix)),
        }
    }
}

/// The host of an authority, without its port. An IPv6 literal keeps its brackets.
pub(super) fn host_of(authority: &[u8]) -> &[u8] {
    let end = match authority.iter().rposition(|byte| *byte == b':') {
        Some(colon) if authority.get(colon..).is_some_and(|tail| !tail.contains(&b']')) => colon,
        _ => authority.len(),
    };
    authority.get(..end).unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_fit_their_patterns() {
        for (pattern, host, fits) in [
            ("*", "a.example", true),
            ("a.example", "A.Example", true),
            ("a.example", "b.a.example", false),
            ("*.example", "a.example", true),
            ("*.example", "a.b.EXAMPLE", true),
            ("*.example", "example", false),
            ("*.example", "aexample", false),
            ("a.example", "", false),
        ] {
            assert_eq!(
                HostPattern::new(pattern).fits(host.as_bytes()),
                fits,
                "{pattern} {host}"
            );
        }
    }

    #[test]
    fn the_port_is_no_part_of_the_host() {
        for (authority, host) in [
            ("a:80", "a"),
            ("a", "a"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
            ("", ""),
            (":", ""),
        ] {
            assert_eq!(host_of(authority.as_bytes()), host.as_bytes());
        }
    }
}
