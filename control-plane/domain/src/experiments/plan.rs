//! How an experiment is judged: what is asked for, with defaults and bounds.

use crate::Millis;
use optimizer_proto::settings::{Violation, ViolationCode};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Latency that may always be added, microseconds: what clients do not notice.
const ALWAYS_ALLOWED_US: f64 = 1_000.0;

const SECOND: Millis = 1_000;
const MINUTE: Millis = 60 * SECOND;

/// Percent of the Envoys that may try a change: the control group is never the smaller one.
pub const SHARES: RangeInclusive<f64> = 1.0..=50.0;
/// Confidence, percent.
pub const CONFIDENCES: RangeInclusive<f64> = 80.0..=99.9;
/// Points by which the error rate may grow.
pub const ERROR_MARGINS: RangeInclusive<f64> = 0.1..=50.0;
/// Percent by which the 95th percentile of the latency may grow.
pub const P95_MARGINS: RangeInclusive<f64> = 1.0..=1_000.0;
/// The least gain: points of the hit ratio, or percent of the latency.
pub const GAINS: RangeInclusive<f64> = 0.0..=50.0;
/// Requests that each arm must have had.
pub const REQUESTS: RangeInclusive<f64> = 100.0..=10_000_000.0;
/// How long caches get to become warm.
pub const WARM_UPS: RangeInclusive<Millis> = 0..=60 * MINUTE;
/// How long is measured at least.
pub const LEAST_DURATIONS: RangeInclusive<Millis> = 20 * SECOND..=240 * MINUTE;
/// How long an experiment takes at most.
pub const MOST_DURATIONS: RangeInclusive<Millis> = 40 * SECOND..=1_440 * MINUTE;

/// What must have become better for a change to be promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExperimentGoal)]
pub enum Goal {
    /// The share of lookups that the cache answers.
    CacheHitRatio,
    /// The 95th percentile of the latency.
    P95Latency,
    /// Nothing: it is enough that error rate and latency have not become worse.
    #[default]
    NoHarm,
}

/// A plan as requested: what is `None` has its default. Durations as text.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of `Plan`")]
pub struct PlanRequest<'a> {
    pub share: Option<f64>,
    pub confidence: Option<f64>,
    pub goal: Option<Goal>,
    pub min_gain: Option<f64>,
    pub max_error_rate_increase: Option<f64>,
    pub max_p95_increase: Option<f64>,
    pub min_requests: Option<f64>,
    pub warm_up: Option<&'a str>,
    pub min_duration: Option<&'a str>,
    pub max_duration: Option<&'a str>,
}

/// How an experiment is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ExperimentPlan)]
pub struct Plan {
    /// Percent of the Envoys that try the change.
    pub share: f64,
    /// Percent of experiments, at least, in which no finding is wrong by chance.
    pub confidence: f64,
    /// What must have become better.
    pub goal: Goal,
    /// By how much at least: points of the hit ratio, or percent of the latency.
    pub min_gain: f64,
    /// Points by which the error rate may grow.
    pub max_error_rate_increase: f64,
    /// Percent by which the 95th percentile of the latency may grow; a millisecond is always allowed.
    pub max_p95_increase: f64,
    /// Requests that each arm must have had before a change is promoted.
    pub min_requests: f64,
    /// Latency and hits do not count for so long after the change, milliseconds.
    pub warm_up_ms: Millis,
    /// So long is measured at least before a change is promoted, milliseconds.
    pub min_duration_ms: Millis,
    /// After so long the experiment ends, milliseconds.
    pub max_duration_ms: Millis,
}

impl Plan {
    /// Fills in defaults, and checks everything; `read` reads a duration as milliseconds.
    ///
    /// # Errors
    /// All that is not allowed, each with its path.
    pub fn check(
        request: &PlanRequest<'_>,
        goal: Goal,
        read: impl Fn(&str) -> Option<Millis>,
    ) -> Result<Self, Vec<Violation>> {
        let mut checker = Checker {
            read,
            found: Vec::new(),
        };
        let plan = Self {
            share: checker.number("/share", request.share, 25.0, &SHARES),
            confidence: checker.number("/confidence", request.confidence, 95.0, &CONFIDENCES),
            goal: request.goal.unwrap_or(goal),
            min_gain: checker.number("/min_gain", request.min_gain, 0.0, &GAINS),
            max_error_rate_increase: checker.number(
                "/max_error_rate_increase",
                request.max_error_rate_increase,
                1.0,
                &ERROR_MARGINS,
            ),
            max_p95_increase: checker.number("/max_p95_increase", request.max_p95_increase, 20.0, &P95_MARGINS),
            min_requests: checker.number("/min_requests", request.min_requests, 1_000.0, &REQUESTS),
            warm_up_ms: checker.duration("/warm_up", request.warm_up, 5 * MINUTE, &WARM_UPS),
            min_duration_ms: checker.duration("/min_duration", request.min_duration, 5 * MINUTE, &LEAST_DURATIONS),
            max_duration_ms: checker.duration("/max_duration", request.max_duration, 60 * MINUTE, &MOST_DURATIONS),
        };
        if checker.found.is_empty() && plan.warm_up_ms + plan.min_duration_ms >= plan.max_duration_ms {
            checker.found.push(Violation {
                path: "/max_duration".to_owned(),
                code: ViolationCode::Conflict,
                message: "it must be longer than warm_up and min_duration together".to_owned(),
            });
        }
        if checker.found.is_empty() {
            Ok(plan)
        } else {
            Err(checker.found)
        }
    }

    /// How likely a wrong finding about one of the four may be: the three figures, and latency during the warm-up.
    pub(super) fn alpha(&self) -> f64 {
        (1.0 - self.confidence / 100.0) / 4.0
    }

    /// The 95th percentile of the latency that is allowed where this one is usual, microseconds.
    pub(super) fn allowed_us(&self, usual_us: f64) -> f64 {
        (usual_us * (1.0 + self.max_p95_increase / 100.0)).max(usual_us + ALWAYS_ALLOWED_US)
    }
}

struct Checker<R> {
    read: R,
    found: Vec<Violation>,
}

impl<R: Fn(&str) -> Option<Millis>> Checker<R> {
    fn number(&mut self, path: &str, given: Option<f64>, usual: f64, range: &RangeInclusive<f64>) -> f64 {
        let given = given.unwrap_or(usual);
        if range.contains(&given) {
            return given;
        }
        self.refuse(
            path,
            ViolationCode::OutOfRange,
            format!(
                "given {given}, allowed is a number from {} to {}",
                range.start(),
                range.end()
            ),
        );
        usual
    }

    fn duration(&mut self, path: &str, given: Option<&str>, usual: Millis, range: &RangeInclusive<Millis>) -> Millis {
        let Some(text) = given else { return usual };
        let given: String = text.chars().take(64).collect();
        let allowed = format!(
            "given \"{given}\", allowed is a duration from {}s to {}m such as \"90s\"",
            range.start() / SECOND,
            range.end() / MINUTE
        );
        match (self.read)(text) {
            Some(ms) if range.contains(&ms) => return ms,
            Some(_) => self.refuse(path, ViolationCode::OutOfRange, allowed),
            None => self.refuse(path, ViolationCode::Malformed, allowed),
        }
        usual
    }

    fn refuse(&mut self, path: &str, code: ViolationCode, message: String) {
        self.found.push(Violation {
            path: path.to_owned(),
            code,
            message,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Millis> {
        text.strip_suffix('s')?
            .parse::<u64>()
            .ok()
            .map(|seconds| seconds * SECOND)
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let plan = Plan::check(&PlanRequest::default(), Goal::P95Latency, read).unwrap();
        assert_eq!((plan.goal, plan.warm_up_ms), (Goal::P95Latency, 300_000));
        assert!((plan.confidence - 95.0).abs() < 1e-9 && (plan.alpha() - 0.05 / 4.0).abs() < 1e-9);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let request = PlanRequest {
            share: Some(51.0),
            confidence: Some(f64::NAN),
            min_gain: Some(-1.0),
            max_error_rate_increase: Some(0.0),
            max_p95_increase: Some(1e9),
            min_requests: Some(1.0),
            warm_up: Some("long"),
            min_duration: Some("1s"),
            max_duration: Some("90000s"),
            ..PlanRequest::default()
        };
        let found = Plan::check(&request, Goal::NoHarm, read).unwrap_err();
        let paths: Vec<&str> = found.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/share",
                "/confidence",
                "/min_gain",
                "/max_error_rate_increase",
                "/max_p95_increase",
                "/min_requests",
                "/warm_up",
                "/min_duration",
                "/max_duration"
            ]
        );
        let short = PlanRequest {
            warm_up: Some("20s"),
            min_duration: Some("20s"),
            max_duration: Some("40s"),
            ..PlanRequest::default()
        };
        let found = Plan::check(&short, Goal::NoHarm, read).unwrap_err();
        assert_eq!(found.first().map(|one| one.code), Some(ViolationCode::Conflict));
    }
}
