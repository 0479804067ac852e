//! Active health checks of half-open breakers; the fields are named as in Envoy's `HttpHealthCheck`.

use serde_json::{Value, json};

use super::forms::{Shared, View, either};
use super::kinds::{List, Optional, Required, Scalar, list};
use super::reader::{Findings, ObjectReader, Outcome, Problem};
use super::rows::{Describe, Item, Rows, settings};
use super::scalars::{Words, duration};
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

/// An HTTP status in a range.
struct Status(std::ops::RangeInclusive<u64>);

impl Describe for Status {
    fn schema(&self, view: View, _default: Option<&Value>) -> Value {
        either(view, view.whole_number(&self.0), Shared::Number)
    }

    fn allowed(&self) -> String {
        format!("{} to {}", self.0.start(), self.0.end())
    }

    fn unit(&self) -> Option<&'static str> {
        Some("status")
    }
}

impl Scalar for Status {
    type Value = u16;

    fn read(&self, value: &Value) -> Outcome<u16> {
        let reading = number::integer(value, &self.0)?;
        Ok(reading.map(|status| u16::try_from(status).unwrap_or(u16::MAX)))
    }

    fn spell(&self, status: &u16) -> Value {
        json!(status)
    }
}

const RANGE: &str = "a range is from start to below end";
const EVERY_CHECK: &str = "every health check needs one";

settings! {
    /// Statuses from start on and below end, as Envoy's Int64Range.
    StatusRange {
        /// The first one.
        "start" => start: u16 = 200, Required { kind: Status(100..=599), why: Some(RANGE) }, example 200;
        /// The first one beyond; more than start.
        "end" => end: u16 = 201, Required { kind: Status(101..=600), why: Some(RANGE) }, example 300;
    }
}

settings! {
    /// A request that tries a half-open breaker's upstream while no client does.
    ActiveHealthCheck {
        /// Name of the breaker: a cluster of Envoy's, or cluster/route for a route's own. \*: every cluster not named.
        "upstream" => upstream: String = String::new(),
            Required { kind: names::BREAKER_NAME, why: Some(EVERY_CHECK) }, example "*";
        /// Path and query that are asked for.
        "path" => path: String = String::new(), Required { kind: names::REQUEST_PATH, why: Some(EVERY_CHECK) }, example "/health";
        /// Host that is asked for. None: the cluster's name.
        "host" => host: Option<String> = None, Optional { kind: names::AUTHORITY, null: false }, example "api.example.com";
        /// Method.
        "method" => method: HealthCheckMethod = HealthCheckMethod::default(), Words(&HealthCheckMethod::WORDS), example "HEAD";
        /// Statuses of a healthy upstream.
        "expected_statuses" => expected_statuses: Vec<StatusRange> = vec![StatusRange::default()], ranges(),
            example [{"start": 200, "end": 300}];
        /// How long no request has probed before it asks, and least time between two.
        "interval" => interval_ms: u64 = 5_000, duration(1_000..=10 * MINUTE_MS), example "10s";
        /// Longest time to the answer's end.
        "timeout" => timeout_ms: u64 = 1_000, duration(10..=MINUTE_MS), example "500ms";
    }
}

fn ranges() -> List<StatusRange> {
    list(MAX_RANGES).not_empty()
}

impl Item for ActiveHealthCheck {
    /// `None` without a sound name, as nothing else can be said about it but its own violations.
    fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self> {
        let mut object = ObjectReader::open(path.clone(), value, findings)?;
        let check = Self::read_rows(&mut object, Self::default());
        object.finish();
        let ranges = format!("{path}/expected_statuses");
        if check.expected_statuses.is_empty() && findings.sound(&ranges) {
            let problem = Problem::new(ViolationCode::Missing, "given no ranges, allowed is at least one");
            findings.refuse(ranges, problem);
        }
        Some(check).filter(|check| !check.upstream.is_empty())
    }
}

impl ActiveHealthCheck {
    /// Whether an answer with this status is one of a healthy upstream.
    #[must_use]
    pub fn expects(&self, status: u16) -> bool {
        let mut ranges = self.expected_statuses.iter();
        ranges.any(|range| (range.start..range.end).contains(&status))
    }
}

impl Copy for StatusRange {}

impl Item for StatusRange {
    fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self> {
        let mut object = ObjectReader::open(path.clone(), value, findings)?;
        let unread = Self { start: 0, end: 0 };
        let range = Self::read_rows(&mut object, unread);
        object.finish();
        let Self { start, end } = range;
        if start == 0 || end == 0 {
            return None;
        }
        if start >= end {
            let message = format!("given {end}, allowed is more than start, which is {start}");
            findings.refuse(format!("{path}/end"), Problem::new(ViolationCode::Conflict, message));
            return None;
        }
        Some(range)
    }
}
