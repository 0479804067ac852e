//! The fetches of this VM that others may follow.

use crate::collapse::{Ticket, Unshared};
use crate::learned::Learned;
use crate::shared_map::keys;
use std::cell::RefCell;
use std::rc::Rc;

/// A fetch that others may follow, and the hash of its cache key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lead {
    pub(crate) ticket: Ticket,
    /// 0 for a fetch beside a silent one.
    pub(crate) key: u64,
    /// Hash of the route's name; 0 for a fetch of our own, or beside a silent one.
    pub(crate) route: u64,
}

/// The obligation to report how a fetch has ended. If it is dropped, the next root callback ends the fetch as if its
/// client had left, so that nobody waits for a fetch that nobody makes. (The permit cannot do that itself: it would
/// need the host.)
#[derive(Debug)]
pub(crate) struct FlightPermit {
    lead: Option<Lead>,
    dropped: Rc<RefCell<Vec<Lead>>>,
}

impl FlightPermit {
    /// The fetch has ended, and whoever takes this says how.
    pub(crate) fn end(mut self) -> Option<Lead> {
        self.lead.take()
    }
}

impl Drop for FlightPermit {
    fn drop(&mut self) {
        if let (Some(lead), Ok(mut dropped)) = (self.lead.take(), self.dropped.try_borrow_mut()) {
            dropped.push(lead);
        }
    }
}

/// What one VM knows of fetches for many.
#[derive(Debug)]
pub struct Flights {
    /// Keys that are not worth collapsing.
    pub(crate) unshared: Unshared,
    /// By which fields responses of a route are selected.
    pub(crate) varied: Learned,
    /// Whether it is worth waiting for another's fetch on a route.
    pub(crate) shares: Learned,
    /// Flights begun: makes their numbers.
    begun: u64,
    dropped: Rc<RefCell<Vec<Lead>>>,
}

impl Default for Flights {
    fn default() -> Self {
        Self {
            unshared: Unshared::default(),
            varied: Learned::new(keys::VARIED),
            shares: Learned::new(keys::SHARES),
            begun: 0,
            dropped: Rc::default(),
        }
    }
}

impl Flights {
    /// A number that no other flight has, of this VM or another. `uid` is the VM's.
    pub(crate) fn number(&mut self, uid: u64) -> u64 {
        self.begun = self.begun.wrapping_add(1);
        uid.wrapping_add(self.begun.rotate_left(20)).max(1)
    }

    pub(crate) fn permit(&self, ticket: Ticket, key: u64, route: u64) -> FlightPermit {
        FlightPermit {
            lead: Some(Lead { ticket, key, route }),
            dropped: Rc::clone(&self.dropped),
        }
    }

    /// Fetches whose permits were dropped since the last look.
    pub(crate) fn take_dropped(&self) -> Vec<Lead> {
        self.dropped
            .try_borrow_mut()
            .map(|mut dropped| std::mem::take(&mut *dropped))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_that_is_dropped_is_remembered_and_one_that_ended_is_not() {
        let flights = Flights::default();
        let ticket = |hash| Ticket { hash, number: 1 };
        assert_eq!(
            flights.permit(ticket(1), 7, 9).end(),
            Some(Lead {
                ticket: ticket(1),
                key: 7,
                route: 9
            })
        );
        assert!(flights.take_dropped().is_empty());
        drop(flights.permit(ticket(2), 8, 0));
        let dropped = flights.take_dropped();
        assert_eq!(dropped.iter().map(|lead| lead.key).collect::<Vec<_>>(), [8]);
        assert!(flights.take_dropped().is_empty());
    }

    #[test]
    fn no_two_flights_have_one_number() {
        let mut flights = Flights::default();
        let numbers: std::collections::HashSet<u64> = (0..1_000).map(|_| flights.number(5)).collect();
        assert_eq!(numbers.len(), 1_000);
    }
}
