use super::*;
use crate::xds::place::Place;
use crate::xds::resources::tests::settings;
use envoy_types::pb::google::rpc::Status;
use serde_json::json;

fn snapshot(max_connections: u32, weight: u32) -> Snapshot {
    let upstream = |name: &str| json!({"name": name, "endpoints": [{"address": "192.0.2.1:80", "weight": weight}]});
    let document = json!({"max_connections": max_connections, "upstreams": [upstream("a"), upstream("b")]});
    Snapshot::of(&settings(document), &Place::default(), None)
}

fn ask(kind: Kind, names: &[&str], nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: kind.type_url().to_owned(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        response_nonce: nonce.to_owned(),
        ..Default::default()
    }
}

#[test]
fn a_first_request_is_answered_and_its_ack_is_not() {
    let (mut state, now) = (Sotw::default(), snapshot(1, 1));
    let first = state.handle(ask(Kind::Clusters, &[], ""), &now);
    let response = first.response.unwrap();
    assert_eq!((first.progress, response.resources.len()), (None, 2));
    let ack = state.handle(ask(Kind::Clusters, &[], &response.nonce), &now);
    assert_eq!(ack.progress, Some(Progress::Accepted(Kind::Clusters)));
    assert_eq!(ack.response, None);
    assert_eq!(state.pending_response(Kind::Clusters, &now), None);
    assert_eq!(state.pending_response(Kind::Routes, &now), None, "not subscribed to");
}

#[test]
fn only_what_has_changed_is_news() {
    let (mut state, now) = (Sotw::default(), snapshot(1, 1));
    state.handle(ask(Kind::Clusters, &[], ""), &now);
    state.handle(ask(Kind::Runtime, &["api_optimizer"], ""), &now);
    let later = snapshot(2, 1);
    assert_eq!(state.pending_response(Kind::Clusters, &later), None);
    let pending_response = state.pending_response(Kind::Runtime, &later).unwrap();
    assert_eq!(pending_response.resources.len(), 1);
    assert_eq!(state.pending_response(Kind::Runtime, &later), None);
    assert!(state.pending_response(Kind::Runtime, &now).is_some(), "back again");
}

#[test]
fn a_refusal_is_kept_and_not_answered_by_the_same_again() {
    let (mut state, now) = (Sotw::default(), snapshot(1, 1));
    let nonce = state.handle(ask(Kind::Clusters, &[], ""), &now).response.unwrap().nonce;
    let refusal = DiscoveryRequest {
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
    assert_eq!(handled.response, None);
    assert_eq!(state.pending_response(Kind::Clusters, &now), None);
}

#[test]
fn an_answer_that_was_overtaken_means_nothing() {
    let (mut state, now) = (Sotw::default(), snapshot(1, 1));
    let old = state
        .handle(ask(Kind::Endpoints, &["a"], ""), &now)
        .response
        .unwrap()
        .nonce;
    let new = state.pending_response(Kind::Endpoints, &snapshot(1, 2)).unwrap().nonce;
    assert_eq!(
        state.handle(ask(Kind::Endpoints, &["a"], &old), &now),
        RequestOutcome::nothing()
    );
    let handled = state.handle(ask(Kind::Endpoints, &["a"], &new), &now);
    assert_eq!(handled.progress, Some(Progress::Accepted(Kind::Endpoints)));
}

#[test]
fn other_names_are_answered_with_theirs() {
    let (mut state, now) = (Sotw::default(), snapshot(1, 1));
    let one = state.handle(ask(Kind::Endpoints, &["a"], ""), &now).response.unwrap();
    assert_eq!(one.resources.len(), 1);
    let both = state.handle(ask(Kind::Endpoints, &["a", "b", "unknown"], &one.nonce), &now);
    assert_eq!(both.response.unwrap().resources.len(), 2);
}

#[test]
fn kinds_that_are_not_served_are_passed_over() {
    let request = DiscoveryRequest {
        type_url: "type.googleapis.com/other".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        Sotw::default().handle(request, &snapshot(1, 1)),
        RequestOutcome::nothing()
    );
}
