//! A control plane without settings: what the Envoys run on is the only copy left, and stays in force.

use e2e::bootstrap::Bootstrap;
use e2e::client::Request;
use e2e::control_plane::ControlPlane;
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack};
use e2e::xds_clients::CLUSTERS;
use e2e::{artefacts, wait};
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::protobuf::Any;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

fn origin() -> Origin {
    Origin::start(|request| {
        Reply::ok(format!(
            "{} {}",
            request.path,
            request.header("x-user").unwrap_or_default()
        ))
        .max_age(60)
    })
    .unwrap()
}

fn private_rules() -> Value {
    json!({"default_ttl": "60s", "routes": [
        {"name": "private", "path_prefix": "/private/", "cache": false},
        {"name": "tenants", "path_prefix": "/tenants/", "key_headers": ["x-user"]},
    ]})
}

fn as_user(envoy: &Envoy, path: &str, user: &str) -> (String, bool) {
    let answer = envoy.fetch(&Request::get(path).header("x-user", user)).unwrap();
    assert_eq!(answer.status, 200);
    (answer.text(), answer.is_hit())
}

/// No user gets what another was given.
fn assert_private(envoy: &Envoy) {
    for path in ["/private/x", "/tenants/x"] {
        for user in ["alice", "bob"] {
            assert_eq!(as_user(envoy, path, user).0, format!("{path} {user}"));
        }
    }
}

fn lose_state(control: &mut ControlPlane) {
    control.kill();
    std::fs::remove_dir_all(control.state_dir()).unwrap();
    control.restart().unwrap();
    control.wait_live().unwrap();
}

#[test]
fn the_settings_of_the_envoys_are_adopted_when_the_state_is_gone() {
    let mut stack = Stack::start(&Plan::default(), origin()).unwrap();
    stack.change_settings(&private_rules()).unwrap();
    assert_private(&stack.envoy);
    let before = stack.rest().document("/settings").unwrap();
    lose_state(stack.control());
    wait::until("the settings adopted", || {
        assert_private(&stack.envoy);
        (stack.rest().document("/settings").ok()? == before).then_some(())
    })
    .unwrap();
    stack.wait_connected().unwrap();
    let history = stack.rest().document("/settings/history").unwrap();
    assert_eq!(
        history.as_array().unwrap().last().unwrap()["door"],
        "adopted",
        "{history}"
    );
    let health = stack.rest().document("/health").unwrap();
    assert_eq!(health["components"]["settings"]["status"], "healthy", "{health}");
    stack.change_settings(&json!({"cache_size": 79})).unwrap();
    assert_private(&stack.envoy);

    // What was adopted is kept.
    stack.control().kill();
    stack.control().restart().unwrap();
    stack.control().wait_live().unwrap();
    assert_eq!(stack.rest().document("/settings").unwrap()["cache_size"], 79);
}

/// Routes whose parameters are named at length: a document near the largest that is taken.
fn many_names() -> Value {
    let name = |number: usize| format!("{number:0>100}");
    let names: Vec<String> = (0..40).map(name).collect();
    let route = |number: usize| json!({"name": format!("r{number}"), "path_prefix": format!("/r{number}/"), "key_query": {"mode": "exclude", "names": names}});
    let routes: Vec<Value> = (0..200).map(route).collect();
    json!({ "routes": routes })
}

#[test]
fn a_document_that_is_longer_than_a_message_is_adopted_too() {
    let mut stack = Stack::start(&Plan::default(), origin()).unwrap();
    stack.change_settings(&many_names()).unwrap();
    let before = stack.rest().document("/settings").unwrap();
    let length = before.to_string().len();
    assert!((800_000..2_000_000).contains(&length), "{length} bytes");
    lose_state(stack.control());
    wait::until("the settings adopted", || {
        (stack.rest().document("/settings").ok()? == before).then_some(())
    })
    .unwrap();
    let history = stack.rest().document("/settings/history").unwrap();
    assert_eq!(history.as_array().unwrap().last().unwrap()["door"], "adopted");
}

/// What one stream of discovery is told of the clusters, by name.
fn clusters(address: std::net::SocketAddr, sent: mpsc::UnboundedSender<Vec<String>>, delta: bool) -> Runtime {
    let runtime = Runtime::new().unwrap();
    let node = Node {
        id: "by-xds-alone".to_owned(),
        ..Node::default()
    };
    runtime.spawn(async move {
        let mut client = AggregatedDiscoveryServiceClient::connect(format!("http://{address}"))
            .await
            .unwrap();
        if delta {
            // As after a lost stream: it names what it has.
            let first = DeltaDiscoveryRequest {
                node: Some(node),
                type_url: CLUSTERS.to_owned(),
                initial_resource_versions: [("kept".to_owned(), "7".to_owned())].into(),
                ..DeltaDiscoveryRequest::default()
            };
            let requests = tokio_stream::iter([first]).chain(tokio_stream::pending());
            let mut incoming = client.delta_aggregated_resources(requests).await.unwrap().into_inner();
            while let Ok(Some(told)) = incoming.message().await {
                let names = told.resources.iter().map(|cluster| cluster.name.clone());
                // The test may be over.
                let _ = sent.send(names.chain(told.removed_resources).collect());
            }
        } else {
            let first = DiscoveryRequest {
                node: Some(node),
                type_url: CLUSTERS.to_owned(),
                version_info: "7".to_owned(),
                ..DiscoveryRequest::default()
            };
            let requests = tokio_stream::iter([first]).chain(tokio_stream::pending());
            let mut incoming = client.stream_aggregated_resources(requests).await.unwrap().into_inner();
            while let Ok(Some(told)) = incoming.message().await {
                let cluster = |any: &Any| Cluster::decode(any.value.as_slice()).unwrap().name;
                let _ = sent.send(told.resources.iter().map(cluster).collect());
            }
        }
    });
    runtime
}

#[test]
fn an_envoy_that_has_clusters_keeps_them_until_somebody_decides() {
    for delta in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let control = ControlPlane::quiet(folder.path()).unwrap();
        let (sent, mut told) = mpsc::unbounded_channel();
        let _envoy = clusters(control.grpc_address(), sent, delta);
        let health = || control.rest().document("/health").unwrap()["components"]["settings"].clone();
        wait::until("the doubt", || {
            let component = health();
            let reason = component["reason"].as_str()?.to_owned();
            (component["status"] == "unhealthy" && reason.contains("xDS by-xds-alone")).then_some(())
        })
        .unwrap();
        let document = json!({"upstreams": [{"name": "decided", "endpoints": [{"address": "127.0.0.1:9"}]}]});
        let refused = control.rest().merge_patch("/settings", &document).unwrap();
        assert_eq!(
            (refused.status, refused.json().unwrap()["code"].clone()),
            (409, json!("fleet_has_other_settings"))
        );
        assert!(told.try_recv().is_err(), "told before anybody has decided");
        let confirmed = control.rest().merge_patch("/settings?confirm=true", &document).unwrap();
        assert_eq!(confirmed.status, 200, "{}", confirmed.text());
        // The first that it hears of is what was decided, not the defaults that stood in between.
        let first = Runtime::new().unwrap().block_on(told.recv()).unwrap();
        assert!(first.iter().any(|name| name == "decided"), "{first:?}");
        wait::until("no more doubt", || (health()["status"] == "healthy").then_some(())).unwrap();
    }
}

/// Wasm's own: a dynamic module has Envoy refuse the configuration, see `native.rs`.
#[test]
fn the_first_configuration_refused_means_no_caching() {
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let mut bootstrap = Bootstrap::bare(
        free_port().unwrap(),
        free_port().unwrap(),
        ("127.0.0.1".to_owned(), origin.address().port()),
    );
    bootstrap.wasm = Some(artefacts::wasm_filter().unwrap());
    bootstrap.settings = json!({"routes": [
        {"name": "private", "path_prefix": "/private/", "cache": false},
        {"name": "tenants", "path_prefix": "/tenants/", "key_headers": ["authorization"]},
    ]})
    .to_string();
    let mut envoy = Envoy::start(&bootstrap, 2, folder.path()).unwrap();
    envoy.wait_ready().unwrap();
    assert_private(&envoy);
    for user in ["alice", "bob"] {
        let (text, hit) = as_user(&envoy, "/page", user);
        assert_eq!((text, hit), (format!("/page {user}"), false));
    }
}

#[test]
fn damage_to_the_journals_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut control = ControlPlane::quiet(folder.path()).unwrap();
    let storage = |control: &ControlPlane| control.rest().document("/health").unwrap()["components"]["storage"].clone();
    for size in 1..=8 {
        let answer = control
            .rest()
            .merge_patch("/settings", &json!({"cache_size": size}))
            .unwrap();
        assert_eq!(answer.status, 200);
    }
    let purge = Request::new("POST", "/cache/purge").body(r#"{"all": true}"#);
    assert_eq!(control.rest().send(&purge).unwrap().status, 202);
    let restart = |control: &mut ControlPlane| {
        control.kill();
        control.restart().unwrap();
        control.wait_live().unwrap();
    };
    // A torn last line is what a crash leaves.
    for name in ["settings.journal", "purges.journal"] {
        let path = control.state_dir().join(name);
        control.kill();
        let mut bytes = std::fs::read(&path).unwrap();
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap().to_vec();
        bytes.extend_from_slice(&line[..line.len() / 2]);
        std::fs::write(&path, bytes).unwrap();
    }
    restart(&mut control);
    assert_eq!(storage(&control)["status"], "healthy", "{}", storage(&control));
    assert_eq!(control.rest().document("/settings").unwrap()["cache_size"], 8);
    for (name, told) in [
        ("settings.journal", "settings on disk were damaged"),
        ("purges.journal", "purge journal"),
    ] {
        let answer = control
            .rest()
            .merge_patch("/settings", &json!({"cache_size": 9}))
            .unwrap();
        assert_eq!(answer.status, 200);
        let path = control.state_dir().join(name);
        control.kill();
        let noise: Vec<u8> = (0..100_u8).map(|n| n.wrapping_mul(151) ^ 0x5a).collect();
        std::fs::write(&path, noise).unwrap();
        restart(&mut control);
        let component = storage(&control);
        assert_eq!(component["status"], "degraded", "{name}: {component}");
        assert!(
            component["reason"].as_str().unwrap().contains(told),
            "{name}: {component}"
        );
        let log = control.process().unwrap().output();
        assert!(log.contains("WARN"), "{name}");
        let answer = control
            .rest()
            .merge_patch("/settings", &json!({"cache_size": 10}))
            .unwrap();
        assert_eq!(answer.status, 200);
    }
}
