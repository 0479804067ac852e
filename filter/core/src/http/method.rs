//! Request methods (RFC 9110 section 9, IANA method registry).

/// What a cache needs to know of a request method. Method names are case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET: answered from the cache and stored.
    Get,
    /// HEAD: answered from a stored GET, freshens it.
    Head,
    /// A registered safe method that is neither: forwarded, invalidates nothing.
    Safe,
    /// Unsafe or unknown: forwarded, invalidates when it succeeds (RFC 9111 section 4.4).
    Unsafe,
}

impl Method {
    /// Classifies a method name.
    #[must_use]
    pub fn parse(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"OPTIONS" | b"TRACE" | b"CONNECT" | b"PROPFIND" | b"REPORT" | b"SEARCH" | b"QUERY" | b"PRI" => Self::Safe,
            _ => Self::Unsafe,
        }
    }

    /// GET and HEAD, the methods a stored response may answer.
    #[must_use]
    pub fn is_cacheable(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }

    /// True when a successful response invalidates what is stored.
    #[must_use]
    pub fn is_unsafe(self) -> bool {
        self == Self::Unsafe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_methods_count_as_unsafe() {
        for (name, expected) in [
            (&b"GET"[..], Method::Get),
            (b"HEAD", Method::Head),
            (b"get", Method::Unsafe),
            (b"OPTIONS", Method::Safe),
            (b"POST", Method::Unsafe),
            (b"M-SEARCH", Method::Unsafe),
            (b"", Method::Unsafe),
        ] {
            assert_eq!(Method::parse(name), expected, "{name:?}");
        }
    }
}
