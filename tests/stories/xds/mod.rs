//! Envoys that take clusters, routes, filter and limits from the control plane.

mod canary;
mod changes;
mod faults;
mod http2;
mod largest;
mod limits;
mod modules;
mod profiles;
mod ranges;

use e2e::bootstrap::Xds;
use e2e::client::{Connection, Request};
use e2e::origin::{Gate, Origin, Reply};
use e2e::stack::{Plan, Stack};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

fn plan(xds: Xds, settings: Value) -> Plan {
    Plan {
        xds: Some(xds),
        settings,
        ..Plan::default()
    }
}

fn started(plan: &Plan, origin: Origin) -> Stack {
    let stack = Stack::start(plan, origin).unwrap();
    stack.wait_xds().unwrap();
    stack
}

/// Holds requests below `/held` back until the gate opens, so that those under way can be counted.
fn held(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request| {
        let reply = Reply::ok("content").header("cache-control", "no-store");
        if request.path.starts_with("/held") {
            reply.behind(&gate)
        } else {
            reply
        }
    })
    .unwrap()
}

/// Requests that are under way at the same time, each on a connection of its own.
fn under_way(stack: &Stack, count: usize) -> Vec<JoinHandle<u16>> {
    let address = stack.envoy.address();
    let ask = move |number: usize| {
        let mut connection = Connection::open(address).unwrap();
        let request = Request::get(&format!("/held/{number}"));
        connection.exchange(&request).unwrap().status
    };
    (0..count)
        .map(|number| std::thread::spawn(move || ask(number)))
        .collect()
}

fn all_ok(threads: Vec<JoinHandle<u16>>) {
    for thread in threads {
        assert_eq!(thread.join().unwrap(), 200);
    }
}

/// Clients that ask without a pause, each on one connection, for what no cache holds.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Result<usize, String>>>,
}

impl Load {
    fn start(stack: &Stack, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let address = stack.envoy.address();
        let client = |number: usize| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut connection = Connection::open(address).map_err(|error| error.to_string())?;
                let mut served = 0;
                while !stop.load(Ordering::SeqCst) {
                    let request = Request::get(&format!("/load/{number}/{served}"));
                    let answer = connection
                        .exchange(&request)
                        .map_err(|error| format!("after {served}: {error}"))?;
                    if answer.status != 200 {
                        return Err(format!("after {served}: {} {}", answer.status, answer.text()));
                    }
                    served += 1;
                }
                Ok(served)
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    /// How many requests there were; all of them had a 200.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let served = self.clients.into_iter().map(|client| client.join().unwrap());
        let served: Result<Vec<usize>, String> = served.collect();
        let served = served.unwrap();
        assert!(served.iter().all(|count| *count > 0), "{served:?}");
        served.into_iter().sum()
    }
}
