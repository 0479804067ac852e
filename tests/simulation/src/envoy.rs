//! An Envoy: a process with its shared data, and VMs that may die, stall or stand still.

use crate::host::{Dies, Effect, Process, SimHost};
use crate::replica::first_settings;
use filter_core::driver::exchange::{Flow, SharedExchange};
use filter_core::driver::vm::{RootId, Vm};
use serde_json::json;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// The root context of a VM's life.
const ROOT: RootId = RootId(1);

/// A client's request on its way.
#[derive(Debug)]
pub struct Exchange {
    shared: SharedExchange,
    /// Its path.
    pub path: usize,
    /// The least edition that may answer it.
    pub floor: u64,
}

/// What became of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It returned.
    Returned(Flow),
    /// The VM died in it.
    Died,
}

/// One VM.
#[derive(Debug)]
pub struct Worker {
    vm: Vm,
    host: SimHost,
    /// Grows with each life of the VM.
    pub life: u32,
    /// Requests on their way through it.
    pub exchanges: BTreeMap<u32, Exchange>,
    /// Its wake-up queues have these numbers.
    pub queues: Vec<u32>,
    next_context: u32,
    /// It is not scheduled before then.
    pub stalled_until_ms: u64,
}

impl Worker {
    /// A VM that starts, with its plugin configuration.
    #[must_use]
    pub fn start(process: &Rc<Process>, node_id: &str, life: u32) -> Self {
        let host = SimHost::new(Rc::clone(process));
        let mut vm = Vm::new();
        vm.on_start(&host);
        let settings = first_settings().to_json();
        let document = json!({"control_cluster": "control", "node_id": node_id, "settings": settings}).to_string();
        vm.on_configure(&host, ROOT, document.as_bytes());
        Self {
            vm,
            host,
            life,
            exchanges: BTreeMap::new(),
            queues: Vec::new(),
            next_context: 100,
            stalled_until_ms: 0,
        }
    }

    /// What it asked of the world since.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut *self.host.effects.borrow_mut())
    }

    /// The settings it runs on.
    #[must_use]
    pub fn settings(&self) -> (String, u64) {
        let (epoch, revision) = self.vm.settings_in_force();
        (epoch.to_owned(), revision)
    }

    /// It dies after so many more host calls.
    pub fn die_after(&self, calls: u64) {
        self.host.die_after(calls);
    }

    fn run(&mut self, callback: impl FnOnce(&mut Vm, &SimHost) -> Flow) -> Outcome {
        let (vm, host) = (&mut self.vm, &self.host);
        match catch_unwind(AssertUnwindSafe(|| callback(vm, host))) {
            Ok(flow) => Outcome::Returned(flow),
            Err(cause) if cause.is::<Dies>() => Outcome::Died,
            Err(cause) => std::panic::resume_unwind(cause),
        }
    }

    /// The tick.
    pub fn tick(&mut self) -> Outcome {
        self.run(|vm, host| {
            vm.on_tick(host, ROOT);
            Flow::Continue
        })
    }

    /// Something is in its queue.
    pub fn wake(&mut self, queue: u32) -> Outcome {
        self.run(|vm, host| {
            vm.on_wake(host, ROOT, queue);
            Flow::Continue
        })
    }

    /// A message of the control plane.
    pub fn message(&mut self, stream: u32, message: Vec<u8>) -> Outcome {
        self.run(|vm, host| {
            let size = message.len();
            *host.incoming.borrow_mut() = message;
            vm.on_control_message(host, ROOT, stream, size);
            Flow::Continue
        })
    }

    /// The control stream ended.
    pub fn closed(&mut self, stream: u32) -> Outcome {
        self.run(|vm, host| {
            vm.on_control_close(host, stream, 14);
            Flow::Continue
        })
    }

    /// A call to the shared tier has ended.
    pub fn tier_answer(&mut self, call: u32, status: u32, message: Vec<u8>) -> Outcome {
        self.run(|vm, host| {
            let size = message.len();
            *host.incoming.borrow_mut() = message;
            vm.on_grpc_answer(host, call, status, size);
            Flow::Continue
        })
    }

    /// A client's request; its context.
    pub fn request(&mut self, path: usize, floor: u64) -> (u32, Outcome) {
        let context = self.next_context;
        self.next_context += 1;
        let shared = SharedExchange::default();
        let exchange = Exchange {
            shared: Rc::clone(&shared),
            path,
            floor,
        };
        self.exchanges.insert(context, exchange);
        let outcome = self.run(|vm, host| {
            let path = format!("/p{path}");
            let head = [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "api.example"),
                (":path", path.as_str()),
            ];
            host.set_request(context, &head);
            host.current.set(context);
            vm.on_request_headers(host, &shared, context)
        });
        (context, outcome)
    }

    /// The upstream's response to a request, whole.
    pub fn response(&mut self, context: u32, body: &str) -> Outcome {
        let Some(exchange) = self.exchanges.get(&context) else {
            return Outcome::Returned(Flow::Continue);
        };
        let shared = Rc::clone(&exchange.shared);
        self.run(|vm, host| {
            let length = body.len().to_string();
            let head = [
                (":status", "200"),
                ("content-length", length.as_str()),
                ("cache-control", "max-age=600"),
            ];
            host.set_response(context, &head);
            host.current.set(context);
            let mut exchange = shared.borrow_mut();
            let flow = vm.on_response_headers(host, &mut exchange, 0, false);
            if flow == Flow::Continue {
                *host.body.borrow_mut() = body.as_bytes().to_vec();
                vm.on_response_body(host, &mut exchange, body.len(), false);
                vm.on_response_body(host, &mut exchange, 0, true);
            }
            flow
        })
    }

    /// A stream is over.
    pub fn end(&mut self, context: u32) -> Outcome {
        let Some(exchange) = self.exchanges.remove(&context) else {
            return Outcome::Returned(Flow::Continue);
        };
        let outcome = self.run(|vm, host| {
            host.current.set(context);
            vm.on_end(host, &exchange.shared);
            Flow::Continue
        });
        self.host.forget(context);
        outcome
    }
}
