//! What a peer can send to cost the control plane memory and processor time. Each of these is to cost no more than [`MEMORY_MB`] above
//! the idle process and [`SECONDS`] of processor time.

use crate::client::Request;
use crate::{Failure, Result};
use optimizer_proto::v1::control_link_client::ControlLinkClient;
use optimizer_proto::v1::filter_message::Body;
use optimizer_proto::v1::{FilterMessage, Hello, SettingsAck, Violation};
use serde_json::json;
use std::io::Write;
use std::net::SocketAddr;
use tonic::transport::{Channel, Endpoint};

/// Most memory that an input may take above the idle process, MB of 2^20 bytes.
pub const MEMORY_MB: f64 = 64.0;
/// Most processor time, seconds.
pub const SECONDS: f64 = 1.0;

/// A request that is refused.
#[derive(Clone, Debug)]
pub struct Input {
    /// What it is.
    pub what: String,
    /// The request.
    pub request: Request,
    /// The codes with which it may be refused.
    pub codes: &'static [&'static str],
}

const TOO_LARGE: &[&str] = &["document_too_large"];
const REFUSED: &[&str] = &["document_too_large", "invalid_settings", "patch_does_not_apply"];

fn patch(what: String, query: &str, body: String, codes: &'static [&'static str]) -> Input {
    let request = Request::new("PATCH", &format!("/settings{query}"));
    Input {
        what,
        request: request.header("content-type", "application/json-patch+json").body(body),
        codes,
    }
}

/// Patches that would make large documents, or are.
#[must_use]
pub fn patches() -> Vec<Input> {
    let mut inputs = Vec::new();
    for query in ["", "?dry_run=true"] {
        for count in [20, 40, 1_000] {
            let copy = |n| json!({"op": "copy", "from": "", "path": format!("/c{n}")});
            let copies: Vec<_> = (0..count).map(copy).collect();
            let what = format!("{count} doublings{query}");
            inputs.push(patch(what, query, json!(copies).to_string(), TOO_LARGE));
        }
    }
    let tests = vec![r#"{"op":"test","path":"/cache_size","value":1}"#; 1_001].join(",");
    inputs.push(patch(
        "1,001 operations".to_owned(),
        "",
        format!("[{tests}]"),
        TOO_LARGE,
    ));
    // Many small values take up hundreds of times what they have as text.
    for unit in [r#"{"":0}"#, "[]", "0", "{}", r#"{"a":{"b":[{}]}}"#] {
        let list = vec![unit; (1 << 20) / (unit.len() + 1) - 60].join(",");
        let operation = format!(r#"[{{"op":"add","path":"/x","value":[{list}]}}]"#);
        inputs.push(patch(
            format!("an operation with {unit} many times"),
            "",
            operation,
            REFUSED,
        ));
        inputs.push(patch(
            format!("a list of {unit}"),
            "",
            format!(r#"{{"x":[{list}]}}"#),
            REFUSED,
        ));
    }
    let nested = format!("{}{}", r#"{"a":"#.repeat(100_000), "0");
    inputs.push(patch("100,000 levels".to_owned(), "", nested, TOO_LARGE));
    inputs
}

/// Documents of a megabyte that are nothing but unknown names.
#[must_use]
pub fn unknown_names() -> Vec<Input> {
    let mut inputs = Vec::new();
    for width in [4, 60] {
        let fields: Vec<String> = (0..(1 << 20) / (width + 14))
            .map(|n| format!(r#""{n:0width$}":{{"#) + "}")
            .collect();
        for method in ["PUT", "PATCH"] {
            let request = Request::new(method, "/settings").header("content-type", "application/json");
            inputs.push(Input {
                what: format!("{method} of unknown names of {width}"),
                request: request.body(format!("{{{}}}", fields.join(","))),
                codes: REFUSED,
            });
        }
    }
    inputs
}

/// Bodies that are no snapshots, in the clear and compressed.
///
/// # Errors
/// They cannot be compressed.
pub fn snapshots() -> Result<Vec<Input>> {
    let list = |unit: &str, bytes: usize| {
        let text = unit.repeat(bytes / unit.len());
        format!(r#"{{"format":"x","entries":[[{text}0]]}}"#)
    };
    let entries = |unit: &str, bytes: usize| {
        let text = unit.repeat(bytes / unit.len());
        format!(r#"{{"format":"x","entries":[{text}0]}}"#)
    };
    let mut bodies = Vec::new();
    for unit in ["0,", "[],", r#"{"":0},"#] {
        bodies.push((format!("40 MB of {unit} in an entry"), list(unit, 40_000_000)));
        bodies.push((format!("40 MB of entries {unit}"), entries(unit, 40_000_000)));
    }
    let field = format!(r#"{{"format":[{}0],"entries":[]}}"#, "0,".repeat(10_000_000));
    bodies.push(("20 MB in another field".to_owned(), field));
    let deep = format!(r#"{{"format":"x","entries":[{}"#, "[".repeat(20_000_000));
    bodies.push(("an entry nested 20 million deep".to_owned(), deep));
    let mut inputs: Vec<(String, Vec<u8>)> = bodies
        .into_iter()
        .map(|(what, text)| (what, text.into_bytes()))
        .collect();
    for (what, unit) in [("blanks", " "), ("entries", "0,"), ("one text", "x")] {
        let text = match unit {
            "x" => format!(r#"{{"format":"{}"#, unit.repeat(256 << 20)),
            _ => entries(unit, 256 << 20),
        };
        inputs.push((format!("256 MB of {what}, packed"), packed(text.as_bytes())?));
    }
    let input = |(what, body): (String, Vec<u8>)| Input {
        what,
        request: Request::new("POST", "/cache/restore")
            .header("content-type", "application/json")
            .body(body),
        codes: &["not_a_snapshot"],
    };
    Ok(inputs.into_iter().map(input).collect())
}

fn packed(text: &[u8]) -> Result<Vec<u8>> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(text)?;
    Ok(packer.finish()?)
}

/// A text far longer than any is.
fn long() -> String {
    "x".repeat(400_000)
}

/// Sixty Envoys whose names, epochs and capabilities are far too long, and one whose answer to its settings is.
///
/// # Errors
/// One of them is taken, or the control plane cannot be reached.
pub fn long_texts(address: SocketAddr) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let runtime = tokio::runtime::Runtime::new()?;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| failed(&error))?;
    let channel = runtime.block_on(endpoint.connect()).map_err(|error| failed(&error))?;
    for number in 0..60 {
        let refused = runtime.block_on(said(channel.clone(), vec![Body::Hello(odd(number))]));
        match refused {
            Err(status) if status.code() == tonic::Code::InvalidArgument => {}
            other => return Err(Failure::new(format!("Envoy {number}: {other:?}"))),
        }
    }
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
    let hello = Hello {
        instance_id: "a".to_owned(),
        ..Hello::default()
    };
    // How it ends does not matter.
    let _ = runtime.block_on(said(channel, vec![Body::Hello(hello), Body::SettingsAck(ack)]));
    Ok(())
}

fn odd(number: u32) -> Hello {
    let mut hello = Hello {
        instance_id: format!("envoy-{number}"),
        ..Hello::default()
    };
    match number % 4 {
        0 => hello.node_id = long(),
        1 => hello.instance_id = long(),
        2 => hello.epoch = long(),
        _ => hello.capabilities = vec!["x".repeat(60); 5_000],
    }
    hello
}

/// Says all of it and listens to the end.
async fn said(channel: Channel, bodies: Vec<Body>) -> std::result::Result<(), tonic::Status> {
    let messages: Vec<FilterMessage> = bodies
        .into_iter()
        .map(|body| FilterMessage { body: Some(body) })
        .collect();
    let mut client = ControlLinkClient::new(channel);
    let mut incoming = client.connect(tokio_stream::iter(messages)).await?.into_inner();
    while incoming.message().await?.is_some() {}
    Ok(())
}
