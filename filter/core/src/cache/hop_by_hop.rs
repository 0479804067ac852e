//! Fields that are not stored (RFC 9111 section 3.1) nor forwarded (RFC 9110 section 7.6.1).

use crate::http::fields::Fields;
use crate::http::list::members;

const FIXED: [&[u8]; 13] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"age",
    b"www-authenticate",
    b"authentication-info",
];

/// True for a response field that must not be stored: hop-by-hop, named by `Connection`, a proxy's, a pseudo-field, about the one
/// client's authentication (RFC 9110 section 11), or made by an Envoy for this exchange. `connection` are the message's own fields.
#[must_use]
pub fn is_not_stored(name: &[u8], message: &Fields<'_>) -> bool {
    if name.starts_with(b":") || name.starts_with(b"x-envoy-") || FIXED.contains(&name) {
        return true;
    }
    // Fields named by Connection belong to that hop alone, but for those no origin may take away by naming them.
    message
        .all(b"connection")
        .flat_map(members)
        .any(|named| named.eq_ignore_ascii_case(name))
}
