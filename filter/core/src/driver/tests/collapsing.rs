//! Fetches that others follow.

use super::*;

#[test]
fn followers_get_the_leaders_response() {
    let mut envoy = Envoy::new("{}");
    let (leader, flow) = begin(&mut envoy, 1);
    assert_eq!(flow, Flow::Continue);
    let followers: Vec<_> = (2..10).map(|context| begin(&mut envoy, context)).collect();
    assert!(followers.iter().all(|(_, flow)| *flow == Flow::Pause), "they wait");
    finish(&mut envoy, &leader, &FRESH, b"body");
    let replies = envoy.host.replies.borrow();
    assert_eq!(replies.len(), 8);
    assert!(replies.iter().all(|reply| reply.body == b"body"));
    assert!(
        replies[0].field("cache-status").unwrap().contains("collapsed"),
        "{:?}",
        replies[0]
    );
    assert_eq!(envoy.host.resumed.get(), 0);
}

#[test]
fn a_crowd_is_released_a_few_in_each_callback() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let _followers: Vec<_> = (2..52).map(|context| begin(&mut envoy, context)).collect();
    finish(&mut envoy, &leader, &FRESH, b"body");
    let queue = envoy.vm.queue;
    let mut released = 0;
    for _ in 0..50 {
        let now = envoy.host.replies.borrow().len();
        assert!(now - released <= 16, "{} in one callback", now - released);
        released = now;
        envoy.vm.on_wake(&envoy.host, ROOT, queue);
    }
    assert_eq!(released, 50);
}

#[test]
fn followers_of_what_cannot_be_shared_go_on_their_own_and_nobody_waits_again() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let (_, flow) = begin(&mut envoy, 2);
    assert_eq!(flow, Flow::Pause);
    finish(&mut envoy, &leader, &[("cache-control", "no-store")], b"body");
    assert_eq!((envoy.host.resumed.get(), envoy.host.replies.borrow().len()), (1, 0));
    assert_eq!(begin(&mut envoy, 3).1, Flow::Continue, "known not to be shareable");
}

#[test]
fn a_leader_whose_client_goes_away_promotes_a_follower() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let (second, _) = begin(&mut envoy, 2);
    let (_, flow) = begin(&mut envoy, 3);
    assert_eq!(flow, Flow::Pause);
    envoy.host.set_property("response\0flags", &(1_u64 << 14).to_le_bytes());
    envoy.vm.on_end(&envoy.host, &leader);
    let queue = envoy.vm.queue;
    envoy.vm.on_wake(&envoy.host, ROOT, queue);
    assert_eq!(envoy.host.resumed.get(), 1, "one of them, the other still waits");
    finish(&mut envoy, &second, &FRESH, b"body");
    assert_eq!(envoy.host.replies.borrow().len(), 1);
}

/// Ends the fetch of a request with this answer of the upstream.
fn answered(envoy: &mut Envoy, shared: &SharedExchange, status: &str, response: &[(&str, &str)]) {
    let host = &envoy.host;
    let mut head = vec![(":status", status), ("content-length", "4")];
    head.extend_from_slice(response);
    host.set_response(&head);
    host.set_property("response\0code_details", b"via_upstream");
    envoy.vm.on_response_headers(host, &mut shared.borrow_mut(), 0, false);
    *host.body.borrow_mut() = b"body".to_vec();
    envoy.vm.on_response_body(host, &mut shared.borrow_mut(), 4, true);
    envoy.vm.on_end(host, shared);
    wake(envoy);
}

#[test]
fn a_silent_fetch_gets_one_of_its_followers_beside_it_and_the_first_answers_all() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let (gone, _) = begin(&mut envoy, 2);
    let (second, _) = begin(&mut envoy, 3);
    let _waits: Vec<_> = (4..8).map(|context| begin(&mut envoy, context)).collect();
    envoy.vm.on_end(&envoy.host, &gone);
    envoy.wait(5_001);
    for _ in 0..3 {
        envoy.vm.on_tick(&envoy.host, ROOT);
    }
    assert_eq!(envoy.host.resumed.get(), 1, "one alone, whose client is still there");
    answered(&mut envoy, &second, "200", &FRESH);
    assert_eq!((envoy.host.resumed.get(), envoy.host.replies.borrow().len()), (1, 4));
    answered(&mut envoy, &leader, "200", &FRESH);
    assert_eq!(envoy.host.replies.borrow().len(), 4, "nobody is answered twice");
}

#[test]
fn what_needs_validation_answers_those_who_asked_before_it_came_and_nobody_else() {
    for control in ["no-cache", "max-age=0, must-revalidate", "", "max-age=60"] {
        let mut envoy = Envoy::new("{}");
        let (leader, _) = begin(&mut envoy, 1);
        let _followers: Vec<_> = (2..12).map(|context| begin(&mut envoy, context)).collect();
        envoy.wait(500);
        let age = if control == "max-age=60" { "60" } else { "0" };
        let response = [("etag", "\"e\""), ("cache-control", control), ("age", age)];
        answered(&mut envoy, &leader, "200", &response);
        assert_eq!(
            (envoy.host.resumed.get(), envoy.host.replies.borrow().len()),
            (0, 10),
            "{control}: all at once by one fetch"
        );
        let (_, flow) = begin(&mut envoy, 20);
        assert_eq!(flow, Flow::Continue, "{control}: whoever comes later validates");
        assert_eq!(envoy.host.replies.borrow().len(), 10);
    }
}

#[test]
fn followers_with_other_selecting_fields_go_at_once_and_the_next_crowd_does_not_wait() {
    let mut envoy = Envoy::new("{}");
    let tenant = |envoy: &mut Envoy, context: u32, path: &str, tenant: &str| {
        envoy
            .host
            .set_request(&[GET[0], GET[1], GET[2], (":path", path), ("x-tenant", tenant)]);
        let shared = SharedExchange::default();
        let flow = envoy.vm.on_request_headers(&envoy.host, &shared, context);
        (shared, flow)
    };
    let (leader, _) = tenant(&mut envoy, 1, "/one", "t0");
    let waiting: Vec<_> = (2..10)
        .map(|context| tenant(&mut envoy, context, "/one", &format!("t{context}")))
        .collect();
    assert!(waiting.iter().all(|(_, flow)| *flow == Flow::Pause));
    let varies = [("cache-control", "max-age=60"), ("vary", "x-tenant")];
    answered(&mut envoy, &leader, "200", &varies);
    assert_eq!(envoy.host.resumed.get(), 8, "none waits for another again");
    let cold: Vec<_> = (20..28)
        .map(|context| tenant(&mut envoy, context, "/two", &format!("t{context}")))
        .collect();
    assert!(
        cold.iter().all(|(_, flow)| *flow == Flow::Continue),
        "responses of this route vary by tenant"
    );
    let (_, flow) = tenant(&mut envoy, 30, "/two", "t20");
    assert_eq!(flow, Flow::Pause, "the same tenant follows");
}

#[test]
fn a_fetch_that_fails_is_tried_once_more_and_that_answers_all() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let (second, _) = begin(&mut envoy, 2);
    let _others: Vec<_> = (3..53).map(|context| begin(&mut envoy, context)).collect();
    answered(&mut envoy, &leader, "500", &[]);
    assert_eq!(envoy.host.resumed.get(), 1, "one tries again");
    answered(&mut envoy, &second, "502", &[]);
    assert_eq!(envoy.host.resumed.get(), 1, "nobody tries a third time");
    let replies = envoy.host.replies.borrow();
    assert_eq!(replies.len(), 50);
    assert!(replies.iter().all(|reply| reply.status == 502));
    assert!(
        replies[0].field("cache-status").unwrap().contains("collapsed-failure"),
        "{:?}",
        replies[0]
    );
}

#[test]
fn something_stale_answers_the_followers_of_a_failure_at_once() {
    let mut envoy = Envoy::new("{}");
    let stale = [("cache-control", "max-age=1, stale-if-error=600"), ("etag", "\"e\"")];
    envoy.get(&[], "200", &stale, b"body");
    envoy.wait(2_000);
    let (leader, _) = begin(&mut envoy, 1);
    let _followers: Vec<_> = (2..12).map(|context| begin(&mut envoy, context)).collect();
    let before = envoy.host.replies.borrow().len();
    answered(&mut envoy, &leader, "500", &[]);
    assert_eq!(envoy.host.resumed.get(), 0, "nobody asks again");
    let replies = envoy.host.replies.borrow();
    assert_eq!(replies.len() - before, 11, "the leader and all who waited");
    assert!(replies[before..].iter().all(|reply| reply.body == b"body"));
}

#[test]
fn a_fetch_that_ends_without_a_response_of_its_own_lets_all_go() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    let _followers: Vec<_> = (2..12).map(|context| begin(&mut envoy, context)).collect();
    envoy.host.set_property("response\0code_details", b"internal_redirect");
    envoy.vm.on_end(&envoy.host, &leader);
    wake(&mut envoy);
    assert_eq!(envoy.host.resumed.get(), 10);
    assert_eq!(begin(&mut envoy, 20).1, Flow::Continue, "known not to be worth it");
}

#[test]
fn one_clients_directives_change_nothing_for_others() {
    for own in ["no-store", "no-cache", "max-age=0"] {
        let mut envoy = Envoy::new("{}");
        let request = [GET[0], GET[1], GET[2], GET[3], ("cache-control", own)];
        envoy.host.set_request(&request);
        let alone = SharedExchange::default();
        envoy.vm.on_request_headers(&envoy.host, &alone, 1);
        let (_leader, flow) = begin(&mut envoy, 2);
        assert_eq!(flow, Flow::Continue, "{own}: it follows nobody who asks for himself");
        assert_eq!(begin(&mut envoy, 3).1, Flow::Pause);
        // At the end of its stream Envoy shows how it left.
        envoy.host.set_request(&request);
        answered(&mut envoy, &alone, "200", &[("cache-control", "no-store")]);
        assert_eq!(envoy.host.resumed.get(), 0, "{own}: its end is nobody's business");
        assert_eq!(begin(&mut envoy, 4).1, Flow::Pause);
    }
}

#[test]
fn what_becomes_shareable_is_collapsed_again() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    answered(&mut envoy, &leader, "200", &[("cache-control", "no-store")]);
    let (alone, flow) = begin(&mut envoy, 2);
    let (also, _) = begin(&mut envoy, 3);
    assert_eq!(flow, Flow::Continue);
    answered(
        &mut envoy,
        &alone,
        "200",
        &[("cache-control", "max-age=1"), ("etag", "\"e\"")],
    );
    answered(
        &mut envoy,
        &also,
        "200",
        &[("cache-control", "max-age=1"), ("etag", "\"e\"")],
    );
    envoy.wait(1_500);
    begin(&mut envoy, 4);
    assert_eq!(begin(&mut envoy, 5).1, Flow::Pause);
}

#[test]
fn nobody_waits_on_a_route_where_waiting_was_in_vain_until_something_is_stored() {
    let mut envoy = Envoy::new("{}");
    let ask = |envoy: &mut Envoy, context: u32, path: &str| {
        envoy.host.set_request(&[GET[0], GET[1], GET[2], (":path", path)]);
        let shared = SharedExchange::default();
        let flow = envoy.vm.on_request_headers(&envoy.host, &shared, context);
        (shared, flow)
    };
    let private = [("cache-control", "private")];
    // Alone: that nobody could have followed it tells nothing of those who would.
    let (alone, _) = ask(&mut envoy, 1, "/one");
    answered(&mut envoy, &alone, "200", &private);
    let (leader, _) = ask(&mut envoy, 2, "/two");
    assert_eq!(ask(&mut envoy, 3, "/two").1, Flow::Pause);
    answered(&mut envoy, &leader, "200", &private);
    let _first = ask(&mut envoy, 4, "/three");
    let (second, flow) = ask(&mut envoy, 5, "/three");
    assert_eq!(flow, Flow::Continue, "it would wait in vain");
    // One response to store, and a crowd costs one fetch again.
    answered(&mut envoy, &second, "200", &FRESH);
    let _leader = ask(&mut envoy, 6, "/four");
    assert_eq!(ask(&mut envoy, 7, "/four").1, Flow::Pause);
}

#[test]
fn what_varies_is_known_though_nothing_is_stored() {
    let mut envoy = Envoy::new("{}");
    let (leader, _) = begin(&mut envoy, 1);
    answered(
        &mut envoy,
        &leader,
        "200",
        &[("cache-control", "max-age=0"), ("vary", "x-tenant")],
    );
    for tenant in ["a", "b"] {
        envoy
            .host
            .set_request(&[GET[0], GET[1], GET[2], (":path", "/other"), ("x-tenant", tenant)]);
        let shared = SharedExchange::default();
        let flow = envoy.vm.on_request_headers(&envoy.host, &shared, 2);
        assert_eq!(flow, Flow::Continue, "{tenant}");
    }
}
