//! Active health checks that are due or under way in one VM, and how the last ones ended.

use crate::Millis;
use crate::breaker::{Permit, Quiet};
use optimizer_proto::settings::ActiveHealthCheck;
use std::collections::HashMap;

/// What the leader knows of breakers that may be checked.
#[derive(Debug, Default)]
pub struct HealthChecks {
    pub(super) quiet: HashMap<String, Waiting>,
    pub(super) calls: HashMap<u32, UnderWay>,
    /// The last check of each breaker; no more than there are breakers.
    pub(super) last: HashMap<String, Checked>,
}

/// A breaker that is half-open without a probe.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    generation: u64,
    pub(super) successes: u32,
    /// Since when no client has probed, or when it was last checked.
    pub(super) since_ms: Millis,
}

#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) permit: Permit,
    pub(super) check: ActiveHealthCheck,
}

/// How a check ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked {
    pub(super) at_ms: Millis,
    pub(super) healthy: bool,
    /// 0: there was no answer, or nobody to ask.
    pub(super) status: u16,
}

impl HealthChecks {
    /// Whether the time has come. A probe of somebody else begins the time anew.
    pub(super) fn is_due(&mut self, quiet: &Quiet, interval_ms: Millis, now_ms: Millis) -> bool {
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

    pub(super) fn note(&mut self, breaker: &str, healthy: bool, status: u16, at_ms: Millis) {
        let checked = Checked { at_ms, healthy, status };
        self.last.insert(breaker.to_owned(), checked);
    }
}
