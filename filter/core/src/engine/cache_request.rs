//! A request as the cache sees it.

use crate::cache::ContentKey;
use crate::cache::policy::FreshnessPolicy;
use crate::cache::request_directives::RequestDirectives;
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::http::target::Target;
use crate::reason::Reason;

/// A request's parts, borrowed from its header map.
#[derive(Debug)]
pub struct CacheRequest<'a> {
    /// Its method.
    pub method: Method,
    /// Scheme, authority and path.
    pub target: Target<'a>,
    /// All lines, pseudo-fields among them.
    pub fields: Fields<'a>,
    /// `:scheme` where it is not the one that Envoy gives the request: an HTTP/2 upstream sees it.
    pub claimed_scheme: Option<&'static [u8]>,
    /// The content's part in the key, of a request that is a read by its content.
    pub content: Option<&'a ContentKey>,
    /// Why the cache is not asked: the target is written in a way that says too little about where it leads.
    pub odd: Option<Reason>,
}

impl<'a> CacheRequest<'a> {
    /// Reads a request; `None` when it lacks a method, an authority or a path (`CONNECT`, `OPTIONS *` without host).
    #[must_use]
    pub fn read(fields: Fields<'a>) -> Option<Self> {
        let method = Method::parse(fields.get(b":method")?);
        let (authority, path) = (fields.get(b":authority")?, fields.get(b":path")?);
        let claimed = fields.get(b":scheme").map_or(Some(HTTP), known_scheme);
        let forwarded = forwarded_scheme(&fields);
        let scheme = forwarded.or(Ok(None)).and_then(|known| known.or(claimed).ok_or(()));
        let odd = if authority.contains(&b'@') {
            Some(Reason::UserInformation)
        } else if path.contains(&b'#') {
            Some(Reason::Fragment)
        } else if forwarded.is_err() || scheme.is_err() {
            Some(Reason::ForwardedProto)
        } else {
            None
        };
        let scheme = scheme.unwrap_or(HTTP);
        let target = Target {
            scheme,
            authority,
            path,
        };
        Some(Self {
            method,
            target,
            fields,
            claimed_scheme: claimed.filter(|claimed| *claimed != scheme),
            content: None,
            odd,
        })
    }

    /// The same request as a read by its content: whatever holds for GET holds for it, under a key of its own.
    #[must_use]
    pub fn with_content(self, content: Option<&'a ContentKey>) -> Self {
        Self {
            method: content.map_or(self.method, |_| Method::Get),
            content,
            ..self
        }
    }

    /// A POST that is a read by its content.
    #[must_use]
    pub fn is_posted_read(&self) -> bool {
        self.content.is_some_and(ContentKey::is_posted)
    }

    /// The client asks for another protocol on its connection (RFC 9110 section 7.8), or on its stream (RFC 8441): no stored response
    /// answers that. Envoy takes `Upgrade` away where it does not mean to pass it on.
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.fields.has(b"upgrade") || self.fields.has(b":protocol") || self.fields.get(b":method") == Some(b"CONNECT")
    }

    /// What the client asks of the cache.
    #[must_use]
    pub fn directives(&self, policy: &FreshnessPolicy) -> RequestDirectives {
        RequestDirectives::of(&self.fields, policy)
    }
}

const HTTP: &[u8] = b"http";

fn known_scheme(value: &[u8]) -> Option<&'static [u8]> {
    match value {
        b"http" => Some(HTTP),
        b"https" => Some(b"https"),
        _ => None,
    }
}

/// The scheme that Envoy gives the request: of the connection, or as a trusted proxy before it says. `Err` where the field says
/// something else than one of the two schemes, once.
fn forwarded_scheme(fields: &Fields<'_>) -> Result<Option<&'static [u8]>, ()> {
    let mut lines = fields.all(b"x-forwarded-proto");
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => known_scheme(value).map(Some).ok_or(()),
        (Some(_), Some(_)) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_request(
        authority: &'static str,
        path: &'static str,
        more: &[(&'static str, &'static str)],
    ) -> CacheRequest<'static> {
        let head = [(":method", "GET"), (":authority", authority), (":path", path)];
        let lines = head
            .iter()
            .chain(more)
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        CacheRequest::read(lines.collect()).unwrap()
    }

    #[test]
    fn the_scheme_is_the_one_that_envoy_gives() {
        for (more, scheme, claimed, odd) in [
            (&[][..], "http", None, None),
            (&[(":scheme", "https")], "https", None, None),
            (
                &[(":scheme", "https"), ("x-forwarded-proto", "http")],
                "http",
                Some(&b"https"[..]),
                None,
            ),
            (
                &[(":scheme", "http"), ("x-forwarded-proto", "https")],
                "https",
                Some(b"http"),
                None,
            ),
            (
                &[(":scheme", "http"), ("x-forwarded-proto", "http")],
                "http",
                None,
                None,
            ),
            (
                &[("x-forwarded-proto", "https, http")],
                "http",
                None,
                Some(Reason::ForwardedProto),
            ),
            (
                &[("x-forwarded-proto", "HTTPS")],
                "http",
                None,
                Some(Reason::ForwardedProto),
            ),
            (&[("x-forwarded-proto", "")], "http", None, Some(Reason::ForwardedProto)),
            (
                &[("x-forwarded-proto", "https"), ("x-forwarded-proto", "https")],
                "http",
                None,
                Some(Reason::ForwardedProto),
            ),
            (&[(":scheme", "ftp")], "http", None, Some(Reason::ForwardedProto)),
        ] {
            let read_request = read_request("a", "/", more);
            assert_eq!(
                (
                    read_request.target.scheme,
                    read_request.claimed_scheme,
                    read_request.odd
                ),
                (scheme.as_bytes(), claimed, odd),
                "{more:?}"
            );
        }
    }

    #[test]
    fn a_target_with_user_information_or_a_fragment_is_odd() {
        assert_eq!(read_request("evil@a", "/", &[]).odd, Some(Reason::UserInformation));
        assert_eq!(read_request("a", "/p#f", &[]).odd, Some(Reason::Fragment));
        assert_eq!(read_request("a:80", "/p?q", &[]).odd, None);
    }
}
