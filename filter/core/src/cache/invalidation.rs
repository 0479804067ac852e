//! Invalidation by unsafe methods (RFC 9111 section 4.4).

use crate::http::fields::Fields;
use crate::http::method::Method;
use crate::http::target::{ResolvedTarget, Target};

/// What an exchange invalidates: the target URI first, then same-origin `Location` and `Content-Location`. Empty unless the
/// method is unsafe and the status is 2xx or 3xx.
#[must_use]
pub fn targets(method: Method, target: &Target<'_>, status: u16, response: &Fields<'_>) -> Vec<ResolvedTarget> {
    let _ = (method, target, status, response);
    Vec::new()
}
