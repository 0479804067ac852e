//! Active health checks of half-open breakers; the fields are named as in Envoy's `HttpHealthCheck`.

use serde_json::{Map, Value, json};

use super::duration::format_duration;
use super::reader::{Findings, ObjectReader, Problem};
use super::{ViolationCode, names, number};

/// Most checks a document can have.
pub(super) const MAX_HEALTH_CHECKS: usize = 256;
const MAX_RANGES: usize = 16;
const MINUTE_MS: u64 = 60_000;

/// How a check asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HealthCheckMethod {
    /// `GET`.
    #[default]
    Get,
    /// `HEAD`.
    Head,
}

impl HealthCheckMethod {
    const WORDS: [(&'static str, Self); 2] = [("GET", Self::Get), ("HEAD", Self::Head)];

    /// The word in the document, which is the method.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        super::reader::word_of(&Self::WORDS, self)
    }
}

/// Statuses from `start` on and below `end`, as Envoy's `Int64Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The first one, 100..=599.
    pub start: u16,
    /// The first one beyond, `start` + 1..=600.
    pub end: u16,
}

/// A request that tries a half-open breaker's upstream while no client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveHealthCheck {
    /// Name of the breaker: a cluster of Envoy's, or `cluster/route` for a route's own; `*` = every cluster not named.
    pub upstream: String,
    /// Path and query that are asked for.
    pub path: String,
    /// Host that is asked for; `None` = the cluster's name.
    pub host: Option<String>,
    /// Method.
    pub method: HealthCheckMethod,
    /// Statuses of a healthy upstream, at least one range, at most 16.
    pub expected_statuses: Vec<StatusRange>,
    /// How long no request has probed before it asks, and least time between two, ms, 1 s..=10 min.
    pub interval_ms: u64,
    /// Longest time to the answer's end, ms, 10 ms..=1 min.
    pub timeout_ms: u64,
}

impl ActiveHealthCheck {
    /// `None` without a sound name, as nothing else can be said about it but its own violations.
    pub(super) fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self> {
        let mut object = ObjectReader::open(path.clone(), value, findings)?;
        let every = "every health check needs one";
        let upstream = object.required("upstream", every, names::breaker_name);
        let check = Self {
            upstream: upstream.clone().unwrap_or_default(),
            path: object.required("path", every, names::request_path).unwrap_or_default(),
            host: object.read("host", names::authority),
            method: object.word("method", HealthCheckMethod::default(), &HealthCheckMethod::WORDS),
            expected_statuses: match object.list("expected_statuses", MAX_RANGES) {
                Some(ranges) => ranges
                    .into_iter()
                    .filter_map(|(path, value)| StatusRange::read(path, value, object.findings))
                    .collect(),
                None => vec![StatusRange { start: 200, end: 201 }],
            },
            interval_ms: object.duration("interval", 5_000, 1_000..=10 * MINUTE_MS),
            timeout_ms: object.duration("timeout", 1_000, 10..=MINUTE_MS),
        };
        object.finish();
        let ranges = format!("{path}/expected_statuses");
        if check.expected_statuses.is_empty() && findings.sound(&ranges) {
            let problem = Problem::new(ViolationCode::Missing, "given no ranges, allowed is at least one");
            findings.refuse(ranges, problem);
        }
        upstream.map(|_| check)
    }

    pub(super) fn to_json(&self) -> Value {
        let ranges = self.expected_statuses.iter();
        let mut object = Map::new();
        let mut set = |name: &str, value: Value| object.insert(name.to_owned(), value);
        set("upstream", json!(self.upstream));
        set("path", json!(self.path));
        set("method", json!(self.method.as_str()));
        set(
            "expected_statuses",
            ranges
                .map(|range| json!({"start": range.start, "end": range.end}))
                .collect::<Vec<_>>()
                .into(),
        );
        set("interval", json!(format_duration(self.interval_ms)));
        set("timeout", json!(format_duration(self.timeout_ms)));
        if let Some(host) = &self.host {
            set("host", json!(host));
        }
        Value::Object(object)
    }

    /// Whether an answer with this status is one of a healthy upstream.
    #[must_use]
    pub fn expects(&self, status: u16) -> bool {
        let mut ranges = self.expected_statuses.iter();
        ranges.any(|range| (range.start..range.end).contains(&status))
    }
}

impl StatusRange {
    fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self> {
        let mut object = ObjectReader::open(path.clone(), value, findings)?;
        let why = "a range is from start to below end";
        let mut status = |name, range| {
            let status = object.required(name, why, |value| number::integer(value, &range));
            status.and_then(|status| u16::try_from(status).ok())
        };
        let (start, end) = (status("start", 100..=599), status("end", 101..=600));
        object.finish();
        let (start, end) = (start?, end?);
        if start >= end {
            let message = format!("given {end}, allowed is more than start, which is {start}");
            findings.refuse(format!("{path}/end"), Problem::new(ViolationCode::Conflict, message));
            return None;
        }
        Some(Self { start, end })
    }
}
