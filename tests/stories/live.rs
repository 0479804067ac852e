//! What people and tools can watch as it happens.

use e2e::client::Request;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// Listens to a stream of server-sent events until the other side ends it.
fn listen(address: SocketAddr, path: &str) -> Seen {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: control-plane\r\n\r\n").unwrap();
    let seen = Seen::default();
    let into = Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut kind = String::new();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut kind);
            } else if let Some(data) = line.strip_prefix("data: ") {
                let data = serde_json::from_str(data).unwrap_or_default();
                into.lock().unwrap().push((kind.clone(), data));
            }
        }
    });
    seen
}

fn wait_for(seen: &Seen, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
    wait::until(&format!("the event {kind}"), || {
        let seen = seen.lock().unwrap();
        let found = seen.iter().find(|(name, data)| name == kind && fits(data));
        found.map(|(_, data)| data.clone())
    })
    .unwrap_or_else(|failure| panic!("{failure}: {:?}", seen.lock().unwrap()))
}

#[test]
fn settings_purges_breakers_and_alerts_are_told_as_they_happen() {
    let origin = Origin::start(|request| {
        if request.path == "/bad" {
            Reply::new(500)
        } else {
            Reply::ok("x").max_age(60)
        }
    });
    let stack = Stack::start(&Plan::default(), origin.unwrap()).unwrap();
    let events = listen(stack.rest().address(), "/events");
    let figures = listen(stack.rest().address(), "/metrics/stream");
    wait_for(&figures, "performance", |data| data["sample_count"] == 0);
    let change = json!({
        "breaker": {"minimum_calls": 5, "failure_rate_percent": 50, "open_wait": "60s"},
        "alerts": {"states": {"circuit_breaker_open": {"for": "0s"}}},
    });
    stack.change_settings(&change).unwrap();
    assert_eq!(wait_for(&events, "settings", |_| true)["revision"], 2);
    for _ in 0..10 {
        stack.envoy.get("/bad").unwrap();
    }
    let breaker = wait_for(&events, "breaker", |_| true);
    assert_eq!(
        (&breaker["upstream"], &breaker["to"]),
        (&json!("origin"), &json!("open"))
    );
    wait_for(&events, "alert", |alert| alert["name"] == "circuit_breaker_open");
    let purge = Request::new("POST", "/cache/purge").body(r#"{"all": true}"#);
    let answer = stack.rest().send(&purge).unwrap();
    assert!(answer.status < 300, "{}", answer.text());
    wait_for(&events, "purge", |_| true);
    let now = wait_for(&figures, "performance", |data| data["sample_count"] == 10);
    assert_eq!(now["circuit_breaker_state"], "open", "{now}");
    assert!(now["memory_usage_mb"].as_f64().unwrap() > 1.0);
}
