//! Nothing that happens to settings, configuration or code empties the cache.

use e2e::bootstrap::{Bootstrap, Part};
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack};
use e2e::{artefacts, wait};
use serde_json::json;
use std::path::Path;

const PAGES: usize = 20;

fn origin() -> Origin {
    Origin::start(|request| Reply::ok(request.path.clone()).max_age(600)).unwrap()
}

fn warm(envoy: &Envoy) {
    for page in 0..PAGES {
        envoy.get(&format!("/{page}")).unwrap();
    }
    assert_all_stored(envoy, "after warming up");
}

fn assert_all_stored(envoy: &Envoy, when: &str) {
    for page in 0..PAGES {
        let path = format!("/{page}");
        let answer = envoy.get(&path).unwrap();
        assert!(answer.is_hit(), "{path} {when}: {}", answer.cache_status());
        assert_eq!(answer.text(), path);
    }
}

#[test]
fn a_change_of_policy_or_limits_evicts_nothing_that_fits() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    warm(&stack.envoy);
    for change in [
        json!({"eviction_policy": "lru"}),
        json!({"eviction_policy": "lfu", "cache_size": "large"}),
        json!({"eviction_policy": "fifo", "cache_memory_mb": 128}),
        json!({"eviction_policy": "sieve", "cache_size": 1000}),
        json!({"eviction_policy": "s3_fifo", "cache_memory_mb": 32}),
    ] {
        stack.change_settings(&change).unwrap();
        assert_all_stored(&stack.envoy, &format!("after {change}"));
    }
    assert_eq!(stack.origin.total(), PAGES);

    // Smaller than what is stored: the excess goes within some ticks, by policy, and the rest stays.
    stack.change_settings(&json!({"cache_size": 5})).unwrap();
    let rest = stack.rest();
    let entries = || rest.document("/cache/stats").ok()?["size"].as_u64();
    wait::until("the store shrunk", || (entries()? == 5).then_some(())).unwrap();
    let kept = (0..PAGES).filter(|page| stack.envoy.get(&format!("/{page}")).unwrap().is_hit());
    assert!(kept.count() >= 1, "something was kept");
}

/// The filter as Envoy discovers it in a file: a module, and a plugin configuration.
fn discovered(module: &Path, default_ttl: &str) -> String {
    let plugin =
        json!({"control_cluster": "", "node_id": "envoy", "settings": {"default_ttl": default_ttl}}).to_string();
    json!({
        "version_info": "1",
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": "api_optimizer",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {
                    "name": "api_optimizer",
                    "root_id": "api_optimizer",
                    "failure_policy": "FAIL_RELOAD",
                    "reload_config": {"backoff": {"base_interval": "0.1s"}},
                    "vm_config": {
                        "vm_id": "api_optimizer",
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": {"local": {"filename": module}},
                    },
                    "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": plugin},
                },
            },
        }],
    })
    .to_string()
}

/// Replaces the file in one step, as Envoy's watch wants it.
fn discover(file: &Path, content: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, content).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// The same module with a custom section more: other code to Envoy.
fn another_module(folder: &Path) -> std::path::PathBuf {
    let mut bytes = std::fs::read(artefacts::wasm_filter().unwrap()).unwrap();
    // Section 0 of 6 bytes: a name of 5.
    bytes.extend_from_slice(&[0, 6, 5, b'o', b't', b'h', b'e', b'r']);
    let path = folder.join("other.wasm");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_new_plugin_configuration_and_a_new_module_find_the_cache_warm() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("filter.json");
    let module = artefacts::wasm_filter().unwrap();
    discover(&file, &discovered(&module, "60s"));
    let origin = origin();
    let mut bootstrap = Bootstrap::bare(
        free_port().unwrap(),
        free_port().unwrap(),
        ("127.0.0.1".to_owned(), origin.address().port()),
    );
    bootstrap.wasm = Some(module.clone());
    let discovery = json!({
        "name": "api_optimizer",
        "config_discovery": {
            "config_source": {"path_config_source": {"path": file}, "resource_api_version": "V3"},
            "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"],
        },
    });
    bootstrap.parts.insert(Part::Filter, format!("- {discovery}"));
    let mut envoy = Envoy::start(&bootstrap, 2, folder.path()).unwrap();
    envoy.wait_ready().unwrap();
    warm(&envoy);

    let reloads = "extension_config_discovery.http_filter.api_optimizer.config_reload";
    let reload = |content: &str| {
        let before = envoy.stat(reloads);
        discover(&file, content);
        wait::until("the new configuration", || (envoy.stat(reloads) > before).then_some(())).unwrap();
    };
    reload(&discovered(&module, "90s"));
    assert_all_stored(&envoy, "after a new plugin configuration");
    reload(&discovered(&another_module(folder.path()), "90s"));
    assert_all_stored(&envoy, "after a new module");
    assert_eq!(origin.total(), PAGES);
    assert_eq!(
        envoy.stat("extension_config_discovery.http_filter.api_optimizer.config_fail"),
        0
    );
}
