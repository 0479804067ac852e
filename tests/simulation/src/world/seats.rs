//! Where replicas of the control plane run.

use super::{START_MS, World};
use crate::random::Random;
use crate::replica::{Replica, Restart, Wire};

/// A connection to Redis, as the network has it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wired {
    /// The line that stands; 0 = none.
    pub(super) number: u64,
    /// The replica's number, as Redis is told it.
    pub(super) me: u64,
    /// It is broken, and the replica has not noticed.
    pub(super) is_cut: bool,
    /// The line that was cut last; what it carried until this time arrives all the same.
    pub(super) cut: u64,
    pub(super) cut_ms: u64,
    /// Nothing arrives before this, so that the order stays.
    pub(super) to_redis_ms: u64,
    pub(super) to_replica_ms: u64,
}

/// A place for a replica.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) running: Option<Replica>,
    pub(super) down: Option<(Replica, Restart)>,
    /// Its machine's clock against the world's.
    skew_ms: i64,
    /// Nothing passes between it and Redis until then.
    pub(super) cut_off_until_ms: u64,
    wires: [Wired; 2],
}

impl Seat {
    /// Places for all replicas, which start.
    pub(super) fn all(count: usize, random: &mut Random) -> Vec<Self> {
        let seat = |number: u64| {
            let skew_ms = i64::try_from(random.below(4_000)).unwrap_or(0) - 2_000;
            let now_ms = START_MS.saturating_add_signed(skew_ms);
            Self {
                running: Some(Replica::new(number, count > 1, now_ms)),
                down: None,
                skew_ms,
                cut_off_until_ms: 0,
                wires: [Wired::default(); 2],
            }
        };
        (1..=count as u64).map(seat).collect()
    }

    pub(super) fn wired(&mut self, wire: Wire) -> &mut Wired {
        &mut self.wires[usize::from(wire == Wire::Tier)]
    }

    /// Nothing comes over the line any more, nor goes.
    pub(super) fn line_is_down(&mut self, wire: Wire) {
        self.wired(wire).number = 0;
    }
}

impl World {
    pub(super) fn seat_clock(&self, seat: usize) -> u64 {
        self.now_ms.saturating_add_signed(self.seats[seat].skew_ms)
    }

    /// What every replica does.
    pub(super) fn each_replica(&mut self, does: impl Fn(&mut Replica, u64)) {
        for seat in 0..self.seats.len() {
            let now_ms = self.seat_clock(seat);
            if let Some(replica) = &mut self.seats[seat].running {
                does(replica, now_ms);
            }
        }
    }

    /// Any place; mostly one whose replica runs and is ready.
    pub(super) fn pick_seat(&mut self) -> usize {
        let any = self.random.index(self.seats.len());
        let ready: Vec<usize> = (0..self.seats.len())
            .filter(|seat| self.seats[*seat].running.as_ref().is_some_and(Replica::is_ready))
            .collect();
        if ready.is_empty() || self.random.once_in(10) {
            any
        } else {
            ready[self.random.index(ready.len())]
        }
    }

    /// Lets somebody talk to a replica that runs and is ready.
    pub(super) fn at_some_replica(&mut self, says: impl FnOnce(&mut Replica, u64)) {
        let seat = self.pick_seat();
        let now_ms = self.seat_clock(seat);
        if let Some(replica) = self.seats[seat].running.as_mut().filter(|replica| replica.is_ready()) {
            says(replica, now_ms);
        }
    }

    pub(super) fn replica_starts(&mut self, seat: usize) {
        let now_ms = self.seat_clock(seat);
        if let Some((down, how)) = self.seats[seat].down.take() {
            self.seats[seat].running = Some(down.restarted(how, now_ms));
            self.liar += 1;
        }
    }
}
