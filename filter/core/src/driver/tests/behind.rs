//! What happens to requests behind the filter, and what may then be shared.

use super::*;

const RBAC: &str = "rbac_access_denied_matched_policy[none]";

fn path(path: &'static str, more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let head = [GET[0], GET[1], GET[2], (":path", path)];
    head.iter().chain(more).copied().collect()
}

fn with(
    request: &[(&'static str, &'static str)],
    given: &[(&'static str, &'static str)],
) -> Vec<(&'static str, &'static str)> {
    let named = |name: &str| given.iter().any(|line| line.0 == name);
    let kept = request.iter().filter(|line| !named(line.0));
    kept.chain(given).copied().collect()
}

/// A stream whose content has come, and that is not over yet.
fn answered(envoy: &mut Envoy, request: &[(&str, &str)], response: &[(&str, &str)], body: &[u8]) -> SharedExchange {
    let (host, vm) = (&envoy.host, &mut envoy.vm);
    host.set_request(request);
    let shared = SharedExchange::default();
    assert_eq!(vm.on_request_headers(host, &shared, 9), Flow::Continue, "{request:?}");
    let length = body.len().to_string();
    let mut head = vec![(":status", "200"), ("content-length", length.as_str())];
    head.extend_from_slice(response);
    host.set_response(&head);
    host.set_property("response\0code_details", b"via_upstream");
    vm.on_response_headers(host, &mut shared.borrow_mut(), 0, false);
    *host.body.borrow_mut() = body.to_vec();
    vm.on_response_body(host, &mut shared.borrow_mut(), body.len(), true);
    shared
}

/// A request that leaves as `left` says and is answered with this.
fn fetched(envoy: &mut Envoy, came: &[(&str, &str)], left: &[(&str, &str)], response: &[(&str, &str)], body: &[u8]) {
    let shared = answered(envoy, came, response, body);
    envoy.host.set_request(left);
    envoy.vm.on_end(&envoy.host, &shared);
}

const BY_CLIENT: [(&str, &str); 2] = [("cache-control", "max-age=60"), ("vary", "X-Client")];

#[test]
fn a_response_selected_by_what_a_request_is_given_behind_the_filter_is_nobody_elses() {
    let mut envoy = Envoy::new("{}");
    // Nothing is known of the route; then it is known to change requests; then another field is given besides.
    for (asked, given) in [
        ("/a", &[("x-client", "1")][..]),
        ("/b", &[("x-client", "2")]),
        ("/c", &[("x-other", "1"), ("x-client", "3")]),
    ] {
        let request = path(asked, &[("x-client", "0")]);
        fetched(&mut envoy, &request, &with(&request, given), &BY_CLIENT, b"first's");
        forwarded(envoy.ask(&request, "200", &[], b""));
    }
    // Which codings a request is given, and what is given but selects nothing, is the same to all.
    let request = path("/d", &[]);
    let left = with(&request, &[("accept-encoding", "gzip"), ("x-client", "1")]);
    let response = [("cache-control", "max-age=60"), ("vary", "accept-encoding, accept")];
    fetched(&mut envoy, &request, &left, &response, b"all's");
    assert_eq!(replied(envoy.ask(&request, "500", &[], b"")).body, b"all's");
}

#[test]
fn what_is_given_to_some_requests_only_selects_for_none() {
    let mut envoy = Envoy::new("{}");
    // Stored for a request that was given nothing, before any other was seen.
    forwarded(envoy.ask(&path("/a", &[]), "200", &BY_CLIENT, b"nobody's"));
    let request = path("/b", &[("x-real", "1")]);
    fetched(
        &mut envoy,
        &request,
        &with(&request, &[("x-client", "1")]),
        &BY_CLIENT,
        b"one's",
    );
    for (asked, more) in [("/a", &[("x-real", "1")][..]), ("/a", &[]), ("/b", &[]), ("/b", &[])] {
        let (_, cache_status) = forwarded(envoy.ask(&path(asked, more), "200", &BY_CLIENT, b"own"));
        assert!(cache_status.contains("detail=given-behind"), "{cache_status}");
    }
    // As long as that is seen it goes on, and after it was not for long it ends.
    let renew = |envoy: &mut Envoy| {
        envoy.wait(400_000);
        fetched(
            envoy,
            &request,
            &with(&request, &[("x-client", "1")]),
            &BY_CLIENT,
            b"one's",
        );
    };
    renew(&mut envoy);
    renew(&mut envoy);
    forwarded(envoy.ask(&path("/b", &[]), "200", &BY_CLIENT, b"own"));
    envoy.wait(601_000);
    forwarded(envoy.ask(&path("/c", &[]), "200", &BY_CLIENT, b"all's"));
    assert_eq!(replied(envoy.ask(&path("/c", &[]), "500", &[], b"")).body, b"all's");
}

#[test]
fn a_route_that_begins_to_give_fields_takes_back_what_was_stored_before_it_was_seen() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"as it came"));
    let request = path("/varied", &[]);
    fetched(
        &mut envoy,
        &request,
        &with(&request, &[("x-client", "1")]),
        &BY_CLIENT,
        b"first's",
    );
    forwarded(envoy.ask(&request, "200", &[], b""));
}

#[test]
fn who_follows_a_fetch_that_may_not_be_shared_goes_alone() {
    // Of the route nothing is known, or that other requests leave as they came.
    for known in [false, true] {
        let mut envoy = Envoy::new("{}");
        if known {
            forwarded(envoy.ask(&path("/known", &[]), "200", &FRESH, b"as it came"));
        }
        goes_alone(&mut envoy);
    }
}

fn goes_alone(envoy: &mut Envoy) {
    let (leader, _) = begin(envoy, 1);
    let (follower, flow) = begin(envoy, 2);
    assert_eq!(flow, Flow::Pause);
    let (host, vm) = (&envoy.host, &mut envoy.vm);
    let head = [(":status", "200"), ("content-length", "4"), BY_CLIENT[0], BY_CLIENT[1]];
    host.set_response(&head);
    host.set_property("response\0code_details", b"via_upstream");
    vm.on_response_headers(host, &mut leader.borrow_mut(), 0, false);
    *host.body.borrow_mut() = b"body".to_vec();
    vm.on_response_body(host, &mut leader.borrow_mut(), 4, true);
    wake(envoy);
    assert!(
        envoy.host.replies.borrow().is_empty(),
        "before it is known how the request left"
    );
    envoy.host.set_request(&with(&GET, &[("x-client", "1")]));
    envoy.vm.on_end(&envoy.host, &leader);
    wake(envoy);
    assert!(envoy.host.replies.borrow().is_empty());
    assert_eq!(envoy.host.resumed.get(), 1, "it is sent on");
    envoy.vm.on_end(&envoy.host, &follower);
}

#[test]
fn a_host_that_a_field_of_the_request_names_is_not_taken_for_the_routes() {
    for (settings, shared) in [
        ("{}", false),
        (r#"{"routes":[{"name":"all","key_headers":["x-target"]}]}"#, true),
    ] {
        let mut envoy = Envoy::new(settings);
        for asked in ["/a", "/b"] {
            let request = path(asked, &[("x-target", "one.internal")]);
            let left = with(&request, &[(":authority", "one.internal")]);
            fetched(&mut envoy, &request, &left, &FRESH, b"one");
            assert_eq!(
                matches!(envoy.ask(&request, "200", &UNCACHED, b""), Seen::Replied(_)),
                shared,
                "{settings} {asked}"
            );
            forwarded(envoy.ask(&path(asked, &[("x-target", "two.internal")]), "200", &UNCACHED, b"two"));
        }
        let request = path("/literal", &[("x-target", "one.internal")]);
        fetched(
            &mut envoy,
            &request,
            &with(&request, &[(":authority", "inner")]),
            &FRESH,
            b"all's",
        );
        replied(envoy.ask(&request, "500", &[], b""));
    }
}

#[test]
fn a_route_chosen_anew_behind_the_filter_ends_the_use_of_the_cache_there() {
    for property in ["xds\0cluster_name", "xds\0route_name"] {
        let mut envoy = Envoy::new("{}");
        forwarded(envoy.ask(&path("/known", &[]), "200", &FRESH, b"known"));
        let request = path("/x", &[("x-beta", "1")]);
        let shared = answered(&mut envoy, &request, &FRESH, b"beta");
        let routed = envoy.host.properties.borrow()[property.as_bytes()].clone();
        envoy.host.set_property(property, b"beta");
        envoy.vm.on_end(&envoy.host, &shared);
        envoy.host.set_property(property, &routed);
        for asked in ["/x", "/known"] {
            let (_, cache_status) = forwarded(envoy.ask(&path(asked, &[]), "200", &FRESH, b"plain"));
            assert!(
                cache_status.contains("fwd=bypass; detail=routed-anew"),
                "{cache_status}"
            );
        }
        envoy.host.set_property("xds\0route_name", b"other");
        forwarded(envoy.get(&[], "200", &FRESH, b"other"));
        assert_eq!(
            replied(envoy.get(&[], "500", &[], b"")).body,
            b"other",
            "other routes have their cache"
        );
    }
}

#[test]
fn a_guard_behind_the_filter_ends_the_use_of_the_cache_there() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[("x-role", "admin")], "200", &FRESH, b"secret"));
    envoy.details = RBAC;
    forwarded(envoy.ask(&path("/other", &[]), "403", &[], b"denied"));
    envoy.details = "via_upstream";
    for _ in 0..2 {
        let (_, cache_status) = forwarded(envoy.get(&[], "403", &[], b"denied"));
        assert!(
            cache_status.contains("fwd=bypass; detail=guard-behind"),
            "{cache_status}"
        );
    }
    let told = |line: &&String| line.contains("put it in front");
    assert_eq!(envoy.host.log.borrow().iter().filter(told).count(), 1);
}

#[test]
fn metadata_or_state_that_chooses_endpoints_ends_the_use_of_the_cache_there() {
    for chosen_by in [
        "metadata\0filter_metadata\0envoy.lb",
        "filter_state\0envoy.upstream.dynamic_host",
    ] {
        for (settings, used) in [
            ("{}", false),
            (r#"{"routes":[{"name":"all","key_headers":["x-version"]}]}"#, true),
        ] {
            let mut envoy = Envoy::new(settings);
            envoy.host.set_property(chosen_by, b"version");
            forwarded(envoy.ask(&path("/a", &[]), "200", &FRESH, b"two"));
            envoy.host.properties.borrow_mut().remove(chosen_by.as_bytes());
            let answered = matches!(envoy.ask(&path("/a", &[]), "200", &FRESH, b"one"), Seen::Replied(_));
            assert_eq!(answered, used, "{chosen_by} {settings}");
        }
    }
}

#[test]
fn that_a_route_leaves_requests_as_they_came_is_looked_at_again() {
    let mut envoy = Envoy::new("{}");
    let response = [("cache-control", "max-age=10, stale-while-revalidate=600")];
    forwarded(envoy.get(&[], "200", &response, b"old"));
    envoy.wait(20_000);
    replied(envoy.get(&[], "500", &[], b""));
    wake(&mut envoy);
    assert_eq!(envoy.host.calls.borrow().len(), 1, "a request of our own");
    envoy
        .host
        .set_call_response(&[(":status", "200"), response[0], ("content-length", "3")]);
    *envoy.host.body.borrow_mut() = b"own".to_vec();
    envoy.vm.on_call_response(&envoy.host, 1, 3, 3);
    envoy.wait(20_000);
    // The route's meaning may have changed by now.
    let rewritten = with(&GET, &[(":path", "/v2")]);
    fetched(&mut envoy, &GET, &rewritten, &response, b"new");
    envoy.wait(20_000);
    assert!(
        matches!(begin(&mut envoy, 3), (_, Flow::Continue)),
        "a client renews it from now on"
    );
    assert_eq!(envoy.host.calls.borrow().len(), 1);
}
