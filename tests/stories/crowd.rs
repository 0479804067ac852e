//! Crowds: of clients at one key, of large bodies, of objects.

use e2e::client::{Connection, Request};
use e2e::origin::{Framing, Gate, Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::json;
use std::thread::{Builder, ScopedJoinHandle, scope};

const MB: usize = 1 << 20;
/// VMs made so far: a new one after each trap.
const VMS: &str = "wasm.envoy.wasm.runtime.v8.created";

fn spawn<'s, 'e, T: Send + 's>(
    threads: &'s std::thread::Scope<'s, 'e>,
    work: impl FnOnce() -> T + Send + 's,
) -> ScopedJoinHandle<'s, T> {
    // A thousand threads with the usual stacks would be much for a small machine.
    Builder::new()
        .stack_size(256 << 10)
        .spawn_scoped(threads, work)
        .unwrap()
}

#[test]
fn a_thousand_clients_of_one_missing_key_cost_one_fetch() {
    const CLIENTS: usize = 1_000;
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok("a product").max_age(60).behind(&held)).unwrap();
    let stack = Stack::start(
        &Plan {
            control_plane: false,
            ..Plan::default()
        },
        origin,
    )
    .unwrap();
    scope(|threads| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| spawn(threads, || stack.envoy.get("/herd").unwrap()))
            .collect();
        stack.envoy.wait_for_requests(CLIENTS).unwrap();
        gate.open();
        let mut collapsed = 0;
        for client in clients {
            let answer = client.join().unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "a product"));
            collapsed += usize::from(answer.cache_status().contains("collapsed"));
        }
        assert_eq!(collapsed, CLIENTS - 1);
    });
    assert_eq!(stack.origin.total(), 1);
}

#[test]
fn a_leader_whose_client_reads_nothing_does_not_hold_up_its_followers() {
    let gate = Gate::default();
    let held = gate.clone();
    let body = vec![b'x'; 900 << 10];
    let origin = Origin::start(move |_| Reply::ok(body.clone()).max_age(60).behind(&held)).unwrap();
    let stack = Stack::start(
        &Plan {
            control_plane: false,
            ..Plan::default()
        },
        origin,
    )
    .unwrap();
    let mut leader = Connection::open(stack.envoy.address()).unwrap();
    leader
        .send(b"GET /large HTTP/1.1\r\nhost: api.example\r\n\r\n")
        .unwrap();
    wait::until("the leader's fetch", || (stack.origin.total() == 1).then_some(())).unwrap();
    scope(|threads| {
        let followers: Vec<_> = (0..20)
            .map(|_| spawn(threads, || stack.envoy.get("/large").unwrap()))
            .collect();
        stack.envoy.wait_for_requests(21).unwrap();
        gate.open();
        for follower in followers {
            let answer = follower.join().unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, 900 << 10));
            assert!(answer.cache_status().contains("collapsed"), "{}", answer.cache_status());
        }
    });
    assert_eq!(
        stack.origin.total(),
        1,
        "they had the leader's response, and did not run out of patience"
    );
}

#[test]
fn a_crowd_at_a_response_of_the_largest_size_costs_one_fetch() {
    const CLIENTS: usize = 40;
    const SIZE: usize = 15 * MB;
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::ok(vec![b'x'; SIZE]).max_age(60).behind(&held)).unwrap();
    let plan = Plan {
        control_plane: false,
        settings: json!({"max_object_size": "16MiB", "cache_memory_mb": 128}),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin).unwrap();
    let vms = stack.envoy.stat(VMS);
    scope(|threads| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| spawn(threads, || stack.envoy.get("/herd").unwrap()))
            .collect();
        stack.envoy.wait_for_requests(CLIENTS).unwrap();
        gate.open();
        for client in clients {
            let answer = client.join().unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, SIZE));
        }
    });
    assert_eq!(stack.origin.total(), 1);
    assert_eq!(stack.envoy.stat(VMS), vms, "no VM died");
}

/// Clients that take a little of a large response and then nothing.
fn slow_clients(stack: &Stack, number: usize) -> Vec<Connection> {
    let mut clients: Vec<Connection> = (0..number)
        .map(|client| {
            let mut connection = Connection::open(stack.envoy.address()).unwrap();
            let request = format!("GET /large/{client} HTTP/1.1\r\nhost: api.example\r\n\r\n");
            connection.send(request.as_bytes()).unwrap();
            connection
        })
        .collect();
    for client in &mut clients {
        client.read_at_least(1).unwrap();
    }
    clients
}

#[test]
fn many_large_bodies_and_slow_clients_cannot_exhaust_the_vm() {
    const CLIENTS: usize = 60;
    // As many bytes as a VM may have in all, and more, pass through one worker at once.
    let origin = Origin::start(|request| match request.path.as_str() {
        "/small" => Reply::ok("small").max_age(60),
        path if path.ends_with('7') => Reply::ok(vec![b'x'; 20 * MB]).header("cache-control", "no-store"),
        _ => Reply::ok(vec![b'x'; 15 * MB]).max_age(60).framing(Framing::Chunked(MB)),
    })
    .unwrap();
    let plan = Plan {
        control_plane: false,
        workers: 1,
        settings: json!({"max_object_size": "16MiB", "cache_memory_mb": 64}),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin).unwrap();
    let before = stack.envoy.stat("server.memory_allocated");
    let vms = stack.envoy.stat(VMS);
    let clients = slow_clients(&stack, CLIENTS);
    assert_eq!(stack.envoy.get("/small").unwrap().text(), "small");
    assert!(stack.envoy.get("/small").unwrap().is_hit(), "the cache works meanwhile");
    let grown = stack.envoy.stat("server.memory_allocated").saturating_sub(before);
    assert!(grown < 500 * MB as u64, "{} MiB", grown / MB as u64);
    drop(clients);

    wait::until("the abandoned requests gone", || {
        (stack.envoy.stat("http.ingress.downstream_rq_active") == 0).then_some(())
    })
    .unwrap();
    assert!(
        stack.envoy.get("/small").unwrap().is_hit(),
        "and afterwards, in the same VM"
    );
    assert_eq!(stack.envoy.stat(VMS), vms, "no VM died");
}

#[test]
fn the_memory_limit_holds_by_envoys_own_figures() {
    const LIMIT_MB: u64 = 16;
    /// The same in the megabytes of `/cache/stats`.
    const LIMIT: f64 = 16.0 * 1.048_576;
    for workers in [1, 8] {
        let origin = Origin::start(|request| {
            let size = 1_000 + request.path.len() * 7_919 % 40_000;
            Reply::ok(vec![b'x'; size]).max_age(600)
        })
        .unwrap();
        let plan = Plan {
            workers,
            ..Plan::default()
        };
        let stack = Stack::start(&plan, origin).unwrap();
        stack.change_settings(&json!({"cache_memory_mb": LIMIT_MB})).unwrap();
        let fill = |from: usize, to: usize| {
            scope(|threads| {
                for client in 0..4 {
                    let envoy = &stack.envoy;
                    threads.spawn(move || {
                        let mut connection = Connection::open(envoy.address()).unwrap();
                        for object in (from..to).filter(|object| object % 4 == client) {
                            let path = format!("/{}/{object}", "p".repeat(object % 50));
                            connection.exchange(&Request::get(&path)).unwrap();
                        }
                    });
                }
            });
        };
        // Workers, connections and their buffers have their memory first.
        fill(0, 200);
        let before = stack.envoy.stat("server.memory_allocated");
        fill(200, 2_500);
        let stats = stack.rest().document("/cache/stats").unwrap();
        let grown = stack.envoy.stat("server.memory_allocated").saturating_sub(before);
        assert!(
            grown <= (LIMIT_MB + 4) * MB as u64,
            "{workers} workers: {} KiB beyond what was there; {stats}",
            grown >> 10
        );
        let stored = wait::until("figures of the store", || {
            let held = stack.rest().document("/cache/stats").ok()?["memory_usage"].as_f64()?;
            (held > LIMIT / 2.0).then_some(held)
        })
        .unwrap();
        assert!(
            stored <= LIMIT,
            "{workers} workers: {stored} MB by the store's own account"
        );
    }
}
