//! What is stored, found and made invalid.

use super::*;

#[test]
fn a_miss_is_stored_and_the_next_request_is_a_hit() {
    let mut envoy = Envoy::new("{}");
    let (status, cache_status) = forwarded(envoy.get(&[], "200", &FRESH, b"hello world"));
    assert_eq!(status, "200");
    assert!(
        cache_status.starts_with("api-optimizer; fwd=uri-miss") && cache_status.contains("stored"),
        "{cache_status}"
    );
    envoy.wait(3_000);
    envoy.vm.on_tick(&envoy.host, ROOT);
    envoy.host.host_calls.set(0);
    let hit = replied(envoy.get(&[], "500", &[], b"not asked"));
    assert_eq!(
        (hit.status, hit.body.as_slice(), hit.field("age")),
        (200, &b"hello world"[..], Some("3"))
    );
    assert!(
        hit.field("cache-status")
            .unwrap()
            .starts_with("api-optimizer; hit; ttl=57"),
        "{hit:?}"
    );
    // Request: both clocks, header map, cluster, route, the page with its version, slot, the reply. End: clock. One request in eight is asked for its
    // protocol besides, and has its time inside the filter taken by another look at the clock.
    assert!(
        envoy.host.host_calls.get() <= 10,
        "host calls of a hit: {}",
        envoy.host.host_calls.get()
    );
    // From now on this worker keeps it, and its page: that page's version alone is read, which moves nothing into the VM.
    replied(envoy.get(&[], "500", &[], b"not asked"));
    envoy.host.host_calls.set(0);
    let reads = envoy.host.map.reads();
    assert_eq!(replied(envoy.get(&[], "500", &[], b"not asked")).body, b"hello world");
    assert!(envoy.host.host_calls.get() <= 8, "{}", envoy.host.host_calls.get());
    assert_eq!(envoy.host.map.reads(), reads);
}

#[test]
fn a_forwarded_request_costs_few_host_calls() {
    let mut envoy = Envoy::new("{}");
    let no_store = [("cache-control", "no-store"), ("x-envoy-upstream-service-time", "3")];
    envoy.host.set_property("upstream\0local_address", b"10.0.0.1:40000");
    for _ in 0..300 {
        forwarded(envoy.get(&[], "200", &no_store, b"x"));
    }
    envoy.host.host_calls.set(0);
    let reads = envoy.host.map.reads();
    forwarded(envoy.get(&[], "200", &no_store, b"x"));
    // Request: clock, header map, version of the page, cluster, version of the breaker, one field. Response: clock, header map, one
    // field. End: clock. One request in eight has two more looks at the clock, and is asked for its protocol and local address.
    assert!(envoy.host.host_calls.get() <= 14, "{}", envoy.host.host_calls.get());
    assert_eq!(envoy.host.map.reads(), reads, "no value is moved");
}

#[test]
fn a_line_that_would_split_a_response_is_not_stored_with_it() {
    let mut envoy = Envoy::new("{}");
    let mut head = FRESH.to_vec();
    head.push(("x-note", "a\r\nset-cookie: b=c"));
    let (_, cache_status) = forwarded(envoy.get(&[], "200", &head, b"first"));
    assert!(cache_status.contains("stored"), "{cache_status}");
    for _ in 0..3 {
        let hit = replied(envoy.get(&[], "500", &[], b""));
        assert_eq!((hit.field("x-note"), hit.field("set-cookie")), (None, None));
    }
}

#[test]
fn what_only_looks_like_the_upstreams_is_not_stored() {
    let mut envoy = Envoy::new("{}");
    let mut head = FRESH.to_vec();
    head.push(("x-envoy-upstream-service-time", "3"));
    envoy.details = "direct_response";
    let (_, cache_status) = forwarded(envoy.get(&[], "200", &head, b"another filter's"));
    assert!(!cache_status.contains("stored"), "{cache_status}");
    envoy.details = "via_upstream";
    let (_, cache_status) = forwarded(envoy.get(&[], "200", &head, b"the upstream's"));
    assert!(cache_status.contains("stored"), "{cache_status}");
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"the upstream's");
}

#[test]
fn what_a_worker_keeps_is_not_served_after_it_was_replaced_or_purged() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"one"));
    for _ in 0..3 {
        assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"one");
    }
    let no_cache = [("cache-control", "no-cache")];
    forwarded(envoy.get(&no_cache, "200", &FRESH, b"two"));
    for _ in 0..3 {
        assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"two");
    }
    // Another worker discards it: only shared data tells.
    let mut post = GET.to_vec();
    post[0] = (":method", "POST");
    let mut other = Vm::new();
    other.on_start(&envoy.host);
    other.on_configure(&envoy.host, ROOT, br#"{"control_cluster":"control","settings":{}}"#);
    std::mem::swap(&mut envoy.vm, &mut other);
    forwarded(envoy.ask(&post, "200", &[], b"done"));
    std::mem::swap(&mut envoy.vm, &mut other);
    forwarded(envoy.get(&[], "200", &FRESH, b"three"));
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"three");
}

#[test]
fn what_may_not_be_stored_is_asked_for_each_time() {
    for response in [
        [("cache-control", "no-store")],
        [("cache-control", "private, max-age=60")],
        [("vary", "*")],
    ] {
        let mut envoy = Envoy::new("{}");
        for body in [&b"one"[..], b"two"] {
            let (_, cache_status) = forwarded(envoy.get(&[], "200", &response, body));
            assert!(
                cache_status.contains("fwd=uri-miss") && !cache_status.contains("stored"),
                "{cache_status}"
            );
        }
    }
}

#[test]
fn an_incomplete_body_is_never_stored() {
    let mut envoy = Envoy::new("{}");
    let mut response = FRESH.to_vec();
    response.push(("content-length", "999"));
    forwarded(envoy.ask(&GET, "200", &response, b"short"));
    forwarded(envoy.get(&[], "200", &FRESH, b"whole"));
}

#[test]
fn stale_is_validated_and_a_304_makes_it_fresh() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"body"));
    envoy.wait(61_000);
    let reply = replied(envoy.get(&[], "304", &[("etag", "\"v1\""), ("cache-control", "max-age=60")], b""));
    assert_eq!(
        envoy.host.header(MapKind::Request, "if-none-match").as_deref(),
        Some("\"v1\"")
    );
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"body"[..]));
    assert!(
        reply
            .field("cache-status")
            .unwrap()
            .contains("fwd=stale; fwd-status=304"),
        "{reply:?}"
    );
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"body");
}

#[test]
fn an_unsafe_method_invalidates() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"body"));
    let mut post = GET.to_vec();
    post[0] = (":method", "POST");
    let (_, cache_status) = forwarded(envoy.ask(&post, "200", &[], b"done"));
    assert!(cache_status.contains("fwd=method"), "{cache_status}");
    forwarded(envoy.get(&[], "200", &FRESH, b"new"));
}

#[test]
fn a_post_that_brings_its_own_representation_is_stored_for_get() {
    let mut envoy = Envoy::new("{}");
    let mut post = GET.to_vec();
    post[0] = (":method", "POST");
    let mut response = FRESH.to_vec();
    response.push(("content-location", "/a?b=1"));
    // Known by then: requests leave Envoy as they came.
    forwarded(envoy.get(&[], "200", &UNCACHED, b""));
    forwarded(envoy.ask(&post, "200", &response, b"posted"));
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"posted");
    // What it brings for one user is not what others get.
    for credential in ["cookie", "authorization", "x-api-key"] {
        let request: Vec<_> = post.iter().copied().chain([(credential, "alice")]).collect();
        forwarded(envoy.ask(&request, "200", &response, b"alice's"));
        forwarded(envoy.get(&[], "200", &UNCACHED, b""));
    }
    response[3] = ("content-location", "/elsewhere");
    forwarded(envoy.ask(&post, "200", &response, b"posted"));
    forwarded(envoy.get(&[], "200", &[], b""));
}

#[test]
fn two_vms_share_the_cache() {
    let mut first = Envoy::new("{}");
    forwarded(first.get(&[], "200", &FRESH, b"body"));
    let host = FakeHost {
        map: std::rc::Rc::clone(&first.host.map),
        ..FakeHost::default()
    };
    host.now_ms.set(first.host.now_ms.get());
    host.set_property("xds\0cluster_name", b"api");
    host.set_property("xds\0route_name", b"all");
    let mut second = Envoy {
        host,
        vm: Vm::new(),
        details: "via_upstream",
    };
    second.vm.on_start(&second.host);
    second.vm.on_configure(&second.host, ROOT, b"{}");
    assert_eq!(replied(second.get(&[], "500", &[], b"")).body, b"body");
}

#[test]
fn a_routes_limit_of_size_and_its_override_of_lifetimes_hold() {
    let mut envoy = Envoy::new(
        r#"{"routes":[{"name":"a","path_prefix":"/a","max_object_size":"1KiB","ttl_override":"5s","stale_if_error":"10s"}]}"#,
    );
    forwarded(envoy.get(&[], "200", &FRESH, &[b'x'; 1_025]));
    forwarded(envoy.get(&[], "200", &[], &[b'x'; 1_024]));
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body.len(), 1_024);
    envoy.wait(5_000);
    let stale = replied(envoy.get(&[], "503", &[], b""));
    assert!(
        stale.field("cache-status").unwrap().contains("stale-if-error"),
        "{stale:?}"
    );
    envoy.wait(11_000);
    assert_eq!(forwarded(envoy.get(&[], "503", &[], b"")).0, "503");
}

#[test]
fn other_workers_hear_of_an_invalidated_group_at_once() {
    let mut first = Envoy::new("{}");
    let grouped = [("cache-control", "max-age=60"), ("cache-groups", "\"prices\"")];
    forwarded(first.get(&[], "200", &grouped, b"body"));
    let host = FakeHost {
        map: std::rc::Rc::clone(&first.host.map),
        ..FakeHost::default()
    };
    host.now_ms.set(first.host.now_ms.get());
    host.set_property("xds\0cluster_name", b"api");
    host.set_property("xds\0route_name", b"all");
    host.random.set(99);
    let mut second = Envoy {
        host,
        vm: Vm::new(),
        details: "via_upstream",
    };
    second.vm.on_start(&second.host);
    second.vm.on_configure(&second.host, ROOT, b"{}");
    second.vm.on_tick(&second.host, ROOT);
    replied(second.get(&[], "500", &[], b""));

    let mut post = GET.to_vec();
    (post[0], post[3]) = ((":method", "POST"), (":path", "/change"));
    first.host.queued.borrow_mut().clear();
    forwarded(first.ask(&post, "200", &[("cache-group-invalidation", "\"prices\"")], b"done"));
    let told = first.host.queued.borrow();
    let invalidation_log = vec![crate::driver::shared::wake::Wake::InvalidationLog.byte()];
    assert!(
        told.values().flatten().any(|item| *item == invalidation_log),
        "{told:?}"
    );
}

#[test]
fn content_without_a_type_is_fetched_again_and_not_validated() {
    // In place of a 304 Envoy would give it a type.
    let mut envoy = Envoy::new("{}");
    let untyped = [("cache-control", "max-age=60"), ("etag", "\"v1\"")];
    forwarded(envoy.get(&[], "200", &untyped, b"body"));
    envoy.wait(61_000);
    let (status, _) = forwarded(envoy.get(&[], "200", &untyped, b"body"));
    assert_eq!(status, "200");
    assert_eq!(envoy.host.header(MapKind::Request, "if-none-match"), None);
    // The client's own condition goes as it came.
    envoy.wait(61_000);
    let (status, _) = forwarded(envoy.get(&[("if-none-match", "\"v0\"")], "304", &[], b""));
    assert_eq!(
        (
            status.as_str(),
            envoy.host.header(MapKind::Request, "if-none-match").as_deref()
        ),
        ("304", Some("\"v0\""))
    );
}

#[test]
fn stored_is_said_only_of_what_will_be() {
    let mut envoy = Envoy::new(r#"{"max_object_size": 2048}"#);
    let told = |seen: Seen| forwarded(seen).1;
    let long = [b'x'; 3_000];
    assert_eq!(
        told(envoy.get(&[], "200", &FRESH, &long)),
        "api-optimizer; fwd=uri-miss; detail=too-large"
    );
    // The end of a chunked body comes after the head: it may be too large, and it may be small enough.
    let mut chunked = FRESH.to_vec();
    chunked.push(("transfer-encoding", "chunked"));
    for body in [&long[..], b"short"] {
        assert_eq!(
            told(envoy.get(&[], "200", &chunked, body)),
            "api-optimizer; fwd=uri-miss; detail=length-unknown"
        );
    }
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"short");
    let mut other = GET.to_vec();
    other[3] = (":path", "/other");
    let known = told(envoy.ask(&other, "200", &FRESH, b"short"));
    assert_eq!(known, "api-optimizer; fwd=uri-miss; stored");
}
