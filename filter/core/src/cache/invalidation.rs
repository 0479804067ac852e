//! Invalidation by unsafe methods (RFC 9111 section 4.4).

use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::http::target::{ResolvedTarget, Target, resolve};

/// What an exchange invalidates: the target URI first, then same-origin `Location` and `Content-Location`. Empty unless the
/// method is unsafe and the status is 2xx or 3xx.
#[must_use]
pub fn targets(method: Method, target: &Target<'_>, status: u16, response: &Fields<'_>) -> Vec<ResolvedTarget> {
    if !method.is_unsafe() || !(200..400).contains(&status) {
        return Vec::new();
    }
    let Some(own) = resolve(target, b"") else {
        return Vec::new();
    };
    let named = [&b"location"[..], b"content-location"]
        .iter()
        .filter_map(|name| resolve(target, response.get(name)?))
        .filter(|other| other.scheme == own.scheme && other.authority == own.authority)
        .collect::<Vec<_>>();
    std::iter::once(own).chain(named).collect()
}
