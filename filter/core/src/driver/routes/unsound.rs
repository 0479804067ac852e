//! Routes whose requests the cache cannot tell apart: a filter behind this one refuses some of them or has another route chosen, or what
//! a request brings chooses among the endpoints of its cluster. It is noticed when such a request is seen; from then on the cache has no
//! part in the requests of that cluster and route.

use crate::driver::exchange::Exchange;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::{Host, LogLevel};
use crate::driver::shared::registry;
use crate::driver::shared::wake::Wake;
use crate::driver::vm::Vm;
use crate::reason::Reason;

/// Where Envoy's filters put what chooses the endpoints of a cluster with subsets, and the host of a dynamic forward proxy.
const CHOOSING: [&[u8]; 2] = [
    b"metadata\0filter_metadata\0envoy.lb",
    b"filter_state\0envoy.upstream.dynamic_host",
];

/// What Envoy's guards say of the requests that they refuse (`response_code_details`): of all, or beginning and end.
const REFUSALS: [(&[u8], &[u8]); 9] = [
    (b"rbac_access_denied", b""),
    (b"ext_authz_", b""),
    (b"jwt_authn_access_denied", b""),
    (b"oauth.", b""),
    (b"missing_api_key", b""),
    (b"unknown_api_key", b""),
    (b"client_not_allowed", b""),
    (b"no_credential_for_basic_auth", b""),
    (b"invalid_", b"_for_basic_auth"),
];

/// Whether a guard has refused the request that was passed on.
fn is_refusal(details: &[u8]) -> bool {
    REFUSALS
        .iter()
        .any(|(begins, ends)| details.starts_with(begins) && details.ends_with(ends))
}

impl Vm {
    /// Envoy itself has answered a request that was passed on. A guard behind this filter would not be asked about hits.
    pub(crate) fn note_refusal(&mut self, ctx: Ctx<'_, impl Host>, exchange: &Exchange, details: &[u8]) {
        if is_refusal(details) {
            self.distrust(ctx, exchange, Reason::GuardBehind);
        }
    }

    /// What is known of forwarding has changed: the other VMs are to look.
    pub(super) fn announce_forwarding(&self, ctx: Ctx<'_, impl Host>) {
        for vm in registry::vms(ctx.host, ctx.steady_ms())
            .iter()
            .filter(|vm| vm.uid != self.uid)
        {
            // One that cannot be woken looks within a second.
            let _ = ctx.host.enqueue(vm.queue, &[Wake::Forwarding.byte()]);
        }
    }

    /// From now on the cache has no part in the requests of this stream's cluster and route.
    pub(super) fn distrust(&mut self, ctx: Ctx<'_, impl Host>, exchange: &Exchange, reason: Reason) {
        let Some(routed) = &exchange.routed else { return };
        self.recorder.reason(reason);
        if self.learned.forwarding.distrust(ctx.host, &routed.pair, reason) {
            let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            let because = match reason {
                Reason::GuardBehind => {
                    "a filter behind the cache refuses requests, and hits would pass it by: put it in front"
                }
                Reason::RoutedAnew => "a filter behind the cache has another route chosen: put it in front",
                _ => {
                    "metadata or state of requests chooses among the cluster's endpoints: name the field it comes from in key_headers"
                }
            };
            let message = format!(
                "cluster {}, route {}: {because}; until Envoy restarts the cache is not used there ({})",
                text(&routed.cluster),
                text(&routed.route),
                reason.as_str()
            );
            ctx.host.log(LogLevel::Error, &message);
            self.announce_forwarding(ctx);
        }
    }
}

/// Whether metadata or state of the request may have chosen its endpoint. Where the key has fields of the operator's choice, they are
/// taken to say as much.
pub(super) fn is_chosen_by_metadata(host: &impl Host, exchange: &Exchange) -> bool {
    let keyed = exchange
        .route
        .as_ref()
        .is_none_or(|route| !route.key.headers.is_empty());
    let chooses = |path: &[u8]| host.property(path).is_some_and(|value| !value.is_empty());
    !keyed && CHOOSING.into_iter().any(chooses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_guards_are_told_from_other_replies() {
        for (details, refused) in [
            ("rbac_access_denied_matched_policy[none]", true),
            ("ext_authz_denied", true),
            ("ext_authz_error", true),
            ("jwt_authn_access_denied{Jwt_is_missing}", true),
            ("no_credential_for_basic_auth", true),
            ("invalid_credential_for_basic_auth", true),
            ("missing_api_key", true),
            ("invalid_response", false),
            ("via_upstream", false),
            ("direct_response", false),
            ("request_rate_limited", false),
            ("fault_filter_abort", false),
            ("upstream_reset_before_response_started{connection_termination}", false),
            ("", false),
        ] {
            assert_eq!(is_refusal(details.as_bytes()), refused, "{details}");
        }
    }
}
