//! Clients and the origin.

use super::event::{Event, Place};
use super::{Checked, World};
use crate::envoy::Outcome;
use crate::oracle::PATHS;
use filter_core::driver::exchange::Flow;

impl World {
    pub(super) fn client(&mut self) -> Checked {
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
        self.ask(envoy, worker, path);
        Ok(())
    }

    pub(super) fn ask(&mut self, envoy: usize, worker: usize, path: usize) {
        let floor = self.oracle.floor(&self.envoys[envoy].instance, path);
        let at = self.place(envoy, worker);
        let mut context = 0;
        let outcome = self.call(envoy, worker, |worker| {
            let (made, outcome) = worker.request(path, floor);
            context = made;
            outcome
        });
        if outcome == Outcome::Returned(Flow::Continue) {
            self.forward(at, context);
        }
    }

    /// A request goes to the origin.
    pub(super) fn forward(&mut self, at: Place, context: u32) {
        let slow = self.random.once_in(10);
        let there = self.random.between(1, if slow { 4_000 } else { 30 });
        let delay = self.random.between(1, if slow { 4_000 } else { 30 });
        self.after(there, Event::AtOrigin { at, context, delay });
    }

    pub(super) fn at_origin(&mut self, at: Place, context: u32, delay: u64) {
        if !self.is(at) {
            return;
        }
        let exchange = self.envoys[at.envoy].workers[at.worker].exchanges.get(&context);
        if let Some(path) = exchange.map(|exchange| exchange.path) {
            let body = self.oracle.body(path);
            self.after(delay, Event::Response { at, context, body });
        }
    }

    /// The filter has answered a request itself.
    pub(super) fn replied(&mut self, at: Place, context: u32, status: u16, body: &[u8]) {
        let one = &self.envoys[at.envoy];
        let exchange = one.workers[at.worker].exchanges.get(&context);
        let Some((path, floor)) = exchange.map(|exchange| (exchange.path, exchange.floor)) else {
            return;
        };
        let instance = one.instance.clone();
        if status == 200 {
            let settings = one.workers[at.worker].settings();
            let looked = self.oracle.answered(&instance, path, floor, body, true);
            let looked = looked.and_then(|()| self.oracle.runs_on(&instance, at.worker, &settings));
            self.found(looked);
        } else {
            let looked = self.oracle.refused(&instance, status);
            self.found(looked);
        }
        let body = String::new();
        self.after(0, Event::Response { at, context, body });
    }

    /// What the origin says reaches the client, or its stream ends.
    pub(super) fn respond(&mut self, at: Place, context: u32, body: &str) -> Checked {
        let Place { envoy, worker, .. } = at;
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
}
