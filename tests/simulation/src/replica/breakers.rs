//! Operators' overrides of breakers on their way, as in `breakers/service.rs`.

use super::commands::Task;
use super::{Overridden, Replica, Seen};
use control_domain::breakers::overrides::{BreakerOverride, LEASE_MS, OverrideAction};
use control_domain::replication::Fact;
use optimizer_proto::v1::command::Body;

/// An override that is older is not sent to connected Envoys again: they were told when they connected.
const FRESH_MS: u64 = 30_000;

impl Replica {
    /// An operator overrides a breaker.
    pub(crate) fn override_breaker(
        &mut self,
        upstream: &str,
        action: OverrideAction,
        lasts_ms: Option<u64>,
        now_ms: u64,
    ) {
        let entry = BreakerOverride {
            at: self.breaker_overrides.moment(upstream, now_ms),
            upstream: upstream.to_owned(),
            action,
            until: lasts_ms.map(|lasts_ms| now_ms + lasts_ms),
            who: format!("{}-{}-{}", self.number, self.life, self.next),
            reason: String::new(),
        };
        self.number_of_its_own();
        let before = self.breaker_overrides.last(upstream).cloned();
        self.breaker_overrides.apply(entry.clone());
        self.disk.breaker_overrides = self.breaker_overrides.clone();
        self.seen.push(Seen::Overridden(Box::new(Overridden {
            said: entry.clone(),
            before,
            last: self.breaker_overrides.last(upstream).cloned(),
        })));
        self.publish(&Fact::BreakerOverridden { entry: entry.clone() }, now_ms);
        self.send_override(&entry, now_ms);
    }

    /// Another replica has taken an override in.
    pub(super) fn observe_override(&mut self, entry: BreakerOverride, now_ms: u64) {
        let fresh = entry.at.saturating_add(FRESH_MS) > now_ms;
        if !self.breaker_overrides.apply(entry.clone()) {
            return;
        }
        self.disk.breaker_overrides = self.breaker_overrides.clone();
        let last = self.breaker_overrides.last(&entry.upstream).cloned();
        if let Some(last) = last.filter(|_| fresh) {
            self.send_override(&last, now_ms);
        }
    }

    /// Tells an Envoy that has just connected what is in force.
    pub(super) fn tell_overrides(&mut self, envoy: &str, now_ms: u64) {
        let holding: Vec<BreakerOverride> = self.breaker_overrides.in_force(now_ms).cloned().collect();
        for entry in holding {
            self.ask_envoy(envoy, Body::Breaker(entry.command(now_ms)), Task::Override, now_ms);
        }
    }

    /// Tells Envoys once more whose reports do not show the last override.
    pub(crate) fn correct_overrides(&mut self, now_ms: u64) {
        for envoy in self.connected_envoys() {
            let breakers = self.fleet.get(&envoy).map_or(&[][..], |envoy| &envoy.gauges.breakers);
            let unheard = self.breaker_overrides.unheard(breakers, now_ms).into_iter().cloned();
            for entry in unheard.collect::<Vec<BreakerOverride>>() {
                self.ask_envoy(&envoy, Body::Breaker(entry.command(now_ms)), Task::Override, now_ms);
            }
        }
    }

    /// Sends again what has no end of its own.
    pub(super) fn renew_overrides(&mut self, now_ms: u64) {
        if self.renewed_ms + LEASE_MS / 5 > now_ms {
            return;
        }
        self.renewed_ms = now_ms;
        let holding: Vec<BreakerOverride> = self.breaker_overrides.to_renew().cloned().collect();
        for entry in holding {
            self.send_override(&entry, now_ms);
        }
    }

    fn send_override(&mut self, entry: &BreakerOverride, now_ms: u64) {
        for envoy in self.connected_envoys() {
            let command = Body::Breaker(entry.command(now_ms));
            self.ask_envoy(&envoy, command, Task::Override, now_ms);
        }
    }
}
