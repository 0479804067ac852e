//! The cache is one per Envoy, not one per worker, and what it serves is what the origin said.

use e2e::client::{Request, Response};
use e2e::origin::{Gate, Origin, Reply};
use e2e::stack::{Plan, Stack};
use serde_json::json;

fn product() -> Reply {
    Reply::ok("a product")
        .max_age(60)
        .header("etag", "\"v1\"")
        .header("content-type", "application/json")
}

fn assert_serves(hit: &Response, miss: &Response) {
    assert!(hit.is_hit(), "{}", hit.cache_status());
    assert_eq!((hit.status, hit.text().as_str()), (200, "a product"));
    assert_eq!(hit.number("content-length"), Some(9));
    assert!(hit.number("age").is_some_and(|age| age < 60), "{:?}", hit.header("age"));
    for same in ["date", "etag", "content-type", "cache-control"] {
        assert_eq!(hit.header(same), miss.header(same), "{same}");
    }
}

#[test]
fn a_miss_is_a_hit_on_every_other_worker_without_a_second_fetch() {
    let stack = Stack::start(&Plan::default(), Origin::start(|_| product()).unwrap()).unwrap();
    let mut workers = stack.envoy.connection_per_worker().unwrap();
    let request = Request::get("/products/1");

    let miss = workers[0].exchange(&request).unwrap();
    assert_eq!(miss.status, 200);
    assert!(
        miss.cache_status().starts_with("fwd=uri-miss; stored"),
        "{:?}",
        miss.header("cache-status")
    );
    for connection in workers.iter_mut().rev() {
        assert_serves(&connection.exchange(&request).unwrap(), &miss);
    }
    assert_eq!(stack.origin.total(), 1);
}

#[test]
fn a_hit_answers_head_conditions_and_ranges() {
    let stack = Stack::start(&Plan::default(), Origin::start(|_| product()).unwrap()).unwrap();
    stack.envoy.get("/p").unwrap();

    let head = stack.envoy.fetch(&Request::new("HEAD", "/p")).unwrap();
    assert_eq!(
        (head.status, head.number("content-length"), head.is_hit()),
        (200, Some(9), true)
    );
    let unchanged = stack
        .envoy
        .fetch(&Request::get("/p").header("if-none-match", "W/\"v1\""))
        .unwrap();
    assert_eq!(
        (unchanged.status, unchanged.body.len(), unchanged.is_hit()),
        (304, 0, true)
    );
    let part = stack
        .envoy
        .fetch(&Request::get("/p").header("range", "bytes=2-3"))
        .unwrap();
    assert_eq!((part.status, part.text().as_str()), (206, "pr"));
    assert_eq!(part.header("content-range").as_deref(), Some("bytes 2-3/9"));
    assert_eq!(stack.origin.total(), 1);
}

#[test]
fn a_filter_without_a_control_plane_works_on_its_plugin_configuration() {
    let plan = Plan {
        control_plane: false,
        settings: json!({"default_ttl": "60s"}),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, Origin::start(|_| Reply::ok("silent")).unwrap()).unwrap();
    assert!(stack.envoy.get("/x").unwrap().cache_status().contains("stored"));
    assert!(stack.envoy.get("/x").unwrap().is_hit());
}

#[test]
fn an_unsafe_request_makes_the_cache_forget() {
    let origin = Origin::start(|request| {
        if request.method == "GET" {
            product()
        } else {
            Reply::new(204)
        }
    })
    .unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    stack.envoy.get("/p").unwrap();
    assert!(stack.envoy.get("/p").unwrap().is_hit());
    assert_eq!(
        stack
            .envoy
            .fetch(&Request::new("POST", "/p").body("{}"))
            .unwrap()
            .status,
        204
    );
    assert!(!stack.envoy.get("/p").unwrap().is_hit());
    assert_eq!(stack.origin.count("/p"), 3);
}

#[test]
fn many_clients_of_one_missing_key_cost_one_fetch() {
    const CLIENTS: usize = 40;
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| product().behind(&held)).unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| stack.envoy.get("/herd").unwrap()))
            .collect();
        stack.envoy.wait_for_requests(CLIENTS).unwrap();
        gate.open();
        for client in clients {
            let answer = client.join().unwrap();
            assert_eq!((answer.status, answer.text().as_str()), (200, "a product"));
        }
    });
    assert_eq!(stack.origin.count("/herd"), 1);
}
