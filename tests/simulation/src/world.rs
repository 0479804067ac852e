//! Time, network and chance: everything that happens is an event of one queue, in an order that the seed decides.

use crate::control::{Act, Control, StreamId};
use crate::envoy::{Outcome, Worker};
use crate::faults::Faults;
use crate::host::{Effect, Process};
use crate::oracle::{Oracle, PATHS, Violation};
use crate::random::Random;
use control_domain::purges::Target;
use filter_core::driver::exchange::Flow;
use filter_core::shared_map::SharedMap;
use optimizer_proto::v1::filter_message::Body as FromFilter;
use optimizer_proto::v1::{
    CommandResult, FilterMessage, Hello, RequestSeries, SettingsAck, TelemetryDelta, TelemetryReport,
};
use prost::Message;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

const START_MS: u64 = 1_700_000_000_000;
const TICK_MS: u64 = 200;
/// Faults end, and everything has so long to heal.
const HEALING_MS: u64 = 60_000;
/// Streams of the liar have numbers of their own.
const LIAR: StreamId = 1 << 60;

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Decides everything else.
    pub seed: u64,
    /// Envoys.
    pub envoys: usize,
    /// VMs of each.
    pub workers: usize,
    /// With faults for so long, milliseconds.
    pub troubled_ms: u64,
    /// What goes wrong; `None` = what the seed chooses.
    pub faults: Option<Faults>,
}

impl Plan {
    /// The plan that a seed makes.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        Self {
            seed,
            envoys: random.index(3) + 1,
            workers: random.index(3) + 1,
            troubled_ms: random.between(15_000, 60_000),
            faults: None,
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Answers looked at, and those of them from a cache.
    pub answers: u64,
    /// See `answers`.
    pub hits: u64,
    /// Receipts of purges.
    pub receipts: u64,
    /// Acknowledged revisions.
    pub acknowledged: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Events.
    pub events: u64,
    /// A checksum of all that happened, in order.
    pub trace: u64,
    /// Milliseconds of the fleet: of the run, times Envoys.
    pub fleet_ms: u64,
}

#[derive(Debug)]
enum Event {
    Tick {
        envoy: usize,
        life: u32,
        worker: usize,
        born: u32,
    },
    Wake {
        envoy: usize,
        life: u32,
        queue: u32,
    },
    ToFilter {
        stream: StreamId,
        bytes: Vec<u8>,
    },
    FilterClosed {
        stream: StreamId,
    },
    ToControl {
        stream: StreamId,
        bytes: Vec<u8>,
    },
    ControlClosed {
        stream: StreamId,
    },
    AtOrigin {
        envoy: usize,
        life: u32,
        worker: usize,
        born: u32,
        context: u32,
        delay: u64,
    },
    Response {
        envoy: usize,
        life: u32,
        worker: usize,
        born: u32,
        context: u32,
        body: String,
    },
    Client,
    Operator,
    Look,
    Watch,
    Liar,
    Fault(Kind),
    Thaw {
        envoy: usize,
        life: u32,
    },
    Start {
        envoy: usize,
    },
    ControlStarts,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Cut,
    Partition,
    Freeze,
    Stall,
    Trap,
    Envoy,
    Control,
    Clock,
}

const KINDS: [Kind; 8] = [
    Kind::Cut,
    Kind::Partition,
    Kind::Freeze,
    Kind::Stall,
    Kind::Trap,
    Kind::Envoy,
    Kind::Control,
    Kind::Clock,
];

/// The end of a stream at an Envoy.
#[derive(Debug, Clone, Copy)]
struct End {
    envoy: usize,
    life: u32,
    worker: usize,
    born: u32,
    /// The filter's number for it.
    number: u32,
    /// Nothing arrives before this, so that the order stays.
    to_filter_ms: u64,
    to_control_ms: u64,
}

struct Envoy {
    life: u32,
    process: Rc<Process>,
    workers: Vec<Worker>,
    skew_ms: i64,
    frozen: bool,
    /// Nothing passes between it and the control plane until then; it is not lost, as on a connection of TCP.
    cut_off_until_ms: u64,
    /// What waits until it moves again, in order.
    deferred: Vec<Event>,
    instance: String,
    /// A VM of this process has died: what it had not handed over is lost.
    lossy: bool,
}

/// A running world.
pub struct World {
    plan: Plan,
    faults: Faults,
    random: Random,
    now_ms: u64,
    events: BinaryHeap<Reverse<(u64, u64, Slot)>>,
    slots: BTreeMap<u64, Event>,
    next: u64,
    envoys: Vec<Envoy>,
    control: Option<Control>,
    down: Option<Control>,
    streams: BTreeMap<StreamId, End>,
    next_stream: StreamId,
    liar: StreamId,
    oracle: Oracle,
    summary: Summary,
    calm: bool,
    failed: Option<Violation>,
    verbose: bool,
}

/// An event's place; the events themselves have no order.
type Slot = u64;

/// Runs a plan to its end.
///
/// # Errors
/// The property that does not hold.
pub fn run(plan: Plan) -> Result<Summary, Violation> {
    let mut world = World::new(plan);
    world.begin();
    let end = START_MS + plan.troubled_ms;
    world.until(end)?;
    world.calm_down();
    world.until(end + HEALING_MS)?;
    world.healed()?;
    let mut summary = world.summary;
    summary.answers = world.oracle.answers;
    summary.hits = world.oracle.hits;
    summary.receipts = world.oracle.receipts;
    summary.acknowledged = world.oracle.acknowledged;
    summary.fleet_ms = (plan.troubled_ms + HEALING_MS) * plan.envoys as u64;
    Ok(summary)
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed);
        let faults = Faults::of(&mut random);
        Self {
            plan,
            faults: plan.faults.unwrap_or(faults),
            random,
            now_ms: START_MS,
            events: BinaryHeap::new(),
            slots: BTreeMap::new(),
            next: 0,
            envoys: Vec::new(),
            control: Some(Control::new(START_MS)),
            down: None,
            streams: BTreeMap::new(),
            next_stream: 1,
            liar: LIAR,
            oracle: Oracle::default(),
            summary: Summary::default(),
            calm: false,
            failed: None,
            verbose: std::env::var_os("SIMULATION_TRACE").is_some(),
        }
    }

    fn begin(&mut self) {
        for envoy in 0..self.plan.envoys {
            let skew_ms = i64::try_from(self.random.below(20_000)).unwrap_or(0) - 10_000;
            self.envoys.push(Envoy {
                life: 0,
                process: Rc::default(),
                workers: Vec::new(),
                skew_ms,
                frozen: false,
                cut_off_until_ms: 0,
                deferred: Vec::new(),
                instance: String::new(),
                lossy: false,
            });
            self.start(envoy);
        }
        for event in [Event::Client, Event::Operator, Event::Look, Event::Watch, Event::Liar] {
            self.after(100, event);
        }
        for kind in KINDS {
            self.plan_fault(kind);
        }
    }

    fn mean(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Cut => self.faults.cut,
            Kind::Partition => self.faults.partition,
            Kind::Freeze => self.faults.freeze,
            Kind::Stall => self.faults.stall,
            Kind::Trap => self.faults.trap,
            Kind::Envoy => self.faults.envoy,
            Kind::Control => self.faults.control,
            Kind::Clock => self.faults.clock,
        }
    }

    fn plan_fault(&mut self, kind: Kind) {
        let mean = self.mean(kind);
        if mean > 0 && !self.calm {
            let wait = self.random.between(1, mean * 2);
            self.after(wait, Event::Fault(kind));
        }
    }

    fn after(&mut self, wait_ms: u64, event: Event) {
        self.at(self.now_ms + wait_ms, event);
    }

    /// Events of one moment come in an order of chance, but for those of one stream, which have moments of their own.
    fn at(&mut self, at_ms: u64, event: Event) {
        self.next += 1;
        let chance = self.random.draw();
        self.slots.insert(self.next, event);
        self.events.push(Reverse((at_ms, chance, self.next)));
    }

    fn until(&mut self, end_ms: u64) -> Result<(), Violation> {
        while let Some(Reverse((at_ms, _, slot))) = self.events.peek().copied() {
            if at_ms > end_ms {
                break;
            }
            self.events.pop();
            let Some(event) = self.slots.remove(&slot) else {
                continue;
            };
            self.now_ms = self.now_ms.max(at_ms);
            self.summary.events += 1;
            self.note(&event);
            self.happen(event)?;
            self.settle()?;
        }
        self.now_ms = end_ms;
        Ok(())
    }

    fn note(&mut self, event: &Event) {
        let text = format!("{} {event:?}", self.now_ms - START_MS);
        if self.verbose && !matches!(event, Event::Tick { .. } | Event::Look) {
            eprintln!("{}", text.chars().take(240).collect::<String>());
        }
        // FNV-1a: two runs of a seed are the same run.
        for byte in text.bytes() {
            self.summary.trace = (self.summary.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        let event = match self.deferred(event) {
            Some(event) => event,
            None => return Ok(()),
        };
        match event {
            Event::Tick {
                envoy,
                life,
                worker,
                born,
            } => {
                if self.is(envoy, life, worker, born) {
                    self.after(
                        TICK_MS,
                        Event::Tick {
                            envoy,
                            life,
                            worker,
                            born,
                        },
                    );
                    self.call(envoy, worker, Worker::tick);
                }
            }
            Event::Wake { envoy, life, queue } => {
                let known = self.envoys[envoy].life == life;
                let worker = self.envoys[envoy]
                    .workers
                    .iter()
                    .position(|worker| worker.queues.contains(&queue));
                if let Some(worker) = worker.filter(|_| known) {
                    self.call(envoy, worker, |worker| worker.wake(queue));
                }
            }
            Event::ToFilter { stream, bytes } => self.at_filter(stream, |worker, number| worker.message(number, bytes)),
            Event::FilterClosed { stream } => {
                self.at_filter(stream, Worker::closed);
                self.streams.remove(&stream);
            }
            Event::ToControl { stream, bytes } => {
                let now_ms = self.now_ms;
                match &mut self.control {
                    Some(control) => control.message(stream, &bytes, now_ms),
                    None => self.end_at_filter(stream),
                }
            }
            Event::ControlClosed { stream } => {
                let now_ms = self.now_ms;
                if let Some(control) = &mut self.control {
                    control.closed(stream, now_ms);
                }
            }
            Event::AtOrigin {
                envoy,
                life,
                worker,
                born,
                context,
                delay,
            } => {
                let path = self.path(envoy, life, worker, born, context);
                if let Some(path) = path {
                    let body = self.oracle.body(path);
                    self.after(
                        delay,
                        Event::Response {
                            envoy,
                            life,
                            worker,
                            born,
                            context,
                            body,
                        },
                    );
                }
            }
            Event::Response {
                envoy,
                life,
                worker,
                born,
                context,
                body,
            } => {
                if self.is(envoy, life, worker, born) {
                    self.respond(envoy, worker, context, &body)?;
                }
            }
            Event::Client => self.client()?,
            Event::Operator => self.operator(),
            Event::Look => {
                let now_ms = self.now_ms;
                if let Some(control) = &mut self.control {
                    control.tick(now_ms);
                }
                self.after(500, Event::Look);
            }
            Event::Watch => {
                let now_ms = self.now_ms;
                if let Some(control) = &mut self.control {
                    control.watch_late(now_ms);
                }
                self.after(5_000, Event::Watch);
            }
            Event::Liar => self.lie(),
            Event::Fault(kind) => {
                if !self.calm {
                    self.summary.faults += 1;
                    self.fault(kind);
                    self.plan_fault(kind);
                }
            }
            Event::Thaw { envoy, life } => {
                if self.envoys[envoy].life == life {
                    self.thaw(envoy);
                }
            }
            Event::Start { envoy } => self.start(envoy),
            Event::ControlStarts => self.control_starts(),
        }
        Ok(())
    }

    /// What concerns an Envoy that stands still, or a worker that is not scheduled, waits.
    fn deferred(&mut self, event: Event) -> Option<Event> {
        let (envoy, worker) = match &event {
            Event::Tick { envoy, worker, .. } | Event::Response { envoy, worker, .. } => (*envoy, Some(*worker)),
            Event::Wake { envoy, queue, .. } => {
                let workers = &self.envoys[*envoy].workers;
                (*envoy, workers.iter().position(|worker| worker.queues.contains(queue)))
            }
            Event::ToFilter { stream, .. } | Event::FilterClosed { stream } => {
                let end = self.streams.get(stream)?;
                (end.envoy, Some(end.worker))
            }
            _ => return Some(event),
        };
        if self.envoys[envoy].frozen {
            self.envoys[envoy].deferred.push(event);
            return None;
        }
        let until_ms = worker
            .and_then(|worker| self.envoys[envoy].workers.get(worker))
            .map_or(0, |worker| worker.stalled_until_ms);
        if until_ms > self.now_ms {
            match &event {
                // In the order in which they came.
                Event::ToFilter { stream, .. } | Event::FilterClosed { stream } => {
                    let stream = *stream;
                    self.deliver_to_filter(stream, until_ms, event);
                }
                _ => self.at(until_ms, event),
            }
            return None;
        }
        Some(event)
    }

    fn is(&self, envoy: usize, life: u32, worker: usize, born: u32) -> bool {
        let envoy = &self.envoys[envoy];
        envoy.life == life && envoy.workers.get(worker).is_some_and(|worker| worker.life == born)
    }

    fn path(&self, envoy: usize, life: u32, worker: usize, born: u32, context: u32) -> Option<usize> {
        self.is(envoy, life, worker, born).then_some(())?;
        Some(self.envoys[envoy].workers[worker].exchanges.get(&context)?.path)
    }

    // --- An Envoy's life

    fn start(&mut self, envoy: usize) {
        let (seed, clock_ms) = (self.random.draw(), self.clock(envoy));
        let process = Rc::new(Process::new(seed, clock_ms));
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
            self.after(
                wait,
                Event::Tick {
                    envoy,
                    life,
                    worker,
                    born: 1,
                },
            );
        }
    }

    fn clock(&self, envoy: usize) -> u64 {
        self.now_ms
            .saturating_add_signed(self.envoys.get(envoy).map_or(0, |envoy| envoy.skew_ms))
    }

    fn call(&mut self, envoy: usize, worker: usize, callback: impl FnOnce(&mut Worker) -> Outcome) -> Outcome {
        let clock_ms = self.clock(envoy);
        self.envoys[envoy].process.clock_ms.set(clock_ms);
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
        let (life, born) = (one.life, one.workers[worker].life + 1);
        one.workers[worker] = Worker::start(&one.process, &format!("node-{envoy}"), born);
        let gone = |end: &End| end.envoy == envoy && end.life == life && end.worker == worker;
        let streams: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, end)| gone(end))
            .map(|(id, _)| *id)
            .collect();
        for stream in streams {
            self.end_at_control(stream);
        }
        self.effects(envoy, worker);
        let wait = self.random.below(TICK_MS);
        self.after(
            wait,
            Event::Tick {
                envoy,
                life,
                worker,
                born,
            },
        );
    }

    fn effects(&mut self, envoy: usize, worker: usize) {
        let (life, born) = (self.envoys[envoy].life, self.envoys[envoy].workers[worker].life);
        for effect in self.envoys[envoy].workers[worker].take_effects() {
            match effect {
                Effect::Open(number) => {
                    let end = End {
                        envoy,
                        life,
                        worker,
                        born,
                        number,
                        to_filter_ms: 0,
                        to_control_ms: 0,
                    };
                    self.streams.insert(self.next_stream, end);
                    self.next_stream += 1;
                }
                Effect::Send(number, bytes) => {
                    if let Some(stream) = self.stream(envoy, life, number) {
                        self.deliver_to_control(stream, Event::ToControl { stream, bytes });
                    }
                }
                Effect::Cancel(number) => {
                    if let Some(stream) = self.stream(envoy, life, number) {
                        self.end_at_control(stream);
                    }
                }
                Effect::Queue(queue) => self.envoys[envoy].workers[worker].queues.push(queue),
                Effect::Wake(queue) => {
                    let wait = self.random.below(3);
                    self.after(wait, Event::Wake { envoy, life, queue });
                }
                Effect::Reply(context, body) => {
                    let one = &self.envoys[envoy];
                    let exchange = one.workers[worker].exchanges.get(&context);
                    if let Some((path, floor)) = exchange.map(|exchange| (exchange.path, exchange.floor)) {
                        let (instance, settings) = (one.instance.clone(), one.workers[worker].settings());
                        let looked = self.oracle.answered(&instance, path, floor, &body, true);
                        let looked = looked.and_then(|()| self.oracle.runs_on(&instance, worker, &settings));
                        self.found(looked);
                        self.after(
                            0,
                            Event::Response {
                                envoy,
                                life,
                                worker,
                                born,
                                context,
                                body: String::new(),
                            },
                        );
                    }
                }
                Effect::Resume(context) => self.forward(envoy, worker, context),
            }
        }
    }

    /// A violation found where nothing can be returned is kept.
    fn found(&mut self, looked: Result<(), Violation>) {
        if let Err(violation) = looked {
            self.failed.get_or_insert(violation);
        }
    }

    fn stream(&self, envoy: usize, life: u32, number: u32) -> Option<StreamId> {
        let ours = |end: &End| end.envoy == envoy && end.life == life && end.number == number;
        self.streams.iter().find(|(_, end)| ours(end)).map(|(id, _)| *id)
    }

    // --- The network

    fn deliver_to_control(&mut self, stream: StreamId, event: Event) {
        let delay = self.random.between(1, 40);
        let earliest = self.now_ms + delay;
        let Some(end) = self.streams.get_mut(&stream) else {
            return;
        };
        let joined_ms = self.envoys[end.envoy].cut_off_until_ms;
        end.to_control_ms = (end.to_control_ms + 1).max(earliest).max(joined_ms);
        let at_ms = end.to_control_ms;
        self.at(at_ms, event);
    }

    fn deliver_to_filter(&mut self, stream: StreamId, earliest: u64, event: Event) {
        let Some(end) = self.streams.get_mut(&stream) else {
            return;
        };
        let joined_ms = self.envoys[end.envoy].cut_off_until_ms;
        end.to_filter_ms = (end.to_filter_ms + 1).max(earliest).max(joined_ms);
        let at_ms = end.to_filter_ms;
        self.at(at_ms, event);
    }

    fn at_filter(&mut self, stream: StreamId, callback: impl FnOnce(&mut Worker, u32) -> Outcome) {
        let Some(end) = self.streams.get(&stream).copied() else {
            return;
        };
        if self.is(end.envoy, end.life, end.worker, end.born) {
            self.call(end.envoy, end.worker, |worker| callback(worker, end.number));
        }
    }

    /// The Envoy's end is gone; the control plane learns of it, unless nothing reaches it.
    fn end_at_control(&mut self, stream: StreamId) {
        self.deliver_to_control(stream, Event::ControlClosed { stream });
        self.streams.remove(&stream);
    }

    fn end_at_filter(&mut self, stream: StreamId) {
        let earliest = self.now_ms + 1;
        self.deliver_to_filter(stream, earliest, Event::FilterClosed { stream });
    }

    /// Lets what the control plane asked for happen.
    fn settle(&mut self) -> Result<(), Violation> {
        if let Some(violation) = self.failed.take() {
            return Err(violation);
        }
        let Some(control) = &mut self.control else {
            return Ok(());
        };
        let (acts, facts) = control.take();
        for fact in facts {
            self.oracle.fact(fact)?;
        }
        for act in acts {
            match act {
                Act::Send(stream, bytes) => {
                    let earliest = self.now_ms + self.random.between(1, 40);
                    self.deliver_to_filter(stream, earliest, Event::ToFilter { stream, bytes });
                }
                Act::End(stream) => self.end_at_filter(stream),
            }
        }
        Ok(())
    }

    // --- Clients, operators, a liar

    fn client(&mut self) -> Result<(), Violation> {
        let wait = self.random.between(5, 60);
        self.after(wait, Event::Client);
        let envoy = self.random.index(self.plan.envoys);
        let worker = self.random.index(self.plan.workers);
        let path = self.random.index(PATHS);
        let one = &self.envoys[envoy];
        let Some(stalled) = one
            .workers
            .get(worker)
            .map(|worker| worker.stalled_until_ms > self.now_ms)
        else {
            return Ok(());
        };
        if one.frozen || stalled {
            // What is asked of one that stands still is read when it goes on.
            return Ok(());
        }
        self.ask(envoy, worker, path)
    }

    fn ask(&mut self, envoy: usize, worker: usize, path: usize) -> Result<(), Violation> {
        let floor = self.oracle.floor(&self.envoys[envoy].instance, path);
        let mut context = 0;
        let outcome = self.call(envoy, worker, |worker| {
            let (made, outcome) = worker.request(path, floor);
            context = made;
            outcome
        });
        if outcome == Outcome::Returned(Flow::Continue) {
            self.forward(envoy, worker, context);
        }
        Ok(())
    }

    fn forward(&mut self, envoy: usize, worker: usize, context: u32) {
        let (life, born) = (self.envoys[envoy].life, self.envoys[envoy].workers[worker].life);
        let slow = self.random.once_in(10);
        let there = self.random.between(1, if slow { 4_000 } else { 30 });
        let delay = self.random.between(1, if slow { 4_000 } else { 30 });
        self.after(
            there,
            Event::AtOrigin {
                envoy,
                life,
                worker,
                born,
                context,
                delay,
            },
        );
    }

    /// An empty body: the filter has answered, and the stream ends.
    fn respond(&mut self, envoy: usize, worker: usize, context: u32, body: &str) -> Result<(), Violation> {
        let instance = self.envoys[envoy].instance.clone();
        let Some(exchange) = self.envoys[envoy].workers[worker].exchanges.get(&context) else {
            return Ok(());
        };
        if !body.is_empty() {
            let (path, floor) = (exchange.path, exchange.floor);
            // The origin may have been asked before the purge: what it said then goes to whoever asked, and nowhere else.
            self.oracle.answered(&instance, path, floor, body.as_bytes(), false)?;
            if self.call(envoy, worker, |worker| worker.response(context, body)) == Outcome::Died {
                return Ok(());
            }
        }
        if self.call(envoy, worker, |worker| worker.end(context)) != Outcome::Died {
            *self.oracle.ended.entry(instance).or_default() += 1;
        }
        Ok(())
    }

    fn operator(&mut self) {
        let wait = self.random.between(200, 4_000);
        self.after(wait, Event::Operator);
        let now_ms = self.now_ms;
        let (what, path, ttl) = (
            self.random.below(10),
            self.random.index(PATHS),
            self.random.between(1, 900),
        );
        let Some(control) = &mut self.control else { return };
        let (target, paths) = match what {
            0..=3 => (Target::Url(format!("http://api.example/p{path}")), vec![path]),
            4 => (Target::Prefix("api.example/p".to_owned()), (0..PATHS).collect()),
            5 => (Target::All, (0..PATHS).collect()),
            6 => (Target::Host("api.example".to_owned()), (0..PATHS).collect()),
            _ => {
                control.change(ttl, now_ms);
                return;
            }
        };
        paths.iter().for_each(|path| self.oracle.edit(*path));
        let id = control.purge(target, now_ms);
        self.oracle.purged(&id, &paths);
    }

    /// Somebody at the port who says what is not so.
    fn lie(&mut self) {
        let wait = self.random.between(100, 1_500);
        self.after(wait, Event::Liar);
        let victim = self.envoys[self.random.index(self.plan.envoys)].instance.clone();
        let (what, number) = (self.random.below(8), self.random.draw());
        let now_ms = self.now_ms;
        let Some(control) = &mut self.control else { return };
        let (epoch, revision) = control.revision();
        // Names are made by chance and read from `/fleet`: nobody knows one before its Envoy has been there.
        let met = control
            .fleet
            .get(&victim)
            .is_some_and(control_domain::fleet::Envoy::has_answered);
        let victim = if met { victim } else { "somebody".to_owned() };
        let commands = control.commands();
        let hello = |instance: &str, proof: &[u8]| {
            FromFilter::Hello(Hello {
                node_id: "liar".to_owned(),
                instance_id: instance.to_owned(),
                proof: proof.to_vec(),
                started_at_ms: now_ms,
                ..Hello::default()
            })
        };
        let body = match what {
            0 => {
                self.liar += 1;
                hello("liar", b"proof of liar")
            }
            1 => {
                self.liar += 1;
                hello(&victim, b"a guess")
            }
            2 => FromFilter::SettingsAck(SettingsAck {
                epoch,
                revision: revision + number % 3,
                accepted: true,
                workers: 1,
                ..SettingsAck::default()
            }),
            3 | 4 => FromFilter::CommandResult(CommandResult {
                id: commands
                    .get(usize::try_from(number).unwrap_or(0) % commands.len().max(1))
                    .cloned()
                    .unwrap_or_default(),
                ok: true,
                ..CommandResult::default()
            }),
            5 => FromFilter::Telemetry(telemetry("liar", number % 50, 1_000, now_ms)),
            6 => FromFilter::Telemetry(telemetry(&victim, number % 1_000, 1_000, now_ms)),
            _ => FromFilter::Telemetry(telemetry("liar", number, u64::MAX, now_ms)),
        };
        let bytes = FilterMessage { body: Some(body) }.encode_to_vec();
        control.message(self.liar, &bytes, now_ms);
    }

    // --- Faults

    fn fault(&mut self, kind: Kind) {
        let envoy = self.random.index(self.plan.envoys);
        let worker = self.random.index(self.plan.workers);
        let life = self.envoys[envoy].life;
        match kind {
            Kind::Cut => {
                let streams: Vec<StreamId> = self.streams.keys().copied().collect();
                if !streams.is_empty() {
                    let stream = streams[self.random.index(streams.len())];
                    self.cut(stream);
                }
            }
            Kind::Partition => {
                self.envoys[envoy].cut_off_until_ms = self.now_ms + self.random.between(500, 25_000);
            }
            Kind::Freeze => {
                if !self.envoys[envoy].frozen && !self.envoys[envoy].workers.is_empty() {
                    self.envoys[envoy].frozen = true;
                    let wait = self.random.between(500, 12_000);
                    self.after(wait, Event::Thaw { envoy, life });
                }
            }
            Kind::Stall => {
                let until_ms = self.now_ms + self.random.between(200, 8_000);
                if let Some(worker) = self.envoys[envoy].workers.get_mut(worker) {
                    worker.stalled_until_ms = until_ms;
                }
            }
            Kind::Trap => {
                let calls = self.random.below(60);
                if let Some(worker) = self.envoys[envoy].workers.get(worker) {
                    worker.die_after(calls);
                }
            }
            Kind::Envoy => {
                self.envoys[envoy].workers.clear();
                self.envoys[envoy].life += 1;
                self.envoys[envoy].frozen = false;
                let streams: Vec<StreamId> = self
                    .streams
                    .iter()
                    .filter(|(_, end)| end.envoy == envoy)
                    .map(|(id, _)| *id)
                    .collect();
                streams.into_iter().for_each(|stream| self.end_at_control(stream));
                let wait = self.random.between(100, 5_000);
                self.after(wait, Event::Start { envoy });
            }
            Kind::Control => {
                if let Some(control) = self.control.take() {
                    self.down = Some(control);
                    let streams: Vec<StreamId> = self.streams.keys().copied().collect();
                    streams.into_iter().for_each(|stream| self.end_at_filter(stream));
                    let wait = self.random.between(100, 8_000);
                    self.after(wait, Event::ControlStarts);
                }
            }
            Kind::Clock => {
                let moved = i64::try_from(self.random.below(14_000)).unwrap_or(0) - 7_000;
                let skew_ms = &mut self.envoys[envoy].skew_ms;
                *skew_ms = (*skew_ms + moved).clamp(-25_000, 25_000);
            }
        }
    }

    /// What is under way is lost, and both sides learn of it.
    fn cut(&mut self, stream: StreamId) {
        let lost: Vec<u64> = self
            .slots
            .iter()
            .filter(|(_, event)| match event {
                Event::ToFilter { stream: of, .. } | Event::ToControl { stream: of, .. } => *of == stream,
                _ => false,
            })
            .map(|(slot, _)| *slot)
            .collect();
        lost.into_iter().for_each(|slot| drop(self.slots.remove(&slot)));
        self.end_at_filter(stream);
        let wait = self.random.between(1, 3_000);
        self.after(wait, Event::ControlClosed { stream });
    }

    fn thaw(&mut self, envoy: usize) {
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
            if worker < self.envoys[envoy].workers.len() && self.ask(envoy, worker, path).is_err() {
                return;
            }
        }
    }

    fn control_starts(&mut self) {
        if let Some(down) = self.down.take() {
            let kept = self.random.index(40);
            self.control = Some(down.crashed(kept));
            self.liar += 1;
        }
    }

    // --- The end

    fn calm_down(&mut self) {
        self.calm = true;
        for envoy in 0..self.plan.envoys {
            self.envoys[envoy].cut_off_until_ms = 0;
            for worker in &mut self.envoys[envoy].workers {
                worker.stalled_until_ms = worker.stalled_until_ms.min(self.now_ms + 1);
            }
        }
    }

    /// Everything is in order again.
    fn healed(&mut self) -> Result<(), Violation> {
        let not = |what: String| Err(Violation(format!("a minute after the last fault {what}")));
        let Some(control) = &self.control else {
            return not("there is no control plane".to_owned());
        };
        let connected = control.connected();
        let wanted = control.revision();
        for envoy in &self.envoys {
            let name = &envoy.instance;
            if !connected.contains(name) {
                return not(format!("{name} is not connected"));
            }
            let old = self.now_ms.saturating_sub(20_000);
            let missing = control.missing(name);
            let late = missing.map_or(usize::MAX, |missing| {
                missing.iter().filter(|purge| purge.at < old).count()
            });
            if late > 0 {
                return not(format!("{name} has not done {late} purges"));
            }
            let behind = control.fleet.get(name).is_none_or(|envoy| {
                let in_force = envoy.in_force.as_ref();
                in_force.is_none_or(|(epoch, revision)| *epoch != wanted.0 || *revision + 10 < wanted.1)
            });
            if behind {
                return not(format!("{name} is not on the settings"));
            }
            let (counted, ended) = (
                self.oracle.counted(name),
                self.oracle.ended.get(name).copied().unwrap_or(0),
            );
            // What has ended in the last seconds is not reported yet.
            let margin = 400;
            if counted > ended || !envoy.lossy && counted + margin < ended {
                let known = control.fleet.get(name);
                let faults = known.map(|envoy| (&envoy.faults, envoy.reported_ms, self.now_ms));
                return not(format!(
                    "{name} has answered {ended} requests, and its reports count {counted}: {faults:?}"
                ));
            }
        }
        Ok(())
    }
}

fn telemetry(instance: &str, sequence: u64, count: u64, now_ms: u64) -> TelemetryReport {
    let series = RequestSeries {
        upstream: "liar".to_owned(),
        count,
        ..RequestSeries::default()
    };
    TelemetryReport {
        sequence,
        instance_id: instance.to_owned(),
        closed_at_ms: now_ms,
        span_ms: 1_000,
        delta: Some(TelemetryDelta {
            requests: vec![series],
            ..TelemetryDelta::default()
        }),
        ..TelemetryReport::default()
    }
}
