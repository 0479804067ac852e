//! A VM as one of several workers: on which settings it runs, and what it tells the others.

use crate::driver::host::ctx::Ctx;
use crate::driver::host::{Host, LogLevel};
use crate::driver::shared::settings_cell::{self, fingerprint, parse_document};
use crate::driver::shared::wake::Wake;
use crate::driver::shared::{lease, mailbox, registry};
use crate::driver::state::staleness_guard::Clocks;
use crate::driver::vm::Vm;
use crate::policy::{self, Policies};
use optimizer_proto::settings::Settings;
use std::rc::Rc;

/// Between two ticks.
pub(crate) const TICK_MS: u32 = 200;

impl Vm {
    /// Takes over the secret and the settings in the shared cells, if they are new to this VM.
    pub(crate) fn adopt(&mut self, host: &impl Host) {
        self.key_secret.adopt(host, self.bootstrap.key_secret.as_ref());
        let Some((push, cas)) = settings_cell::changed(host, self.in_force.seen) else {
            return;
        };
        self.in_force.seen = Some(cas);
        match parse_document(&push.document) {
            Ok((settings, _)) => {
                self.apply(&settings);
                self.in_force.revision = push.revision;
                self.in_force.epoch = push.epoch;
                self.refresh_quarantine(host);
                self.beat(Ctx::new(host, host.now_ns() / 1_000_000));
            }
            // Only checked documents get into the cell; a filter of another version may have other rules.
            Err(violations) => {
                for violation in violations {
                    host.log(
                        LogLevel::Error,
                        &format!("settings revision {} refused: {violation}", push.revision),
                    );
                }
            }
        }
    }

    pub(crate) fn apply(&mut self, settings: &Settings) {
        self.policies = Rc::new(Policies::compile(settings));
        self.store.configure(self.policies.limits, policy::eviction(settings));
        self.share_copies();
    }

    /// Epoch and revision of the settings that this VM runs on; the bootstrap's have no epoch.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn settings_in_force(&self) -> (&str, u64) {
        (&self.in_force.epoch, self.in_force.revision)
    }

    /// A VM that has not ticked yet is in nobody's list: settings could be acknowledged for all workers and pass it by. Its first
    /// request brings it in, and every callback that may answer a request looks again. Not its configuration: the VM that Envoy
    /// configures first is thrown away, and would be waited for. The same goes for one that has not been scheduled for seconds: the
    /// others may have taken it for gone, and acknowledged settings and purges without it. Where everything stood still, nothing
    /// stored is believed from here on, before a request is answered.
    pub(crate) fn join(&mut self, ctx: Ctx<'_, impl Host>) {
        let steady_ms = ctx.steady_ms();
        if self.staleness.may_have_paused(Clocks::new(ctx.now_ms, steady_ms)) {
            self.notice_pause(ctx);
        }
        if self.membership.is_listed(steady_ms) {
            return;
        }
        // First the list, then a look: what others do in between waits for this VM.
        if self.membership.is_beat_due(steady_ms, u64::from(TICK_MS)) {
            self.beat(ctx);
        }
        self.adopt(ctx.host);
        self.invalidation_log.refresh(ctx.host, ctx.now_ms);
        self.learned.forwarding.refresh(ctx.host);
    }

    /// Tells the other VMs that this one is alive, and on which settings.
    pub(crate) fn beat(&mut self, ctx: Ctx<'_, impl Host>) {
        let steady_ms = ctx.steady_ms();
        let me = registry::Member {
            uid: self.uid,
            queue: self.queue,
            seen_ms: steady_ms,
            epoch: fingerprint(&self.in_force.epoch),
            revision: self.in_force.revision,
            purges: self.invalidation_log.purge_generation().number(),
        };
        let alive = registry::heartbeat(ctx.host, me).map(|vms| vms.len());
        self.membership.beaten(steady_ms, alive);
        self.share_copies();
    }

    /// The memory for copies is the Envoy's: each VM has its share.
    fn share_copies(&mut self) {
        if !cfg!(feature = "no-copies") {
            self.store
                .allow_copies(self.policies.copies / u64::from(self.membership.sharers()));
        }
    }

    pub(crate) fn hand_over_counts(&mut self, host: &impl Host) {
        let Some(delta) = self.recorder.drain() else { return };
        self.figures.stats.count(host, &delta);
        if let Err(back) = mailbox::post(host, self.uid, delta) {
            self.recorder.carry(*back);
        }
    }

    /// Announces to the other VMs that this one has started, and of which module it is.
    pub(crate) fn announce_start(&self, host: &impl Host) {
        let item = [&[Wake::Started.byte()], self.membership.module().as_bytes()].concat();
        for vm in registry::vms(host, host.steady_ms()) {
            if vm.uid != self.uid {
                // One that cannot be woken hands over its counts once a second, as ever.
                let _ = host.enqueue(vm.queue, &item);
            }
        }
    }

    /// A VM of that module has started. Where it is another one, this VM may be about to end, and Envoy does not tell it when: from now on
    /// nothing counted is left in its memory, and for a moment the other ones may speak for the Envoy.
    pub(crate) fn note_successor(&mut self, ctx: Ctx<'_, impl Host>, module: &[u8]) {
        if self.membership.started_beside(module, ctx.now_ms) {
            self.hand_over_counts(ctx.host);
            lease::release(ctx.host, self.uid);
        }
    }

    /// Wakes the other VMs for new settings, naming this VM's queue for their acknowledgements.
    pub(crate) fn announce_settings(&self, ctx: Ctx<'_, impl Host>) {
        let mut item = vec![Wake::Settings.byte()];
        item.extend_from_slice(&self.queue.to_le_bytes());
        for vm in registry::vms(ctx.host, ctx.steady_ms()) {
            if vm.uid != self.uid {
                // A VM that cannot be woken sees the change at its next tick.
                let _ = ctx.host.enqueue(vm.queue, &item);
            }
        }
    }

    /// Wakes the other VMs.
    pub(crate) fn wake_others(&self, ctx: Ctx<'_, impl Host>, what: Wake) {
        for vm in registry::vms(ctx.host, ctx.steady_ms())
            .iter()
            .filter(|vm| vm.uid != self.uid)
        {
            // One that cannot be woken looks at its next tick.
            let _ = ctx.host.enqueue(vm.queue, &[what.byte()]);
        }
    }
}
