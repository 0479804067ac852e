//! Connections between replicas and Redis.

use super::World;
use super::event::{Event, Line};
use crate::redis::{Answer, Ask, Batch};
use crate::replica::{Replica, Wire};

/// Who reads waits so long for something to come.
const BLOCK_MS: u64 = 1_000;
/// Who does not hear an answer for so long gives the connection up.
const SILENCE_MS: u64 = 2_000;

impl World {
    pub(super) fn connect_to_redis(&mut self, seat: usize, wire: Wire) {
        let Some(life) = self.seats[seat].running.as_ref().map(Replica::life) else {
            return;
        };
        let wait = self.random.between(1, 30);
        self.after(wait, Event::RedisConnects { seat, life, wire });
    }

    pub(super) fn redis_connects(&mut self, seat: usize, life: u64, wire: Wire) {
        let now_ms = self.seat_clock(seat);
        let reachable = self.redis_is_up && self.seats[seat].cut_off_until_ms <= self.now_ms;
        let Some(replica) = self.seats[seat]
            .running
            .as_mut()
            .filter(|replica| replica.life() == life)
        else {
            return;
        };
        let me = replica.number();
        if reachable {
            replica.connected(wire, now_ms);
            self.lines += 1;
            let wired = self.seats[seat].wired(wire);
            (wired.number, wired.is_cut, wired.me) = (self.lines, false, me);
        } else {
            replica.lost(wire, now_ms);
        }
    }

    pub(super) fn ask_redis(&mut self, seat: usize, wire: Wire, id: u64, ask: Ask) {
        let earliest = self.now_ms + self.random.between(1, 15);
        let cut_off_until_ms = self.seats[seat].cut_off_until_ms;
        let wired = self.seats[seat].wired(wire);
        let line = Line {
            seat,
            wire,
            number: wired.number,
        };
        wired.to_redis_ms = (wired.to_redis_ms + 1).max(earliest);
        let at_ms = wired.to_redis_ms;
        let is_cut = wired.is_cut;
        if is_cut || cut_off_until_ms > self.now_ms {
            // Nobody hears it; who has asked waits in vain.
            self.after(SILENCE_MS, Event::RedisLost { line });
            return;
        }
        let waited_ms = 0;
        self.at(
            at_ms,
            Event::ToRedis {
                line,
                id,
                ask,
                waited_ms,
            },
        );
    }

    pub(super) fn redis_is_asked(&mut self, line: Line, id: u64, ask: Ask, waited_ms: u64) {
        let wired = *self.seats[line.seat].wired(line.wire);
        let stands = line.number != 0 && wired.number == line.number && !wired.is_cut;
        let arrives = stands || line.number != 0 && wired.cut == line.number && self.now_ms <= wired.cut_ms;
        if !arrives || !self.redis_is_up {
            return;
        }
        let answer = self.redis.serve(wired.me, ask.clone(), self.now_ms);
        if !stands {
            return;
        }
        let nothing = matches!(&answer, Answer::Read(Batch { facts, updates, goes_on: true, .. }) if facts.is_empty() && updates.is_empty());
        if nothing && waited_ms < BLOCK_MS {
            let wait = self.random.between(10, 200);
            let waited_ms = waited_ms + wait;
            self.after(
                wait,
                Event::ToRedis {
                    line,
                    id,
                    ask,
                    waited_ms,
                },
            );
            return;
        }
        let earliest = self.now_ms + self.random.between(1, 15);
        let wired = self.seats[line.seat].wired(line.wire);
        wired.to_replica_ms = (wired.to_replica_ms + 1).max(earliest);
        let at_ms = wired.to_replica_ms;
        self.at(at_ms, Event::FromRedis { line, id, answer });
    }

    pub(super) fn redis_answers(&mut self, line: Line, id: u64, answer: Answer) {
        let now_ms = self.seat_clock(line.seat);
        let seat = &mut self.seats[line.seat];
        let wired = seat.wired(line.wire);
        if wired.number != line.number || wired.is_cut {
            return;
        }
        if seat.cut_off_until_ms > self.now_ms {
            self.after(SILENCE_MS, Event::RedisLost { line });
        } else if let Some(replica) = &mut seat.running {
            replica.redis_answered(line.wire, id, answer, now_ms);
        }
    }

    /// The replica notices that a connection is of no use.
    pub(super) fn redis_lost(&mut self, line: Line) {
        let now_ms = self.seat_clock(line.seat);
        let seat = &mut self.seats[line.seat];
        if seat.wired(line.wire).number != line.number {
            return;
        }
        seat.line_is_down(line.wire);
        if let Some(replica) = &mut seat.running {
            replica.lost(line.wire, now_ms);
        }
    }

    /// A replica's connections break. What is on its way to Redis may arrive; no answer does.
    pub(super) fn cut_redis(&mut self, seat: usize) {
        for wire in [Wire::Shared, Wire::Tier] {
            let until_ms = self.now_ms + self.random.below(30);
            let wired = self.seats[seat].wired(wire);
            let number = wired.number;
            if number == 0 || wired.is_cut {
                continue;
            }
            (wired.is_cut, wired.cut, wired.cut_ms) = (true, number, until_ms);
            let line = Line { seat, wire, number };
            let notices = self.random.between(1, SILENCE_MS);
            self.after(notices, Event::RedisLost { line });
        }
    }

    /// The server stops; every connection to it breaks.
    pub(super) fn stop_redis(&mut self) {
        for seat in 0..self.seats.len() {
            self.cut_redis(seat);
        }
        self.redis_is_up = false;
    }
}
