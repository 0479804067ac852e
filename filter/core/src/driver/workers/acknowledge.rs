//! What this Envoy tells the control plane is in force in all its workers.

use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::shared::registry;
use crate::driver::shared::settings_cell::fingerprint;
use crate::driver::shared::wake::Wake;
use crate::driver::state::link;
use crate::driver::vm::Vm;
use optimizer_proto::v1::SettingsAck;
use optimizer_proto::v1::filter_message::Body as ToControl;

/// A VM that has not taken a purge over by then is hung or dead; the purge is not acknowledged.
const PURGE_PATIENCE_MS: u64 = 10_000;

impl Vm {
    /// Acknowledges the settings once every VM alive runs on them.
    pub(crate) fn acknowledge_settings(&mut self, ctx: Ctx<'_, impl Host>) {
        let Some(owed) = self.control.owed.clone() else {
            return;
        };
        let vms = registry::vms(ctx.host, ctx.steady_ms());
        let wanted = fingerprint(&owed.epoch);
        if vms.is_empty() || vms.iter().any(|vm| vm.epoch != wanted || vm.revision < owed.revision) {
            return;
        }
        let workers = u32::try_from(vms.len()).unwrap_or(u32::MAX);
        let ack = SettingsAck {
            revision: owed.revision,
            epoch: owed.epoch,
            accepted: true,
            violations: owed.ignored,
            workers,
        };
        if self.link.send(ctx.host, ToControl::SettingsAck(ack)) {
            self.control.owed = None;
        }
    }

    /// Takes a purge over and tells the leader.
    pub(crate) fn adopt_purges(&mut self, host: &impl Host, leader: &[u8]) {
        let now_ms = host.now_ns() / 1_000_000;
        self.invalidation_log.refresh(host, now_ms);
        self.beat(Ctx::new(host, now_ms));
        if let Ok(leader) = leader.try_into().map(u32::from_le_bytes) {
            // A lost wake-up costs the leader a second.
            let _ = host.enqueue(leader, &[Wake::Purged.byte()]);
        }
    }

    /// Acknowledges the purges that are in force in every VM alive.
    pub(crate) fn acknowledge_purges(&mut self, ctx: Ctx<'_, impl Host>) {
        if self.control.purges.is_empty() {
            return;
        }
        let reached = registry::vms(ctx.host, ctx.steady_ms())
            .iter()
            .map(|vm| vm.purges)
            .min()
            .unwrap_or(0);
        let waiting = std::mem::take(&mut self.control.purges);
        for owed in waiting {
            if owed.stamp <= reached {
                link::send_on(ctx.host, owed.stream, ToControl::CommandResult(owed.result));
            } else if ctx.now_ms.saturating_sub(owed.since_ms) < PURGE_PATIENCE_MS {
                self.control.purges.push(owed);
            }
        }
    }
}
