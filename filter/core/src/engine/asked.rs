//! A request as the cache sees it.

use crate::cache::policy::FreshnessPolicy;
use crate::cache::request_directives::RequestDirectives;
use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::http::target::Target;

/// A request's parts, borrowed from its header map.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: Method,
    /// Scheme, authority and path.
    pub target: Target<'a>,
    /// All lines, pseudo-fields among them.
    pub fields: Fields<'a>,
}

impl<'a> Asked<'a> {
    /// Reads a request; `None` when it lacks a method, an authority or a path (`CONNECT`, `OPTIONS *` without host).
    #[must_use]
    pub fn read(fields: Fields<'a>) -> Option<Self> {
        let method = Method::parse(fields.get(b":method")?);
        let target = Target {
            scheme: fields.get(b":scheme").unwrap_or(b"http"),
            authority: fields.get(b":authority")?,
            path: fields.get(b":path")?,
        };
        Some(Self { method, target, fields })
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
