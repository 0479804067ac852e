//! Documents and messages of every released schema: this version must still read them. The folder only ever grows.
//!
//! `cargo test -p optimizer-proto --test golden -- --ignored` writes the files of this version that are not there yet.

use std::fs;
use std::path::{Path, PathBuf};

use optimizer_proto::settings::Settings;
use optimizer_proto::telemetry::{Sketch, check_report};
use optimizer_proto::v1::{self, control_message, filter_message};
use prost::Message;
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn full_settings() -> Value {
    let freshness = json!({"ttl_floor": "1s", "ttl_ceiling": "24h", "stale_while_revalidate": "30s", "stale_if_error": "5m",
        "max_stale_on_outage": "1h", "heuristic_fraction_percent": 20, "jitter_percent": 5});
    let breaker = json!({"enabled": false, "failure_rate_percent": 40, "slow_call_rate_percent": 80, "slow_call_duration": "250ms",
        "window": "30s", "minimum_calls": 50, "consecutive_connect_failures": 0, "open_wait": "2s", "open_wait_max": "2m",
        "jitter_percent": 10, "probes": 5, "failure_statuses": [429, 503], "failure_classes": ["timeout", "status"], "dry_run": true});
    let route = json!({"name": "catalogue", "host": "*.example.com", "path_prefix": "/catalogue", "cache": true, "default_ttl": "10m",
        "ttl_floor": "5s", "ttl_ceiling": "1h", "ttl_override": "2m", "key_query": {"mode": "exclude", "names": ["utm_source"]},
        "key_headers": ["accept-language"], "isolate_authorization": true, "ignore_request_cache_control": true,
        "stale_while_revalidate": "10s", "stale_if_error": "1m", "max_stale_on_outage": "30m", "max_object_size": "256KiB", "breaker": true});
    json!({"cache_enabled": false, "cache_size": 1200, "cache_memory_mb": 128, "max_object_size": "2MiB", "eviction_policy": "lfu",
        "default_ttl": "15m", "max_connections": 50, "freshness": freshness, "breaker": breaker,
        "routes": [route, {"name": "rest"}]})
}

fn sharing_settings() -> Value {
    json!({"credential_headers": ["x-own-key"], "freshness": {"error_ttl_ceiling": "30s"},
        "routes": [{"name": "shop", "set_cookie": "strip", "share_with_credentials": true, "credential_headers": ["x-shop-key"]},
            {"name": "labels", "path_prefix": "/labels", "set_cookie": "share"}]})
}

fn hello() -> v1::FilterMessage {
    let hello = v1::Hello {
        node_id: "gateway-7".into(),
        instance_id: "5f2c9a".into(),
        filter_version: "0.1.0".into(),
        protocol: 1,
        revision: 42,
        workers: 5,
        capabilities: vec!["purge".into()],
        ..Default::default()
    };
    v1::FilterMessage {
        body: Some(filter_message::Body::Hello(hello)),
    }
}

fn telemetry() -> v1::FilterMessage {
    let mut sketch = Sketch::new();
    (0..2_000).for_each(|value| sketch.record(value * 37));
    let requests = vec![v1::RequestSeries {
        route: "catalogue".into(),
        upstream: "api".into(),
        outcome: v1::Outcome::Hit.into(),
        protocol: 20,
        count: 2_000,
        latency_us: Some(sketch.clone().into()),
        response_bytes: 1 << 40,
        upstream_requests: 10,
        upstream_reused: 9,
    }];
    let report = v1::TelemetryReport {
        sequence: 7,
        instance_id: "5f2c9a".into(),
        closed_at_ms: 1_700_000_000_000,
        span_ms: 1_000,
        delta: Some(v1::TelemetryDelta {
            requests,
            errors: vec![v1::ErrorCount {
                kind: "timeout".into(),
                upstream: "api".into(),
                count: 3,
            }],
            cache: Some(v1::CacheCounters {
                lookups: 2_100,
                hits: 2_000,
                ..Default::default()
            }),
            breaker_events: vec![v1::BreakerEvent {
                upstream: "api".into(),
                from: "closed".into(),
                to: "open".into(),
                cause: "failure_rate".into(),
                at_ms: 1_699_999_999_500,
                ..Default::default()
            }],
            reasons: vec![v1::ReasonCount {
                code: "no_store".into(),
                count: 4,
            }],
            overhead_ns: Some(sketch.into()),
            ..Default::default()
        }),
        gauges: Some(v1::FilterGauges {
            cache_entries: 12,
            workers: 5,
            ..Default::default()
        }),
    };
    v1::FilterMessage {
        body: Some(filter_message::Body::Telemetry(report)),
    }
}

fn settings_ack() -> v1::FilterMessage {
    let violation = v1::Violation {
        path: "/cache_size".into(),
        code: "out_of_range".into(),
        message: "given 0".into(),
    };
    let ack = v1::SettingsAck {
        revision: 43,
        epoch: "e1".into(),
        accepted: false,
        violations: vec![violation],
        workers: 5,
    };
    v1::FilterMessage {
        body: Some(filter_message::Body::SettingsAck(ack)),
    }
}

fn settings_push() -> v1::ControlMessage {
    let document = Settings::default().to_json().to_string().into_bytes();
    let push = v1::SettingsPush {
        revision: 43,
        document,
        epoch: "e1".into(),
    };
    v1::ControlMessage {
        body: Some(control_message::Body::Settings(push)),
    }
}

fn purge() -> v1::ControlMessage {
    let purge = v1::PurgeCommand {
        kind: v1::purge_command::Kind::Prefix.into(),
        value: "a.example/p".into(),
        soft: true,
        ..v1::PurgeCommand::default()
    };
    let command = v1::Command {
        id: "c-1".into(),
        body: Some(v1::command::Body::Purge(purge)),
        ..v1::Command::default()
    };
    v1::ControlMessage {
        body: Some(control_message::Body::Command(command)),
    }
}

fn counted_purge() -> v1::ControlMessage {
    let target = v1::PurgeCommand {
        kind: v1::purge_command::Kind::Tag.into(),
        value: "products".into(),
        ..v1::PurgeCommand::default()
    };
    let purge = v1::PurgeCommand {
        counted: vec![target.clone()],
        ..target
    };
    let command = v1::Command {
        id: "c-2".into(),
        body: Some(v1::command::Body::Purge(purge)),
        ..v1::Command::default()
    };
    v1::ControlMessage {
        body: Some(control_message::Body::Command(command)),
    }
}

fn purge_count() -> v1::FilterMessage {
    let result = v1::CommandResult {
        id: "c-2".into(),
        ok: true,
        answer: Some(v1::command_result::Answer::Count(v1::PurgeCount {
            matched: 7,
            newer: 1,
            done: false,
            next_cursor: 9,
            stamp: 3,
        })),
        ..v1::CommandResult::default()
    };
    v1::FilterMessage {
        body: Some(filter_message::Body::CommandResult(result)),
    }
}

/// Every file of this version with its bytes.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let pretty = |document: &Value| format!("{document:#}\n").into_bytes();
    vec![
        ("settings-default.json", pretty(&Settings::default().to_json())),
        ("settings-full.json", pretty(&full_settings())),
        ("settings-sharing.json", pretty(&sharing_settings())),
        ("filter-hello.bin", hello().encode_to_vec()),
        ("filter-telemetry.bin", telemetry().encode_to_vec()),
        ("filter-settings-ack.bin", settings_ack().encode_to_vec()),
        ("control-settings.bin", settings_push().encode_to_vec()),
        ("control-purge.bin", purge().encode_to_vec()),
        ("control-purge-counted.bin", counted_purge().encode_to_vec()),
        ("filter-purge-count.bin", purge_count().encode_to_vec()),
    ]
}

#[test]
fn every_released_file_still_decodes() {
    let mut seen = 0;
    for version in fs::read_dir(folder()).unwrap() {
        for file in fs::read_dir(version.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            check_file(&path, &fs::read(&path).unwrap());
            seen += 1;
        }
    }
    assert!(seen >= files().len(), "only {seen} files");
}

fn check_file(path: &Path, bytes: &[u8]) {
    let name = path.file_name().unwrap().to_string_lossy();
    let shown = path.display();
    match name.split('-').next() {
        Some("settings") => {
            let document = serde_json::from_slice(bytes).unwrap();
            let parsed = Settings::parse(&document);
            assert!(
                matches!(&parsed, Ok((_, notices)) if notices.is_empty()),
                "{shown}: {parsed:?}"
            );
        }
        Some("filter") => {
            let message = v1::FilterMessage::decode(bytes).unwrap();
            let body = message.body.unwrap_or_else(|| panic!("{shown} has no body"));
            if let filter_message::Body::Telemetry(report) = body {
                assert_eq!(check_report(&report, report.closed_at_ms), Ok(()), "{shown}");
            }
        }
        Some("control") => {
            let message = v1::ControlMessage::decode(bytes).unwrap();
            let body = message.body.unwrap_or_else(|| panic!("{shown} has no body"));
            if let control_message::Body::Settings(push) = body {
                let document = serde_json::from_slice(&push.document).unwrap();
                assert!(Settings::parse(&document).is_ok(), "{shown}");
            }
        }
        _ => panic!("{shown}: nobody knows how to read it"),
    }
}

#[test]
fn version_0_1_0_means_what_it_meant() {
    let read = |name: &str| fs::read(folder().join("v0.1.0").join(name)).unwrap();
    assert_eq!(
        v1::FilterMessage::decode(read("filter-hello.bin").as_slice()),
        Ok(hello())
    );
    assert_eq!(
        v1::FilterMessage::decode(read("filter-telemetry.bin").as_slice()),
        Ok(telemetry())
    );
    assert_eq!(
        v1::FilterMessage::decode(read("filter-settings-ack.bin").as_slice()),
        Ok(settings_ack())
    );
    assert_eq!(
        v1::ControlMessage::decode(read("control-purge.bin").as_slice()),
        Ok(purge())
    );
    let full: Value = serde_json::from_slice(&read("settings-full.json")).unwrap();
    let (settings, _) = Settings::parse(&full).unwrap();
    let canonical = settings.to_json();
    for field in [
        "cache_size",
        "cache_memory_mb",
        "max_object_size",
        "eviction_policy",
        "default_ttl",
    ] {
        assert_eq!(canonical[field], full[field], "{field}");
    }
    // Later versions may add fields; those of this one keep their meaning.
    for group in ["freshness", "breaker"] {
        for (field, value) in full[group].as_object().unwrap() {
            assert_eq!(canonical[group][field], *value, "{group}/{field}");
        }
    }
    for (field, value) in full["routes"][0].as_object().unwrap() {
        assert_eq!(canonical["routes"][0][field], *value, "routes/0/{field}");
    }
}

#[test]
fn what_is_shared_means_what_it_meant() {
    let bytes = fs::read(folder().join("v0.1.0/settings-sharing.json")).unwrap();
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(document, sharing_settings());
    let canonical = Settings::parse(&document).unwrap().0.to_json();
    assert_eq!(canonical["credential_headers"], document["credential_headers"]);
    assert_eq!(canonical["freshness"]["error_ttl_ceiling"], "30s");
    for (index, route) in document["routes"].as_array().unwrap().iter().enumerate() {
        for (field, value) in route.as_object().unwrap() {
            assert_eq!(canonical["routes"][index][field], *value, "routes/{index}/{field}");
        }
    }
}

#[test]
#[ignore = "writes the golden files of a new version"]
fn write_missing_files() {
    let target = folder().join(format!("v{}", env!("CARGO_PKG_VERSION")));
    fs::create_dir_all(&target).unwrap();
    for (name, bytes) in files() {
        let path = target.join(name);
        if !path.exists() {
            fs::write(path, bytes).unwrap();
        }
    }
}
