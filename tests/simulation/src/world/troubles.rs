//! Faults, each at its time, and their end.

use super::World;
use super::event::Event;
use crate::faults::Kind;
use crate::oracle::PATHS;
use crate::random::Random;
use crate::replica::{Restart, StreamId};

impl World {
    /// The next fault happens, unless it is left out. What it does is drawn from its number: leaving out others changes nothing of it.
    pub(super) fn fault(&mut self, kind: Kind) {
        let number = self.summary.faults;
        self.summary.faults += 1;
        if self.plan.spared.contains(&number) {
            return;
        }
        let mut chance = Random::new(self.plan.seed ^ number.wrapping_mul(0x9e37_79b9));
        let envoy = chance.index(self.plan.envoys);
        let worker = chance.index(self.plan.workers);
        let seat = chance.index(self.plan.replicas);
        let life = self.envoys[envoy].life;
        let shares = self.plan.replicas > 1;
        match kind {
            Kind::Cut => {
                let streams: Vec<StreamId> = self.streams.keys().copied().collect();
                if !streams.is_empty() {
                    let stream = streams[chance.index(streams.len())];
                    self.cut(stream);
                }
            }
            Kind::Partition => {
                self.envoys[envoy].cut_off_until_ms = self.now_ms + chance.between(500, 25_000);
            }
            Kind::Freeze => {
                if !self.envoys[envoy].frozen && !self.envoys[envoy].workers.is_empty() {
                    self.envoys[envoy].frozen = true;
                    self.after(chance.between(500, 12_000), Event::Thaw { envoy, life });
                }
            }
            Kind::Stall => {
                let until_ms = self.now_ms + chance.between(200, 8_000);
                if let Some(worker) = self.envoys[envoy].workers.get_mut(worker) {
                    worker.stalled_until_ms = until_ms;
                }
            }
            Kind::Trap => {
                let calls = chance.below(60);
                if let Some(worker) = self.envoys[envoy].workers.get(worker) {
                    worker.die_after(calls);
                }
            }
            Kind::Envoy => self.kill_envoy(envoy, chance.between(100, 5_000)),
            Kind::Replica => {
                let how = match chance.below(8) {
                    0 => Restart::Older,
                    1 if shares => Restart::Empty,
                    _ => Restart::Kept(chance.index(40)),
                };
                self.kill_replica(seat, how, chance.between(100, 8_000));
            }
            Kind::Clock => {
                let moved = i64::try_from(chance.below(14_000)).unwrap_or(0) - 7_000;
                let skew_ms = &mut self.envoys[envoy].skew_ms;
                *skew_ms = (*skew_ms + moved).clamp(-25_000, 25_000);
            }
            Kind::RedisCut if shares => self.cut_redis(seat),
            Kind::RedisPartition if shares => {
                self.seats[seat].cut_off_until_ms = self.now_ms + chance.between(500, 20_000);
            }
            Kind::RedisRestart if shares && self.redis_is_up => {
                self.stop_redis();
                self.redis.restart();
                self.after(chance.between(100, 15_000), Event::RedisStarts);
            }
            Kind::RedisFailover if shares && self.redis_is_up => {
                self.stop_redis();
                let back = chance.index(7);
                let clock_ms = i64::try_from(chance.below(4_000)).unwrap_or(0) - 2_000;
                self.redis.fail_over(back, clock_ms);
                self.oracle.redis_lost(self.redis.revision());
                self.after(chance.between(100, 8_000), Event::RedisStarts);
            }
            Kind::RedisCut | Kind::RedisPartition | Kind::RedisRestart | Kind::RedisFailover => {}
        }
    }

    fn kill_envoy(&mut self, envoy: usize, wait_ms: u64) {
        self.envoys[envoy].workers.clear();
        self.envoys[envoy].life += 1;
        self.envoys[envoy].frozen = false;
        let streams = self.streams.iter().filter(|(_, end)| end.at.envoy == envoy);
        for stream in streams.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_at_control(stream);
        }
        self.after(wait_ms, Event::Start { envoy });
    }

    fn kill_replica(&mut self, seat: usize, how: Restart, wait_ms: u64) {
        let Some(replica) = self.seats[seat].running.take() else {
            return;
        };
        if matches!(how, Restart::Empty | Restart::Older) {
            self.oracle.disk_lost(replica.history(), self.plan.replicas == 1);
        }
        self.seats[seat].down = Some((replica, how));
        self.cut_redis(seat);
        for wire in [crate::replica::Wire::Shared, crate::replica::Wire::Tier] {
            self.seats[seat].line_is_down(wire);
        }
        let streams = self.streams.iter().filter(|(_, end)| end.seat == seat);
        for stream in streams.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_at_filter(stream);
        }
        self.after(wait_ms, Event::ReplicaStarts { seat });
    }

    pub(super) fn thaw(&mut self, envoy: usize) {
        self.envoys[envoy].frozen = false;
        // Each worker goes through what waits for it in an order of its own; a stream keeps its order.
        for event in std::mem::take(&mut self.envoys[envoy].deferred) {
            match &event {
                Event::ToFilter { stream, .. } | Event::FilterClosed { stream } => {
                    let (stream, earliest) = (*stream, self.now_ms + self.random.below(30));
                    self.deliver_to_filter(stream, earliest, event);
                }
                _ => {
                    let wait = self.random.below(30);
                    self.after(wait, event);
                }
            }
        }
        // Clients have waited.
        for _ in 0..6 {
            let (worker, path) = (self.random.index(self.plan.workers), self.random.index(PATHS));
            if worker < self.envoys[envoy].workers.len() {
                self.ask(envoy, worker, path);
            }
        }
    }

    pub(super) fn calm_down(&mut self) {
        self.calm = true;
        for envoy in &mut self.envoys {
            envoy.cut_off_until_ms = 0;
            for worker in &mut envoy.workers {
                worker.stalled_until_ms = worker.stalled_until_ms.min(self.now_ms + 1);
            }
        }
        for seat in &mut self.seats {
            seat.cut_off_until_ms = 0;
        }
    }
}
