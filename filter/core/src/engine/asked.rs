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

    /// What the client asks of the cache.
    #[must_use]
    pub fn directives(&self, policy: &FreshnessPolicy) -> RequestDirectives {
        RequestDirectives::of(&self.fields, policy)
    }
}
