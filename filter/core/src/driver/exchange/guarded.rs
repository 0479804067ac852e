//! Credentials that a filter in front of this one has checked and taken off the request, as Envoy's `jwt_authn` does by default: the
//! response is an authenticated one all the same (RFC 9111 section 3.5).

use crate::cache::NotStored;
use crate::cache::storability::{self, Exchange, Plan};
use crate::driver::host::Host;
use crate::http::fields::Fields;
use crate::policy::RoutePolicy;

/// What `jwt_authn` reports of a token that it has checked, with its option `payload_in_metadata`.
const CHECKED_TOKEN: &[u8] = b"metadata\0filter_metadata\0envoy.filters.http.jwt_authn";
/// The route declares it for all its requests: `api_optimizer: { authenticated: true }` in its metadata.
const ROUTE_METADATA: &[u8] = b"xds\0route_metadata\0filter_metadata\0api_optimizer\0authenticated";

/// Whether the client has shown credentials that the request does not carry any more. Only to be asked about the stream at hand.
pub(crate) fn has_hidden_credentials(host: &impl Host, request: &Fields<'_>) -> bool {
    let is_true = |value: Vec<u8>| value.first().is_some_and(|byte| *byte != 0);
    !request.has(b"authorization")
        && (host.property(ROUTE_METADATA).is_some_and(is_true)
            || host.property(CHECKED_TOKEN).is_some_and(|value| !value.is_empty()))
}

/// As [`storability::judge`]. Envoy is asked about hidden credentials only where the response would be stored but for them.
pub(crate) fn judge(host: &impl Host, seen: &Exchange<'_>, route: &RoutePolicy) -> Result<Plan, NotStored> {
    let judged = |seen: &Exchange<'_>| storability::judge(seen, &route.freshness, seen.response_time_ms);
    let plan = judged(seen)?;
    if !has_hidden_credentials(host, seen.request) {
        return Ok(plan);
    }
    judged(&Exchange {
        hidden_credentials: true,
        ..*seen
    })
}
