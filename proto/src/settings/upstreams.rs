//! Upstreams of Envoys that take their clusters from the control plane.

use serde_json::{Map, Value, json};

use super::duration::format_duration;
use super::reader::{Findings, ObjectReader, Problem};
use super::{ViolationCode, certificate, names};

/// Most upstreams a document can have.
pub const MAX_UPSTREAMS: usize = 256;
const MAX_ENDPOINTS: usize = 256;
const MINUTE_MS: u64 = 60_000;

/// One place where an upstream listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// DNS name or IP address.
    pub host: String,
    /// Port, 1..=65,535.
    pub port: u16,
    /// Share of the requests relative to the others', 1..=1,000.
    pub weight: u32,
}

/// One upstream: a cluster of Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Unique, 1 to 64 of `a-z 0-9 _ -`.
    pub name: String,
    /// Where it listens, at least one.
    pub endpoints: Vec<Endpoint>,
    /// True: TLS towards it.
    pub tls: bool,
    /// Certificates (PEM) of the authorities that its own must be signed by; `None` = the machine's trusted ones.
    pub trusted_ca: Option<String>,
    /// True: it speaks HTTP/2.
    pub http2: bool,
    /// Longest time for a connection, ms, 1 ms..=1 min.
    pub connect_timeout_ms: u64,
    /// Path that Envoy asks for to see whether an endpoint is well; `None` = no active health checks.
    pub health_check_path: Option<String>,
    /// True: endpoints that fail are left out for a while (outlier detection).
    pub outlier_detection: bool,
}

impl Upstream {
    pub(super) fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self> {
        let mut object = ObjectReader::open(path.clone(), value, findings)?;
        let name = object.read("name", names::route_name);
        let given = object.field("name").is_some();
        let endpoints = object.list("endpoints", MAX_ENDPOINTS).unwrap_or_default();
        let upstream = Self {
            endpoints: endpoints
                .into_iter()
                .filter_map(|(path, value)| Endpoint::read(path, value, object.findings))
                .collect(),
            tls: object.boolean("tls", false),
            trusted_ca: object.read("trusted_ca", certificate::certificates),
            http2: object.boolean("http2", false),
            connect_timeout_ms: object.duration("connect_timeout", 5_000, 1..=MINUTE_MS),
            health_check_path: object.read("health_check_path", names::path_prefix),
            outlier_detection: object.boolean("outlier_detection", true),
            name: name.clone().unwrap_or_default(),
        };
        object.finish();
        if !given {
            let problem = Problem::new(ViolationCode::Missing, "given no name; every upstream needs one");
            findings.refuse(format!("{path}/name"), problem);
        }
        if upstream.trusted_ca.is_some() && !upstream.tls {
            let problem = Problem::new(ViolationCode::Conflict, "given certificates, allowed only with tls");
            findings.refuse(format!("{path}/trusted_ca"), problem);
        }
        let endpoints_path = format!("{path}/endpoints");
        if upstream.endpoints.is_empty() && findings.sound(&endpoints_path) {
            let problem = Problem::new(ViolationCode::Missing, "given no endpoints, allowed is at least one");
            findings.refuse(endpoints_path, problem);
        }
        name.map(|_| upstream)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut object = Map::new();
        let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
        set("name", json!(self.name));
        set(
            "endpoints",
            self.endpoints.iter().map(Endpoint::to_json).collect::<Vec<_>>().into(),
        );
        set("tls", json!(self.tls));
        set("http2", json!(self.http2));
        set("connect_timeout", json!(format_duration(self.connect_timeout_ms)));
        set("outlier_detection", json!(self.outlier_detection));
        if let Some(certificates) = &self.trusted_ca {
            set("trusted_ca", json!(certificates));
        }
        if let Some(path) = &self.health_check_path {
            set("health_check_path", json!(path));
        }
        Value::Object(object)
    }
}

impl Endpoint {
    fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self> {
        let mut object = ObjectReader::open(path, value, findings)?;
        let address = object.read("address", names::address);
        let weight = object.integer("weight", 1, 1..=1_000);
        let given = object.field("address").map(|(path, _)| path);
        let place = object.place("address");
        object.finish();
        if given.is_none() {
            let problem = Problem::new(ViolationCode::Missing, "given no address, allowed is \"host:port\"");
            findings.refuse(place, problem);
        }
        let (host, port) = address?;
        Some(Self { host, port, weight })
    }

    fn to_json(&self) -> Value {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        json!({ "address": format!("{host}:{}", self.port), "weight": self.weight })
    }
}
