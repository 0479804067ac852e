//! The end of an Envoy: by the hook before SIGTERM, as a pod ends, and by SIGTERM to the image's entrypoint; with requests in flight.

use e2e::client::{Connection, Request};
use e2e::origin::{Gate, Origin, Reply};
use e2e::ports::free_port;
use e2e::process::Process;
use e2e::rest::Rest;
use e2e::stack::{Plan, Stack};
use e2e::{artefacts, wait};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Nothing may be stored. What is below `/held` waits for the gate, the rest takes so long.
fn origin(gate: &Gate, takes: Duration) -> Origin {
    let behind = gate.clone();
    let origin = Origin::start(move |request| {
        let reply = Reply::ok("content").header("cache-control", "no-store");
        if request.path.starts_with("/held") {
            reply.behind(&behind)
        } else {
            reply.after(takes)
        }
    });
    origin.unwrap()
}

#[test]
fn what_is_in_flight_ends_before_envoy_does() {
    let gate = Gate::default();
    let origin = origin(&gate, Duration::ZERO);
    let mut stack = Stack::start(&Plan::default(), origin).unwrap();
    let address = stack.envoy.address();
    let ask = move |number: usize| {
        let mut connection = Connection::open(address).unwrap();
        connection.exchange(&Request::get(&format!("/held/{number}"))).unwrap()
    };
    let clients: Vec<_> = (0..4).map(|number| std::thread::spawn(move || ask(number))).collect();
    wait::until("four requests in flight", || (stack.origin.total() == 4).then_some(())).unwrap();
    let mut kept = Connection::open(address).unwrap();
    let answer = kept.exchange(&Request::get("/before")).unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, None));

    let mut hook = Command::new("bash");
    hook.arg(artefacts::workspace().join("deploy/docker/drain")).arg("3");
    hook.stdout(Stdio::null())
        .env("ADMIN_PORT", stack.envoy.admin_address().port().to_string());
    let mut hook = hook.spawn().unwrap();
    wait::until("Envoy no longer ready", || (!stack.envoy.is_ready()).then_some(())).unwrap();
    // Who still comes is served, and asked to go elsewhere next time.
    let answer = kept.exchange(&Request::get("/meanwhile")).unwrap();
    assert_eq!(
        (answer.status, answer.header("connection").as_deref()),
        (200, Some("close"))
    );
    gate.open();
    for client in clients {
        assert_eq!(client.join().unwrap().text(), "content");
    }
    assert!(hook.wait().unwrap().success());
    assert_eq!(
        stack
            .envoy
            .stats("http.ingress.downstream_rq_active")
            .values()
            .sum::<u64>(),
        0
    );
    stack.envoy.process().stop();
    assert!(
        stack.envoy.process().ended().is_some_and(|status| status.success()),
        "SIGTERM is a clean end"
    );
}

/// The image's entrypoint with an Envoy under it, as the image runs them.
struct Entrypoint {
    process: Process,
    address: SocketAddr,
    probes: Rest,
    folder: TempDir,
}

impl Entrypoint {
    fn start(origin: &Origin) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Its place in the image is a folder of the PATH.
        std::os::unix::fs::symlink(artefacts::envoy().unwrap(), folder.path().join("envoy")).unwrap();
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let docker = artefacts::workspace().join("deploy/docker");
        let (listen, admin, observe) = (free_port().unwrap(), free_port().unwrap(), free_port().unwrap());
        let mut command = Command::new("bash");
        command.arg(docker.join("start-envoy")).env_clear().env("PATH", path);
        for (name, value) in [
            ("RUN_DIR", folder.path()),
            ("ENVOY_TEMPLATE", &artefacts::workspace().join("envoy/static.yaml")),
            ("OBSERVE_TEMPLATE", &docker.join("observe.yaml")),
            ("WASM", &artefacts::wasm_filter().unwrap()),
        ] {
            command.env(name, value);
        }
        for (name, port) in [
            ("LISTEN_PORT", listen),
            ("ADMIN_PORT", admin),
            ("OBSERVE_PORT", observe),
            ("GRPC_PORT", 1),
            ("ORIGIN_PORT", origin.address().port()),
        ] {
            command.env(name, port.to_string());
        }
        for (name, value) in [
            ("NODE_ID", "image"),
            ("LISTEN_HOST", "127.0.0.1"),
            ("MAX_HEAP_BYTES", "1610612736"),
            ("ACCESS_LOG", "/dev/null"),
            ("SETTINGS", "{}"),
            ("CONTROL_CLUSTER", ""),
            ("CONTROL_HOST", "127.0.0.1"),
            ("ORIGIN_HOST", "127.0.0.1"),
            ("DRAIN_SECONDS", "2"),
        ] {
            command.env(name, value);
        }
        let process = Process::start("the entrypoint", &mut command, &folder.path().join("log")).unwrap();
        let probes = Rest::new((Ipv4Addr::LOCALHOST, observe).into());
        let started = Self {
            process,
            address: (Ipv4Addr::LOCALHOST, listen).into(),
            probes,
            folder,
        };
        wait::until("Envoy ready", || started.is_ready().then_some(())).unwrap();
        started
    }

    fn is_ready(&self) -> bool {
        self.probes.get("/ready").is_ok_and(|answer| answer.status == 200)
    }
}

/// Asks on one connection for as long as its Envoy lets it, then on a new one to whichever is in rotation.
fn ask_on(rotation: &Mutex<SocketAddr>, ended: &AtomicBool) -> Result<usize, String> {
    let mut served = 0;
    while !ended.load(Ordering::SeqCst) {
        let address = *rotation.lock().unwrap();
        let mut connection = Connection::open(address).map_err(|error| format!("after {served}: {error}"))?;
        loop {
            let answer = connection.exchange(&Request::get(&format!("/load/{served}")));
            let answer = answer.map_err(|error| format!("after {served}: {error}"))?;
            if answer.status != 200 {
                return Err(format!("after {served}: {} {}", answer.status, answer.text()));
            }
            served += 1;
            let closing = answer.header("connection").as_deref() == Some("close");
            if closing || ended.load(Ordering::SeqCst) {
                break;
            }
        }
    }
    Ok(served)
}

#[test]
fn sigterm_to_the_images_entrypoint_fails_no_request() {
    let gate = Gate::default();
    let origin = origin(&gate, Duration::from_millis(5));
    // Another Envoy, to which load balancers turn.
    let plan = Plan {
        control_plane: false,
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin).unwrap();
    let mut entrypoint = Entrypoint::start(&stack.origin);
    let rotation = Mutex::new(entrypoint.address);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| ask_on(&rotation, &ended))).collect();
        let held = |number: usize| {
            let mut connection = Connection::open(entrypoint.address).unwrap();
            scope.spawn(move || {
                connection
                    .exchange(&Request::get(&format!("/held/{number}")))
                    .unwrap()
                    .text()
            })
        };
        let held: Vec<_> = (0..4).map(held).collect();
        wait::until("requests of both kinds under way", || {
            let received = stack.origin.received();
            let held = received
                .iter()
                .filter(|request| request.path.starts_with("/held"))
                .count();
            (held == 4 && received.len() > 50).then_some(())
        })
        .unwrap();

        entrypoint.process.terminate();
        wait::until("the Envoy out of rotation", || (!entrypoint.is_ready()).then_some(())).unwrap();
        *rotation.lock().unwrap() = stack.envoy.address();
        // It takes nobody any more, and waits for those it has.
        wait::until("the listener closed", || {
            Connection::open(entrypoint.address).err().map(drop)
        })
        .unwrap();
        assert!(entrypoint.process.ended().is_none(), "requests are in flight");
        gate.open();
        held.into_iter()
            .for_each(|client| assert_eq!(client.join().unwrap(), "content"));
        let status = wait::until("the end of the entrypoint", || entrypoint.process.ended()).unwrap();
        assert!(status.success(), "{status}: {}", entrypoint.process.last_lines(5));
        ended.store(true, Ordering::SeqCst);
        for client in clients {
            assert!(client.join().unwrap().unwrap() > 0);
        }
    });
    assert!(
        stack
            .envoy
            .stats("http.ingress.downstream_rq_2xx")
            .values()
            .sum::<u64>()
            > 0
    );
    drop(entrypoint.folder);
}
