//! Settings that were accepted stay accepted.

use crate::fake_control_plane::FakeControlPlane;
use e2e::bootstrap::Bootstrap;
use e2e::client::Request;
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack};
use e2e::{artefacts, wait};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

fn origin() -> Origin {
    Origin::start(|_| Reply::ok("content")).unwrap()
}

fn stored(envoy: &Envoy, page: &str) -> bool {
    let answer = envoy.get(page).unwrap();
    assert_eq!(answer.status, 200);
    answer.cache_status().contains("stored")
}

fn back(stack: &mut Stack) {
    stack.control().restart().unwrap();
    stack.control().wait_live().unwrap();
    stack.wait_connected().unwrap();
}

#[test]
fn killed_between_accept_and_push_the_change_still_arrives() {
    let mut stack = Stack::start(&Plan::default(), origin()).unwrap();
    // Nothing that is pushed arrives.
    stack.envoy.process().freeze();
    let accepted = stack
        .rest()
        .merge_patch("/settings", &json!({"default_ttl": "60s"}))
        .unwrap();
    assert_eq!(accepted.status, 200, "{}", accepted.text());
    let late = stack
        .rest()
        .merge_patch("/settings?wait=all&timeout=200ms", &json!({"cache_size": 50}))
        .unwrap();
    let body = late.json().unwrap();
    assert_eq!((late.status, &body["stragglers"]), (202, &json!(["envoy"])), "{body}");
    stack.control().kill();
    stack.envoy.process().thaw();
    // Its connection is closed and it is left alone: what it runs on now does not matter, only that it serves.
    stack.envoy.get("/alone").unwrap();
    back(&mut stack);
    let settings = stack.rest().document("/settings").unwrap();
    assert_eq!(
        (&settings["default_ttl"], &settings["cache_size"]),
        (&json!("1m"), &json!(50))
    );
    assert!(stored(&stack.envoy, "/page"));
}

#[test]
fn killed_at_any_moment_no_acknowledged_revision_is_lost() {
    let mut stack = Stack::start(&Plan::default(), origin()).unwrap();
    for round in 0..4_u64 {
        let acknowledged = AtomicU64::new(0);
        let rest = stack.rest();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for size in 1.. {
                    let change = json!({"cache_size": 1_000 * (round + 1) + size});
                    let Ok(answer) = rest.merge_patch("/settings", &change) else {
                        return;
                    };
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    acknowledged.store(answer.json().unwrap()["revision"].as_u64().unwrap(), Ordering::SeqCst);
                }
            });
            let first = acknowledged.load(Ordering::SeqCst);
            wait::until("some changes", || {
                (acknowledged.load(Ordering::SeqCst) > first + 20 + round * 7).then_some(())
            })
            .unwrap();
            stack.control().kill();
            writer.join().unwrap();
        });
        back(&mut stack);
        let history = stack.rest().document("/settings/history").unwrap();
        let last = history.as_array().unwrap().last().unwrap().clone();
        assert!(
            last["revision"].as_u64().unwrap() >= acknowledged.load(Ordering::SeqCst),
            "{last}"
        );
        // The one whose answer was lost may have been taken.
        assert!(
            last["revision"].as_u64().unwrap() <= acknowledged.load(Ordering::SeqCst) + 1,
            "{last}"
        );
    }
    stack.change_settings(&json!({"default_ttl": "60s"})).unwrap();
    assert!(stored(&stack.envoy, "/page"));
}

#[test]
fn with_a_full_disk_settings_change_and_say_that_they_are_not_kept() {
    let mut stack = Stack::start(&Plan::default(), origin()).unwrap();
    stack.change_settings(&json!({"cache_size": 77})).unwrap();
    let state = stack.folder().join("state");
    let full = ["settings.journal", "settings.new"].map(|name| state.join(name));
    for path in &full {
        // There need not be one.
        let _ = std::fs::remove_file(path);
        symlink("/dev/full", path).unwrap();
    }
    let change = stack
        .rest()
        .merge_patch("/settings?wait=all&timeout=10s", &json!({"default_ttl": "60s"}))
        .unwrap();
    let body = change.json().unwrap();
    assert_eq!(change.status, 200, "{body}");
    assert!(
        body["notices"][0]["message"]
            .as_str()
            .is_some_and(|text| text.contains("cannot be kept")),
        "{body}"
    );
    assert!(stored(&stack.envoy, "/page"), "in force all the same");
    let health = stack.rest().document("/health").unwrap();
    assert_eq!(health["components"]["storage"]["status"], "degraded", "{health}");

    // A restart loses them, and finds an Envoy that runs on them: it goes on above, so that the next change is taken.
    stack.control().kill();
    back(&mut stack);
    let settings = stack.rest().document("/settings").unwrap();
    assert_eq!(settings["default_ttl"], "0s");
    wait::until("the kept settings in force again", || {
        let rollout = stack.rest().document("/settings/rollout").ok()?;
        (rollout["revision"].as_u64()? > 3 && rollout["complete"] == true).then_some(())
    })
    .unwrap();
    assert!(!stored(&stack.envoy, "/other"));
    let history = stack.rest().document("/settings/history").unwrap();
    assert_eq!(
        history.as_array().unwrap().last().unwrap()["door"],
        "recovery",
        "{history}"
    );
    stack.change_settings(&json!({"default_ttl": "30s"})).unwrap();
    assert!(stored(&stack.envoy, "/third"));

    full.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    wait::until("settings kept again", || {
        let health = stack.rest().document("/health").unwrap();
        (health["components"]["storage"]["status"] == "healthy").then_some(())
    })
    .unwrap();
    std::fs::remove_dir_all(&state).unwrap();
    stack.change_settings(&json!({"cache_size": 78})).unwrap();
    stack.control().kill();
    back(&mut stack);
    let settings = stack.rest().document("/settings").unwrap();
    assert_eq!(
        (&settings["cache_size"], &settings["default_ttl"]),
        (&json!(78), &json!("30s"))
    );
}

/// An Envoy under a control plane of our making.
fn under(control: &FakeControlPlane, origin: &Origin, folder: &tempfile::TempDir) -> Envoy {
    let mut bootstrap = Bootstrap::bare(
        free_port().unwrap(),
        free_port().unwrap(),
        ("127.0.0.1".to_owned(), origin.address().port()),
    );
    bootstrap.wasm = Some(artefacts::filter().unwrap());
    bootstrap.grpc_port = Some(control.port());
    let mut envoy = Envoy::start(&bootstrap, 2, folder.path()).unwrap();
    envoy.wait_ready().unwrap();
    envoy
}

#[test]
fn a_document_from_the_future_is_followed_as_far_as_it_is_understood() {
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let newer = json!({"default_ttl": "60s", "prefetch": {"depth": 2}, "breaker": {"hedge_after": "5ms"}});
    let control = FakeControlPlane::start(&newer);
    let envoy = under(&control, &origin, &folder);
    let ack = wait::until("the acknowledgement", || control.ack(1)).unwrap();
    assert!(ack.accepted, "{ack:?}");
    let mut ignored: Vec<&str> = ack.violations.iter().map(|unknown| unknown.path.as_str()).collect();
    ignored.sort_unstable();
    assert_eq!(ignored, ["/breaker/hedge_after", "/prefetch"]);
    assert!(stored(&envoy, "/page"));

    control.push(2, &json!({"default_ttl": "0s", "eviction_policy": "clairvoyant"}));
    let ack = wait::until("the refusal", || control.ack(2)).unwrap();
    assert!(!ack.accepted && ack.violations[0].path == "/eviction_policy", "{ack:?}");
    assert!(stored(&envoy, "/other"), "the last good stays");
    control.push(3, &json!({"default_ttl": "0s"}));
    assert!(wait::until("the acknowledgement", || control.ack(3)).unwrap().accepted);
    assert!(!stored(&envoy, "/third"));
}

#[test]
fn a_state_of_a_newer_control_plane_is_read_without_what_is_unknown() {
    let mut stack = Stack::start(&Plan::default(), origin()).unwrap();
    stack.change_settings(&json!({"cache_size": 77})).unwrap();
    stack.control().kill();
    let state = stack.folder().join("state");
    rewrite(&state.join("settings.json"), |document| {
        let revisions = document["revisions"].as_array_mut().unwrap();
        let mut last = revisions.last().unwrap().clone();
        last["number"] = json!(last["number"].as_u64().unwrap() + 5);
        last["document"]["prefetch"] = json!({"depth": 2});
        last["document"]["cache_size"] = json!(78);
        revisions.push(last);
    });
    back(&mut stack);
    let settings = stack.rest().document("/settings").unwrap();
    assert_eq!(
        (&settings["cache_size"], &settings["prefetch"]),
        (&json!(78), &Value::Null)
    );
    let history = stack.rest().document("/settings/history?limit=1").unwrap();
    assert!(
        history[0]["reason"].as_str().unwrap().contains("/prefetch"),
        "{history}"
    );
    let request = Request::new("PATCH", "/settings?wait=all&timeout=10s")
        .body(r#"[{"op":"replace","path":"/cache_size","value":79}]"#);
    assert_eq!(stack.rest().send(&request).unwrap().status, 200);
}

/// Changes a kept document with its checksum.
fn rewrite(path: &std::path::Path, change: impl FnOnce(&mut Value)) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut document: Value = serde_json::from_str(text.split_once('\n').unwrap().1).unwrap();
    change(&mut document);
    let text = document.to_string();
    std::fs::write(path, format!("{}\n{text}", checksum(&text))).unwrap();
}

/// As in the files: FNV-1a.
fn checksum(text: &str) -> String {
    let sum = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{sum:016x}")
}

#[test]
fn a_disk_that_hangs_holds_up_nothing_but_the_change() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    let journal = stack.folder().join("state/settings.journal");
    stack.change_settings(&json!({"cache_size": 501})).unwrap();
    stack.change_settings(&json!({"cache_size": 502})).unwrap();
    // Nobody reads the other end: to open it takes until somebody does.
    std::fs::remove_file(&journal).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&journal)
            .status()
            .unwrap()
            .success()
    );
    let rest = stack.rest();
    let change = thread::spawn(move || rest.merge_patch("/settings", &json!({"cache_size": 503})).unwrap());
    let samples = || stack.rest().document("/metrics/performance").unwrap()["sample_count"].clone();
    for page in 1..=3 {
        assert_eq!(stack.envoy.get(&format!("/{page}")).unwrap().status, 200);
        wait::until("telemetry coming in", || (samples() == page).then_some(())).unwrap();
    }
    let rollout = stack.rest().document("/settings/rollout").unwrap();
    assert_eq!(
        (&rollout["revision"], &rollout["complete"], change.is_finished()),
        (&json!(3), &json!(true), false),
        "not in force before it is kept"
    );
    // Let go, it cannot be synced, and says so.
    drop(std::fs::File::open(&journal).unwrap());
    let answer = change.join().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(stack.rest().document("/settings").unwrap()["cache_size"], 503);
}
