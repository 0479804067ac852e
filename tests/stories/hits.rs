//! The cache is one per Envoy, not one per worker.

use e2e::client::Request;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};

#[test]
fn a_miss_is_a_hit_on_every_other_worker_without_a_second_fetch() {
    let origin = Origin::start(|_| Reply::ok("a product").max_age(60).header("etag", "\"v1\"")).unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    let mut workers = stack.envoy.connection_per_worker().unwrap();
    let request = Request::get("/products/1");

    let miss = workers[0].exchange(&request).unwrap();
    assert_eq!(miss.status, 200);
    assert!(miss.cache_status().starts_with("fwd=uri-miss"), "{:?}", miss.fields);

    for connection in workers.iter_mut().rev() {
        let hit = connection.exchange(&request).unwrap();
        assert!(hit.is_hit(), "{}", hit.cache_status());
        assert_eq!((hit.status, hit.text().as_str()), (200, "a product"));
        assert_eq!(hit.number("content-length"), Some(9));
        assert!(hit.number("age").is_some_and(|age| age < 60), "{:?}", hit.header("age"));
        assert_eq!(hit.header("date"), miss.header("date"));
        assert_eq!(hit.header("etag").as_deref(), Some("\"v1\""));
    }
    assert_eq!(stack.origin.total(), 1);
}
