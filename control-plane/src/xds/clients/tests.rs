use super::*;
use serde_json::{Value, json};

const STEP: Step = Step {
    number: 3,
    revision: 7,
    last: true,
    trial: false,
};

#[tokio::test]
async fn a_revision_is_in_force_when_every_kind_was_accepted() {
    let clients = Clients::default();
    clients.enter(1, "a", "delta", 10);
    clients.sent(1, Kind::Clusters, None);
    clients.sent(1, Kind::Routes, None);
    clients.sent_all(1, STEP);
    assert!(!clients.view(7, None).complete);
    clients.answered(1, Progress::Accepted(Kind::Clusters), 11);
    clients.answered(1, Progress::refused(Kind::Routes, "no".to_owned()), 12);
    let view = json!(clients.view(7, None));
    assert_eq!(
        (&view["complete"], &view["envoys"][0]["revision"]),
        (&json!(false), &json!(0))
    );
    assert_eq!(
        view["envoys"][0]["refused"],
        json!([{"kind": "routes", "reason": "no", "at": 12}])
    );
    assert_eq!(clients.faults(Running::new), ["a refused routes: no"]);
    // A refusal settles a step as an acceptance does: the next one is not held back.
    clients.answered_by_all(STEP, |_| true, Duration::from_secs(60)).await;

    clients.sent(1, Kind::Routes, None);
    clients.answered(1, Progress::Accepted(Kind::Routes), 13);
    assert!(clients.view(7, None).complete);
    assert!(clients.faults(Running::new).is_empty());
    clients.leave(1);
    assert!(clients.view(8, None).complete);
}

#[test]
fn a_module_is_in_force_once_the_filter_itself_says_so() {
    let clients = Clients::default();
    clients.enter(1, "a", "delta", 10);
    let running = |module: &str| Running::from([("a".to_owned(), module.to_owned())]);
    for (accepted, running, in_force, refused) in [
        (false, running(""), Value::Null, json!("no")),
        (true, running(""), Value::Null, json!("no")),
        (true, Running::new(), Value::Null, json!("no")),
        (true, running("new"), json!("new"), Value::Null),
    ] {
        let progress = if accepted {
            Progress::Accepted(Kind::Extensions)
        } else {
            Progress::refused(Kind::Extensions, "no".to_owned())
        };
        clients.sent(1, Kind::Extensions, Some("new".to_owned()));
        clients.answered(1, progress, 11);
        let reports = !running.is_empty();
        assert_eq!(
            json!(clients.modules(&running)),
            json!([{"node_id": "a", "offered": "new", "in_force": in_force, "reports": reports, "refused": refused}])
        );
        assert_eq!(clients.faults(|| running.clone()).is_empty(), refused.is_null());
    }
}

#[test]
fn an_upstream_without_a_healthy_endpoint_is_a_fault() {
    let clients = Clients::default();
    let of = |healthy| Upstreams::from([("api".to_owned(), Endpoints { all: 2, healthy })]);
    clients.endpoints("a", of(0));
    assert!(clients.faults(Running::new).is_empty(), "no Envoy of ours");
    clients.enter(1, "a", "delta", 10);
    clients.endpoints("a", of(0));
    assert_eq!(clients.faults(Running::new), ["a has no healthy endpoint of api"]);
    clients.endpoints("a", of(1));
    assert!(clients.faults(Running::new).is_empty());
    let shown = json!([{"upstream": "api", "endpoints": 2, "healthy": 1}]);
    assert_eq!(json!(clients.view(0, None))["envoys"][0]["upstreams"], shown);
    clients.leave(1);
    assert!(clients.upstreams.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_does_not_answer_holds_nobody_up_for_ever() {
    let clients = Clients::default();
    clients.enter(1, "a", "sotw", 10);
    clients.answered_by_all(STEP, |_| true, Duration::from_millis(10)).await;
}
