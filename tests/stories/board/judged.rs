//! What the product has found and tries by itself, on the board: findings of verified sharing, and experiments.

use super::*;
use e2e::envoy::Envoy;

const GOLD: &str = "session=s3cret; plan=gold";
const FREE: &str = "session=other; plan=free";

fn listed(stack: &Stack, path: &str) -> Vec<Value> {
    stack.rest().document(path).unwrap().as_array().unwrap().clone()
}

fn value(browser: &mut Browser, selector: &str) -> Value {
    let read = format!("document.querySelector('{selector}').value");
    browser.evaluate(&read).unwrap()
}

/// Users of both plans ask for one price, until it is found that the key does not tell them apart.
fn found(stack: &Stack) -> Value {
    let mut missed = 0;
    wait::until("a finding", || {
        missed += 1;
        let miss = format!("/elsewhere/{missed}");
        for (path, cookie) in [(miss.as_str(), FREE), ("/prices/1", FREE), ("/prices/1", GOLD)] {
            let request = Request::get(path).header("host", "api.test").header("cookie", cookie);
            assert_eq!(stack.envoy.fetch(&request).unwrap().status, 200);
        }
        listed(stack, "/cache/findings").first().cloned()
    })
    .unwrap()
}

#[test]
fn findings_and_experiments_are_shown_with_their_evidence_and_ended_from_the_board() {
    let origin = Origin::start(|request| {
        let cookie = request.header("cookie").unwrap_or_default();
        let is_gold = request.path == "/prices/1" && cookie.contains("plan=gold");
        let price = if is_gold { "gold" } else { "free" };
        Reply::ok(price).max_age(600).header("content-type", "text/plain")
    })
    .unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let Some(mut browser) = board(stack.rest().address(), folder.path()) else {
        return;
    };
    browser.wait_text("#connection", "Connected").unwrap();
    finding_released(&mut browser, &stack);
    let second = stack.envoy_beside("second").unwrap();
    patch_tried_and_stopped(&mut browser, &stack, &second);
    advice_tried(&mut browser, &stack);
    nothing_becomes_a_script(&mut browser);
    the_stream_of_events_is_the_first_one(&mut browser);
}

fn finding_released(browser: &mut Browser, stack: &Stack) {
    look(browser, "cache");
    browser.wait_text("#findings", "Nothing was found.").unwrap();
    let verified = json!({"verify_sharing": {"enabled": true, "hits_percent": 100}});
    stack.change_settings(&verified).unwrap();
    let finding = found(stack);
    browser
        .wait_text("#findings", "api.test/prices/\tcookie plan\tnot cached")
        .unwrap();
    let shown = browser.text("#findings").unwrap();
    for digest in ["served", "fetched"] {
        assert!(shown.contains(finding[digest].as_str().unwrap()), "{shown}");
    }
    assert!(!shown.contains("s3cret"), "{shown}");
    // What would make it right goes where changes are tried.
    browser
        .press("#findings button[aria-label='Put the proposal for api.test/prices/ into the patch']")
        .unwrap();
    browser.wait_text("#settings-h", "Settings").unwrap();
    let patch = value(browser, "#patch-text");
    let patch: Value = serde_json::from_str(patch.as_str().unwrap()).unwrap();
    assert_eq!(patch, finding["proposal"]);
    assert_eq!(patch["routes"][0]["key_cookies"], json!(["plan"]));
    browser.press("#patch-try").unwrap();
    browser.wait_text("#patch-result", "Tried only").unwrap();
    browser.enter("#patch-text", "{}").unwrap();
    look(browser, "cache");
    browser
        .press("#findings button[aria-label='Release api.test/prices/']")
        .unwrap();
    confirm(browser, "Release api.test/prices/?");
    browser
        .wait_text("#findings-result", "api.test/prices/ is released with revision")
        .unwrap();
    browser.wait_text("#findings", "Nothing was found.").unwrap();
    assert!(listed(stack, "/cache/findings").is_empty());
}

fn patch_tried_and_stopped(browser: &mut Browser, stack: &Stack, second: &Envoy) {
    look(browser, "experiments");
    browser.wait_text("#experiment-list", "There was none yet.").unwrap();
    browser.enter("#experiment-from", "settings").unwrap();
    browser
        .enter("#experiment-patch", "{\"default_ttl\": \"1m\", \"nothing\": 1}")
        .unwrap();
    browser.enter("#experiment-share", "50").unwrap();
    browser
        .enter("#experiment-reason", "<img src=x onerror=\"window.bad=1\">")
        .unwrap();
    let begin = |browser: &mut Browser| {
        browser.press("#experiment-form button[type=submit]").unwrap();
        confirm(browser, "Try this on 50 % of the Envoys?");
    };
    begin(browser);
    browser.wait_text("#experiment-result", "/nothing").unwrap();
    assert!(listed(stack, "/tuning/experiments").is_empty(), "refused");
    browser.enter("#experiment-patch", "{\"default_ttl\": \"1m\"}").unwrap();
    begin(browser);
    browser
        .wait_text("#experiment-result", "is under way with revision")
        .unwrap();
    browser.wait_text("#experiment h3", "Under way").unwrap();
    browser.wait_text("#experiment", "warming up").unwrap();
    browser
        .wait_text("#experiment", "on 50 % of the Envoys: <img src=x")
        .unwrap();
    // Both arms with what they did, and each difference with its interval.
    wait::until("requests of both arms", || {
        for envoy in [&stack.envoy, second] {
            (0..20).for_each(|at| assert_eq!(envoy.get(&format!("/asked/{at}")).unwrap().status, 200));
        }
        let figures = &listed(stack, "/tuning/experiments")[0]["figures"];
        let count = |arm: &str| figures[arm]["requests"].as_u64().unwrap();
        (count("experiment") > 0 && count("control") > 0).then_some(())
    })
    .unwrap();
    browser.wait_text("#experiment", "tries the change\t1\t").unwrap();
    browser.wait_text("#experiment", "control group\t1\t").unwrap();
    browser.wait_text("#experiment", "0.0 %\tno data yet").unwrap();
    browser
        .wait_text("#experiment", "Failed requests\t+0.0 points (")
        .unwrap();
    browser.wait_text("#experiment", "1 points more").unwrap();
    browser
        .press("#experiment button[aria-label='Stop the experiment']")
        .unwrap();
    confirm(browser, "Stop the experiment?");
    browser.wait_text("#experiment-result", "and rolled back.").unwrap();
    browser.wait_text("#experiment h3", "The last one").unwrap();
    browser
        .wait_text("#experiment-list", "{\"default_ttl\":\"1m\"}\tstopped")
        .unwrap();
    assert_eq!(listed(stack, "/tuning/experiments")[0]["state"], "stopped");
    assert_eq!(
        stack.rest().document("/settings/canary").unwrap()["canary"],
        Value::Null
    );
}

/// Asks for what is advised, and what came of it.
fn advised(browser: &mut Browser) -> String {
    let result = "document.querySelector('#experiment-result').textContent";
    browser.evaluate(&format!("{result} = ''")).unwrap();
    browser.press("#experiment-form button[type=submit]").unwrap();
    confirm(browser, "Try this on 50 % of the Envoys?");
    wait::until("an answer", || {
        let told = browser.evaluate(result).ok()?;
        told.as_str().filter(|told| !told.is_empty()).map(str::to_owned)
    })
    .unwrap()
}

fn advice_tried(browser: &mut Browser, stack: &Stack) {
    browser.enter("#experiment-from", "limits").unwrap();
    let hidden = "document.querySelector('#experiment-patch-label').hidden";
    assert_eq!(browser.evaluate(hidden).unwrap(), true);
    let told = advised(browser);
    assert!(told.contains("Nothing is advised"), "{told}");
    // The one connection that there may be is used.
    stack.change_settings(&json!({"max_connections": 1})).unwrap();
    wait::until("an experiment with what is advised", || {
        assert_eq!(stack.envoy.get("/elsewhere/none").unwrap().status, 200);
        advised(browser).contains("is under way").then_some(())
    })
    .unwrap();
    browser.wait_text("#experiment h3", "Under way").unwrap();
    browser
        .wait_text("#experiment-list", "{\"max_connections\":2}")
        .unwrap();
    assert_eq!(listed(stack, "/tuning/experiments")[0]["source"], "limits");
}
