//! What one VM has learned of Envoy's routes, from shared data and by itself.

use super::forwarding::Forwarding;
use crate::driver::exchange::sent::AddedLines;
use crate::learned::Learned;
use crate::shared_map::{SharedMap, keys};

/// What is known of routes.
#[derive(Debug)]
pub struct LearnedRoutes {
    pub(crate) forwarding: Forwarding,
    /// Lines that Envoy adds to the filter's replies.
    pub(crate) added: AddedLines,
    /// What Envoy gives to requests behind the filter.
    pub(crate) given: Learned,
    /// What responses of a route say of the queries of their URLs.
    pub(crate) searches: Learned,
}

impl Default for LearnedRoutes {
    fn default() -> Self {
        Self {
            forwarding: Forwarding::default(),
            added: AddedLines::default(),
            given: Learned::new(keys::GIVEN),
            searches: Learned::new(keys::SEARCHES),
        }
    }
}

impl LearnedRoutes {
    /// Takes over what other VMs have learned of replies and requests. [`Forwarding`] has its own, rarer time.
    pub(crate) fn refresh(&mut self, map: &impl SharedMap) {
        self.added.refresh(map);
        self.searches.refresh(map);
        self.given.refresh(map);
    }
}
