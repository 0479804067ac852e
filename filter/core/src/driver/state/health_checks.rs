//! Active health checks that are due or under way in one VM, and how the last ones ended.

use crate::Millis;
use crate::breaker::{Permit, Quiet};
use optimizer_proto::settings::ActiveHealthCheck;
use std::collections::HashMap;

/// What the leader knows of breakers that may be checked.
#[derive(Debug, Default)]
pub struct HealthChecks {
    pub(crate) quiet: HashMap<String, Waiting>,
    pub(crate) calls: HashMap<u32, UnderWay>,
    /// The last check of each breaker.
    pub(crate) last: HashMap<String, Checked>,
}

/// A breaker that is half-open without a probe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    generation: u64,
    pub(crate) successes: u32,
    /// Since when no client has probed, or when it was last checked.
    pub(crate) since_ms: Millis,
}

#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) permit: Permit,
    pub(crate) check: ActiveHealthCheck,
    /// Then Envoy has answered, or never will: it forgets the calls of a root that ends.
    pub(crate) until_ms: Millis,
}

/// Beyond a check's own timeout, which Envoy keeps.
pub(crate) const GRACE_MS: Millis = 60_000;
/// Breakers whose last check is remembered.
const MAX_LAST: usize = 256;

/// How a check ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked {
    pub(crate) at_ms: Millis,
    pub(crate) healthy: bool,
    /// 0: there was no answer, or nobody to ask.
    pub(crate) status: u16,
}

impl HealthChecks {
    /// Whether the time has come. A probe of somebody else begins the time anew.
    pub(crate) fn is_due(&mut self, quiet: &Quiet, interval_ms: Millis, now_ms: Millis) -> bool {
        let fresh = Waiting {
            generation: quiet.generation,
            successes: quiet.successes,
            since_ms: now_ms,
        };
        let waiting = self.quiet.entry(quiet.upstream.clone()).or_insert(fresh);
        let same = (waiting.generation, waiting.successes) == (quiet.generation, quiet.successes);
        if !same || waiting.since_ms > now_ms {
            *waiting = fresh;
        }
        now_ms - waiting.since_ms >= interval_ms
    }

    /// Forgets calls that Envoy has forgotten. What they held lapses as any lost probe does.
    pub(crate) fn forget_lost(&mut self, now_ms: Millis) {
        self.calls.retain(|_, call| {
            let latest = now_ms.saturating_add(call.check.timeout_ms).saturating_add(GRACE_MS);
            call.until_ms > now_ms && call.until_ms <= latest
        });
    }

    pub(crate) fn note(&mut self, breaker: &str, healthy: bool, status: u16, at_ms: Millis) {
        let checked = Checked { at_ms, healthy, status };
        if self.last.len() >= MAX_LAST && !self.last.contains_key(breaker) {
            self.last.clear();
        }
        self.last.insert(breaker.to_owned(), checked);
    }
}
