//! Fields that are not stored (RFC 9111 section 3.1) nor forwarded (RFC 9110 section 7.6.1).

use crate::http::fields::Fields;

/// True for a response field that must not be stored: hop-by-hop, named by `Connection`, a proxy's, a pseudo-field, or made by
/// the proxy for this exchange. `connection` are the message's own fields.
#[must_use]
pub fn is_not_stored(name: &[u8], message: &Fields<'_>) -> bool {
    let _ = (name, message);
    true
}
