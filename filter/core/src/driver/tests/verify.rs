//! Verified sharing through the driver: what is asked of the origin, and what comes of the answers.

use super::*;
use crate::verify::budget::BURST;
use optimizer_proto::codes::VerifyResult;
use optimizer_proto::v1::{SharingFinding, TelemetryDelta};

const ON: &str = r#"{"verify_sharing":{"enabled":true,"hits_percent":100,"origin_percent":1,"mask":[{"start":"<t>","end":"</t>"}]}}"#;
const SHARED: [(&str, &str); 2] = [("cache-control", "public, max-age=600"), ("content-type", "text/plain")];
const GOLD: [(&str, &str); 2] = [("cookie", "session=7; plan=gold"), ("x-bucket", "b")];

/// One whose requests are known to leave as they came, and that has stored what this body is.
fn holding(settings: &str, body: &[u8]) -> Envoy {
    let mut envoy = Envoy::new(settings);
    envoy.get(&[("cookie", "session=1; plan=free")], "200", &SHARED, body);
    assert!(envoy.host.calls.borrow().is_empty());
    envoy
}

/// What an origin says to a request.
type Origin<'o> = &'o mut dyn FnMut(&dyn Fn(&str) -> String) -> (&'static str, String);

/// Answers what was asked until nothing more is; how many questions that were.
fn answer_all(envoy: &mut Envoy, origin: Origin<'_>) -> usize {
    wake(envoy);
    let mut answered = 0;
    for number in 0..64 {
        let Some((cluster, fields)) = envoy.host.calls.borrow().get(number).cloned() else {
            break;
        };
        assert_eq!(cluster, "api");
        let of = |name: &str| -> String {
            let found = fields.iter().find(|(known, _)| known == name.as_bytes());
            found
                .map(|(_, value)| String::from_utf8(value.clone()).unwrap())
                .unwrap_or_default()
        };
        assert_eq!((of(":method"), of("if-none-match")), ("GET".to_owned(), String::new()));
        let (status, body) = origin(&of);
        let length = body.len().to_string();
        let head = [
            (":status", status),
            ("content-length", length.as_str()),
            ("content-type", "text/plain"),
        ];
        envoy.host.set_call_response(&head);
        *envoy.host.body.borrow_mut() = body.clone().into_bytes();
        let token = u32::try_from(number + 1).unwrap();
        envoy.vm.on_call_response(&envoy.host, token, head.len(), body.len());
        answered = number + 1;
    }
    envoy.host.calls.borrow_mut().clear();
    answered
}

fn hit(envoy: &mut Envoy, more: &[(&str, &str)]) -> Replied {
    replied(envoy.get(more, "200", &[], b"not asked"))
}

fn reported(envoy: &mut Envoy) -> TelemetryDelta {
    envoy.vm.recorder.drain().unwrap_or_default()
}

fn count(delta: &TelemetryDelta, reason: VerifyResult) -> u64 {
    let counted = delta.reasons.iter().filter(|counted| counted.code == reason.as_str());
    counted.map(|counted| counted.count).sum()
}

#[test]
fn a_cookie_that_is_not_in_the_key_is_found_and_its_route_not_cached_any_more() {
    let mut envoy = holding(ON, b"free");
    let mut by_plan = |of: &dyn Fn(&str) -> String| {
        let gold = of("cookie").contains("plan=gold");
        ("200", if gold { "gold".to_owned() } else { "free".to_owned() })
    };
    assert_eq!(hit(&mut envoy, &GOLD).body, b"free", "the client does not wait");
    let asked = answer_all(&mut envoy, &mut by_plan);
    assert!((8..=16).contains(&asked), "{asked}");
    let logged = envoy.host.log.borrow().join("\n");
    assert!(
        logged.contains("api.example/a: responses depend on cookie plan, which is not in the key"),
        "{logged}"
    );
    assert!(
        !logged.contains("gold") && !logged.contains("session=7"),
        "no value is told: {logged}"
    );
    let (_, status) = forwarded(envoy.get(&GOLD, "200", &SHARED, b"gold"));
    assert_eq!(status, "api-optimizer; fwd=bypass; detail=quarantined");
    forwarded(envoy.get(&[], "200", &SHARED, b"free"));
}

#[test]
fn what_looks_like_a_change_to_who_has_no_cookie_is_found_by_who_has_it() {
    let mut by_plan =
        |of: &dyn Fn(&str) -> String| ("200", if of("cookie").is_empty() { "free" } else { "gold" }.to_owned());
    let mut envoy = holding(ON, b"gold");
    hit(&mut envoy, &GOLD);
    assert_eq!(answer_all(&mut envoy, &mut by_plan), 1, "it is what the origin says");
    hit(&mut envoy, &[]);
    assert_eq!(answer_all(&mut envoy, &mut by_plan), 2);
    assert_eq!(count(&reported(&mut envoy), VerifyResult::Changed), 1);
    hit(&mut envoy, &[("cookie", "plan=gold")]);
    answer_all(&mut envoy, &mut by_plan);
    let found = reported(&mut envoy).findings.remove(0);
    assert_eq!(found.depends_on, ["cookie plan"]);
    assert_ne!(found.served, found.fetched);
}

#[test]
fn what_is_found_says_names_and_digests() {
    let mut envoy = holding(ON, b"free");
    hit(&mut envoy, &GOLD);
    let mut by_bucket = |of: &dyn Fn(&str) -> String| ("200", of("x-bucket"));
    answer_all(&mut envoy, &mut by_bucket);
    let found: SharingFinding = reported(&mut envoy).findings.remove(0);
    assert_eq!(found.depends_on, ["header x-bucket"]);
    assert_eq!((found.host.as_str(), found.path_prefix.as_str()), ("api.example", "/a"));
    assert!(found.served.len() == 32 && found.fetched.len() == 32 && found.served != found.fetched);
}

#[test]
fn what_differs_otherwise_is_told_apart_and_quarantines_nothing() {
    let mut number = 0;
    for (body, mut origin, reason, most) in [
        (
            "same",
            Box::new(|| "same".to_owned()) as Box<dyn FnMut() -> String>,
            VerifyResult::Same,
            1,
        ),
        ("old", Box::new(|| "new".to_owned()), VerifyResult::Changed, 3),
        ("a<t>1</t>", Box::new(|| "a<t>2</t>".to_owned()), VerifyResult::Same, 1),
        (
            "0",
            Box::new(move || {
                number += 1;
                number.to_string()
            }),
            VerifyResult::DiffersByItself,
            2,
        ),
    ] {
        let mut envoy = holding(ON, body.as_bytes());
        hit(&mut envoy, &GOLD);
        let asked = answer_all(&mut envoy, &mut |_| ("200", origin()));
        assert_eq!(asked, most, "{reason:?}");
        let delta = reported(&mut envoy);
        assert_eq!((count(&delta, reason), delta.findings.len()), (1, 0), "{reason:?}");
        assert_eq!(count(&delta, VerifyResult::Request), most as u64);
        hit(&mut envoy, &GOLD);
        let asked = answer_all(&mut envoy, &mut |_| ("200", body.to_owned()));
        assert_eq!(
            asked == 0,
            reason == VerifyResult::DiffersByItself,
            "what differs by itself is left alone"
        );
    }
}

#[test]
fn nothing_is_asked_when_it_is_off_nor_where_it_is_not_known_what_would_be_asked() {
    let mut envoy = holding("{}", b"free");
    hit(&mut envoy, &GOLD);
    assert_eq!(answer_all(&mut envoy, &mut |_| ("200", String::new())), 0);
    assert_eq!(count(&reported(&mut envoy), VerifyResult::NotVerifiable), 0);

    // Nobody's request was seen to leave lately.
    let mut envoy = holding(ON, b"free");
    envoy.wait(40_000);
    hit(&mut envoy, &GOLD);
    assert_eq!(answer_all(&mut envoy, &mut |_| ("200", String::new())), 0);
    assert_eq!(count(&reported(&mut envoy), VerifyResult::NotVerifiable), 1);

    // A filter in front has taken the token off.
    let mut envoy = holding(ON, b"free");
    envoy
        .host
        .set_property("metadata\0filter_metadata\0envoy.filters.http.jwt_authn", b"x");
    hit(&mut envoy, &GOLD);
    assert_eq!(answer_all(&mut envoy, &mut |_| ("200", String::new())), 0);
}

#[test]
fn a_routes_own_share_stands_in_place_of_the_one_of_all() {
    let settings = |on: bool, of_all: u32, own: &str| {
        format!(
            r#"{{"verify_sharing":{{"enabled":{on},"hits_percent":{of_all}}},
            "routes":[{{"name":"b","path_prefix":"/b","verify_hits_percent":100}},{{"name":"a","path_prefix":"/a"{own}}}]}}"#
        )
    };
    for (settings, verified) in [
        (settings(true, 100, ""), true),
        (settings(true, 100, r#","verify_hits_percent":0"#), false),
        (settings(true, 1, r#","verify_hits_percent":100"#), true),
        (settings(true, 100, r#","verify_hits_percent":null"#), true),
        (settings(false, 100, r#","verify_hits_percent":100"#), false),
    ] {
        let mut envoy = holding(&settings, b"same");
        hit(&mut envoy, &GOLD);
        let asked = answer_all(&mut envoy, &mut |_| ("200", "same".to_owned()));
        assert_eq!(asked == 1, verified, "{settings}");
        let delta = reported(&mut envoy);
        assert_eq!(count(&delta, VerifyResult::Same) == 1, verified, "{settings}");
    }
}

#[test]
fn no_answer_an_error_and_a_refused_call_find_nothing() {
    for status in ["500", "429", "304", ""] {
        let mut envoy = holding(ON, b"free");
        hit(&mut envoy, &GOLD);
        wake(&mut envoy);
        assert_eq!(envoy.host.calls.borrow().len(), 1);
        if status.is_empty() {
            envoy.vm.on_call_response(&envoy.host, 1, 0, 0);
        } else {
            envoy
                .host
                .set_call_response(&[(":status", status), ("content-length", "0")]);
            envoy.vm.on_call_response(&envoy.host, 1, 2, 0);
        }
        assert_eq!(envoy.host.calls.borrow().len(), 1, "{status}");
        assert_eq!(count(&reported(&mut envoy), VerifyResult::NotVerifiable), 1, "{status}");
        assert!(envoy.vm.verifying.hit.is_none());
    }
    let mut envoy = holding(ON, b"free");
    hit(&mut envoy, &GOLD);
    wake(&mut envoy);
    envoy.vm.on_call_refused(&envoy.host, 1);
    assert!(envoy.vm.verifying.hit.is_none());
    let mut envoy = holding(ON, b"free");
    envoy.host.no_calls.set(true);
    hit(&mut envoy, &GOLD);
    wake(&mut envoy);
    assert!(envoy.vm.verifying.hit.is_none());
}

#[test]
fn one_question_at_a_time_and_never_more_than_the_budget() {
    let mut envoy = holding(ON, b"same");
    let mut asked = 0;
    for _ in 0..500 {
        hit(&mut envoy, &GOLD);
        hit(&mut envoy, &GOLD);
        wake(&mut envoy);
        assert!(envoy.host.calls.borrow().len() <= 1);
        asked += answer_all(&mut envoy, &mut |_| ("200", "same".to_owned()));
    }
    let spent = u32::try_from(asked).unwrap();
    assert!(
        spent > 10 && spent <= BURST,
        "{spent} of {BURST}: nothing else went to the origin"
    );
}

#[test]
fn a_client_that_is_refused_for_what_it_sends_quarantines_nothing() {
    for (status, found) in [("400", 0), ("403", 0), ("431", 0), ("404", 1), ("302", 1)] {
        let mut envoy = holding(ON, b"page");
        let junk = "j".repeat(3_000);
        hit(&mut envoy, &[("cookie", &format!("x={junk}"))]);
        let mut by_length = |of: &dyn Fn(&str) -> String| {
            let refused = of("cookie").len() > 2_000;
            (
                if refused { status } else { "200" },
                if refused { "no" } else { "page" }.to_owned(),
            )
        };
        let asked = answer_all(&mut envoy, &mut by_length);
        let delta = reported(&mut envoy);
        assert_eq!(delta.findings.len(), found, "{status}");
        assert_eq!(count(&delta, VerifyResult::NotVerifiable), 1 - found as u64, "{status}");
        assert!(found > 0 || asked == 3, "{status}: {asked}");
    }
}

#[test]
fn what_is_refused_without_a_cookie_is_found_still() {
    let mut members = |of: &dyn Fn(&str) -> String| {
        let member = of("cookie").contains("plan=gold");
        (
            if member { "200" } else { "403" },
            if member { "gold" } else { "members only" }.to_owned(),
        )
    };
    let mut envoy = holding(ON, b"gold");
    for cookie in ["a=b", "plan=gold"] {
        hit(&mut envoy, &[("cookie", cookie)]);
        answer_all(&mut envoy, &mut members);
    }
    assert_eq!(reported(&mut envoy).findings.remove(0).depends_on, ["cookie plan"]);
}

#[test]
fn no_value_and_no_more_names_than_settings_hold_are_told() {
    let many: String = (0..60).map(|number| format!("c{number:02}=1; ")).collect();
    for (cookie, hidden) in [("s3cret".to_owned(), "s3cret"), (format!("{many}zz=gold"), "zz=gold")] {
        let mut envoy = holding(ON, b"free");
        hit(&mut envoy, &[("cookie", &cookie)]);
        let mut by_cookie = |of: &dyn Fn(&str) -> String| {
            (
                "200",
                if of("cookie").contains(hidden) { "gold" } else { "free" }.to_owned(),
            )
        };
        answer_all(&mut envoy, &mut by_cookie);
        let found = reported(&mut envoy).findings.remove(0);
        assert!(
            found.depends_on.len() <= optimizer_proto::settings::MAX_DEPENDS_ON,
            "{found:?}"
        );
        assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
    }
}

#[test]
fn a_host_that_settings_cannot_name_is_not_verified() {
    let mut envoy = holding(ON, b"free");
    let [method, scheme, _, path] = GET;
    for _ in 0..2 {
        let asked = [method, scheme, (":authority", "x!y"), path, ("cookie", "plan=gold")];
        envoy.ask(&asked, "200", &SHARED, b"free");
    }
    let mut other = |_: &dyn Fn(&str) -> String| ("200", "gold".to_owned());
    assert_eq!(answer_all(&mut envoy, &mut other), 0);
    assert_eq!(count(&reported(&mut envoy), VerifyResult::NotVerifiable), 1);
}
