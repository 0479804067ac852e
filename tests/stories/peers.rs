//! Strangers and impostors at the port for Envoys.

use e2e::bootstrap::Part;
use e2e::certificates::Certificates;
use e2e::client::Connection;
use e2e::control_plane::{ControlPlane, Options};
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::process::Process;
use e2e::stack::{Plan, Stack};
use e2e::{artefacts, wait};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use envoy_types::pb::envoy::service::metrics::v3::StreamMetricsMessage;
use envoy_types::pb::envoy::service::metrics::v3::metrics_service_client::MetricsServiceClient;
use envoy_types::pb::envoy::service::metrics::v3::stream_metrics_message::Identifier;
use optimizer_proto::v1::cache_backend_client::CacheBackendClient;
use optimizer_proto::v1::control_link_client::ControlLinkClient;
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::filter_message::Body as FromFilter;
use optimizer_proto::v1::{
    ControlMessage, Fence, FilterMessage, Hello, SettingsAck, TierGet, TierInvalidate, TierPut, TierSubject, Welcome,
};
use serde_json::json;
use std::net::SocketAddr;
use std::process::Command;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

const TOKEN: &str = "an-envoy-token-0123456789";

/// A client of the port for Envoys.
struct Peer {
    runtime: Runtime,
    channel: Channel,
    token: Option<&'static str>,
}

impl Peer {
    fn at(address: SocketAddr, token: Option<&'static str>) -> Self {
        let runtime = Runtime::new().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Self {
            runtime,
            channel,
            token,
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = self.token {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        request
    }

    /// Says hello; the Welcome, and the stream, which stays open as long as the sender lives.
    fn hello(&self, hello: Hello) -> Result<(Welcome, mpsc::Sender<FilterMessage>), Status> {
        self.stream(hello).map(|(welcome, sender, _)| (welcome, sender))
    }

    /// As [`Self::hello`], with what comes from the control plane.
    fn stream(
        &self,
        hello: Hello,
    ) -> Result<(Welcome, mpsc::Sender<FilterMessage>, Streaming<ControlMessage>), Status> {
        let (sender, messages) = mpsc::channel(4);
        let first = FilterMessage {
            body: Some(FromFilter::Hello(hello)),
        };
        sender.try_send(first).unwrap();
        let mut client = ControlLinkClient::new(self.channel.clone());
        self.runtime.block_on(async {
            let mut incoming = client
                .connect(self.request(ReceiverStream::new(messages)))
                .await?
                .into_inner();
            match incoming.message().await?.and_then(|message| message.body) {
                Some(ToFilter::Welcome(welcome)) => Ok((welcome, sender, incoming)),
                other => panic!("{other:?}"),
            }
        })
    }

    /// A stream of configuration that stays open.
    fn discovery(&self) -> Streaming<DeltaDiscoveryResponse> {
        let first = DeltaDiscoveryRequest {
            node: Some(Node {
                id: "envoy".to_owned(),
                ..Node::default()
            }),
            type_url: e2e::xds_clients::CLUSTERS.to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        let requests = tokio_stream::iter([first]).chain(tokio_stream::pending());
        let mut client = AggregatedDiscoveryServiceClient::new(self.channel.clone());
        let answer = client.delta_aggregated_resources(self.request(requests));
        self.runtime.block_on(answer).unwrap().into_inner()
    }

    /// A stream of statistics that stays open.
    fn statistics(&self) -> JoinHandle<Result<(), Status>> {
        let node = Node {
            id: "envoy".to_owned(),
            ..Node::default()
        };
        let first = StreamMetricsMessage {
            identifier: Some(Identifier { node: Some(node) }),
            ..StreamMetricsMessage::default()
        };
        let requests = self.request(tokio_stream::iter([first]).chain(tokio_stream::pending()));
        let mut client = MetricsServiceClient::new(self.channel.clone());
        self.runtime
            .spawn(async move { client.stream_metrics(requests).await.map(drop) })
    }

    fn tier(&self) -> CacheBackendClient<Channel> {
        CacheBackendClient::new(self.channel.clone())
    }
}

fn hello(node_id: &str, instance_id: &str) -> Hello {
    Hello {
        node_id: node_id.to_owned(),
        instance_id: instance_id.to_owned(),
        protocol: 1,
        ..Hello::default()
    }
}

fn refused<T>(answer: Result<T, Status>) -> Code {
    answer.map(|_| ()).unwrap_err().code()
}

fn origin() -> Origin {
    Origin::start(|_| Reply::ok("content").max_age(600)).unwrap()
}

#[test]
fn with_a_token_envoys_connect_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let grpc_port = free_port().unwrap();
    for xds in [None, Some(e2e::bootstrap::Xds::Delta)] {
        let plan = Plan {
            environment: vec![("GRPC_TOKENS_FILE".to_owned(), file.display().to_string())],
            grpc_port: Some(grpc_port),
            control_token: Some(file.clone()),
            settings: json!({"shared_tier": {"enabled": true}}),
            xds,
            ..Plan::default()
        };
        let stack = Stack::start(&plan, origin()).unwrap();
        stack
            .change_settings(&json!({"cache_size": 77, "shared_tier": {"enabled": true}}))
            .unwrap();
        let tier = || stack.rest().document("/cache/tier").unwrap();
        let mut asked = 0;
        wait::until("a response in the tier", || {
            asked += 1;
            assert_eq!(stack.envoy.get(&format!("/page{asked}")).unwrap().status, 200);
            (tier()["counters"]["stores"] != 0).then_some(())
        })
        .unwrap();
        let statistics = || stack.rest().document("/metrics/performance").unwrap();
        wait::until("Envoy's statistics", || {
            (statistics()["sources"] == "envoy" || statistics().to_string().contains("envoy")).then_some(())
        })
        .unwrap();
        let address = (std::net::Ipv4Addr::LOCALHOST, grpc_port).into();
        for token in [None, Some("another-token-0123456789")] {
            let stranger = Peer::at(address, token);
            assert_eq!(refused(stranger.hello(hello("envoy", "x"))), Code::Unauthenticated);
            let get = stranger.request(TierGet {
                key: b"http://api.example/page".to_vec(),
                ..TierGet::default()
            });
            assert_eq!(
                refused(stranger.runtime.block_on(stranger.tier().get(get))),
                Code::Unauthenticated
            );
            let all = stranger.request(TierInvalidate {
                subjects: vec![TierSubject {
                    kind: 1,
                    ..TierSubject::default()
                }],
            });
            assert_eq!(
                refused(stranger.runtime.block_on(stranger.tier().invalidate(all))),
                Code::Unauthenticated
            );
        }
        let health = stack.rest().document("/health").unwrap();
        let access = health["components"]["access"]["reason"].as_str().unwrap();
        assert!(
            access.contains("REST") && !access.contains("gRPC open") && access.contains("6 streams"),
            "{access}"
        );
    }
}

#[test]
fn a_token_that_is_replaced_is_good_for_nothing_any_more() {
    const NEW: &str = "another-envoy-token-0123456789";
    let folder = tempfile::tempdir().unwrap();
    let (file, operators) = (folder.path().join("token"), folder.path().join("tokens.json"));
    let replace = |file: &std::path::Path, text: &str| {
        let new = file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, file).unwrap();
    };
    let operator = |token: &str| json!([{"name": "ops", "role": "viewer", "token": token}]).to_string();
    replace(&file, TOKEN);
    replace(&operators, &operator(TOKEN));
    let options = Options {
        rest_port: free_port().unwrap(),
        grpc_port: free_port().unwrap(),
        state_dir: folder.path().join("state"),
        config_dir: None,
        environment: [("GRPC_TOKENS_FILE", &file), ("AUTH_TOKENS_FILE", &operators)]
            .map(|(name, file)| (name.to_owned(), file.display().to_string()))
            .into(),
    };
    let mut control = ControlPlane::start(options, folder.path()).unwrap();
    control.wait_live().unwrap();
    let (old, new) = (
        Peer::at(control.grpc_address(), Some(TOKEN)),
        Peer::at(control.grpc_address(), Some(NEW)),
    );
    let (_, sender, mut incoming) = old.stream(hello("envoy", "a")).unwrap();
    let mut discovery = old.discovery();
    let mut statistics = old.statistics();
    let mut events: Vec<Connection> = ["/events", "/metrics/stream"]
        .map(|path| {
            let mut connection = Connection::open(control.rest().address()).unwrap();
            let head = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
            connection.send(head.as_bytes()).unwrap();
            let begin = connection.read_at_least(15).unwrap();
            assert!(begin.starts_with(b"HTTP/1.0 200 OK"), "{begin:?}");
            connection
        })
        .into();
    assert_eq!(refused(new.hello(hello("envoy", "b"))), Code::Unauthenticated);

    // With both in the file, as while they are exchanged, nothing ends.
    replace(&file, &format!("{NEW}\n{TOKEN}\n"));
    wait::until("the new token", || new.hello(hello("envoy", "c")).ok()).unwrap();
    assert!(old.hello(hello("envoy", "d")).is_ok());
    let telemetry = |sequence| FilterMessage {
        body: Some(FromFilter::Telemetry(optimizer_proto::v1::TelemetryReport {
            sequence,
            ..Default::default()
        })),
    };
    old.runtime.block_on(async {
        sender.send(telemetry(7)).await.unwrap();
        loop {
            let message = incoming.message().await.unwrap().unwrap();
            if matches!(message.body, Some(ToFilter::TelemetryAck(ack)) if ack.sequence == 7) {
                return;
            }
        }
    });

    // Without the old one its streams end, and no other begins.
    replace(&file, NEW);
    let ended = old.runtime.block_on(async {
        loop {
            match incoming.message().await {
                Ok(Some(_)) => {}
                ended => return ended.map(drop),
            }
        }
    });
    assert_eq!(refused(ended), Code::Unauthenticated);
    assert_eq!(
        refused(old.runtime.block_on(async {
            while discovery.message().await?.is_some() {}
            Ok(())
        })),
        Code::Unauthenticated
    );
    assert_eq!(
        refused(old.runtime.block_on(&mut statistics).unwrap()),
        Code::Unauthenticated
    );
    assert_eq!(refused(old.hello(hello("envoy", "e"))), Code::Unauthenticated);
    assert!(new.hello(hello("envoy", "f")).is_ok());
    replace(&operators, &operator(NEW));
    for mut stream in events.drain(..) {
        while !stream.read_at_least(1).unwrap_or_default().is_empty() {}
    }
    let again = control.stranger().with_token(TOKEN).get("/health").unwrap();
    assert_eq!(again.status, 401);
}

#[test]
fn a_certificate_speaks_for_its_own_envoy() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let grpc_port = free_port().unwrap();
    let tls = |fleet: &str, name: &str| Plan {
        environment: [
            ("GRPC_TLS_CERT_FILE", certificates.file("server.pem")),
            ("GRPC_TLS_KEY_FILE", certificates.file("server.key")),
            ("GRPC_TLS_CLIENT_CA_FILE", certificates.file("ca.pem")),
            ("GRPC_FLEET_NAMES", fleet.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        grpc_port: Some(grpc_port),
        parts: [(Part::ControlTls, certificates.transport_socket_of(name))].into(),
        ..Plan::default()
    };
    // The Envoy is called `envoy`; the first certificate names it, the second does not.
    let stack = Stack::start(&tls("", "client"), origin()).unwrap();
    stack.change_settings(&json!({"cache_size": 77})).unwrap();
    drop(stack);
    let stack = Stack::start(&tls("fleet,other", "other"), origin()).unwrap();
    stack.change_settings(&json!({"cache_size": 77})).unwrap();
    let stranger = stack.another_envoy("envoy-b").unwrap();
    drop(stack);
    drop(stranger);
    let stack = Stack::start(&tls("", "client"), origin()).unwrap();
    let _another = stack.another_envoy("envoy-b").unwrap();
    wait::until("the other Envoy refused", || {
        let health = stack.rest().document("/health").ok()?;
        let access = health["components"]["access"]["reason"].as_str()?.to_owned();
        access.contains("refused").then_some(())
    })
    .unwrap();
    let fleet = stack.rest().document("/fleet").unwrap();
    assert_eq!(fleet.as_array().unwrap().len(), 1, "{fleet}");
}

#[test]
fn nobody_takes_the_place_of_an_envoy_that_reports() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    let fleet = || stack.rest().document("/fleet").unwrap();
    let instance = fleet()[0]["envoy"].as_str().unwrap_or_default().to_owned();
    assert!(!instance.is_empty(), "{}", fleet());
    let address = stack.control.as_ref().unwrap().grpc_address();
    let impostor = Peer::at(address, None);
    for proof in [Vec::new(), vec![7; 32]] {
        let claim = Hello {
            proof,
            ..hello("envoy", &instance)
        };
        assert_eq!(refused(impostor.hello(claim)), Code::AlreadyExists);
    }
    // Its cache is purged, not that of whoever says so.
    assert_eq!(stack.envoy.get("/page").unwrap().status, 200);
    let purge = e2e::client::Request::new("POST", "/cache/purge?wait=all").body(r#"{"all": true}"#);
    assert_eq!(stack.rest().send(&purge).unwrap().status, 200);
    assert!(!stack.envoy.get("/page").unwrap().is_hit());
    // One that has its own proof may come by a second stream, as when another worker takes over.
    let (welcome, first) = impostor.hello(hello("fake", "fake-1")).unwrap();
    let again = Hello {
        proof: welcome.proof,
        ..hello("fake", "fake-1")
    };
    let (_, second) = impostor.hello(again).unwrap();
    assert_eq!(refused(impostor.hello(hello("fake", "fake-1"))), Code::AlreadyExists);
    drop((first, second));
}

#[test]
fn nobody_takes_the_place_of_an_envoy_that_has_been_here() {
    let mut stack = Stack::start(&Plan::default(), origin()).unwrap();
    let instance = stack.rest().document("/fleet").unwrap()[0]["envoy"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(stack.envoy.get("/page").unwrap().status, 200);
    assert!(stack.envoy.get("/page").unwrap().is_hit());
    // It is silent for longer than one that reports is.
    stack.envoy.freeze();
    wait::until("its silence", || {
        let fleet = stack.rest().document("/fleet").ok()?;
        (fleet[0]["silent_for_ms"].as_u64()? > 6_000).then_some(())
    })
    .unwrap();
    let address = stack.control.as_ref().unwrap().grpc_address();
    let impostor = Peer::at(address, None);
    assert_eq!(refused(impostor.hello(hello("envoy", &instance))), Code::AlreadyExists);
    let purge = e2e::client::Request::new("POST", "/cache/purge").body(r#"{"all": true}"#);
    let accepted = stack.rest().send(&purge).unwrap().json().unwrap();
    let id = accepted["id"].as_str().unwrap().to_owned();
    assert_eq!(refused(impostor.hello(hello("envoy", &instance))), Code::AlreadyExists);
    let receipt = |stack: &Stack| stack.rest().document(&format!("/cache/purges/{id}")).unwrap();
    assert_eq!(receipt(&stack)["applied"], json!([]), "{}", receipt(&stack));

    // A control plane that is started anew has met nobody; who was there is awaited by name all the same.
    stack.control().kill();
    stack.control().restart().unwrap();
    stack.control().wait_live().unwrap();
    let shown = receipt(&stack);
    assert_eq!(
        (&shown["unknown"], &shown["complete"], &shown["matched"]),
        (&json!([instance]), &json!(false), &json!(null)),
        "{shown}"
    );
    stack.envoy.thaw();
    let shown = wait::until("the purge done", || {
        let shown = receipt(&stack);
        (shown["complete"] == true).then_some(shown)
    })
    .unwrap();
    assert_eq!(shown["applied"][0]["envoy"], json!(instance), "{shown}");
    assert_eq!(shown["unknown"], json!([]), "{shown}");
    assert!(!stack.envoy.get("/page").unwrap().is_hit());
}

#[test]
fn a_revision_that_was_not_sent_is_not_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let control = ControlPlane::quiet(folder.path()).unwrap();
    let change = |size: u32| {
        let answer = control
            .rest()
            .merge_patch("/settings", &json!({ "cache_size": size }))
            .unwrap();
        let tag = answer.header("etag").unwrap().trim_matches('"').to_owned();
        let (epoch, revision) = tag.rsplit_once('-').unwrap();
        (epoch.to_owned(), revision.parse::<u64>().unwrap())
    };
    let (epoch, revision) = change(5);
    let peer = Peer::at(control.grpc_address(), None);
    let (_, stream) = peer.hello(hello("liar", "liar-1")).unwrap();
    let acknowledge = |revision| {
        let ack = SettingsAck {
            epoch: epoch.clone(),
            revision,
            accepted: true,
            workers: 1,
            ..SettingsAck::default()
        };
        let message = FilterMessage {
            body: Some(FromFilter::SettingsAck(ack)),
        };
        stream.blocking_send(message).unwrap();
    };
    let envoy = || control.rest().document("/fleet").unwrap()[0].clone();
    acknowledge(revision + 100);
    wait::until("the false word counted", || {
        (envoy()["reports_not_merged"]["not_sent"] == 1).then_some(())
    })
    .unwrap();
    assert_eq!(envoy()["revision"], json!(null));
    acknowledge(revision);
    wait::until("the revision in force", || {
        (envoy()["revision"] == revision).then_some(())
    })
    .unwrap();
    let (_, next) = change(6);
    let rollout = control.rest().document("/settings/rollout").unwrap();
    assert_eq!(
        (&rollout["complete"], &rollout["stragglers"]),
        (&json!(false), &json!(["liar"])),
        "{rollout}"
    );
    acknowledge(next);
    wait::until("the next one in force", || (envoy()["revision"] == next).then_some(())).unwrap();
}

#[test]
fn what_a_peer_claims_is_kept_to_what_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let control = ControlPlane::quiet(folder.path()).unwrap();
    let peer = Peer::at(control.grpc_address(), None);
    let now = u64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap();
    // A place after all purges to come.
    let put = |fence: u64| {
        let put = peer.request(TierPut {
            key: b"http://a/b".to_vec(),
            value: b"value".to_vec(),
            fence: Some(Fence { ms: fence, sequence: 0 }),
            host: "a".to_owned(),
            path: "/b".to_owned(),
            usable_until_ms: now + 600_000,
            now_ms: now,
            ..TierPut::default()
        });
        peer.runtime.block_on(peer.tier().put(put)).unwrap().into_inner()
    };
    let get = || {
        let get = peer.request(TierGet {
            key: b"http://a/b".to_vec(),
            ..TierGet::default()
        });
        peer.runtime.block_on(peer.tier().get(get)).unwrap().into_inner()
    };
    for fence in [1 << 63, u64::MAX, now + 3_600_000] {
        assert!(put(fence).stored);
        assert_eq!(get().value, b"value");
        let purge = e2e::client::Request::new("POST", "/cache/purge?wait=all").body(r#"{"all": true}"#);
        assert_eq!(
            control.rest().send(&purge).unwrap().json().unwrap()["shared_tier"],
            "applied"
        );
        assert!(get().value.is_empty(), "purged for {fence}");
    }
    // Revisions that nobody has made.
    let history = || {
        control
            .rest()
            .document("/settings/history")
            .unwrap()
            .as_array()
            .unwrap()
            .len()
    };
    let answer = control
        .rest()
        .merge_patch("/settings", &json!({"cache_size": 5}))
        .unwrap();
    let tag = answer.header("etag").unwrap();
    let (epoch, revision) = tag.trim_matches('"').rsplit_once('-').unwrap();
    let (before, revision) = (history(), revision.parse::<u64>().unwrap());
    let claimed = |ahead: u64| {
        let claim = Hello {
            epoch: epoch.to_owned(),
            revision: revision.saturating_add(ahead),
            ..hello("liar", &format!("liar-{ahead}"))
        };
        drop(peer.hello(claim).unwrap());
    };
    for ahead in [10_001, 1_000_000, u64::MAX - 10_000] {
        claimed(ahead);
    }
    assert_eq!(history(), before, "too far ahead to be true");
    for ahead in 1..10 {
        claimed(ahead);
    }
    assert!(history() <= before + 4, "{} after {before}", history());
    let settings = control.rest().document("/settings").unwrap();
    assert_eq!(settings["cache_size"], 5);
}

#[test]
fn without_credentials_it_listens_on_loopback_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let start = |environment: &[(&str, &str)]| {
        let mut command = Command::new(artefacts::control_plane().unwrap());
        command
            .env_remove("STATE_DIR")
            .env("REST_PORT", "0")
            .env("GRPC_PORT", "0");
        command.env_remove("LISTEN_ADDRESS").envs(environment.iter().copied());
        Process::start("the control plane", &mut command, &folder.path().join("log")).unwrap()
    };
    let mut exposed = start(&[("LISTEN_ADDRESS", "0.0.0.0")]);
    let ended = wait::until("its refusal", || exposed.ended()).unwrap();
    let told = exposed.last_lines(1);
    assert!(
        !ended.success() && told.contains("AUTH_TOKENS_FILE") && told.contains("LISTEN_ADDRESS"),
        "{told}"
    );
    let own = start(&[]);
    wait::until("ready on loopback", || {
        let log = own.output();
        (log.matches("127.0.0.1:").count() >= 2 && log.contains("ready")).then_some(())
    })
    .unwrap();
    let options = Options {
        rest_port: free_port().unwrap(),
        grpc_port: free_port().unwrap(),
        state_dir: folder.path().join("state"),
        config_dir: None,
        environment: vec![
            ("LISTEN_ADDRESS".to_owned(), "0.0.0.0".to_owned()),
            ("ALLOW_UNAUTHENTICATED".to_owned(), "true".to_owned()),
        ],
    };
    let mut control = ControlPlane::start(options, folder.path()).unwrap();
    control.wait_live().unwrap();
    let health = control.rest().document("/health").unwrap();
    assert_eq!(health["components"]["access"]["status"], "degraded", "{health}");
}
