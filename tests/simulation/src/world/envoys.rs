//! The lives of Envoys and their VMs.

use super::event::{Event, Place};
use super::{TICK_MS, World};
use crate::envoy::{Outcome, Worker};
use crate::host::{Effect, Process};
use filter_core::shared_map::SharedMap;
use std::rc::Rc;

pub(super) struct Envoy {
    pub(super) life: u32,
    pub(super) process: Rc<Process>,
    pub(super) workers: Vec<Worker>,
    pub(super) skew_ms: i64,
    pub(super) frozen: bool,
    /// Nothing passes between it and the control plane until then; it is not lost, as on a connection of TCP.
    pub(super) cut_off_until_ms: u64,
    /// What waits until it moves again, in order.
    pub(super) deferred: Vec<Event>,
    pub(super) instance: String,
    /// A VM of this process has died: what it had not handed over is lost.
    pub(super) lossy: bool,
}

impl Envoy {
    pub(super) fn new(skew_ms: i64) -> Self {
        Self {
            life: 0,
            process: Rc::default(),
            workers: Vec::new(),
            skew_ms,
            frozen: false,
            cut_off_until_ms: 0,
            deferred: Vec::new(),
            instance: String::new(),
            lossy: false,
        }
    }
}

impl World {
    pub(super) fn start(&mut self, envoy: usize) {
        let (seed, clock_ms) = (self.random.draw(), self.clock(envoy));
        let process = Rc::new(Process::new(seed, clock_ms, self.now_ms));
        let one = &mut self.envoys[envoy];
        one.life += 1;
        one.frozen = false;
        one.lossy = false;
        one.deferred.clear();
        one.process = Rc::clone(&process);
        one.workers = (0..self.plan.workers)
            .map(|_| Worker::start(&process, &format!("node-{envoy}"), 1))
            .collect();
        let name = process
            .map
            .get(b"ao1/instance")
            .map(|(bytes, _)| bytes)
            .unwrap_or_default();
        let name = String::from_utf8_lossy(&name).into_owned();
        one.instance = name.split('@').next().unwrap_or_default().to_owned();
        let life = one.life;
        for worker in 0..self.plan.workers {
            self.effects(envoy, worker);
            let wait = self.random.below(TICK_MS);
            let born = 1;
            self.after(
                wait,
                Event::Tick(Place {
                    envoy,
                    life,
                    worker,
                    born,
                }),
            );
        }
    }

    pub(super) fn clock(&self, envoy: usize) -> u64 {
        self.now_ms
            .saturating_add_signed(self.envoys.get(envoy).map_or(0, |envoy| envoy.skew_ms))
    }

    pub(super) fn place(&self, envoy: usize, worker: usize) -> Place {
        let one = &self.envoys[envoy];
        Place {
            envoy,
            life: one.life,
            worker,
            born: one.workers[worker].life,
        }
    }

    pub(super) fn tick(&mut self, at: Place) {
        if self.is(at) {
            self.after(TICK_MS, Event::Tick(at));
            self.call(at.envoy, at.worker, Worker::tick);
        }
    }

    pub(super) fn wake(&mut self, envoy: usize, life: u32, queue: u32) {
        let known = self.envoys[envoy].life == life;
        let worker = self.envoys[envoy]
            .workers
            .iter()
            .position(|worker| worker.queues.contains(&queue));
        if let Some(worker) = worker.filter(|_| known) {
            self.call(envoy, worker, |worker| worker.wake(queue));
        }
    }

    pub(super) fn call(
        &mut self,
        envoy: usize,
        worker: usize,
        callback: impl FnOnce(&mut Worker) -> Outcome,
    ) -> Outcome {
        let clock_ms = self.clock(envoy);
        self.envoys[envoy].process.clock_ms.set(clock_ms);
        self.envoys[envoy].process.steady_ms.set(self.now_ms);
        let outcome = callback(&mut self.envoys[envoy].workers[worker]);
        self.effects(envoy, worker);
        if outcome == Outcome::Died {
            self.trap(envoy, worker);
        }
        outcome
    }

    /// A VM died: its streams are reset, and a new one starts in its place.
    fn trap(&mut self, envoy: usize, worker: usize) {
        let one = &mut self.envoys[envoy];
        one.lossy = true;
        let born = one.workers[worker].life + 1;
        one.workers[worker] = Worker::start(&one.process, &format!("node-{envoy}"), born);
        let at = self.place(envoy, worker);
        let gone = |end: Place| end.envoy == envoy && end.life == at.life && end.worker == worker;
        let streams = self.streams.iter().filter(|(_, end)| gone(end.at));
        for stream in streams.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_at_control(stream);
        }
        self.effects(envoy, worker);
        let wait = self.random.below(TICK_MS);
        self.after(wait, Event::Tick(at));
    }

    fn effects(&mut self, envoy: usize, worker: usize) {
        let at = self.place(envoy, worker);
        for effect in self.envoys[envoy].workers[worker].take_effects() {
            match effect {
                Effect::Open(number) => self.open(at, number),
                Effect::Send(number, bytes) => {
                    if let Some(stream) = self.stream(at, number) {
                        self.deliver_to_control(stream, Event::ToControl { stream, bytes });
                    }
                }
                Effect::Cancel(number) => {
                    if let Some(stream) = self.stream(at, number) {
                        self.end_at_control(stream);
                    }
                }
                Effect::Queue(queue) => self.envoys[envoy].workers[worker].queues.push(queue),
                Effect::Wake(queue) => {
                    let wait = self.random.below(3);
                    let life = at.life;
                    self.after(wait, Event::Wake { envoy, life, queue });
                }
                Effect::Call(number, method, message, timeout_ms) => {
                    self.call_tier(at, number, method, message, timeout_ms);
                }
                Effect::Reply(context, status, body) => self.replied(at, context, status, &body),
                Effect::Resume(context) => self.forward(at, context),
            }
        }
    }
}
