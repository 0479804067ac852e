//! Verified sharing: responses that depend on what is not in their key are found and quarantined; what differs otherwise is told apart.

use e2e::client::{Request, Response};
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Received, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn on(more: &Value) -> Value {
    let mut settings = json!({"enabled": true, "hits_percent": 100});
    settings
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({ "verify_sharing": settings })
}

fn stack(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Stack {
    Stack::start(&Plan::default(), Origin::start(script).unwrap()).unwrap()
}

fn plan_of(request: &Received) -> &'static str {
    let cookie = request.header("cookie").unwrap_or_default();
    if cookie.contains("plan=gold") { "gold" } else { "free" }
}

fn shared(body: impl Into<Vec<u8>>) -> Reply {
    Reply::ok(body)
        .header("cache-control", "public, max-age=600")
        .header("content-type", "text/plain")
}

/// By which plan the price is, though nothing in the key says it.
fn by_plan(request: &Received) -> Reply {
    shared(plan_of(request))
}

fn ask(envoy: &Envoy, path: &str, cookie: &str) -> Response {
    envoy.fetch(&Request::get(path).header("cookie", cookie)).unwrap()
}

const GOLD: &str = "session=s3cret; plan=gold";
const FREE: &str = "session=other; plan=free";

/// A request that the origin has to answer: it shows that requests still leave as they came.
fn miss(stack: &Stack) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = format!("/elsewhere/{number}");
    assert_eq!(stack.envoy.get(&path).unwrap().status, 200);
}

fn findings(stack: &Stack) -> Vec<Value> {
    let listed = stack.rest().document("/cache/findings").unwrap();
    listed.as_array().unwrap().clone()
}

/// Users of both plans ask until something is found.
fn find(stack: &Stack, path: &str) -> Value {
    wait::until("a finding", || {
        miss(stack);
        for cookie in [FREE, GOLD] {
            ask(&stack.envoy, path, cookie);
        }
        findings(stack).first().cloned()
    })
    .unwrap()
}

/// How often verification came to a result, as `/metrics` has it.
fn count(stack: &Stack, result: &str) -> u64 {
    let metrics = stack.rest().get("/metrics").unwrap().text();
    let line = format!("api_optimizer_verified_sharing_total{{result=\"{result}\"}} ");
    let number = metrics.lines().find_map(|known| known.strip_prefix(&line));
    number.map_or(0, |number| number.parse().unwrap())
}

fn is_quarantined(answer: &Response) -> bool {
    answer.cache_status().contains("detail=quarantined")
}

#[test]
fn a_cookie_that_is_not_in_the_key_is_found_and_quarantined_on_all_envoys_until_it_is_keyed() {
    let mut stack = stack(by_plan);
    stack.change_settings(&on(&json!({}))).unwrap();
    let second = stack.another_envoy("second").unwrap();
    let found = find(&stack, "/prices/1");
    assert_eq!(found["depends_on"], json!(["cookie plan"]), "{found}");
    assert_eq!(
        (&found["path_prefix"], &found["route"]),
        (&json!("/prices/"), &Value::Null),
        "{found}"
    );
    assert_eq!(found["quarantined"], true, "{found}");
    assert!(
        !found.to_string().contains("s3cret") && !found.to_string().contains("gold"),
        "{found}"
    );
    let id = found["id"].as_str().unwrap().to_owned();

    // Everybody gets his own, at every Envoy; other paths are cached as before.
    for envoy in [&stack.envoy, &second] {
        wait::until("the quarantine", || {
            let all = [FREE, GOLD, FREE].map(|cookie| ask(envoy, "/prices/1", cookie));
            all.iter().all(is_quarantined).then_some(())
        })
        .unwrap();
        for (cookie, price) in [(FREE, "free"), (GOLD, "gold"), (FREE, "free")] {
            let answer = ask(envoy, "/prices/1", cookie);
            assert!(is_quarantined(&answer) && answer.text() == price, "{answer:?}");
        }
        assert!(!is_quarantined(&envoy.get("/other/1").unwrap()));
    }
    let alert = wait::until("the alert", || {
        let listed = stack.rest().document("/alerts/active").unwrap();
        let mut alerts = listed.as_array().unwrap().iter();
        alerts.find(|alert| alert["name"] == "sharing_quarantined").cloned()
    })
    .unwrap();
    assert!(alert.to_string().contains("responses-shared-by-mistake"), "{alert}");

    // It is kept.
    stack.control().restart().unwrap();
    stack.wait_connected().unwrap();
    assert_eq!(findings(&stack)[0]["id"], id.as_str());
    assert!(is_quarantined(&ask(&stack.envoy, "/prices/1", GOLD)));

    // What is proposed makes it right.
    stack.change_settings(&found["proposal"]).unwrap();
    assert_eq!(findings(&stack)[0]["quarantined"], false);
    for (cookie, price) in [(FREE, "free"), (GOLD, "gold")] {
        // Both Envoys have lost their control plane a moment ago: this one may be the later one to be back.
        wait::until("a hit", || {
            let answer = ask(&stack.envoy, "/prices/1", cookie);
            assert_eq!(answer.text(), price);
            answer.is_hit().then_some(())
        })
        .unwrap();
    }
}

#[test]
fn what_only_one_with_a_cookie_is_to_see_is_found_when_all_see_it() {
    let stack = stack(by_plan);
    stack.change_settings(&on(&json!({}))).unwrap();
    // Who has no cookie would get something else, as if the origin had changed it.
    assert_eq!(ask(&stack.envoy, "/prices/1", GOLD).text(), "gold");
    assert_eq!(ask(&stack.envoy, "/prices/1", FREE).text(), "gold");
    assert_eq!(find(&stack, "/prices/1")["depends_on"], json!(["cookie plan"]));
}

#[test]
fn a_finding_about_a_route_is_released_by_an_operator() {
    let stack = stack(by_plan);
    let mut settings = on(&json!({}));
    settings["routes"] = json!([{"name": "prices", "path_prefix": "/prices"}]);
    stack.change_settings(&settings).unwrap();
    let found = find(&stack, "/prices/1");
    assert_eq!(found["route"], "prices", "{found}");
    let proposed = &found["proposal"]["routes"][0]["key_cookies"];
    assert_eq!(*proposed, json!(["plan"]), "{found}");
    wait::until("the quarantine", || {
        is_quarantined(&ask(&stack.envoy, "/prices/2", FREE)).then_some(())
    })
    .unwrap();

    // The origin is put right, and the operator says so.
    stack.origin.script(|_| shared("one price"));
    let path = format!("/cache/findings/{}?wait=all&timeout=20s", found["id"].as_str().unwrap());
    let released = stack.rest().send(&Request::new("DELETE", &path)).unwrap();
    assert_eq!(released.status, 200, "{}", released.text());
    assert!(findings(&stack).is_empty());
    wait::until("a hit", || {
        let answer = ask(&stack.envoy, "/prices/2", GOLD);
        (answer.is_hit() && answer.text() == "one price").then_some(())
    })
    .unwrap();
    let again = stack.rest().send(&Request::new("DELETE", &path)).unwrap();
    assert_eq!(again.status, 404, "{}", again.text());
}

#[test]
fn headers_and_query_parameters_that_are_not_in_the_key_are_found_too() {
    let stack = stack(|request| match request.path.split('?').next() {
        Some("/arms/1") => shared(format!("arm {}", request.header("x-bucket").unwrap_or_default())),
        Some("/words/1") => shared(if request.header("accept-language") == Some("de") {
            "Wort"
        } else {
            "word"
        }),
        Some("/sorted/1") => shared(if request.path.contains("order=down") {
            "21"
        } else {
            "12"
        }),
        _ => shared("elsewhere"),
    });
    let mut settings = on(&json!({}));
    settings["routes"] =
        json!([{"name": "sorted", "path_prefix": "/sorted", "key_query": {"mode": "exclude", "names": ["order"]}}]);
    stack.change_settings(&settings).unwrap();
    let by = |path: &str, name: &str, value: &str| stack.envoy.fetch(&Request::get(path).header(name, value)).unwrap();
    let found = wait::until("three findings", || {
        miss(&stack);
        for (bucket, language, query) in [("a", "en", ""), ("b", "de", "?order=down")] {
            by("/arms/1", "x-bucket", bucket);
            by("/words/1", "accept-language", language);
            stack.envoy.get(&format!("/sorted/1{query}")).unwrap();
        }
        Some(findings(&stack)).filter(|found| found.len() == 3)
    })
    .unwrap();
    let depends_on: std::collections::BTreeSet<String> =
        found.iter().map(|found| found["depends_on"].to_string()).collect();
    let expected = [
        r#"["header accept-language"]"#,
        r#"["header x-bucket"]"#,
        r#"["query order"]"#,
    ];
    assert_eq!(depends_on, expected.map(str::to_owned).into());
}

#[test]
fn chance_a_change_and_what_is_masked_are_no_findings() {
    let numbers = AtomicUsize::new(0);
    let stack = stack(move |request| match request.path.as_str() {
        "/random/1" => shared(numbers.fetch_add(1, Ordering::Relaxed).to_string()),
        "/masked/1" => shared(format!("price 1, at={};", numbers.fetch_add(1, Ordering::Relaxed))),
        _ => shared("old"),
    });
    stack
        .change_settings(&on(&json!({"mask": [{"start": "at=", "end": ";"}]})))
        .unwrap();
    let verified = |result: &str, path: &str| {
        let before = count(&stack, result);
        wait::until(result, || {
            miss(&stack);
            for cookie in [FREE, GOLD] {
                assert!(!is_quarantined(&ask(&stack.envoy, path, cookie)));
            }
            (count(&stack, result) > before).then_some(())
        })
        .unwrap();
    };
    verified("differs-by-itself", "/random/1");
    verified("same", "/masked/1");
    ask(&stack.envoy, "/changed/1", FREE);
    let differing = count(&stack, "differs-by-itself");
    stack.origin.script(|_| shared("new"));
    verified("changed", "/changed/1");
    assert!(findings(&stack).is_empty());
    assert_eq!(
        (count(&stack, "not-in-key"), count(&stack, "differs-by-itself")),
        (0, differing)
    );
}

#[test]
fn nothing_is_asked_when_it_is_off_and_never_more_than_its_share() {
    let stack = stack(|request| shared(request.path.clone()));
    let crowd = |rounds: usize| {
        for _ in 0..rounds {
            miss(&stack);
            for cookie in [FREE, GOLD, FREE, GOLD] {
                ask(&stack.envoy, "/same/1", cookie);
            }
        }
    };
    crowd(50);
    // One for what is hit.
    assert_eq!(stack.origin.total(), 51);

    stack.change_settings(&on(&json!({"origin_percent": 1}))).unwrap();
    crowd(400);
    let forwarded = 451;
    let asked = wait::until("the count", || {
        let asked = stack.origin.total() - forwarded;
        (asked > 0 && count(&stack, "request") == asked as u64).then_some(asked)
    })
    .unwrap();
    // Each of two workers may begin with 40, and none of it is missing to a hit's inquiry of 16.
    assert!(asked <= 2 * 40 + forwarded / 100, "{asked} of {forwarded}");
    assert!(findings(&stack).is_empty() && count(&stack, "same") == asked as u64);
}

#[test]
fn what_one_client_makes_the_origin_refuse_ends_no_sharing() {
    let stack = stack(|request| match request.header("cookie") {
        // As every server does somewhere.
        Some(cookie) if cookie.len() > 4_000 => Reply::new(431),
        _ => by_plan(request),
    });
    stack.change_settings(&on(&json!({}))).unwrap();
    ask(&stack.envoy, "/pages/1", FREE);
    let junk = format!("junk={}", "j".repeat(5_000));
    wait::until("it is asked", || {
        miss(&stack);
        assert_eq!(ask(&stack.envoy, "/pages/1", &junk).text(), "free");
        (count(&stack, "not-verifiable") > 0).then_some(())
    })
    .unwrap();
    assert!(findings(&stack).is_empty());
}

#[test]
fn a_finding_with_more_names_than_settings_hold_is_kept_in_them() {
    let stack = stack(by_plan);
    stack.change_settings(&on(&json!({}))).unwrap();
    let many: String = (0..60).map(|number| format!("c{number:02}=1; ")).collect();
    let found = wait::until("a finding", || {
        miss(&stack);
        for plan in ["free", "gold"] {
            ask(&stack.envoy, "/prices/1", &format!("{many}plan={plan}"));
        }
        findings(&stack).first().cloned()
    })
    .unwrap();
    let told = found["depends_on"].as_array().unwrap();
    assert!(told.len() <= 32 && found["quarantined"] == true, "{found}");
}

#[test]
fn a_route_whose_share_is_0_is_never_verified_while_another_is() {
    let stack = stack(|request| match request.path.as_str() {
        "/never/1" | "/always/1" => by_plan(request),
        _ => shared("elsewhere"),
    });
    let mut settings = on(&json!({"hits_percent": 1}));
    settings["routes"] = json!([
        {"name": "never", "path_prefix": "/never", "verify_hits_percent": 0},
        {"name": "always", "path_prefix": "/always", "verify_hits_percent": 100},
    ]);
    stack.change_settings(&settings).unwrap();
    let never = || {
        for cookie in [FREE, GOLD] {
            let answer = ask(&stack.envoy, "/never/1", cookie);
            assert_eq!(answer.text(), "free", "{answer:?}");
        }
    };
    let found = wait::until("a finding", || {
        miss(&stack);
        never();
        for cookie in [FREE, GOLD] {
            ask(&stack.envoy, "/always/1", cookie);
        }
        findings(&stack).first().cloned()
    })
    .unwrap();
    assert_eq!(found["route"], "always", "{found}");
    for _ in 0..200 {
        never();
    }
    miss(&stack);
    assert_eq!(
        stack.origin.count("/never/1"),
        1,
        "nobody has asked for it but its first client"
    );
    assert_eq!(findings(&stack).len(), 1);
    // Operators see what holds for a request.
    let explained = |path: &str| {
        let asked = format!("/cache/explain?url=http://api.example{path}");
        let explained = stack.rest().document(&asked).unwrap();
        explained["envoys"][0]["explanation"]["policy"]["verify_hits_percent"].clone()
    };
    let shares = ["/never/1", "/always/1", "/elsewhere"].map(explained);
    assert_eq!(shares, [json!(0), json!(100), json!(1)]);
}

/// Figures: how long it takes at 100 requests a second, and how much of the origin's load it is.
#[test]
#[ignore = "figures"]
fn how_long_it_takes_and_what_it_costs() {
    // What is stored first is what who has no cookie gets, or what he does not get.
    for first in [FREE, GOLD, FREE, GOLD] {
        let stack = stack(by_plan);
        stack
            .change_settings(&json!({"verify_sharing": {"enabled": true, "hits_percent": 1, "origin_percent": 1}}))
            .unwrap();
        ask(&stack.envoy, "/prices/1", first);
        // One request in ten is a miss.
        let begun = Instant::now();
        let mut sent = 0_u32;
        let mut found = None;
        let mut asked = |stack: &Stack| {
            let cookie = if sent.is_multiple_of(2) { FREE } else { GOLD };
            if sent.is_multiple_of(10) {
                miss(stack);
            } else {
                ask(&stack.envoy, "/prices/1", cookie);
            }
            sent += 1;
            if sent.is_multiple_of(20) {
                found = findings(stack).first().cloned();
            }
            let due = begun + Duration::from_millis(10) * sent;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            found.is_some()
        };
        while !asked(&stack) && begun.elapsed() < Duration::from_secs(120) {}
        let verified = count(&stack, "request");
        println!(
            "{first}: found {:?} after {:?}, {sent} requests; {verified} of {} requests to the origin",
            found.map(|found| found["depends_on"].clone()),
            begun.elapsed(),
            stack.origin.total()
        );
    }
}
