//! Which crate may know which: the arrows of ARCHITECTURE.md, and that what it links exists.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// (crate, what of the workspace it may depend on).
const ARROWS: [(&str, &[&str]); 7] = [
    ("optimizer-proto", &[]),
    ("filter-core", &["optimizer-proto"]),
    ("api-optimizer-filter", &["filter-core", "optimizer-proto"]),
    ("control-domain", &["optimizer-proto"]),
    ("api-optimizer-control-plane", &["control-domain", "optimizer-proto"]),
    // The simulated Envoys of `bench-fleet` speak the control link.
    ("e2e", &["optimizer-proto"]),
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
        if ["filter-core", "control-domain"].contains(&name) {
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
        assert!(!text.contains("hostcalls") && !text.contains("extern \"C\""), "{file}");
    }
}

#[test]
fn what_the_documents_link_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for document in ["ARCHITECTURE.md", "README.md", "envoy/README.md"] {
        let Ok(text) = std::fs::read_to_string(root.join(document)) else {
            continue;
        };
        let folder = root.join(document).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap();
            assert!(
                path.is_empty() || path.contains("://") || folder.join(path).exists(),
                "{document} links {target}"
            );
        }
    }
}
