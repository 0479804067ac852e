use super::*;
use crate::xds::place::Place;
use crate::xds::resources::tests::settings;
use envoy_types::pb::google::rpc::Status;
use serde_json::json;

fn snapshot(upstreams: &[(&str, u32)]) -> Snapshot {
    let upstream = |(name, weight): &(&str, u32)| json!({"name": name, "endpoints": [{"address": "192.0.2.1:80", "weight": weight}]});
    let upstreams: Vec<_> = upstreams.iter().map(upstream).collect();
    Snapshot::of(&settings(json!({ "upstreams": upstreams })), &Place::default(), None)
}

fn ask(kind: Kind, names: &[&str], nonce: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        response_nonce: nonce.to_owned(),
        ..Default::default()
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect()
}

#[test]
fn only_what_changed_is_sent_and_what_went_is_named() {
    let mut state = Delta::default();
    let first = state.handle(ask(Kind::Clusters, &[], ""), &snapshot(&[("a", 1), ("b", 1)]));
    let first = first.response.unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    let ack = state.handle(ask(Kind::Clusters, &[], &first.nonce), &snapshot(&[("a", 1), ("b", 1)]));
    assert_eq!(
        (ack.progress, ack.response),
        (Some(Progress::Accepted(Kind::Clusters)), None)
    );
    let pending_response = state
        .pending_response(Kind::Clusters, &snapshot(&[("a", 1), ("c", 1)]))
        .unwrap();
    assert_eq!(names(&pending_response), ["c"]);
    assert_eq!(pending_response.removed_resources, ["b"]);
    assert_eq!(
        state.pending_response(Kind::Clusters, &snapshot(&[("a", 1), ("c", 1)])),
        None
    );
    assert!(
        state
            .pending_response(Kind::Clusters, &snapshot(&[("a", 1), ("b", 1), ("c", 1)]))
            .is_some()
    );
}

#[test]
fn an_envoy_that_returns_is_told_only_what_it_does_not_have() {
    let now = snapshot(&[("a", 1), ("b", 1)]);
    let version = |name: &str| now.resource(Kind::Clusters, name).unwrap().version.clone();
    let request = DeltaDiscoveryRequest {
        initial_resource_versions: [
            ("a".to_owned(), version("a")),
            ("b".to_owned(), "older".to_owned()),
            ("gone".to_owned(), "x".to_owned()),
        ]
        .into(),
        ..ask(Kind::Clusters, &[], "")
    };
    let response = Delta::default().handle(request, &now).response.unwrap();
    assert_eq!(names(&response), ["b"]);
    assert_eq!(response.removed_resources, ["gone"]);
}

#[test]
fn a_first_request_is_answered_even_with_nothing() {
    let response = Delta::default()
        .handle(ask(Kind::Clusters, &[], ""), &snapshot(&[]))
        .response
        .unwrap();
    assert!(response.resources.is_empty() && !response.nonce.is_empty());
}

#[test]
fn names_come_and_go() {
    let (mut state, now) = (Delta::default(), snapshot(&[("a", 1), ("b", 1)]));
    let first = state.handle(ask(Kind::Endpoints, &["a"], ""), &now).response.unwrap();
    assert_eq!(names(&first), ["a"]);
    let more = state
        .handle(ask(Kind::Endpoints, &["b", "unknown"], ""), &now)
        .response
        .unwrap();
    assert_eq!(names(&more), ["b"]);
    assert_eq!(more.removed_resources, ["unknown"]);
    let again = state.handle(ask(Kind::Endpoints, &["a"], ""), &now).response.unwrap();
    assert_eq!(names(&again), ["a"], "asked for again");
    let less = DeltaDiscoveryRequest {
        resource_names_unsubscribe: vec!["a".to_owned()],
        ..ask(Kind::Endpoints, &[], "")
    };
    assert_eq!(state.handle(less, &now).response, None);
    let pending_response = state
        .pending_response(Kind::Endpoints, &snapshot(&[("a", 2), ("b", 2)]))
        .unwrap();
    assert_eq!(names(&pending_response), ["b"]);
}

#[test]
fn no_more_names_are_remembered_than_settings_can_have() {
    let mut state = Delta::default();
    let many = |from: usize, to: usize| {
        let names: Vec<String> = (from..to).map(|n| n.to_string()).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        ask(Kind::Clusters, &names, "")
    };
    let within = many(0, 3_000);
    assert!(!state.is_excessive(&within));
    state.handle(within, &snapshot(&[]));
    assert!(!state.is_excessive(&many(3_000, 4_096)));
    assert!(state.is_excessive(&many(3_000, 4_097)));
    let long = "x".repeat(1_025);
    assert!(state.is_excessive(&ask(Kind::Endpoints, &[&long], "")));
    let versions = DeltaDiscoveryRequest {
        initial_resource_versions: [("a".to_owned(), long)].into(),
        ..ask(Kind::Clusters, &[], "")
    };
    assert!(state.is_excessive(&versions));
    // What it says of itself, and why it refused.
    let node = |length: usize| Node {
        id: "x".repeat(length),
        ..Default::default()
    };
    assert!(Place::of(&node(1_024)).is_ok() && Place::of(&node(1_025)).is_err());
    let Progress::Refused(_, reason) = Progress::refused(Kind::Clusters, "\u{e9}".repeat(10_000)) else {
        unreachable!()
    };
    assert_eq!(reason.chars().count(), 2_048);
}

#[test]
fn a_refusal_is_kept_and_not_answered_by_the_same_again() {
    let (mut state, now) = (Delta::default(), snapshot(&[("a", 1)]));
    let nonce = state.handle(ask(Kind::Clusters, &[], ""), &now).response.unwrap().nonce;
    let refusal = DeltaDiscoveryRequest {
        error_detail: Some(Status {
            message: "bad cluster".to_owned(),
            ..Default::default()
        }),
        ..ask(Kind::Clusters, &[], &nonce)
    };
    let handled = state.handle(refusal, &now);
    assert_eq!(
        handled.progress,
        Some(Progress::Refused(Kind::Clusters, "bad cluster".to_owned()))
    );
    assert_eq!(
        (handled.response, state.pending_response(Kind::Clusters, &now)),
        (None, None)
    );
}
