//! Upstreams of Envoys that take their clusters from the control plane.

use serde_json::Value;

use super::kinds::{List, Optional, Required, list};
use super::names::Address;
use super::reader::{Findings, ObjectReader, Problem};
use super::rows::{Item, Rows, settings};
use super::scalars::{Flag, count, duration};
use super::{ViolationCode, certificate, names};

/// Most upstreams a document can have.
pub const MAX_UPSTREAMS: usize = 256;
const MAX_ENDPOINTS: usize = 256;
const MINUTE_MS: u64 = 60_000;

settings! {
    /// One place where an upstream listens.
    Endpoint {
        /// DNS name or IP address, and port.
        "address" => address: Address = Address::default(), Required { kind: names::ADDRESS, why: None }, example "api.example.com:443";
        /// Share of the requests relative to the others'.
        "weight" => weight: u32 = 1, count(1..=1_000, "share"), example 3;
    }
}

settings! {
    /// One upstream: a cluster of Envoy. No two have the same name.
    Upstream {
        /// Its name, which no other one has.
        "name" => name: String = String::new(), Required { kind: names::ROUTE_NAME, why: None }, example "api";
        /// Where it listens.
        "endpoints" => endpoints: Vec<Endpoint> = Vec::new(), endpoints(), example [{"address": "api.example.com:443"}];
        /// True: TLS towards it.
        "tls" => tls: bool = false, Flag, example true;
        /// Certificates (PEM) of the authorities that its own must be signed by; only with tls. None: the machine's trusted ones.
        "trusted_ca" => trusted_ca: Option<String> = None, Optional { kind: certificate::CERTIFICATES, null: false },
            example "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        /// True: it speaks HTTP/2.
        "http2" => http2: bool = false, Flag, example true;
        /// Longest time for a connection.
        "connect_timeout" => connect_timeout_ms: u64 = 5_000, duration(1..=MINUTE_MS), example "1s";
        /// Path that Envoy asks for to see whether an endpoint is well. None: no active health checks.
        "health_check_path" => health_check_path: Option<String> = None, Optional { kind: names::PATH_PREFIX, null: false },
            example "/health";
        /// True: endpoints that fail are left out for a while (outlier detection).
        "outlier_detection" => outlier_detection: bool = true, Flag, example false;
    }
}

fn endpoints() -> List<Endpoint> {
    list(MAX_ENDPOINTS).not_empty().required()
}

impl Item for Upstream {
    fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self> {
        let mut object = ObjectReader::open(path.clone(), value, findings)?;
        let upstream = Self::read_rows(&mut object, Self::default());
        let given = object.has("name");
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
        Some(upstream).filter(|upstream| !upstream.name.is_empty())
    }
}

impl Item for Endpoint {
    fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self> {
        let mut object = ObjectReader::open(path, value, findings)?;
        let endpoint = Self::read_rows(&mut object, Self::default());
        let (given, place) = (object.has("address"), object.place("address"));
        object.finish();
        if !given {
            let problem = Problem::new(ViolationCode::Missing, "given no address, allowed is \"host:port\"");
            findings.refuse(place, problem);
        }
        Some(endpoint).filter(|endpoint| !endpoint.address.host.is_empty())
    }
}
