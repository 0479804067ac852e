//! What a peer can cost the control plane: memory and processor time of each hostile input stay within a stated bound.

use e2e::client::{Connection, Request, Response};
use e2e::control_plane::{ControlPlane, Options};
use e2e::ports::free_port;
use optimizer_proto::v1::control_link_client::ControlLinkClient;
use optimizer_proto::v1::filter_message::Body;
use optimizer_proto::v1::{FilterMessage, Hello, SettingsAck, Violation};
use serde_json::{Value, json};

/// Most memory that one input may take, above what the idle process has.
const MEMORY_MB: f64 = 64.0;
/// Most processor time, in hundredths of a second.
const TICKS: u64 = 100;

/// A running control plane that is charged for what is done to it.
struct Charged {
    control: ControlPlane,
    _folder: tempfile::TempDir,
}

impl Charged {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = ControlPlane::quiet(folder.path()).unwrap();
        Self {
            control,
            _folder: folder,
        }
    }

    /// Does `input` and fails when it costs too much.
    fn charge<T>(&mut self, what: &str, input: impl FnOnce(&ControlPlane) -> T) -> T {
        let process = self.control.process().unwrap();
        let (memory, ticks) = (process.resident_mb().unwrap(), process.cpu_ticks());
        let out = input(&self.control);
        assert!(self.control.is_live(), "{what}: gone");
        let process = self.control.process().unwrap();
        let (memory, ticks) = (process.peak_mb().unwrap() - memory, process.cpu_ticks() - ticks);
        println!("{what}: {memory:.0} MB, {ticks} ticks");
        assert!(memory <= MEMORY_MB, "{what}: {memory} MB");
        assert!(ticks <= TICKS, "{what}: {ticks} hundredths of a second");
        out
    }
}

fn patch(control: &ControlPlane, query: &str, body: String) -> Response {
    let request = Request::new("PATCH", &format!("/settings{query}"))
        .header("content-type", "application/json-patch+json")
        .body(body);
    control.rest().send(&request).unwrap()
}

fn refused(answer: &Response, code: &str) {
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(answer.json().unwrap()["code"], code, "{}", answer.text());
}

#[test]
fn patches_that_grow_are_refused_before_they_do() {
    let mut charged = Charged::start();
    let copies = |count: usize| -> Value {
        let copy = |n| json!({"op": "copy", "from": "", "path": format!("/c{n}")});
        (0..count).map(copy).collect()
    };
    for query in ["", "?dry_run=true"] {
        for count in [20, 40, 1_000] {
            let answer = charged.charge(&format!("{count} doublings{query}"), |control| {
                patch(control, query, copies(count).to_string())
            });
            refused(&answer, "document_too_large");
        }
    }
    let tests = vec![r#"{"op":"test","path":"/cache_size","value":1}"#; 1_001].join(",");
    refused(
        &charged.charge("1,001 operations", |control| patch(control, "", format!("[{tests}]"))),
        "document_too_large",
    );
    // Many small objects take up hundreds of times what they have as text.
    for unit in [r#"{"":0}"#, "[]", "0", "{}", r#"{"a":{"b":[{}]}}"#] {
        let list = vec![unit; (1 << 20) / (unit.len() + 1) - 60].join(",");
        let bodies = [
            format!(r#"[{{"op":"add","path":"/x","value":[{list}]}}]"#),
            format!(r#"{{"x":[{list}]}}"#),
        ];
        for body in bodies {
            let answer = charged.charge(&format!("a list of {unit}"), |control| patch(control, "", body));
            assert_eq!(answer.status, 422, "{}", answer.text());
        }
    }
    let nested = format!("{}{}", r#"{"a":"#.repeat(100_000), "0");
    refused(
        &charged.charge("deep nesting", |control| patch(control, "", nested)),
        "document_too_large",
    );
    let settings = charged.control.rest().document("/settings").unwrap();
    assert!(settings.get("c0").is_none() && settings.get("x").is_none());
}

#[test]
fn documents_of_many_unknown_names_are_refused_in_time() {
    let mut charged = Charged::start();
    for width in [4, 60] {
        let fields: Vec<String> = (0..(1 << 20) / (width + 14))
            .map(|n| format!(r#""{n:0width$}":{{"#) + "}")
            .collect();
        let body = format!("{{{}}}", fields.join(","));
        for method in ["PUT", "PATCH"] {
            let answer = charged.charge(&format!("{method} of unknown names of {width}"), |control| {
                let request = Request::new(method, "/settings")
                    .header("content-type", "application/json")
                    .body(body.clone());
                control.rest().send(&request).unwrap()
            });
            assert_eq!(answer.status, 422, "{}", answer.text());
        }
    }
}

/// A text far longer than any is.
fn long() -> String {
    "x".repeat(900_000)
}

#[test]
fn names_that_are_too_long_are_kept_nowhere() {
    let mut charged = Charged::start();
    let address = charged.control.grpc_address();
    charged.charge("60 Envoys with long texts", |_| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        for number in 0..60 {
            let name = format!("envoy-{number}");
            let hello = match number % 4 {
                0 => Hello {
                    node_id: long(),
                    instance_id: name,
                    ..Hello::default()
                },
                1 => Hello {
                    instance_id: long(),
                    ..Hello::default()
                },
                2 => Hello {
                    epoch: long(),
                    instance_id: name,
                    ..Hello::default()
                },
                _ => Hello {
                    capabilities: vec!["x".repeat(60); 10_000],
                    instance_id: name,
                    ..Hello::default()
                },
            };
            let first = FilterMessage {
                body: Some(Body::Hello(hello)),
            };
            let mut client = ControlLinkClient::new(channel.clone());
            let refused = runtime.block_on(async {
                let stream = tokio_stream::iter([first]);
                client.connect(stream).await?.into_inner().message().await
            });
            assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
        }
        // One with a name of its own, and everything else wrong at length.
        let violation = Violation {
            path: long(),
            code: "c".to_owned(),
            message: "m".to_owned(),
        };
        let ack = SettingsAck {
            revision: 1,
            violations: vec![violation],
            ..SettingsAck::default()
        };
        let messages = [
            Body::Hello(Hello {
                instance_id: "a".to_owned(),
                ..Hello::default()
            }),
            Body::SettingsAck(ack),
        ];
        let messages = messages.map(|body| FilterMessage { body: Some(body) });
        let mut client = ControlLinkClient::new(channel);
        runtime.block_on(async {
            let mut incoming = client.connect(tokio_stream::iter(messages)).await.unwrap().into_inner();
            while incoming.message().await.is_ok_and(|message| message.is_some()) {}
        });
    });
    let fleet = charged.control.rest().get("/fleet").unwrap();
    assert!(fleet.body.len() < 10_000, "{} bytes", fleet.body.len());
}

#[test]
fn a_restore_costs_little_whatever_it_is() {
    let mut charged = Charged::start();
    let restore = |control: &ControlPlane, body: Vec<u8>| {
        let request = Request::new("POST", "/cache/restore")
            .header("content-type", "application/json")
            .body(body);
        // Refused before all of it was sent, it may be cut off.
        if let Ok(answer) = control.rest().send(&request) {
            assert!(
                [409, 413, 422].contains(&answer.status),
                "{}: {}",
                answer.status,
                answer.text()
            );
        }
    };
    let list = |unit: &str| {
        format!(
            r#"{{"format":"x","entries":[[{}0]]}}"#,
            unit.repeat(40_000_000 / unit.len())
        )
    };
    for unit in ["0,", "[],", r#"{"":0},"#] {
        charged.charge(&format!("40 MB of {unit} in an entry"), |control| {
            restore(control, list(unit).into_bytes())
        });
    }
    let field = format!(r#"{{"format":[{}0],"entries":[]}}"#, "0,".repeat(10_000_000));
    charged.charge("20 MB in another field", |control| restore(control, field.into_bytes()));
    let deep = format!(r#"{{"format":"x","entries":[{}"#, "[".repeat(20_000_000));
    charged.charge("an entry nested 20 million deep", |control| {
        restore(control, deep.into_bytes())
    });
}

#[test]
fn silent_connections_end_and_leave_the_probes_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        rest_port: free_port().unwrap(),
        grpc_port: free_port().unwrap(),
        state_dir: folder.path().join("state"),
        config_dir: None,
        environment: vec![("CONNECTIONS_PER_ADDRESS".to_owned(), "40".to_owned())],
    };
    let mut control = ControlPlane::start(options, folder.path()).unwrap();
    control.wait_live().unwrap();
    let beginnings: [&[u8]; 4] = [b"", b"P", b"PRI * HTTP/2.0\r\n", b"GET /health HTTP/1.1\r\n"];
    let mut silent = Vec::new();
    for address in [control.rest().address(), control.grpc_address()] {
        for beginning in beginnings.iter().cycle().take(12) {
            let mut connection = Connection::open(address).unwrap();
            connection.send(beginning).unwrap();
            silent.push(connection);
        }
    }
    // More than one address may have at the port for Envoys.
    let crowd: Vec<Connection> = (0..60)
        .filter_map(|_| Connection::open(control.grpc_address()).ok())
        .collect();
    assert!(
        control.is_live(),
        "with {} silent connections",
        silent.len() + crowd.len()
    );
    let begun = std::time::Instant::now();
    for mut connection in silent.into_iter().chain(crowd) {
        // Something may be said before it ends.
        while let Ok(read) = connection.read_at_least(1) {
            assert!(!read.is_empty());
        }
    }
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(18),
        "{:?}",
        begun.elapsed()
    );
    assert!(control.is_live());
}
