//! One VM among those of its Envoy: whether the others know it, whether it leads, and whether another module may be taking its place.

use crate::Millis;
use crate::driver::shared::lease;
use crate::driver::shared::registry::LISTED_MS;

/// After a VM of another module has started, it may be replacing this VM for this long.
const SUCCESSION_MS: u64 = 60_000;

/// What one VM knows of the others. Times without another word are by the clock that nobody sets.
#[derive(Debug, Default)]
pub struct Membership {
    /// Checksum of this VM's module, where the control plane gave it; else empty.
    module: String,
    pub(crate) leads: bool,
    /// VMs alive, as of the last heartbeat.
    alive: u32,
    /// When the other VMs last heard of this one.
    listed_ms: Option<Millis>,
    /// When it last tried to tell them.
    beat_ms: Millis,
    /// Until then another module may be taking this one's place, by the wall clock.
    succeeded_until_ms: Millis,
}

impl Membership {
    /// The VM is of the module with this checksum. What is longer than a name is none.
    pub(crate) fn of_module(&mut self, name: &[u8]) {
        self.module = match std::str::from_utf8(name) {
            Ok(name) if name.len() <= 64 => name.to_owned(),
            _ => String::new(),
        };
    }

    pub(crate) fn module(&self) -> &str {
        &self.module
    }

    /// VMs that share what the Envoy has; this one is among them.
    pub(crate) fn sharers(&self) -> u32 {
        self.alive.max(1)
    }

    /// Whether the others have lately heard of this VM.
    pub(crate) fn is_listed(&self, steady_ms: Millis) -> bool {
        self.listed_ms.is_some_and(|at| steady_ms.abs_diff(at) < LISTED_MS)
    }

    /// Whether they are to be told now, outside the regular heartbeat: at once the first time, then at most once in `pause_ms`.
    pub(crate) fn is_beat_due(&self, steady_ms: Millis, pause_ms: u64) -> bool {
        self.listed_ms.is_none() || steady_ms.abs_diff(self.beat_ms) >= pause_ms
    }

    /// A heartbeat; `alive` is how many VMs there are, `None` where they may not have heard of it.
    pub(crate) fn beaten(&mut self, steady_ms: Millis, alive: Option<usize>) {
        self.beat_ms = steady_ms;
        if let Some(alive) = alive {
            self.listed_ms = Some(steady_ms);
            self.alive = u32::try_from(alive).unwrap_or(u32::MAX);
        }
    }

    /// A VM of that module has started. True where it is another module: then this VM may be about to end.
    pub(crate) fn started_beside(&mut self, module: &[u8], now_ms: Millis) -> bool {
        let is_other = module != self.module.as_bytes();
        if is_other {
            self.succeeded_until_ms = now_ms.saturating_add(SUCCESSION_MS);
        }
        is_other
    }

    /// Whether another module may be taking this one's place.
    pub(crate) fn may_be_succeeded(&self, now_ms: Millis) -> bool {
        self.succeeded_until_ms > now_ms && self.succeeded_until_ms <= now_ms.saturating_add(SUCCESSION_MS)
    }

    /// Whether the lease is left to the VMs of another module. Where these come to nothing it is taken again.
    pub(crate) fn yields_lease(&self, now_ms: Millis) -> bool {
        self.may_be_succeeded(now_ms.saturating_add(SUCCESSION_MS - lease::LEASE_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_counts_as_listed_while_its_last_heartbeat_is_recent() {
        let mut member = Membership::default();
        assert!(!member.is_listed(0) && member.is_beat_due(0, 200) && member.sharers() == 1);
        member.beaten(1_000, None);
        assert!(!member.is_listed(1_000), "the others may not have heard");
        member.beaten(1_000, Some(3));
        assert!(member.is_listed(1_000 + LISTED_MS - 1) && !member.is_listed(1_000 + LISTED_MS));
        assert!(!member.is_beat_due(1_199, 200) && member.is_beat_due(1_200, 200));
        assert_eq!(member.sharers(), 3);
    }

    #[test]
    fn a_vm_stands_back_for_another_module_and_not_for_ever() {
        let mut member = Membership::default();
        member.of_module(b"one");
        assert!(!member.started_beside(b"one", 5_000) && !member.may_be_succeeded(5_000));
        assert!(member.started_beside(b"two", 5_000));
        assert!(member.may_be_succeeded(5_000) && member.yields_lease(5_000));
        assert!(!member.yields_lease(5_000 + lease::LEASE_MS));
        assert!(member.may_be_succeeded(4_999 + SUCCESSION_MS) && !member.may_be_succeeded(5_000 + SUCCESSION_MS));
        assert!(!member.may_be_succeeded(1_000), "a clock that was set back");
        member.of_module(&[b'x'; 65]);
        assert_eq!(member.module(), "");
    }
}
