//! Time, network and chance: everything that happens is an event of one queue, in an order that the seed decides.

mod byzantine;
mod clients;
mod envoys;
mod event;
mod healed;
mod liar;
mod network;
mod operators;
mod redis;
mod seats;
mod tier;
mod troubles;

use crate::envoy::Worker;
use crate::faults::{Faults, KINDS, Kind};
use crate::oracle::Oracle;
use crate::plan::{Actor, Plan, Summary, Violation};
use crate::random::Random;
use crate::redis::Redis;
use crate::replica::{CallId, Replica, StreamId};
use byzantine::Byzantine;
use envoys::Envoy;
use event::{Event, Place};
use network::End;
use seats::Seat;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::{DefaultHasher, Hash, Hasher};

const START_MS: u64 = 1_700_000_000_000;
const TICK_MS: u64 = 200;
/// After the faults end, everything must recover within this time.
const HEALING_MS: u64 = 60_000;
/// Streams of the liar have numbers of their own.
const LIAR: StreamId = 1 << 60;

/// A property that does not hold, in words.
type Checked = Result<(), String>;

/// A running world.
pub(crate) struct World {
    plan: Plan,
    faults: Faults,
    random: Random,
    /// Decides when faults happen: the same ones, whichever of them are left out.
    fates: Random,
    now_ms: u64,
    events: BinaryHeap<Reverse<(u64, u64, u64)>>,
    slots: BTreeMap<u64, Event>,
    next: u64,
    envoys: Vec<Envoy>,
    seats: Vec<Seat>,
    redis: Redis,
    redis_is_up: bool,
    lines: u64,
    streams: BTreeMap<StreamId, End>,
    calls: BTreeMap<CallId, tier::Call>,
    next_stream: StreamId,
    liar: StreamId,
    byzantine: Byzantine,
    oracle: Oracle,
    summary: Summary,
    calm: bool,
    failed: Option<String>,
    verbose: bool,
}

/// Runs a plan to its end.
///
/// # Errors
/// The property that does not hold.
pub fn run(plan: &Plan) -> Result<Summary, Violation> {
    let mut world = World::new(plan.clone());
    world.whole().map_err(|what| Violation {
        what,
        at_ms: world.now_ms - START_MS,
        faults: world.summary.faults,
    })?;
    let mut summary = world.summary;
    let oracle = &world.oracle;
    (summary.answers, summary.hits) = (oracle.answers, oracle.hits);
    (summary.tier_hits, summary.receipts) = (oracle.tier_hits, oracle.receipts);
    (summary.acknowledged, summary.written) = (oracle.acknowledged, oracle.written());
    summary.overrides = oracle.overrides();
    summary.fleet_ms = (plan.troubled_ms + HEALING_MS) * plan.envoys as u64;
    Ok(summary)
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed);
        let faults = Faults::of(&mut random);
        Self {
            faults: plan.faults.unwrap_or(faults),
            fates: Random::new(plan.seed ^ 0xfa7e),
            seats: Seat::all(plan.replicas, &mut random),
            random,
            now_ms: START_MS,
            events: BinaryHeap::new(),
            slots: BTreeMap::new(),
            next: 0,
            envoys: Vec::new(),
            redis: Redis::new(),
            redis_is_up: true,
            lines: 0,
            streams: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_stream: 1,
            liar: LIAR,
            byzantine: Byzantine::default(),
            oracle: Oracle::default(),
            summary: Summary::default(),
            calm: false,
            failed: None,
            verbose: std::env::var_os("SIMULATION_TRACE").is_some(),
            plan,
        }
    }

    fn whole(&mut self) -> Checked {
        self.begin();
        let end = START_MS + self.plan.troubled_ms;
        self.until(end)?;
        self.calm_down();
        self.until(end + HEALING_MS)?;
        self.healed()
    }

    fn begin(&mut self) {
        for envoy in 0..self.plan.envoys {
            let skew_ms = i64::try_from(self.random.below(20_000)).unwrap_or(0) - 10_000;
            self.envoys.push(Envoy::new(skew_ms));
            self.start(envoy);
        }
        for event in [
            Event::Client,
            Event::Operator,
            Event::Look,
            Event::Watch,
            Event::RedisKeeps,
        ] {
            self.after(100, event);
        }
        if self.plan.has(Actor::Liar) {
            self.after(100, Event::Liar);
        }
        if self.plan.has(Actor::Byzantine) {
            self.after(100, Event::Byzantine);
        }
        for (kind, _) in KINDS {
            self.plan_fault(kind);
        }
    }

    fn plan_fault(&mut self, kind: Kind) {
        let mean = self.faults.mean(kind);
        if mean > 0 && !self.calm {
            let wait = self.fates.between(1, mean * 2);
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

    fn until(&mut self, end_ms: u64) -> Checked {
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
        if self.verbose && !matches!(event, Event::Tick(_) | Event::Look) {
            let text = format!("{} {event:?}", self.now_ms - START_MS);
            eprintln!("{}", text.chars().take(240).collect::<String>());
        }
        // Two runs of a seed are the same run.
        let mut hasher = DefaultHasher::new();
        (self.summary.trace, self.now_ms, std::mem::discriminant(event)).hash(&mut hasher);
        match event {
            Event::ToFilter { bytes, .. } | Event::ToControl { bytes, .. } => bytes.hash(&mut hasher),
            Event::TierCall { message, .. } | Event::TierAnswer { message, .. } => message.hash(&mut hasher),
            _ => {}
        }
        self.summary.trace = hasher.finish();
    }

    fn happen(&mut self, event: Event) -> Checked {
        let Some(event) = self.deferred(event) else {
            return Ok(());
        };
        match event {
            Event::Tick(at) => self.tick(at),
            Event::Wake { envoy, life, queue } => self.wake(envoy, life, queue),
            Event::ToFilter { stream, bytes } => self.at_filter(stream, |worker, number| worker.message(number, bytes)),
            Event::FilterClosed { stream } => {
                self.at_filter(stream, Worker::closed);
                self.streams.remove(&stream);
            }
            Event::ToControl { stream, bytes } => self.at_control(stream, &bytes),
            Event::ControlClosed { stream } => self.closed_at_control(stream),
            Event::AtOrigin { at, context, delay } => self.at_origin(at, context, delay),
            Event::Response { at, context, body } => {
                if self.is(at) {
                    self.respond(at, context, &body)?;
                }
            }
            Event::TierCall { call, method, message } => self.tier_call(call, &method, &message),
            Event::TierAnswer { call, status, message } => self.tier_answer(call, status, message)?,
            Event::RedisConnects { seat, life, wire } => self.redis_connects(seat, life, wire),
            Event::ToRedis {
                line,
                id,
                ask,
                waited_ms,
            } => self.redis_is_asked(line, id, ask, waited_ms),
            Event::FromRedis { line, id, answer } => self.redis_answers(line, id, answer),
            Event::RedisLost { line } => self.redis_lost(line),
            Event::RedisStarts => self.redis_is_up = true,
            Event::RedisKeeps => {
                self.redis.keep();
                self.after(1_000, Event::RedisKeeps);
            }
            Event::Client => self.client()?,
            Event::Operator => self.operator(),
            Event::Look => {
                self.each_replica(Replica::tick);
                self.look()?;
                self.after(250, Event::Look);
            }
            Event::Watch => {
                self.each_replica(Replica::watch_late);
                self.each_replica(Replica::correct_overrides);
                self.after(5_000, Event::Watch);
            }
            Event::Liar => self.lie(),
            Event::Byzantine => self.claim(),
            Event::Fault(kind) => {
                if !self.calm {
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
            Event::ReplicaStarts { seat } => self.replica_starts(seat),
        }
        Ok(())
    }

    /// What concerns an Envoy that stands still, or a worker that is not scheduled, waits.
    fn deferred(&mut self, event: Event) -> Option<Event> {
        let (envoy, worker) = match &event {
            Event::Tick(at) | Event::Response { at, .. } => (at.envoy, Some(at.worker)),
            Event::Wake { envoy, queue, .. } => {
                let workers = &self.envoys[*envoy].workers;
                (*envoy, workers.iter().position(|worker| worker.queues.contains(queue)))
            }
            Event::ToFilter { stream, .. } | Event::FilterClosed { stream } => {
                let end = self.streams.get(stream)?;
                (end.at.envoy, Some(end.at.worker))
            }
            Event::TierAnswer { call, .. } => {
                let call = self.calls.get(call)?;
                (call.at.envoy, Some(call.at.worker))
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

    fn is(&self, at: Place) -> bool {
        let envoy = &self.envoys[at.envoy];
        envoy.life == at.life
            && envoy
                .workers
                .get(at.worker)
                .is_some_and(|worker| worker.life == at.born)
    }

    /// A violation found where nothing can be returned is kept.
    fn found(&mut self, looked: Checked) {
        if let Err(what) = looked {
            self.failed.get_or_insert(what);
        }
    }
}
