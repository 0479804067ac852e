//! The concurrency limit in front of every upstream: the places for calls that one VM holds.

use super::parked::Parked;
use crate::Millis;
use crate::driver::host::Host;
use crate::limit::{Gradient, LimitPolicy, Place, Pool, PoolDemand};
use rustc_hash::FxHashMap;

/// Upstreams a VM keeps apart; one beyond these goes without a limit.
const MAX_UPSTREAMS: usize = 128;
/// For so long the word of another worker counts that requests wait there: it says so at each of its ticks.
const WANTED_MS: Millis = 1_000;

#[derive(Debug, Default)]
struct Upstream {
    pool: Pool,
    gradient: Option<Gradient>,
    refused: u64,
}

/// The limits of one VM, by upstream.
#[derive(Debug, Default)]
pub struct Limiter {
    upstreams: FxHashMap<String, Upstream>,
    /// When another worker last said that requests wait there.
    wanted_ms: Option<Millis>,
}

impl Limiter {
    /// A place for a call. `waiting`: how many wait for one already; `None` where this call may not wait.
    pub(crate) fn take(
        &mut self,
        host: &impl Host,
        name: &str,
        uid: u64,
        policy: &LimitPolicy,
        waiting: Option<usize>,
        now_ms: Millis,
    ) -> Place {
        if !policy.enabled || name.is_empty() {
            return Place::Free;
        }
        if !self.upstreams.contains_key(name) {
            if self.upstreams.len() >= MAX_UPSTREAMS {
                return Place::Free;
            }
            self.upstreams.insert(name.to_owned(), Upstream::default());
        }
        // Whoever came first goes first.
        let overtakes = waiting.is_some_and(|waiting| waiting > 0);
        if !overtakes && self.take_free(host, name, uid, policy, now_ms) {
            return Place::Taken;
        }
        if waiting.is_some_and(|waiting| waiting < policy.queue) {
            return Place::Wait;
        }
        self.refused(name);
        Place::Full
    }

    /// A place of an upstream that is known, for one who waits; false when there is none.
    pub(crate) fn take_free(
        &mut self,
        host: &impl Host,
        name: &str,
        uid: u64,
        policy: &LimitPolicy,
        now_ms: Millis,
    ) -> bool {
        self.upstreams.get_mut(name).is_some_and(|upstream| {
            let own = upstream.gradient.as_ref().map_or(u32::MAX, Gradient::limit);
            upstream.pool.in_use() < own && upstream.pool.take(host, name, uid, policy.limit, now_ms)
        })
    }

    /// A call is over. `took_ms` is absent when it was never made. `workers`: those that share the limit.
    pub(crate) fn give(&mut self, name: &str, took_ms: Option<u64>, policy: &LimitPolicy, workers: u32) {
        let Some(upstream) = self.upstreams.get_mut(name) else {
            return;
        };
        let in_flight = upstream.pool.in_use();
        upstream.pool.give();
        if let (true, Some(took_ms)) = (policy.adaptive, took_ms) {
            upstream
                .gradient
                .get_or_insert_with(|| Gradient::new((policy.limit / workers).max(1)))
                .sample(took_ms, in_flight, (policy.minimum / workers).max(1), policy.limit);
        } else if !policy.adaptive {
            upstream.gradient = None;
        }
    }

    /// Requests wait in another worker.
    pub(crate) fn note_wanted(&mut self, now_ms: Millis) {
        self.wanted_ms = Some(now_ms);
    }

    /// Whether requests wait in another worker.
    pub(crate) fn is_wanted(&self, now_ms: impl FnOnce() -> Millis) -> bool {
        self.wanted_ms
            .is_some_and(|wanted_ms| now_ms().abs_diff(wanted_ms) < WANTED_MS)
    }

    /// A request was refused.
    pub(crate) fn refused(&mut self, name: &str) {
        if let Some(upstream) = self.upstreams.get_mut(name) {
            upstream.refused += 1;
        }
    }

    /// Renews what is leased; with `generous` everything not in use is given back. True where something was.
    pub(crate) fn renew(
        &mut self,
        host: &impl Host,
        uid: u64,
        policy: &LimitPolicy,
        generous: bool,
        parked: &Parked,
        now_ms: Millis,
    ) -> bool {
        let mut freed = false;
        // Where nobody asks any more, no call asks for the time.
        self.wanted_ms = self.wanted_ms.filter(|_| self.is_wanted(|| now_ms));
        for (name, upstream) in &mut self.upstreams {
            if generous && !upstream.pool.has_spare() {
                continue;
            }
            let waiting = parked.waiting_for_place(name);
            let demand = PoolDemand {
                waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
                limit: upstream.gradient.as_ref().map_or(0, Gradient::limit),
                refused: upstream.refused,
            };
            freed |= upstream
                .pool
                .renew(host, name, uid, policy.limit, generous, demand, now_ms);
        }
        freed
    }
}
