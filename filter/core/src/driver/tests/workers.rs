//! Several VMs of one Envoy: who starts late, and who is not scheduled for seconds.

use super::*;
use crate::driver::host::Queues;
use crate::driver::shared::wake::Wake;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::purge_command::Kind;
use optimizer_proto::v1::{Command, PurgeCommand};

/// Another VM of the same Envoy process.
fn another_vm(of: &Envoy) -> Envoy {
    another_vm_with(of, "{}")
}

fn another_vm_with(of: &Envoy, settings: &str) -> Envoy {
    let host = FakeHost {
        map: std::rc::Rc::clone(&of.host.map),
        ..FakeHost::default()
    };
    host.now_ms.set(of.host.now_ms.get());
    host.random.set(7);
    host.set_property("xds\0cluster_name", b"api");
    host.set_property("xds\0route_name", b"all");
    let mut vm = Vm::new();
    vm.on_start(&host);
    let document = format!(r#"{{"control_cluster":"control","settings":{settings}}}"#);
    vm.on_configure(&host, ROOT, document.as_bytes());
    Envoy {
        host,
        vm,
        details: "via_upstream",
    }
}

#[test]
fn who_waits_for_a_place_gets_it_when_a_call_of_another_worker_is_over() {
    const ONE: &str = r#"{"cache_enabled":false,"max_connections":1,"concurrency":{"queue":9,"queue_timeout":"5s"}}"#;
    let mut holder = Envoy::new(ONE);
    let mut other = another_vm_with(&holder, ONE);
    let ask = |envoy: &mut Envoy, context: u32| {
        envoy.host.set_request(&GET);
        let shared = SharedExchange::default();
        let flow = envoy.vm.on_request_headers(&envoy.host, &shared, context);
        (shared, flow)
    };
    let wake = |envoy: &mut Envoy, said: Option<Wake>| {
        let queue = envoy.vm.queue;
        if let Some(said) = said {
            envoy.host.enqueue(queue, &[said.byte()]).unwrap();
        }
        envoy.vm.on_wake(&envoy.host, ROOT, queue);
    };
    let (call, flow) = ask(&mut holder, 1);
    assert_eq!(flow, Flow::Continue);
    let (_waiting, flow) = ask(&mut other, 2);
    assert_eq!(flow, Flow::Pause);
    // It says so, and there is nothing to be given yet. Somebody waits at the holder as well.
    wake(&mut holder, Some(Wake::Share));
    let (_behind, flow) = ask(&mut holder, 3);
    assert_eq!(flow, Flow::Pause);
    holder.vm.on_end(&holder.host, &call);
    let queue = holder.vm.queue;
    let said: Vec<_> = holder.host.queued.borrow().get(&queue).cloned().unwrap_or_default();
    assert_eq!(said, [[Wake::Free.byte()]]);
    wake(&mut holder, None);
    assert_eq!(
        holder.host.resumed.get(),
        0,
        "those that wait here ask anew, behind the others"
    );
    wake(&mut other, Some(Wake::Place));
    assert_eq!(other.host.resumed.get(), 1);
    // While nobody says that he waits elsewhere, places stay where they are.
    let mut alone = Envoy::new(ONE);
    let (call, _) = ask(&mut alone, 1);
    alone.vm.on_end(&alone.host, &call);
    assert!(
        alone
            .host
            .queued
            .borrow()
            .get(&alone.vm.queue)
            .is_none_or(Vec::is_empty)
    );
}

#[test]
fn a_vm_that_starts_knows_what_was_purged_before_it() {
    let mut envoy = Envoy::new("{}");
    forwarded(envoy.get(&[], "200", &FRESH, b"before"));
    envoy.vm.on_tick(&envoy.host, ROOT);
    envoy.control(ToFilter::Welcome(Welcome::default()));
    envoy.control(ToFilter::Settings(SettingsPush {
        revision: 2,
        document: b"{}".to_vec(),
        epoch: "e".to_owned(),
    }));
    let purge = PurgeCommand {
        kind: Kind::Host.into(),
        value: "api.example".to_owned(),
        ..PurgeCommand::default()
    };
    envoy.control(ToFilter::Command(Command {
        id: "1".to_owned(),
        body: Some(Body::Purge(purge)),
        ..Command::default()
    }));
    // As after a trap: the first thing that happens is a request.
    let mut next = another_vm(&envoy);
    let (status, _) = forwarded(next.get(&[], "200", &FRESH, b"after"));
    assert_eq!(status, "200");
    assert_eq!(replied(next.get(&[], "500", &[], b"")).body, b"after");
}

#[test]
fn a_vm_that_others_may_take_for_gone_looks_before_it_serves() {
    for (late, jump) in [(4_200_u64, 0_u64), (100, 20_000)] {
        let mut leader = Envoy::new("{}");
        let mut slow = another_vm(&leader);
        let pass = |one: &mut Envoy, other: &mut Envoy, ms: u64| {
            one.wait(ms);
            other.wait(ms);
        };
        leader.vm.on_tick(&leader.host, ROOT);
        leader.control(ToFilter::Welcome(Welcome::default()));
        slow.vm.on_tick(&slow.host, ROOT);
        forwarded(slow.get(&[], "200", &FRESH, b"before"));
        assert_eq!(replied(slow.get(&[], "500", &[], b"")).body, b"before");
        // It ticks once more without a heartbeat, and is not scheduled then.
        for passed in (100..=900 + late).step_by(100) {
            pass(&mut leader, &mut slow, 100);
            leader.vm.on_tick(&leader.host, ROOT);
            if passed == 900 {
                slow.vm.on_tick(&slow.host, ROOT);
            }
        }
        // The clock is set back: who was seen in the future is gone, too.
        for vm in [&leader, &slow] {
            vm.host.now_ms.set(vm.host.now_ms.get() - jump);
        }
        let purge = PurgeCommand {
            kind: Kind::All.into(),
            ..PurgeCommand::default()
        };
        let revision = SettingsPush {
            revision: 2,
            document: br#"{"default_ttl":"15m"}"#.to_vec(),
            epoch: "e".to_owned(),
        };
        leader.said();
        leader.control(ToFilter::Command(Command {
            id: "1".to_owned(),
            body: Some(Body::Purge(purge)),
            ..Command::default()
        }));
        leader.control(ToFilter::Settings(revision));
        leader.vm.on_tick(&leader.host, ROOT);
        let said = leader.said();
        let done = said
            .iter()
            .any(|body| matches!(body, FromFilter::CommandResult(result) if result.ok));
        let adopted = said
            .iter()
            .any(|body| matches!(body, FromFilter::SettingsAck(ack) if ack.accepted));
        assert!(
            done && adopted,
            "the leader waits for nobody who seems to be gone: {said:?}"
        );
        let (status, _) = forwarded(slow.get(&[], "200", &FRESH, b"after"));
        assert_eq!(status, "200");
        assert_eq!(slow.vm.in_force.revision, 2);
        assert_eq!(replied(slow.get(&[], "500", &[], b"")).body, b"after");
    }
}

#[test]
fn what_a_vm_has_counted_is_handed_over_when_another_module_may_take_its_place() {
    let mut old = Envoy::new("{}");
    old.vm.on_vm_configuration(b"old");
    old.vm.on_tick(&old.host, ROOT);
    forwarded(old.get(&[], "200", &UNCACHED, b"x"));
    // A VM of the same module changes nothing, one of another takes what is there, and from then on each end is handed over.
    for (module, left) in [(&b"old"[..], true), (b"new", false)] {
        let mut item = vec![Wake::Started.byte()];
        item.extend_from_slice(module);
        old.host.enqueue(old.vm.queue, &item).unwrap();
        wake(&mut old);
        assert_eq!(old.vm.recorder.drain().is_some(), left, "{module:?}");
        forwarded(old.get(&[], "200", &UNCACHED, b"x"));
        assert_eq!(old.vm.recorder.drain().is_some(), left, "{module:?}");
        forwarded(old.get(&[], "200", &UNCACHED, b"x"));
    }
    // The lease is free for the other one, and taken again where it came to nothing.
    old.vm.on_tick(&old.host, ROOT);
    assert!(!old.vm.membership.leads);
    old.wait(601);
    old.vm.on_tick(&old.host, ROOT);
    assert!(old.vm.membership.leads);
    old.wait(60_001);
    forwarded(old.get(&[], "200", &UNCACHED, b"x"));
    assert!(old.vm.recorder.drain().is_some());
}

/// What may answer a request, on an Envoy with one under way.
type Callback = fn(&mut Envoy, &SharedExchange);

#[test]
fn a_vm_that_was_away_looks_before_whatever_may_answer_a_request() {
    let ways: [(&str, Callback); 4] = [
        ("wake-up", |envoy, _| wake(envoy)),
        ("answer of the tier", |envoy, _| {
            envoy.vm.on_grpc_answer(&envoy.host, 1, 4, 0);
        }),
        ("response", |envoy, under_way| {
            envoy.host.set_response(&[(":status", "204")]);
            let (host, exchange) = (&envoy.host, &mut under_way.borrow_mut());
            envoy.vm.on_response_headers(host, exchange, 0, true);
        }),
        ("tick", |envoy, _| envoy.vm.on_tick(&envoy.host, ROOT)),
    ];
    for (way, comes) in ways {
        let mut leader = Envoy::new("{}");
        let mut slow = another_vm(&leader);
        for envoy in [&mut leader, &mut slow] {
            forwarded(envoy.get(&[], "200", &UNCACHED, b"x"));
            envoy.vm.on_tick(&envoy.host, ROOT);
        }
        let (under_way, _) = begin(&mut slow, 1);
        leader.wait(6_000);
        slow.wait(6_000);
        leader.vm.on_tick(&leader.host, ROOT);
        leader.control(ToFilter::Welcome(Welcome::default()));
        leader.control(ToFilter::Settings(SettingsPush {
            revision: 2,
            document: b"{}".to_vec(),
            epoch: "e".to_owned(),
        }));
        assert_eq!(slow.vm.in_force.revision, 0);
        comes(&mut slow, &under_way);
        assert_eq!(slow.vm.in_force.revision, 2, "{way}");
    }
}

#[test]
fn a_vm_that_stood_still_before_its_first_tick_believes_nothing_that_is_stored() {
    for (stood_still_ms, hit) in [(1_000, true), (6_000, false)] {
        let mut first = Envoy::new("{}");
        forwarded(first.get(&[], "200", &FRESH, b"before"));
        let mut young = another_vm(&first);
        young.host.now_ms.set(young.host.now_ms.get() + stood_still_ms);
        match young.get(&[], "200", &FRESH, b"after") {
            Seen::Replied(reply) => assert!(hit && reply.body == b"before"),
            Seen::Forwarded { cache_status, .. } => assert!(!hit && cache_status.contains("catching-up")),
        }
    }
}

#[test]
fn what_the_stream_of_a_vm_that_was_away_held_back_is_not_taken() {
    let settings = |epoch: &str| {
        ToFilter::Settings(SettingsPush {
            revision: 2,
            document: b"{}".to_vec(),
            epoch: epoch.to_owned(),
        })
    };
    for away in [false, true] {
        let mut slow = Envoy::new("{}");
        let mut other = another_vm(&slow);
        slow.vm.on_tick(&slow.host, ROOT);
        slow.control(ToFilter::Welcome(Welcome::default()));
        if away {
            slow.wait(1_500);
            other.wait(1_500);
            other.vm.on_tick(&other.host, ROOT);
            other.control(ToFilter::Welcome(Welcome::default()));
            other.control(settings("new"));
        }
        slow.control(settings("old"));
        other.vm.on_tick(&other.host, ROOT);
        assert_eq!(other.vm.in_force.epoch, if away { "new" } else { "old" });
    }
}

/// For a profiler: many hits, and nothing else.
#[test]
#[ignore = "a profiler's work load"]
fn hot_hits() {
    let mut envoy = Envoy::new("{}");
    let head = [
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
        ("accept", "*/*"),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "0b1c2d3e-0b1c-4d3e-8b1c-0b1c2d3e4f50"),
        ("x-envoy-expected-rq-timeout-ms", "15000"),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    let body = [b'x'; 1024];
    forwarded(envoy.get(&head, "200", &FRESH, &body));
    let mut request = GET.to_vec();
    request.extend_from_slice(&head);
    envoy.host.set_request(&request);
    for _ in 0..20_000 {
        envoy.host.replies.borrow_mut().clear();
        let shared = SharedExchange::default();
        assert_eq!(envoy.vm.on_request_headers(&envoy.host, &shared, 9), Flow::Pause);
        let lines = envoy.host.replies.borrow()[0].fields.len() + 1;
        envoy
            .vm
            .on_response_headers(&envoy.host, &mut shared.borrow_mut(), lines, false);
        envoy
            .vm
            .on_response_body(&envoy.host, &mut shared.borrow_mut(), 1024, true);
        envoy.vm.on_end(&envoy.host, &shared);
    }
}

#[test]
fn a_vm_that_stood_still_while_its_clock_was_set_back_serves_nothing_that_was_purged_meanwhile() {
    for (stood_still_ms, is_purged, hit) in [
        (2_000, false, true),
        (3_000, false, true),
        (3_000, true, false),
        (6_000, false, false),
    ] {
        let mut slow = Envoy::new("{}");
        slow.vm.on_tick(&slow.host, ROOT);
        forwarded(slow.get(&[], "200", &FRESH, b"before"));
        slow.host.set_back_ms.set(stood_still_ms);
        if is_purged {
            let mut other = crate::store::InvalidationLog::default();
            other
                .purge(
                    &*slow.host.map,
                    &optimizer_proto::purge::PurgeTarget::All,
                    false,
                    slow.host.now_ms.get(),
                )
                .unwrap();
        }
        match slow.get(&[], "200", &FRESH, b"after") {
            Seen::Replied(reply) => assert!(hit && reply.body == b"before", "{stood_still_ms} {is_purged}"),
            Seen::Forwarded { .. } => assert!(!hit, "{stood_still_ms} {is_purged}"),
        }
    }
}
