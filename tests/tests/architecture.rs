//! Which crate, and which module of the filter's driver, may know which: the arrows of ARCHITECTURE.md.

mod control_plane;
mod crates;
mod documents;
mod modules;
mod sources;

use modules::Arrows;
use serde_json::Value;
use sources::Crate;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// (crate, what of the workspace it may depend on).
const ARROWS: [(&str, &[&str]); 14] = [
    ("optimizer-proto", &[]),
    // Writes the messages, also while nothing else compiles.
    ("proto-messages", &[]),
    // The rules by which caches evict, for the store and for the model of it.
    ("eviction", &[]),
    ("filter-core", &["eviction", "optimizer-proto"]),
    ("api-optimizer-filter", &["filter-core"]),
    // The other shell around the same core.
    ("api-optimizer-filter-native", &["filter-core"]),
    // Works on the built filter, and knows none of its code.
    ("filter-trim", &[]),
    ("control-domain", &["eviction", "optimizer-proto"]),
    ("api-optimizer-control-plane", &["control-domain", "optimizer-proto"]),
    // Writes settings, and checks them as the control plane does.
    ("optimizer-migrate", &["control-domain", "optimizer-proto"]),
    // Speaks to the control plane as its users do, and knows none of its code. Migrating is the other crate's.
    ("optimizer-cli", &["optimizer-migrate"]),
    // The simulated Envoys of `bench-fleet` speak the control link.
    ("e2e", &["harness", "optimizer-proto"]),
    // Starts the product as its users do, and knows none of its code.
    ("harness", &[]),
    // Both hearts in one process, and neither shell.
    ("simulation", &["control-domain", "filter-core", "optimizer-proto"]),
];

/// What the two hearts must not know: hosts, sockets, runtimes, clocks.
const OUTER: [&str; 10] = [
    "proxy-wasm",
    "tokio",
    "tonic",
    "axum",
    "hyper",
    "redis",
    "kube",
    "reqwest",
    "chrono",
    "tokio-stream",
];

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Names of the dependencies of one kind: null = of the product itself.
fn dependencies(package: &Value) -> BTreeSet<String> {
    let all = package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|dependency| dependency["kind"].is_null());
    all.map(|dependency| dependency["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn no_crate_grows_another_arrow() {
    let packages = packages();
    let members: BTreeSet<&str> = packages
        .iter()
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let allowed = ARROWS
            .iter()
            .find(|(of, _)| *of == name)
            .unwrap_or_else(|| panic!("no arrows are set for {name}"))
            .1;
        for dependency in dependencies(package)
            .iter()
            .filter(|dependency| members.contains(dependency.as_str()))
        {
            assert!(allowed.contains(&dependency.as_str()), "{name} -> {dependency}");
        }
    }
}

#[test]
fn the_hearts_know_no_host_and_no_socket() {
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        if ["eviction", "filter-core", "control-domain"].contains(&name) {
            for dependency in dependencies(&package) {
                assert!(!OUTER.contains(&dependency.as_str()), "{name} -> {dependency}");
            }
        }
    }
}

#[test]
fn only_one_file_of_the_filter_names_host_calls() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in ["lib.rs", "root.rs", "stream.rs"] {
        let text = std::fs::read_to_string(root.join("filter/src").join(file)).unwrap();
        let host_calls = text.contains("hostcalls") || text.contains("wasm_import_module");
        assert!(!host_calls, "{file}");
    }
}

/// Where the dynamic module meets Envoy: its C ABI, its objects, its hooks, the registry of functions, and threads.
const BOUNDARY: [&str; 6] = ["abi.rs", "envoy.rs", "hooks.rs", "shared.rs", "waiting.rs", "worker.rs"];

#[test]
fn only_boundary_files_of_the_dynamic_module_are_unsafe() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../filter/native/src");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let is_code = |line: &str| !line.trim_start().starts_with("//");
        let is_unsafe = text
            .lines()
            .any(|line| is_code(line) && (line.contains("unsafe ") || line.contains("unsafe(")));
        assert!(!is_unsafe || BOUNDARY.contains(&name), "{name}");
        // Envoy's callbacks have their types in one place.
        assert!(!text.contains("dynamic_module_callback") || name == "abi.rs", "{name}");
        assert!(text.lines().count() <= 400, "{name} is long");
        seen += usize::from(is_unsafe);
    }
    assert_eq!(seen, BOUNDARY.len(), "a boundary file that is none any more");
}

fn filter_core() -> Crate {
    Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../filter/core/src"))
}

/// The modules of the filter's driver, in the order of ARCHITECTURE.md: one may use only those that stand above it.
const DRIVER: [&str; 17] = [
    "host",
    "shared",
    "exchange",
    "state",
    "vm",
    "routes",
    "workers",
    "shell",
    "upstream",
    "reply",
    "fetches",
    "stored",
    "callouts",
    "answering",
    "control_link",
    "request",
    "callbacks",
];

#[test]
fn a_module_of_the_driver_uses_only_those_above_it() {
    let arrows: Arrows = filter_core().levels().remove(&["driver".to_owned()][..]).unwrap();
    let place = |name: &str| DRIVER.iter().position(|module| *module == name);
    assert_eq!(arrows.len(), DRIVER.len(), "{:?}", arrows.keys());
    assert!(
        arrows["callbacks"].contains_key("request"),
        "calls are not read any more"
    );
    for (module, to) in &arrows {
        for (other, file) in to {
            assert!(place(module) > place(other), "{module} -> {other} in {file}");
        }
    }
}

/// What is written in a file of the driver and where it may be: one owner each.
const OWNED: [(&str, &[&str]); 5] = [
    // Only the beginning of a request and the one place that resumes carry it on.
    ("self.run(", &["request/on_request.rs", "request/resume.rs"]),
    // Only callbacks of the root let paused requests go on.
    ("self.resume_ready(", &["callbacks.rs"]),
    (".resume_request(", &["request/resume.rs"]),
    // A phase changes by its own methods alone.
    ("exchange.phase = ", &[]),
    (
        "lifecycle::next(",
        &[
            "request/on_end.rs",
            "request/on_request.rs",
            "request/on_response.rs",
            "request/resume.rs",
            "request/run.rs",
        ],
    ),
];

#[test]
fn a_request_is_carried_on_in_one_place() {
    let core = filter_core();
    for (text, owners) in OWNED {
        let found: Vec<&str> = core
            .files()
            .filter(|(_, content, _)| content.contains(text))
            .filter_map(|(file, ..)| file.split_once("/driver/"))
            .map(|(_, file)| file)
            .collect();
        assert_eq!(found, owners, "{text}");
    }
}

#[test]
fn names_of_shared_data_are_in_one_file() {
    let core = filter_core();
    let written = |text: &str| {
        ["b\"ao1", "b\"ao2", "b\"ao/", "b'a', b'o'"]
            .iter()
            .any(|name| text.contains(name))
    };
    let found: Vec<&str> = core
        .files()
        .filter(|(_, text, _)| written(text))
        .map(|(file, ..)| file)
        .collect();
    assert!(
        found.len() == 1 && found[0].ends_with("shared_map/keys.rs"),
        "{found:?}"
    );
}

#[test]
fn the_life_of_a_request_knows_no_host_and_no_state() {
    let core = filter_core();
    let lifecycle = core
        .files()
        .find(|(file, ..)| file.ends_with("driver/exchange/lifecycle.rs"));
    let (_, text, _) = lifecycle.unwrap();
    for word in ["Host", "Vm", "&mut ", "super::", "driver::"] {
        assert!(!text.contains(word), "{word}");
    }
}
