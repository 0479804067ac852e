//! Settings, telemetry, purges and questions of the control plane.

use super::*;

#[test]
fn a_vm_that_has_not_ticked_yet_serves_on_the_settings_that_were_acknowledged() {
    let mut envoy = Envoy::new("{}");
    // Another VM of this Envoy has taken a push over, and acknowledged it for all it knew of.
    let push = SettingsPush {
        revision: 5,
        document: br#"{"default_ttl":"60s"}"#.to_vec(),
        epoch: "e".to_owned(),
    };
    let published = crate::driver::shared::settings_cell::publish(&envoy.host, &push);
    assert_eq!(published, crate::driver::shared::settings_cell::Published::Done);
    let Seen::Forwarded { cache_status, .. } = envoy.get(&[], "200", &[], b"x") else {
        panic!()
    };
    assert!(cache_status.contains("stored"), "{cache_status}");
}

#[test]
fn settings_are_pushed_adopted_and_acknowledged_while_the_store_stays_warm() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"body"));
    envoy.vm.on_tick(&envoy.host, ROOT);
    assert!(matches!(envoy.said().first(), Some(FromFilter::Hello(_))));
    envoy.control(ToFilter::Welcome(Welcome::default()));
    let push = |revision, document: &str| {
        ToFilter::Settings(SettingsPush {
            revision,
            document: document.as_bytes().to_vec(),
            epoch: "e".to_owned(),
        })
    };
    envoy.control(push(2, r#"{"default_ttl":"15m"}"#));
    let said = envoy.said();
    assert!(
        matches!(&said[..], [FromFilter::SettingsAck(ack)] if ack.accepted && ack.revision == 2),
        "{said:?}"
    );
    assert_eq!(envoy.vm.policies.route(b"x", b"/").freshness.default_ttl_ms, 900_000);
    envoy.control(push(3, r#"{"default_ttl":"soon","cache_size":0}"#));
    let said = envoy.said();
    assert!(
        matches!(&said[..], [FromFilter::SettingsAck(ack)] if !ack.accepted && ack.violations.len() == 2),
        "{said:?}"
    );
    envoy.control(push(1, r#"{"default_ttl":"1s"}"#));
    assert_eq!(
        envoy.vm.in_force.revision, 2,
        "older ones and refused ones change nothing"
    );
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).body, b"body");
}

#[test]
fn telemetry_is_sent_until_acknowledged_and_counts_every_request() {
    let mut envoy = Envoy::new("{}");
    envoy.vm.on_tick(&envoy.host, ROOT);
    forwarded(envoy.get(&[], "200", &FRESH, b"body"));
    replied(envoy.get(&[], "500", &[], b""));
    envoy.wait(1_000);
    envoy.vm.on_tick(&envoy.host, ROOT);
    assert!(
        !envoy.said().iter().any(|body| matches!(body, FromFilter::Telemetry(_))),
        "nobody listens yet"
    );
    envoy.control(ToFilter::Welcome(Welcome::default()));
    envoy.wait(1_000);
    envoy.vm.on_tick(&envoy.host, ROOT);
    let reports = |envoy: &Envoy| {
        let said = envoy.said().into_iter();
        said.filter_map(|body| match body {
            FromFilter::Telemetry(report) => Some(report),
            _ => None,
        })
        .collect::<Vec<_>>()
    };
    let first = reports(&envoy).remove(0);
    let requests: u64 = first
        .delta
        .as_ref()
        .unwrap()
        .requests
        .iter()
        .map(|series| series.count)
        .sum();
    assert_eq!(requests, 2);
    assert_eq!(
        optimizer_proto::telemetry::check_report(&first, envoy.host.now_ms.get()),
        Ok(())
    );
    envoy.wait(1_000);
    envoy.vm.on_tick(&envoy.host, ROOT);
    assert!(reports(&envoy).is_empty(), "one report under way at a time");
    envoy.control(ToFilter::TelemetryAck(TelemetryAck {
        sequence: first.sequence,
    }));
    envoy.wait(1_000);
    envoy.vm.on_tick(&envoy.host, ROOT);
    assert_eq!(reports(&envoy)[0].sequence, first.sequence + 1);
}

#[test]
fn purge_requests_are_taken_from_listed_addresses_only() {
    let mut envoy = Envoy::new(r#"{"purge_sources":["10.0.0.0/8"]}"#);
    forwarded(envoy.get(&[], "200", &FRESH, b"content"));
    let mut purge = GET.to_vec();
    purge[0] = (":method", "PURGE");
    envoy.host.set_property("source\0address", b"192.0.2.1:999");
    assert_eq!(replied(envoy.ask(&purge, "200", &[], b"")).status, 403);
    assert_eq!(replied(envoy.get(&[], "500", &[], b"")).status, 200, "still stored");
    envoy.host.set_property("source\0address", b"10.9.8.7:999");
    assert_eq!(replied(envoy.ask(&purge, "200", &[], b"")).status, 200);
    forwarded(envoy.get(&[], "200", &[], b""));
    let mut closed = Envoy::new("{}");
    assert_eq!(
        forwarded(closed.ask(&purge, "405", &[], b"")).0,
        "405",
        "goes to the origin"
    );
}

#[test]
fn a_purge_by_tags_reaches_each_tag_or_none() {
    let mut envoy = Envoy::new(r#"{"purge_sources":["10.0.0.0/8"]}"#);
    envoy.host.set_property("source\0address", b"10.9.8.7:999");
    let tagged = [("cache-control", "max-age=60"), ("surrogate-key", "z63 b")];
    let many = |count: usize| (0..count).map(|tag| format!("z{tag}")).collect::<Vec<_>>().join(" ");
    for (tags, status) in [
        ("a b".to_owned(), 200),
        ("b,a".to_owned(), 200),
        ("a, b".to_owned(), 200),
        ("b\ta".to_owned(), 200),
        (many(64), 200),
        (many(65), 400),
        (" , ".to_owned(), 400),
        (String::new(), 400),
    ] {
        forwarded(envoy.get(&[("cache-control", "no-cache")], "200", &tagged, b"content"));
        let mut purge = GET.to_vec();
        purge[0] = (":method", "PURGE");
        purge.push(("surrogate-key", &tags));
        let answer = replied(envoy.ask(&purge, "200", &[], b""));
        assert_eq!(answer.status, status, "{tags:?}");
        let matched = (status == 200).then_some("1");
        assert_eq!(answer.field("x-purge-matched"), matched, "{tags:?}");
        let gone = matches!(envoy.get(&[], "404", &[], b""), Seen::Forwarded { .. });
        assert_eq!(gone, status == 200, "{tags:?}");
        envoy.wait(1_000);
    }
}

#[test]
fn a_purge_names_tags_in_any_field_that_carries_them() {
    let mut envoy = Envoy::new(r#"{"purge_sources":["10.0.0.0/8"]}"#);
    envoy.host.set_property("source\0address", b"10.9.8.7:999");
    let tagged = [
        ("cache-control", "max-age=60"),
        ("xkey", "x"),
        ("cache-groups", r#""g""#),
    ];
    for (path, field, tags, status) in [
        ("/other", "surrogate-key", "x", 200),
        ("/other", "xkey", "a x", 200),
        ("/other", "cache-tag", "a, x", 200),
        ("/other", "edge-cache-tag", "x", 200),
        ("/other", "cache-groups", r#""a", "g""#, 200),
        ("/other", "cache-groups", "g", 400),
        ("/other", "xkey", "", 400),
        ("/*", "accept", "*/*", 400),
        ("/a?*", "accept", "*/*", 400),
    ] {
        forwarded(envoy.get(&[("cache-control", "no-cache")], "200", &tagged, b"content"));
        let mut purge = GET.to_vec();
        purge[0] = (":method", "PURGE");
        let at = purge.iter().position(|(name, _)| *name == ":path").unwrap();
        purge[at].1 = path;
        purge.push((field, tags));
        let answer = replied(envoy.ask(&purge, "200", &[], b""));
        assert_eq!(answer.status, status, "{path} {field}: {tags}");
        let gone = matches!(envoy.get(&[], "404", &[], b""), Seen::Forwarded { .. });
        assert_eq!(gone, status == 200, "{path} {field}: {tags}");
        envoy.wait(1_000);
    }
}

#[test]
fn who_stood_still_asks_the_origin_until_it_has_caught_up() {
    let mut envoy = Envoy::new("{}");
    envoy.vm.on_tick(&envoy.host, ROOT);
    envoy.control(ToFilter::Welcome(Welcome::default()));
    envoy.control(ToFilter::CaughtUp(optimizer_proto::v1::CaughtUp {}));
    forwarded(envoy.get(&[], "200", &FRESH, b"content"));
    envoy.wait(4_000);
    replied(envoy.get(&[], "500", &[], b""));
    envoy.vm.on_tick(&envoy.host, ROOT);
    envoy.wait(30_000);
    forwarded(envoy.get(&[], "200", &FRESH, b"content"));
    // What the old stream still brings is not listened to: the stream has been given up.
    envoy.control(ToFilter::CaughtUp(optimizer_proto::v1::CaughtUp {}));
    forwarded(envoy.get(&[], "200", &FRESH, b"content"));
    envoy.vm.on_tick(&envoy.host, ROOT);
    envoy.wait(100);
    envoy.control(ToFilter::Welcome(Welcome::default()));
    forwarded(envoy.get(&[], "200", &FRESH, b"content"));
    envoy.control(ToFilter::CaughtUp(optimizer_proto::v1::CaughtUp {}));
    replied(envoy.get(&[], "500", &[], b""));
}

#[test]
fn who_is_vouched_for_knows_of_the_purge_whose_wake_up_is_still_behind() {
    let mut envoy = Envoy::new(r#"{"default_ttl":"1h"}"#);
    envoy.vm.on_tick(&envoy.host, ROOT);
    forwarded(envoy.get(&[], "200", &[("cache-control", "max-age=600")], b"old"));
    envoy.wait(30_000);
    let no_store = [("cache-control", "no-store")];
    forwarded(envoy.get(&[], "200", &no_store, b"in doubt"));
    envoy.wait(10);
    // Another VM has heard of the purge that was slept through, and then that nothing is missing.
    let now_ms = envoy.host.now_ms.get();
    let map = std::rc::Rc::clone(&envoy.host.map);
    let mut leader = crate::store::InvalidationLog::default();
    leader
        .purge(&*map, &optimizer_proto::purge::PurgeTarget::All, false, now_ms)
        .unwrap();
    crate::shared_map::SharedMap::set(&*map, crate::shared_map::keys::IN_SYNC, &now_ms.to_le_bytes(), None).unwrap();
    forwarded(envoy.get(&[], "200", &no_store, b"asked"));
}

fn explained(envoy: &mut Envoy, fields: &[(&str, &str)]) -> serde_json::Value {
    explained_of(envoy, "GET", fields)
}

fn explained_of(envoy: &mut Envoy, method: &str, fields: &[(&str, &str)]) -> serde_json::Value {
    let command = optimizer_proto::v1::Command {
        id: "1".to_owned(),
        body: Some(optimizer_proto::v1::command::Body::Explain(
            optimizer_proto::v1::ExplainCommand {
                method: method.to_owned(),
                scheme: "http".to_owned(),
                authority: "api.example".to_owned(),
                path: "/a?b=1".to_owned(),
                fields: fields
                    .iter()
                    .map(|(name, value)| optimizer_proto::v1::HeaderField {
                        name: name.as_bytes().to_vec(),
                        value: value.as_bytes().to_vec(),
                    })
                    .collect(),
            },
        )),
        ..optimizer_proto::v1::Command::default()
    };
    let done = envoy
        .vm
        .execute(Ctx::new(&envoy.host, envoy.host.now_ms.get()), &command);
    assert_eq!(done.answer, None);
    serde_json::from_str(&done.detail).unwrap()
}

#[test]
fn an_explanation_says_why_content_is_not_asked_for() {
    let mut envoy = Envoy::new(r#"{"routes":[{"name":"a","key_body":{"methods":["QUERY"]}}]}"#);
    let typed = ("content-type", "application/json");
    for (method, fields, reason) in [
        ("POST", &[typed][..], "method"),
        ("QUERY", &[], "content-type"),
        ("QUERY", &[typed, ("range", "bytes=0-1")], "content-conditions"),
        ("QUERY", &[typed], "content-unknown"),
    ] {
        assert_eq!(
            explained_of(&mut envoy, method, fields)["reason"],
            reason,
            "{method} {fields:?}"
        );
    }
    envoy.host.blind.set(true);
    assert_eq!(explained_of(&mut envoy, "QUERY", &[typed])["reason"], "content-unseen");
}

#[test]
fn an_explanation_names_the_policy_and_lists_variants_also_where_none_fits() {
    let mut envoy = Envoy::new(r#"{"routes":[{"name":"a","path_prefix":"/a","ttl_ceiling":"30s"}]}"#);
    let varied = [("cache-control", "max-age=60"), ("vary", "x-tenant")];
    for tenant in ["one", "two"] {
        forwarded(envoy.get(&[("x-tenant", tenant)], "200", &varied, b"content"));
    }
    let missed = explained(&mut envoy, &[("x-tenant", "three")]);
    assert_eq!(
        (&missed["decision"], &missed["route"]),
        (&"forward".into(), &"a".into())
    );
    assert_eq!(
        (&missed["policy"]["path_prefix"], &missed["policy"]["ttl_ceiling_ms"]),
        (&"/a".into(), &30_000.into())
    );
    let variants = missed["variants"].as_array().unwrap();
    let mut tenants: Vec<_> = variants
        .iter()
        .map(|variant| variant["selecting"][0]["value"].as_str().unwrap())
        .collect();
    tenants.sort_unstable();
    assert_eq!(tenants, ["one", "two"]);
    assert!(
        variants
            .iter()
            .all(|variant| variant["selected"] == false && variant["freshness_lifetime_ms"] == 30_000)
    );

    let hit = explained(&mut envoy, &[("x-tenant", "two")]);
    assert_eq!(hit["decision"], "serve", "{hit}");
    let selected = hit["variants"].as_array().unwrap();
    assert_eq!(selected.iter().filter(|variant| variant["selected"] == true).count(), 1);
    assert_eq!(hit["stored"]["body_bytes"], 7);
}

#[test]
fn a_response_of_an_unnamed_route_is_explained_whatever_head_it_was_stored_for() {
    let mut envoy = Envoy::new("{}");
    envoy.host.set_property("xds\0route_name", b"");
    forwarded(envoy.get(&[("user-agent", "one")], "200", &FRESH, b"content"));
    for fields in [&[][..], &[("user-agent", "another")]] {
        let shown = explained(&mut envoy, fields);
        assert_eq!(
            (&shown["decision"], &shown["shared_by"]),
            (&"serve".into(), &"request-head".into()),
            "{shown}"
        );
    }
}
