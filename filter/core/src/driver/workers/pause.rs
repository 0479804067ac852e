//! What a VM does about a pause in which purges may have passed it by.

use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::state::staleness_guard::Clocks;
use crate::driver::vm::Vm;

impl Vm {
    /// Looks whether everything stood still. True then: the purges of other VMs are in force here, and the control stream is
    /// opened anew, by which the control plane learns that we were away.
    pub(crate) fn notice_pause(&mut self, ctx: Ctx<'_, impl Host>) -> bool {
        if self.bootstrap.control_target().is_none() || !self.staleness.passes(Clocks::new(ctx.now_ms, ctx.steady_ms()))
        {
            return false;
        }
        self.invalidation_log.refresh(ctx.host, ctx.now_ms);
        if let Some(stream) = self.link.renew() {
            ctx.host.cancel(stream);
        }
        true
    }

    /// Whether purges may be missing, so that nothing stored may be used. The callback has joined (`join`): only the tick says that time
    /// goes on as usual, and a request may be the first thing that happens after a pause.
    pub(crate) fn doubts(&mut self, ctx: Ctx<'_, impl Host>) -> bool {
        if !self.staleness.is_in_doubt() {
            return false;
        }
        if self.staleness.doubts(ctx.host, ctx.steady_ms()) {
            return true;
        }
        // Whoever vouches has taken in what was missed; the wake-up that tells this VM of it may be behind this request.
        self.invalidation_log.refresh(ctx.host, ctx.now_ms);
        false
    }
}
