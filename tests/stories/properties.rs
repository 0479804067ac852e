//! The REST API asked whatever its description allows, and what it does not, by schemathesis: no 5xx, no answer that is not described,
//! nothing taken that the description refuses, and every reference leads somewhere. `SCHEMATHESIS_SEED=n` asks the same again.

use e2e::origin::{Origin, Reply};
use e2e::process::Process;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const TOKEN: &str = "admin-token-0123456789";
/// Longest that one run may take on a busy machine; alone it takes a quarter of this.
const LONGEST: Duration = Duration::from_secs(240);

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools")
}

fn start(environment: Vec<(String, String)>) -> Stack {
    let plan = Plan {
        // Writes are not what is tried here.
        environment: [environment, vec![("WRITES_PER_SECOND".to_owned(), "100000".to_owned())]].concat(),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, Origin::start(|_| Reply::ok("content").max_age(600)).unwrap()).unwrap();
    for path in ["/a", "/b?c=d"] {
        assert_eq!(stack.envoy.get(path).unwrap().status, 200);
    }
    wait::until("the requests in the figures", || {
        (stack.rest().document("/metrics/performance").ok()?["sample_count"] == 2).then_some(())
    })
    .unwrap();
    stack
}

/// Asks with the given arguments; fails with what schemathesis has to say.
fn ask(stack: &Stack, arguments: &[&str]) {
    let seed = std::env::var("SCHEMATHESIS_SEED").unwrap_or_else(|_| "1".to_owned());
    let program = tools().join(".venv/bin/schemathesis");
    assert!(program.exists(), "schemathesis is missing: run tests/services.sh");
    let description = stack.folder().join("openapi.json");
    let served = stack.control.as_ref().unwrap().stranger().get("/openapi.json").unwrap();
    std::fs::write(&description, &served.body).unwrap();
    let mut command = Command::new(program);
    command
        .args(["--config-file", "schemathesis.toml", "run"])
        .arg(&description)
        .arg("--url")
        .arg(format!("http://{}", stack.rest().address()))
        .args(["--no-color", "--seed", &seed])
        // They end when the client leaves: the story of the contract asks them.
        .args(["--exclude-path", "/events", "--exclude-path", "/metrics/stream"])
        .args(arguments)
        .current_dir(tools());
    let log = stack.folder().join("schemathesis.log");
    let mut asking = Process::start("schemathesis", &mut command, &log).unwrap();
    let ended = wait::until_within(LONGEST, "the end of schemathesis", || asking.ended()).unwrap();
    let told = asking.output();
    assert!(ended.success(), "{told}");
    println!("{}", asking.last_lines(20));
    // An Envoy is still served.
    assert!(stack.control.as_ref().unwrap().is_live());
    assert_eq!(stack.envoy.get("/after").unwrap().status, 200);
}

/// References of a document.
fn references(document: &Value, found: &mut Vec<String>) {
    match document {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|inner| references(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

#[test]
fn every_reference_of_the_description_leads_somewhere() {
    let text = include_str!("../../control-plane/openapi.json");
    let description: Value = serde_json::from_str(text).unwrap();
    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(found.len() > 100);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }
    // A refusal that is described by its class alone is not described.
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let answers = operation["responses"].as_object().unwrap();
            let numbers = answers.keys().all(|status| status.parse::<u16>().is_ok());
            assert!(numbers, "{method} {path}: {:?}", answers.keys());
        }
    }
}

#[test]
fn whatever_is_asked_is_answered_as_described() {
    let stack = start(Vec::new());
    ask(&stack, &["--phases", "coverage,fuzzing", "--max-examples", "8"]);
}

#[test]
fn with_credentials_it_is_the_same_and_without_them_all_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    let tokens = json!([{"name": "root", "role": "admin", "token": TOKEN}]);
    std::fs::write(&file, tokens.to_string()).unwrap();
    let stack = start(vec![("AUTH_TOKENS_FILE".to_owned(), file.display().to_string())]);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    ask(&stack, &["--phases", "coverage", "--header", &bearer]);
    // Nothing that a stranger asks reaches a handler, but for what is open.
    let before = stack.rest().document("/settings").unwrap();
    ask(&stack, &["--phases", "fuzzing", "--max-examples", "2"]);
    assert_eq!(stack.rest().document("/settings").unwrap(), before);
}
