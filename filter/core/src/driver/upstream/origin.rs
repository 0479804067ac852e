//! Where a response comes from, as far as Envoy tells.

use crate::breaker::{self, OutcomeClass};
use crate::cache::reuse::Failure;
use crate::driver::exchange::Forwarded;
use crate::driver::host::Host;
use crate::http::fields::Fields;

/// What only a response that came from an upstream has, unless the operator suppresses Envoy's own fields.
const UPSTREAM_TIME: &[u8] = b"x-envoy-upstream-service-time";

/// Notes whether a head came from the upstream. Asking Envoy, for the details it answers with, costs as much as a lookup: it is not
/// asked about a head that looks it and is no failure.
pub(crate) fn note_origin(
    host: &impl Host,
    forwarded: &mut Forwarded,
    status: u16,
    response: &Fields<'_>,
) -> Option<Vec<u8>> {
    if status < 500 && response.has(UPSTREAM_TIME) {
        forwarded.from_origin = true;
        return None;
    }
    let details = host.property(b"response\0code_details").unwrap_or_default();
    forwarded.certain = true;
    forwarded.from_origin = details == b"via_upstream";
    Some(details)
}

/// Whether the head came from the upstream, for sure: before anything is stored.
pub(crate) fn is_from_origin(host: &impl Host, forwarded: &mut Forwarded) -> bool {
    if !forwarded.certain {
        let details = host.property(b"response\0code_details");
        forwarded.certain = true;
        forwarded.from_origin = details.is_some_and(|details| details == b"via_upstream");
    }
    forwarded.from_origin
}

/// Whether the call failed, by whom the response head is: Envoy makes one where the upstream does not answer. What another filter
/// or a route answers by itself is no failure of the upstream.
pub(crate) fn failed(host: &impl Host, status: u16, details: &[u8]) -> Option<(Failure, OutcomeClass)> {
    if details == b"via_upstream" {
        let class = OutcomeClass::Status(status);
        return matches!(status, 500 | 502 | 503 | 504).then_some((Failure::ServerError, class));
    }
    if status < 500 {
        return None;
    }
    match breaker::classify(response_flags(host), details, status) {
        OutcomeClass::Local | OutcomeClass::ClientGone | OutcomeClass::Status(_) => None,
        class => Some((Failure::Unreachable, class)),
    }
}

/// Whether the cluster says so.
pub(crate) fn is_end_marked(host: &impl Host) -> bool {
    let marked = host.property(b"xds\0cluster_metadata\0filter_metadata\0api_optimizer\0http2");
    marked.is_some_and(|value| value.first().is_some_and(|byte| *byte != 0))
}
/// Envoy's flags of the response: how it came about.
pub(crate) fn response_flags(host: &impl Host) -> u64 {
    host.property(b"response\0flags")
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}
