//! The board at `/` in a real browser: what it shows is what there is, what its buttons do is done, and whatever is refused or away is
//! told in words.

mod judged;

use e2e::browser::{Browser, chromium};
use e2e::client::{Connection, Request};
use e2e::control_plane::{ControlPlane, Options};
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;

const VIEWER: &str = "viewer-token-0123456789";
const OPERATOR: &str = "operator-token-0123456789";

/// The page in a browser; `None`, said once, where there is no browser.
fn board(address: SocketAddr, folder: &Path) -> Option<Browser> {
    let Some(program) = chromium() else {
        println!("BOARD NOT LOOKED AT: Chromium is not installed (Debian: apt-get install chromium).");
        return None;
    };
    let mut browser = Browser::start(&program, folder).unwrap();
    browser.open(&format!("http://{address}/")).unwrap();
    Some(browser)
}

fn look(browser: &mut Browser, view: &str) {
    browser.evaluate(&format!("location.hash = '#{view}'")).unwrap();
}

/// Says yes to what the page asks before it does something.
fn confirm(browser: &mut Browser, question: &str) {
    browser.wait_text("#confirm[open] h2", question).unwrap();
    browser.press("#confirm-yes").unwrap();
}

#[test]
fn the_board_shows_what_there_is_and_its_buttons_do_what_they_say() {
    let origin = Origin::start(|_| Reply::ok("well").max_age(600)).unwrap();
    let mut stack = Stack::start(&Plan::default(), origin).unwrap();
    let address = stack.rest().address();
    let folder = tempfile::tempdir().unwrap();
    let Some(mut browser) = board(address, folder.path()) else {
        return;
    };
    nothing_is_made_up(&mut browser);
    let url = "http://api.test/page";
    let get = Request::get("/page").header("host", "api.test");
    for _ in 0..10 {
        assert_eq!(stack.envoy.fetch(&get).unwrap().status, 200);
    }
    figures_are_shown(&mut browser);
    explained(&mut browser, url);
    purged(&mut browser, &stack, url, &get);
    overridden(&mut browser, &stack);
    settings_changed(&mut browser, &stack);
    tried_on_some(&mut browser, &stack);
    module_on_trial(&mut browser, &stack);
    snapshot_taken_and_restored(&mut browser, &stack);
    cancelled_midway(&mut browser, &stack);
    alert_seen_and_silenced(&mut browser, &stack);
    nothing_becomes_a_script(&mut browser);
    the_stream_of_events_is_the_first_one(&mut browser);
    lost_and_found(&mut browser, &mut stack);
}

/// Before any request there is no ratio and no latency.
fn nothing_is_made_up(browser: &mut Browser) {
    browser.wait_text("#connection", "Connected").unwrap();
    browser.wait_text("#tiles", "no requests in the last minute").unwrap();
    let tiles = browser.text("#tiles").unwrap();
    assert!(
        tiles.contains("Hit ratio\nno data yet") && !tiles.contains('%'),
        "{tiles}"
    );
    browser.wait_text("#latency", "No requests").unwrap();
    look(browser, "cache");
    browser.wait_text("#what-if", "No lookups have been seen yet").unwrap();
}

fn figures_are_shown(browser: &mut Browser) {
    look(browser, "overview");
    browser.wait_text("#tiles", "90.0 %\nof 10 lookups").unwrap();
    browser.wait_text("#latency", "hits").unwrap();
    browser.wait_text("#errors", "None of 10 requests").unwrap();
    look(browser, "fleet");
    browser
        .wait_text("#rollout", "in force on 1 of 1 connected Envoy")
        .unwrap();
    browser.wait_text("#envoys", "connected").unwrap();
    look(browser, "cache");
    browser.wait_text("#cache-tiles", "90.0 %").unwrap();
    browser.wait_text("#top-keys", "http://api.test/page").unwrap();
    browser.wait_text("#what-if-rows", "in force").unwrap();
    let curve = browser
        .evaluate("document.querySelector('#what-if .curve').getAttribute('d').length")
        .unwrap();
    assert!(curve.as_u64().unwrap() > 100, "{curve}");
    browser.enter("#what-if-size", "0").unwrap();
    browser
        .wait_text("#what-if-rows tbody tr:last-child", "with the size chosen\t100\t")
        .unwrap();
    look(browser, "alerts");
    browser.wait_text("#silences", "None is in force").unwrap();
}

fn explained(browser: &mut Browser, url: &str) {
    look(browser, "cache");
    browser.enter("#explain-url", url).unwrap();
    browser.press("#explain button").unwrap();
    browser.wait_text("#explain-result", "serve\tfresh").unwrap();
}

fn purged(browser: &mut Browser, stack: &Stack, url: &str, get: &Request) {
    assert!(stack.envoy.fetch(get).unwrap().is_hit());
    look(browser, "purge");
    browser.enter("#purge-value", url).unwrap();
    browser
        .enter("#purge-reason", "<img src=x onerror=\"window.bad=1\">")
        .unwrap();
    browser.press("#purge-try").unwrap();
    browser.wait_text("#purge-result", "Nothing was purged").unwrap();
    assert!(stack.envoy.fetch(get).unwrap().is_hit());
    browser.press("#purge-form button[type=submit]").unwrap();
    confirm(browser, &format!("Purge url {url}?"));
    browser.wait_text("#receipt-state", "Complete").unwrap();
    browser.wait_text("#receipt", "stored responses meant: 1;").unwrap();
    assert!(!stack.envoy.fetch(get).unwrap().is_hit());
    browser.wait_text("#purges", "<img src=x").unwrap();
}

fn breaker(stack: &Stack) -> Value {
    stack.rest().document("/circuit-breaker/status").unwrap()["upstreams"]["origin"][0]["state"].clone()
}

fn overridden(browser: &mut Browser, stack: &Stack) {
    look(browser, "breakers");
    browser.wait_text("#breaker-list", "origin").unwrap();
    browser.enter("#override-upstream", "origin").unwrap();
    browser.enter("#override-reason", "maintenance").unwrap();
    browser.press("#override button").unwrap();
    confirm(browser, "origin: force open");
    browser
        .wait_text("#override-result", "force-open is in force on 1 Envoy")
        .unwrap();
    let refused = stack.envoy.get("/not-stored").unwrap();
    assert_eq!(refused.status, 503);
    browser.wait_text("#breaker-list", "forced-open").unwrap();
    browser.wait_text("#steered", "maintenance").unwrap();
    browser.press("#steered button").unwrap();
    confirm(browser, "End the override of origin?");
    browser.wait_text("#steered", "None").unwrap();
    wait::until("a closed breaker", || (breaker(stack) == "closed").then_some(())).unwrap();
}

fn settings_changed(browser: &mut Browser, stack: &Stack) {
    let size = || stack.rest().document("/settings").unwrap()["cache_size"].clone();
    look(browser, "settings");
    browser
        .wait_text("#common-fields", "Most stored responses per Envoy")
        .unwrap();
    let before = size();
    browser
        .enter("#patch-text", "{\"cache_size\": 0, \"ttl\": \"5m\"}")
        .unwrap();
    browser.press("#patch-try").unwrap();
    for (path, code) in [("/cache_size", "out_of_range"), ("/ttl", "unknown_field")] {
        browser.wait_text("#patch-result", &format!("{path}\t{code}")).unwrap();
    }
    // By the form: the difference becomes the patch.
    browser.enter("#setting-cache_size", "1234").unwrap();
    browser.press("#common button").unwrap();
    let patch = browser.evaluate("document.querySelector('#patch-text').value").unwrap();
    let patch: Value = serde_json::from_str(patch.as_str().unwrap()).unwrap();
    assert_eq!(patch, json!({"cache_size": 1234}));
    browser.press("#patch-try").unwrap();
    browser.wait_text("#patch-result", "Tried only").unwrap();
    assert_eq!(size(), before);
    browser.press("#patch button[type=submit]").unwrap();
    confirm(browser, "Apply this to all Envoys?");
    browser.wait_text("#patch-result", "is accepted").unwrap();
    assert_eq!(size(), 1234);
    browser
        .wait_text("#settings-revision", "Revision 2 is in force")
        .unwrap();
    browser.wait_text("#history", "1 field").unwrap();
    browser
        .press("#history button[aria-label='Roll back to revision 1']")
        .unwrap();
    confirm(browser, "Roll back to revision 1?");
    wait::until("the settings of revision 1", || (size() == before).then_some(())).unwrap();
    browser
        .wait_text("#settings-revision", "Revision 3 is in force")
        .unwrap();
}

/// Settings on trial, given up from the page.
fn tried_on_some(browser: &mut Browser, stack: &Stack) {
    look(browser, "settings");
    let change = Request::new("PATCH", "/settings?canary=50").body(r#"{"cache_size":4321}"#);
    let change = change.header("content-type", "application/merge-patch+json");
    assert_eq!(stack.rest().send(&change).unwrap().status, 200);
    browser.wait_text("#canary", "is on trial").unwrap();
    browser.wait_text("#canary", "On 50 % of the Envoys").unwrap();
    browser.wait_text("#canary", "in force on").unwrap();
    browser.press("#canary [data-focus=abort]").unwrap();
    confirm(browser, "Give up the trial?");
    browser.wait_text("#patch-result", "Done: revision").unwrap();
    assert_eq!(
        stack.rest().document("/settings/canary").unwrap()["canary"],
        Value::Null
    );
}

/// A module on trial: no Envoy of this stack takes its filter by xDS, and none is said to run it.
fn module_on_trial(browser: &mut Browser, stack: &Stack) {
    let module = b"\0asm\x01\0\0\0".to_vec();
    let kept = stack
        .rest()
        .send(&Request::new("PUT", "/filter/modules").body(module))
        .unwrap();
    assert_eq!(kept.status, 200, "{}", kept.text());
    let trial = json!({"sha256": kept.json().unwrap()["sha256"], "canary_percent": 25});
    let begun = Request::new("POST", "/filter/rollout").body(trial.to_string());
    assert_eq!(stack.rest().send(&begun).unwrap().status, 200);
    look(browser, "fleet");
    browser.wait_text("#module-canary", "On 25 % of the Envoys").unwrap();
    browser.wait_text("#module-canary", "in force on 0 of 0").unwrap();
    browser.press("#module-canary [data-focus='module abort']").unwrap();
    confirm(browser, "Give up this module?");
    browser.wait_text("#module-result", "told to go back").unwrap();
    assert_eq!(stack.rest().document("/filter/rollout").unwrap()["canary"], Value::Null);
}

fn snapshot_taken_and_restored(browser: &mut Browser, stack: &Stack) {
    assert_eq!(stack.envoy.get("/kept").unwrap().status, 200);
    look(browser, "cache");
    browser.press("#snapshot button").unwrap();
    confirm(browser, "Download a snapshot?");
    browser.wait_text("#snapshot-result", ": complete.").unwrap();
    browser
        .wait_text("#operations", "snapshot\tdone\tcomplete; bytes")
        .unwrap();
    let file = stack
        .rest()
        .send(&Request::new("POST", "/cache/snapshot"))
        .unwrap()
        .text();
    let choose = format!(
        "(() => {{ const files = new DataTransfer(); files.items.add(new File([{}], 'snapshot.json')); document.querySelector('#restore-file').files = files.files; }})()",
        Value::String(file)
    );
    browser.evaluate(&choose).unwrap();
    browser.press("#restore button[value=try]").unwrap();
    browser.wait_text("#restore-result", "Tried only: ").unwrap();
    browser.press("#restore button[value=do]").unwrap();
    confirm(browser, "Restore this snapshot into all Envoys?");
    browser
        .wait_text("#restore-result", " read, restored 0, kept ")
        .unwrap();
    browser
        .wait_text("#operations", "restore\tdone\tcomplete; expired")
        .unwrap();
    browser.evaluate("(() => { const files = new DataTransfer(); files.items.add(new File(['{'], 'half.json')); document.querySelector('#restore-file').files = files.files; })()").unwrap();
    browser.press("#restore button[value=try]").unwrap();
    browser.wait_text("#restore-result", "This is no snapshot").unwrap();
}

/// A restore that never gets all of its body: seen as it stands, and cancelled from the page.
fn cancelled_midway(browser: &mut Browser, stack: &Stack) {
    let mut open = Connection::open(stack.rest().address()).unwrap();
    open.send(b"POST /cache/restore HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n{\"format\"")
        .unwrap();
    browser.wait_text("#operations", "receiving: ").unwrap();
    browser
        .press("#operations button[aria-label='Cancel the restore']")
        .unwrap();
    confirm(browser, "Cancel the restore?");
    browser.wait_text("#operations-result", "told to end").unwrap();
    browser
        .wait_text("#operations", "restore\tcancelled\tcancelled by")
        .unwrap();
    assert_eq!(open.response("POST").unwrap().status, 409);
}

fn alert_seen_and_silenced(browser: &mut Browser, stack: &Stack) {
    let rule =
        json!({"alerts": {"minimum_samples": 5, "cache_hit_ratio": {"warning": 100, "critical": 100, "for": "0s"}}});
    stack.change_settings(&rule).unwrap();
    (0..10).for_each(|at| assert_eq!(stack.envoy.get(&format!("/missed/{at}")).unwrap().status, 200));
    look(browser, "alerts");
    browser.wait_text("#alert-list", "cache_hit_ratio").unwrap();
    browser
        .press("#alert-list button[aria-label='Acknowledge cache_hit_ratio']")
        .unwrap();
    browser
        .wait_text("#alert-result", "cache_hit_ratio: acknowledged by")
        .unwrap();
    browser.wait_text("#alert-list", "seen by").unwrap();
    browser
        .press("#alert-list button[aria-label='Silence cache_hit_ratio …']")
        .unwrap();
    browser.enter("#silence-reason", "tried from the board").unwrap();
    browser.press("#silence button").unwrap();
    browser
        .wait_text("#alert-result", "cache_hit_ratio is silenced until")
        .unwrap();
    browser.wait_text("#silences", "tried from the board").unwrap();
    browser.wait_text("#alert-list", "silenced").unwrap();
    browser.press("#silences button").unwrap();
    browser
        .wait_text("#alert-result", "cache_hit_ratio is told again")
        .unwrap();
    assert_eq!(stack.rest().document("/alerts/silences").unwrap(), json!([]));
}

/// Neither what the API says nor a script in the page's own markup runs.
fn nothing_becomes_a_script(browser: &mut Browser) {
    let inline = "(() => { const script = document.createElement('script'); script.textContent = 'window.bad = 2'; document.body.append(script); })()";
    browser.evaluate(inline).unwrap();
    assert_eq!(browser.evaluate("window.bad ?? null").unwrap(), Value::Null);
    assert_eq!(browser.evaluate("document.querySelectorAll('img').length").unwrap(), 0);
}

/// A purge, an override and changes of settings came over it: an event that the page could not take would have ended it.
fn the_stream_of_events_is_the_first_one(browser: &mut Browser) {
    let ended = "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/events')).length";
    assert_eq!(browser.evaluate(ended).unwrap(), 0);
}

fn lost_and_found(browser: &mut Browser, stack: &mut Stack) {
    look(browser, "overview");
    browser.wait_text("#connection", "Connected").unwrap();
    stack.control().kill();
    browser
        .wait_text("#connection", "Connection lost, last data of ")
        .unwrap();
    assert_eq!(browser.evaluate("document.body.className").unwrap(), "lost");
    browser.wait_text("#tiles", "Requests per second").unwrap();
    stack.control().restart().unwrap();
    browser.wait_text("#connection", "Connected. Data of ").unwrap();
    assert_eq!(browser.evaluate("document.body.className").unwrap(), "");
}

fn guarded(folder: &Path) -> ControlPlane {
    let file = folder.join("tokens.json");
    let tokens = json!([
        {"name": "ops", "role": "operator", "token": OPERATOR},
        {"name": "watcher", "role": "viewer", "token": VIEWER},
    ]);
    std::fs::write(&file, tokens.to_string()).unwrap();
    let options = Options {
        rest_port: free_port().unwrap(),
        grpc_port: free_port().unwrap(),
        state_dir: folder.join("state"),
        config_dir: None,
        environment: vec![("AUTH_TOKENS_FILE".to_owned(), file.display().to_string())],
    };
    let mut control = ControlPlane::start(options, folder).unwrap();
    control.wait_live().unwrap();
    control
}

#[test]
fn the_board_asks_for_a_token_and_shows_what_it_may_not_do() {
    let folder = tempfile::tempdir().unwrap();
    let control = guarded(folder.path());
    // The page itself is for everybody, and says nothing of the fleet.
    let page = control.stranger().get("/").unwrap();
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("default-src 'none'")
    );
    let Some(mut browser) = board(control.stranger().address(), folder.path()) else {
        return;
    };
    let give = |browser: &mut Browser, token: &str| {
        browser.enter("#token", token).unwrap();
        browser.press("#login button").unwrap();
    };
    browser.wait_text("#login-why", "asks for a token").unwrap();
    assert_eq!(browser.evaluate("document.querySelector('main').hidden").unwrap(), true);
    give(&mut browser, "wrong-token-0123456789");
    browser.wait_text("#login-why", "The token is not known").unwrap();
    give(&mut browser, VIEWER);
    browser.wait_text("#connection", "Connected").unwrap();
    let purge = |browser: &mut Browser| {
        look(browser, "purge");
        browser.enter("#purge-kind", "all").unwrap();
        browser.press("#purge-form button[type=submit]").unwrap();
        confirm(browser, "Purge everything?");
    };
    purge(&mut browser);
    let refused = "Not allowed: The role operator is needed, watcher has the role viewer";
    browser.wait_text("#purge-result", refused).unwrap();
    let kept = browser
        .evaluate("[Object.values(sessionStorage), Object.values(localStorage), document.cookie]")
        .unwrap();
    assert_eq!(kept, json!([[VIEWER], [], ""]));
    browser.press("#forget").unwrap();
    browser.wait_text("#login-why", "asks for a token").unwrap();
    give(&mut browser, OPERATOR);
    browser.wait_text("#connection", "Connected").unwrap();
    purge(&mut browser);
    browser.wait_text("#purge-result", "Accepted: everything").unwrap();
    browser.wait_text("#purges", "everything").unwrap();
}
