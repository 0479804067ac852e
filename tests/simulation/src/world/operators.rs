//! Operators: they edit and purge, change settings, and override breakers, at any replica.

use super::World;
use super::event::Event;
use crate::oracle::PATHS;
use crate::plan::Actor;
use control_domain::breakers::overrides::OverrideAction;
use control_domain::purges::Target;
use serde_json::json;

/// The upstream of all requests.
pub(super) const UPSTREAM: &str = "api";

impl World {
    pub(super) fn operator(&mut self) {
        let wait = self.random.between(200, 4_000);
        self.after(wait, Event::Operator);
        match self.random.below(12) {
            0..=6 => self.edit_and_purge(),
            7..=9 if self.plan.has(Actor::Changes) => {
                let (setting, value) = match self.random.below(4) {
                    0 => ("/breaker/minimum_calls", json!(self.random.between(5, 500))),
                    1 => ("/breaker/probes", json!(self.random.between(1, 20))),
                    _ => ("/default_ttl", json!(format!("{}s", self.random.between(1, 900)))),
                };
                self.at_some_replica(|replica, now_ms| replica.change(setting, value.clone(), now_ms));
            }
            // None when all is calm: a later one would hide that an earlier one did not reach an Envoy.
            10..=11 if self.plan.has(Actor::Overrides) && !self.calm => self.override_breaker(),
            _ => {}
        }
    }

    fn edit_and_purge(&mut self) {
        let path = self.random.index(PATHS);
        let (target, paths) = match self.random.below(7) {
            0..=3 => (Target::Url(format!("http://api.example/p{path}")), vec![path]),
            4 => (Target::Prefix("api.example/p".to_owned()), (0..PATHS).collect()),
            5 => (Target::All, (0..PATHS).collect()),
            _ => (Target::Host("api.example".to_owned()), (0..PATHS).collect()),
        };
        paths.iter().for_each(|path| self.oracle.edit(*path));
        let mut id = None;
        self.at_some_replica(|replica, now_ms| id = Some(replica.purge(target, now_ms)));
        if let Some(id) = id {
            self.oracle.purged(&id, &paths);
        }
    }

    fn override_breaker(&mut self) {
        let word = match self.random.below(4) {
            0 => OverrideAction::ForceOpen,
            1 => OverrideAction::ForceClose,
            2 => OverrideAction::DryRun,
            _ => OverrideAction::Reset,
        };
        let lasts_ms = match self.random.below(3) {
            _ if word == OverrideAction::Reset => None,
            0 => None,
            1 => Some(self.random.between(500, 20_000)),
            _ => Some(self.random.between(100_000, 3_600_000)),
        };
        self.at_some_replica(|replica, now_ms| replica.override_breaker(UPSTREAM, word, lasts_ms, now_ms));
    }
}
