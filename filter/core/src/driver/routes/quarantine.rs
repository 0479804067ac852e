//! Requests that the cache has no part in, by the settings or by what this Envoy has found itself.

use crate::driver::host::ctx::Ctx;
use crate::driver::host::{Host, LogLevel};
use crate::driver::state::local_quarantine::Revision;
use crate::driver::vm::Vm;
use crate::policy::RoutePolicy;
use optimizer_proto::v1::SharingFinding;

impl Vm {
    /// Whether the cache has no part in this request, because of what was found about its route.
    pub(crate) fn is_quarantined(&self, route: &RoutePolicy, authority: &[u8], path: &[u8]) -> bool {
        let (all, own) = (&self.policies.quarantine, &self.quarantine.scopes);
        if all.is_empty() && own.is_empty() {
            return false;
        }
        let mut scopes = all.iter().chain(own);
        scopes.any(|scope| scope.covers(route, authority, path))
    }

    /// From now on the cache has no part in such requests, and the control plane is told.
    pub(crate) fn quarantine(&mut self, ctx: Ctx<'_, impl Host>, finding: SharingFinding) {
        let in_force: Revision<'_> = (&self.in_force.epoch, self.in_force.revision);
        let stored = self.quarantine.add(ctx.host, &finding, in_force);
        let place = match finding.route.as_str() {
            "" => format!("{}{}", finding.host, finding.path_prefix),
            route => format!("route {route}"),
        };
        let outcome = if stored {
            "it is not cached any more until an operator releases it or changes the key"
        } else {
            "it could not be quarantined here: there is no room"
        };
        let message = format!(
            "{place}: responses depend on {}, which is not in the key; {outcome} (finding {})",
            finding.depends_on.join(", "),
            finding.id
        );
        ctx.host.log(LogLevel::Error, &message);
        self.recorder.finding(finding);
        self.announce_forwarding(ctx);
    }

    /// Takes over what this Envoy has found, as far as it holds under the settings of this VM.
    pub(crate) fn refresh_quarantine(&mut self, host: &impl Host) {
        self.quarantine
            .refresh(host, (&self.in_force.epoch, self.in_force.revision));
    }
}
