//! What must be in order while the world turns, and a minute after the last fault.

use super::byzantine::NAME;
use super::operators::UPSTREAM;
use super::{Checked, World};
use crate::replica::Replica;
use control_domain::breakers::overrides::{BreakerOverride, OverrideAction};
use control_domain::settings::history::SettingsHistory;
use filter_core::breaker::{BreakerPolicy, BreakerState, all};

/// What an Envoy or a replica has yet to do may be so old.
const LATE_MS: u64 = 20_000;
/// How many revisions an Envoy may lag behind.
const LATE_REVISIONS: usize = 10;
/// By how much an override may end earlier or later at an Envoy.
const ENDS_MS: u64 = 60_000;
/// What has ended in the last seconds is not reported yet.
const UNREPORTED: u64 = 400;

impl World {
    /// At any time: receipts are of Envoys that have answered for them.
    pub(super) fn look(&self) -> Checked {
        for replica in self.seats.iter().filter_map(|seat| seat.running.as_ref()) {
            for purge in replica.purges().all() {
                for envoy in purge.applied.keys() {
                    self.oracle.receipt_is_true(replica.number(), envoy, &purge.id)?;
                }
            }
        }
        Ok(())
    }

    /// Everything is in order again.
    pub(super) fn healed(&self) -> Checked {
        self.all_is_well()
            .map_err(|what| format!("a minute after the last fault {what}"))
    }

    fn all_is_well(&self) -> Checked {
        let mut replicas = Vec::new();
        for seat in &self.seats {
            let running = seat.running.as_ref().filter(|replica| replica.is_ready());
            replicas.push(running.ok_or("a replica is not ready")?);
        }
        let first = replicas[0];
        for replica in &replicas {
            let who = replica.number();
            let (ours, theirs) = (first.history(), replica.history());
            // What was changed in the last moment is on its way.
            let knows = |one: &SettingsHistory, other: &SettingsHistory| {
                one.epoch() == other.epoch() && one.revisions().any(|kept| kept == other.present())
            };
            if !knows(ours, theirs) && !knows(theirs, ours) {
                return Err(format!("replica {who} has other settings than replica 1"));
            }
            self.oracle.nothing_written_is_lost(replica.history())?;
            self.purges_are_known(first, replica)?;
            let words = [first, replica].map(|replica| replica.breaker_overrides().last(UPSTREAM));
            let on_its_way = words.iter().flatten().any(|said| said.at + LATE_MS > self.now_ms);
            if words[0] != words[1] && !on_its_way {
                return Err(format!(
                    "replica {who} has another last override: {:?}, and replica 1 {:?}",
                    replica.breaker_overrides().last(UPSTREAM),
                    first.breaker_overrides().last(UPSTREAM)
                ));
            }
        }
        self.oracle.no_older_override(first.breaker_overrides())?;
        for envoy in 0..self.envoys.len() {
            self.envoy_is_well(envoy, &replicas)?;
        }
        Ok(())
    }

    /// Both know the same purges, and who has done them; those of the last seconds are on their way.
    fn purges_are_known(&self, one: &Replica, other: &Replica) -> Checked {
        let old = self.now_ms.saturating_sub(LATE_MS);
        for purge in one.purges().all().filter(|purge| purge.at < old) {
            let Some(same) = other.purges().get(&purge.id) else {
                return Err(format!("replica {} does not know purge {}", other.number(), purge.id));
            };
            if same.unrecorded {
                return Err(format!(
                    "the shared tier has not recorded {}, by replica {}",
                    same.id,
                    other.number()
                ));
            }
            let here = |envoy: &&String| self.envoys.iter().any(|one| one.instance == **envoy);
            let of_one = purge.applied.keys().filter(here);
            let of_other = same.applied.keys().filter(here);
            if !of_one.clone().eq(of_other.clone()) {
                return Err(format!(
                    "replica {} knows other receipts of {}: {:?}, and replica {} {:?}",
                    other.number(),
                    purge.id,
                    of_other.collect::<Vec<_>>(),
                    one.number(),
                    of_one.collect::<Vec<_>>()
                ));
            }
        }
        Ok(())
    }

    fn envoy_is_well(&self, envoy: usize, replicas: &[&Replica]) -> Checked {
        let name = &self.envoys[envoy].instance;
        let holders: Vec<u64> = replicas
            .iter()
            .filter(|replica| replica.connected_envoys().contains(name))
            .map(|replica| replica.number())
            .collect();
        let [holder] = holders.as_slice() else {
            return Err(format!("{name} is connected to {holders:?}"));
        };
        let old = self.now_ms.saturating_sub(LATE_MS);
        for replica in replicas {
            let who = replica.number();
            let missing = replica.missing(name);
            let late = missing.map_or(usize::MAX, |missing| {
                missing.iter().filter(|purge| purge.at < old).count()
            });
            if late > 0 {
                return Err(format!("{name} has not done {late} purges, by replica {who}"));
            }
            if replicas.len() > 1 && replica.holder_of(name) != Some(*holder) {
                let known = replica.fleet.get(name).and_then(|envoy| envoy.connection);
                return Err(format!(
                    "replica {who} does not know where {name} is: {known:?}, and not at {holder}; has {:?}",
                    replica.connected_envoys()
                ));
            }
            let history = replica.history();
            let behind = replica.fleet.get(name).is_none_or(|envoy| {
                let in_force = envoy.in_force.as_ref();
                let newest: Vec<u64> = history.revisions().map(|kept| kept.number).collect();
                let recent = newest
                    .get(newest.len().saturating_sub(LATE_REVISIONS))
                    .copied()
                    .unwrap_or(0);
                in_force.is_none_or(|(epoch, revision)| epoch != history.epoch() || *revision < recent)
            });
            if behind {
                return Err(format!("{name} is not on the settings, by replica {who}"));
            }
        }
        self.breaker_is_right(envoy, replicas[0])?;
        let counted = self.oracle.counted(name);
        let ended = self.oracle.ended.get(name).copied().unwrap_or(0);
        if counted > ended || !self.envoys[envoy].lossy && counted + UNREPORTED < ended {
            return Err(format!(
                "{name} has answered {ended} requests, and its reports count {counted}"
            ));
        }
        debug_assert_ne!(name, NAME);
        Ok(())
    }

    /// The last override holds at the Envoy, or none.
    fn breaker_is_right(&self, envoy: usize, replica: &Replica) -> Checked {
        let now_ms = self.now_ms;
        let last = replica.breaker_overrides().last(UPSTREAM);
        let unclear = |said: &BreakerOverride| {
            let ends = said.until.is_some_and(|until| until.abs_diff(now_ms) < ENDS_MS);
            ends || said.at + LATE_MS > now_ms
        };
        if last.is_some_and(unclear) {
            return Ok(());
        }
        let holds = last.filter(|said| said.until.is_none_or(|until| until > now_ms));
        let wanted = holds.map(|said| said.action).and_then(|word| match word {
            OverrideAction::ForceOpen => Some(BreakerState::ForcedOpen),
            OverrideAction::ForceClose => Some(BreakerState::ForcedClosed),
            OverrideAction::DryRun => Some(BreakerState::DryRun),
            OverrideAction::Reset => None,
        });
        let (policy, clock_ms) = (BreakerPolicy::default(), self.clock(envoy));
        let views = all(&self.envoys[envoy].process.map, &policy, clock_ms);
        let view = views.into_iter().find(|view| view.upstream == UPSTREAM);
        let held = view
            .filter(|view| view.forced_until_ms > clock_ms)
            .map(|view| view.state);
        if held == wanted || last.is_none() && self.oracle.may_have_forgotten() {
            Ok(())
        } else {
            let name = &self.envoys[envoy].instance;
            Err(format!(
                "{name} holds its breaker {held:?}, and the last word is {last:?}"
            ))
        }
    }
}
