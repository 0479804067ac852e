//! The end of an Envoy, as a pod ends: the hook before SIGTERM, with requests in flight.

use e2e::client::{Connection, Request};
use e2e::origin::{Gate, Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::{artefacts, wait};
use std::process::{Command, Stdio};

#[test]
fn what_is_in_flight_ends_before_envoy_does() {
    let gate = Gate::default();
    let behind = gate.clone();
    let origin = Origin::start(move |request| {
        let reply = Reply::ok("content").header("cache-control", "no-store");
        if request.path.starts_with("/held") {
            reply.behind(&behind)
        } else {
            reply
        }
    });
    let mut stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
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
