//! One worker's handle on the store.

use super::account::{self, Account};
use super::codec::{Tick, full_ticks, ticks_to_ms};
use super::entry::{EntryId, Events, Found, Usage};
use super::hot::Hot;
use super::known_pages::KnownPages;
use super::ledger::Ledger;
use super::limits::Limits;
use super::touch::TouchLog;
use super::vary::VaryTable;
use crate::Millis;
use crate::shared_map::{SharedMap, keys};
use eviction::Policy;

/// One worker's handle on the store: configuration, caches, and hits not yet written back. Dropping it loses nothing else.
#[derive(Debug, Default)]
pub struct Store {
    pub(super) limits: Limits,
    pub(super) policy: Policy,
    pub(super) touches: TouchLog,
    pub(super) vary: VaryTable,
    pub(super) account: Account,
    pub(super) events: Events,
    pub(super) hot: Hot,
    pub(super) copies: u64,
    pub(super) known: KnownPages,
    pub(super) passed_over: bool,
}

impl Store {
    /// A handle with these limits.
    #[must_use]
    pub fn new(limits: Limits, policy: Policy) -> Self {
        Self {
            limits,
            policy,
            ..Self::default()
        }
    }

    /// Creates the keys whose creation must not race. Done by the base VM, which runs before the workers; does nothing when
    /// they are there already (an entry survives a new VM and new code). Without it nothing is stored: about 1,000 keys, 0.5 ms.
    pub fn seed(map: &impl SharedMap) {
        account::seed(map);
        VaryTable::seed(map);
    }

    /// Changes limits and policy. Nothing is evicted here: [`maintain`](Self::maintain) shrinks the store in bounded steps. The
    /// smaller of two limits holds for the process once all workers have it.
    pub fn configure(&mut self, limits: Limits, policy: Policy) {
        self.limits = limits;
        self.policy = policy;
        self.hot.clear();
        self.known.clear();
    }

    /// Allows this worker copies of what it serves most, `bytes` of them. They are not part of the store's own limit: who sets both
    /// makes them add up. None without it.
    pub fn allow_copies(&mut self, bytes: u64) {
        if bytes < self.copies {
            self.hot.clear();
        }
        self.copies = bytes;
    }

    /// Notes a hit. Writes nothing shared; [`flush`](Self::flush) does. Nothing is noted where the directory knew enough when
    /// the entry was looked up.
    pub fn touch(&mut self, id: EntryId, now_ms: Millis) {
        if !id.settled && !self.touches.note(id, Tick::at(now_ms)) {
            self.events.touches_lost += 1;
        }
    }

    /// Keeps a response that was found, and found to be sound, in this worker's own memory; [`Found::is_checked`] tells of it when it
    /// is found there.
    pub fn keep(&mut self, found: &Found) {
        if !found.checked {
            self.hot.put(found.name, &found.value, found.len, self.copies);
        }
    }

    /// What the process holds. One read.
    pub fn usage(&self, map: &impl SharedMap, now_ms: Millis) -> Usage {
        let Some(ledger) = map.get(keys::LEDGER).and_then(|(bytes, _)| Ledger::decode(&bytes)) else {
            return Usage::default();
        };
        let total = self.account.applied(&ledger).total;
        let (live, residue) = total.memory();
        let ages = full_ticks(now_ms)
            .saturating_mul(total.entries)
            .saturating_sub(total.stored);
        Usage {
            entries: total.entries,
            bytes: live.saturating_add(residue),
            residue_bytes: residue,
            age_sum_ms: ticks_to_ms(ages),
        }
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Events {
        std::mem::take(&mut self.events)
    }
}
