//! Paused requests: one table for all of them, whatever they wait for, with one queue of deadlines and one rule for
//! clocks that jump.
//!
//! It says whose wait is over and why, and resumes nobody: [`crate::driver::request::resume`] does.

use crate::Millis;
use crate::collapse::Outcome;
use crate::driver::exchange::SharedExchange;
use crate::driver::exchange::collected::Collected;
use crate::driver::exchange::flights::FlightPermit;
use crate::driver::exchange::lifecycle::TicketId;
use crate::driver::exchange::plan::Pending;
use crate::driver::exchange::tier_client::TierAnswer;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;

/// Requests that wait in one VM at most; more go on their own.
const MAX_PARKED: usize = 20_000;

/// A clock that goes back by less than this is only being set right, and prolongs a wait by no more.
const JUMP_MS: Millis = 1_000;

/// Who waits for the same thing, in the order of their coming.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// The end of the flight with this hash.
    Flight(u64),
    /// A place for a call to the upstream of this name.
    Slot(String),
    /// The tier's answer: each its own.
    Tier,
    /// Its own content.
    Content,
}

/// A stream, as whoever parks it knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream<'s> {
    pub(crate) context: u32,
    pub(crate) exchange: &'s SharedExchange,
}

/// A paused request and all that it holds.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) context: u32,
    pub(crate) exchange: SharedExchange,
    pub(crate) pending: Box<Pending>,
    lane: Lane,
    /// Since when it waits for this.
    since_ms: Millis,
    until_ms: Millis,
}

/// Why a wait is over, with what came.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// The fetch that it followed has ended.
    Landed(Outcome),
    /// Nobody fetches any more.
    FlightOver,
    /// It may fetch beside the silent one.
    Beside(FlightPermit),
    /// It may call. `placed`: it holds a place that must be given back.
    Place { placed: bool },
    /// It has waited for too long.
    Overdue,
    /// The tier has answered.
    Tier(Box<TierAnswer>),
}

/// The paused requests of one VM.
#[derive(Debug, Default)]
pub struct Parked {
    tickets: HashMap<TicketId, Ticket>,
    lanes: BTreeMap<Lane, BTreeSet<TicketId>>,
    deadlines: BTreeSet<(Millis, TicketId)>,
    ready: VecDeque<(TicketId, Arrival)>,
    last: u64,
    /// The latest time that was seen: an earlier one is of a clock that has jumped back.
    latest_ms: Millis,
}

impl Parked {
    pub(crate) fn has_space(&self) -> bool {
        self.tickets.len() < MAX_PARKED
    }

    /// Parks a request. `since_ms` and `until_ms`: of its wait.
    pub(crate) fn park(
        &mut self,
        stream: Stream<'_>,
        pending: Pending,
        lane: Lane,
        since_ms: Millis,
        until_ms: Millis,
    ) -> TicketId {
        self.last = self.last.wrapping_add(1);
        let id = TicketId(self.last);
        self.latest_ms = self.latest_ms.max(since_ms);
        self.deadlines.insert((until_ms, id));
        self.lanes.entry(lane.clone()).or_default().insert(id);
        let ticket = Ticket {
            context: stream.context,
            exchange: Rc::clone(stream.exchange),
            pending: Box::new(pending),
            lane,
            since_ms,
            until_ms,
        };
        self.tickets.insert(id, ticket);
        id
    }

    /// Takes a request out whose client has gone, with what had come for it.
    pub(crate) fn leave(&mut self, id: TicketId) -> Option<(Ticket, Option<Arrival>)> {
        let ticket = self.tickets.remove(&id)?;
        self.forget(&ticket.lane, ticket.until_ms, id);
        let at = self.ready.iter().position(|(ready, _)| *ready == id);
        let arrival = at.and_then(|at| self.ready.remove(at)).map(|(_, arrival)| arrival);
        Some((ticket, arrival))
    }

    /// Ends a wait. What came is given back where nobody waits under that number any more, or its wait is over already.
    pub(crate) fn make_ready(&mut self, id: TicketId, arrival: Arrival) -> Result<(), Arrival> {
        let Some(ticket) = self.tickets.get(&id) else {
            return Err(arrival);
        };
        let (lane, until_ms) = (ticket.lane.clone(), ticket.until_ms);
        if !self.forget(&lane, until_ms, id) {
            return Err(arrival);
        }
        self.ready.push_back((id, arrival));
        Ok(())
    }

    /// The next whose wait is over.
    pub(crate) fn pop_ready(&mut self) -> Option<(TicketId, Ticket, Arrival)> {
        loop {
            let (id, arrival) = self.ready.pop_front()?;
            if let Some(ticket) = self.tickets.remove(&id) {
                return Some((id, ticket, arrival));
            }
        }
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// How many wait there.
    pub(crate) fn waiting(&self, lane: &Lane) -> usize {
        self.lanes.get(lane).map_or(0, BTreeSet::len)
    }

    /// How many wait for a place for a call to this upstream.
    pub(crate) fn waiting_for_place(&self, upstream: &str) -> usize {
        if self.tickets.is_empty() {
            return 0;
        }
        self.waiting(&Lane::Slot(upstream.to_owned()))
    }

    /// Whether somebody waits for a place for a call.
    pub(crate) fn waits_for_place(&self) -> bool {
        self.lanes.keys().any(|lane| matches!(lane, Lane::Slot(_)))
    }

    /// Who waits there longest.
    pub(crate) fn first(&self, lane: &Lane) -> Option<TicketId> {
        self.lanes.get(lane)?.first().copied()
    }

    /// All who wait there.
    pub(crate) fn all(&self, lane: &Lane) -> Vec<TicketId> {
        self.lanes.get(lane).into_iter().flatten().copied().collect()
    }

    /// The upstreams for which somebody waits.
    pub(crate) fn upstreams(&self) -> Vec<String> {
        let names = self.lanes.keys().filter_map(|lane| match lane {
            Lane::Slot(name) => Some(name.clone()),
            _ => None,
        });
        names.collect()
    }

    /// What has come of the content that a request waits for.
    pub(crate) fn collected(&mut self, id: TicketId) -> Option<&mut Collected> {
        self.tickets.get_mut(&id)?.pending.content.as_mut()
    }

    pub(crate) fn ticket(&self, id: TicketId) -> Option<&Ticket> {
        self.tickets.get(&id)
    }

    /// Those whose time is over, and those who began to wait at a time that is now ahead: the clock has jumped back. Each has its wait
    /// ended then, or another deadline set.
    pub(crate) fn overdue(&mut self, now_ms: Millis) -> Vec<TicketId> {
        let ahead_ms = now_ms.saturating_add(JUMP_MS);
        if ahead_ms < self.latest_ms {
            self.latest_ms = now_ms;
            let is_over = |(until_ms, id): &&(Millis, TicketId)| {
                let began_ahead = |ticket: &Ticket| ticket.since_ms > ahead_ms;
                *until_ms <= now_ms || self.tickets.get(id).is_some_and(began_ahead)
            };
            return self.deadlines.iter().filter(is_over).map(|(_, id)| *id).collect();
        }
        self.latest_ms = self.latest_ms.max(now_ms);
        let due = self.deadlines.range(..=(now_ms, TicketId(u64::MAX)));
        due.map(|(_, id)| *id).collect()
    }

    /// Lets those who wait there wait on, until then at least.
    pub(crate) fn all_wait_on(&mut self, lane: &Lane, until_ms: Millis, now_ms: Millis) {
        for id in self.lanes.get(lane).into_iter().flatten() {
            let Some(ticket) = self.tickets.get_mut(id) else {
                continue;
            };
            if ticket.until_ms < until_ms || ticket.since_ms > now_ms {
                self.deadlines.remove(&(ticket.until_ms, *id));
                self.deadlines.insert((until_ms, *id));
                ticket.since_ms = ticket.since_ms.min(now_ms);
                ticket.until_ms = until_ms;
            }
        }
    }

    /// True where it waited.
    fn forget(&mut self, lane: &Lane, until_ms: Millis, id: TicketId) -> bool {
        if let Some(waiting) = self.lanes.get_mut(lane) {
            waiting.remove(&id);
            if waiting.is_empty() {
                self.lanes.remove(lane);
            }
        }
        self.deadlines.remove(&(until_ms, id))
    }
}

impl Ticket {
    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }
}

#[cfg(test)]
mod tests;
