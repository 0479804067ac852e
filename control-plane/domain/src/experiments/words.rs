//! How an experiment stands and why it ended, in codes and in sentences.

use super::compare::{Comparison, Difference};
use super::plan::{Goal, Plan};
use serde::{Deserialize, Serialize};

/// How an experiment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExperimentState)]
pub enum State {
    /// The change is on its way to its Envoys, or their caches become warm.
    WarmingUp,
    /// Both arms are measured.
    Measuring,
    /// The change is in force for all.
    Promoted,
    /// The change was taken back: it harms, or it brings nothing.
    RolledBack,
    /// The change was taken back: nothing is known of it.
    Inconclusive,
    /// The change was taken back: somebody stopped the experiment.
    Stopped,
    /// Somebody else has decided about the settings meanwhile.
    Overridden,
}

impl State {
    /// Those in which an experiment has ended.
    pub const ENDS: [Self; 5] = [
        Self::Promoted,
        Self::RolledBack,
        Self::Inconclusive,
        Self::Stopped,
        Self::Overridden,
    ];

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(self) -> bool {
        Self::ENDS.contains(&self)
    }

    /// As in answers and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WarmingUp => "warming_up",
            Self::Measuring => "measuring",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Inconclusive => "inconclusive",
            Self::Stopped => "stopped",
            Self::Overridden => "overridden",
        }
    }
}

/// Why an experiment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExperimentBecause)]
pub enum Because {
    /// The goal is reached and nothing has become worse.
    Better,
    /// The error rate has grown by more than is allowed.
    ErrorRate,
    /// The latency has.
    P95Latency,
    /// During the warm-up many requests took several times what is allowed, more than cold caches can explain.
    WarmUpLatency,
    /// The gain that was asked for is not there.
    NoGain,
    /// An Envoy refuses the change.
    Refused,
    /// The time was over before anything was certain.
    TimeLimit,
    /// The time was over, with fewer requests than were asked for.
    TooFewRequests,
    /// The change did not come into force on all of its Envoys.
    NotInForce,
    /// Both arms differed already before the change.
    ArmsDiffer,
    /// Somebody stopped it.
    Stopped,
    /// An operator has changed settings, promoted the change or given it up.
    Operator,
    /// The control plane that judged it was restarted, or is gone.
    ControlPlaneLost,
}

impl Because {
    /// How an experiment stands that ended for this.
    #[must_use]
    pub fn state(self) -> State {
        match self {
            Self::Better => State::Promoted,
            Self::ErrorRate
            | Self::P95Latency
            | Self::WarmUpLatency
            | Self::NoGain
            | Self::Refused
            | Self::ControlPlaneLost => State::RolledBack,
            Self::TimeLimit | Self::TooFewRequests | Self::NotInForce | Self::ArmsDiffer => State::Inconclusive,
            Self::Stopped => State::Stopped,
            Self::Operator => State::Overridden,
        }
    }

    /// Whether the change did harm.
    #[must_use]
    pub fn is_harm(self) -> bool {
        matches!(self, Self::ErrorRate | Self::P95Latency | Self::WarmUpLatency)
    }

    /// A sentence about it, without figures.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            Self::Better => "Promoted.",
            Self::ErrorRate | Self::P95Latency | Self::NoGain => "Rolled back.",
            Self::WarmUpLatency => {
                "Rolled back during the warm-up: requests were several times slower than is allowed."
            }
            Self::TimeLimit | Self::TooFewRequests => "Inconclusive, rolled back.",
            Self::Refused => "Rolled back: an Envoy refuses the change.",
            Self::NotInForce => "Inconclusive, rolled back: the change did not come into force on its Envoys.",
            Self::ArmsDiffer => {
                "Inconclusive, rolled back: both arms differed already before the change, so they cannot be compared."
            }
            Self::Stopped => "Stopped and rolled back.",
            Self::Operator => "Ended by an operator's change.",
            Self::ControlPlaneLost => "Rolled back: the control plane that judged it was restarted, or is gone.",
        }
    }

    /// A sentence about it, with the figures.
    #[must_use]
    pub(super) fn sentence(self, plan: &Plan, seen: &Comparison, more_requests: Option<u64>) -> String {
        let confidence = plan.confidence;
        let errors = || spread(&seen.error_rate, " points");
        let latency = || spread(&seen.p95_latency, " %");
        let hits = || spread(&seen.hit_ratio, " points");
        let more = || match more_requests {
            Some(more) => format!("about {more} requests more in each arm would be needed"),
            None => "no number of requests would decide it: the arms are as far apart as is just allowed".to_owned(),
        };
        match self {
            Self::Better => format!(
                "Promoted: {}error rate {}, p95 latency {}; confidence {confidence} %.",
                gain(plan.goal, seen),
                errors(),
                latency()
            ),
            Self::ErrorRate => format!(
                "Rolled back: the error rate is {} higher, {} are allowed; confidence {confidence} %.",
                errors(),
                plan.max_error_rate_increase
            ),
            Self::P95Latency => format!(
                "Rolled back: the p95 latency is {} higher, {} % are allowed; confidence {confidence} %.",
                latency(),
                plan.max_p95_increase
            ),
            Self::NoGain => {
                let gained = match plan.goal {
                    Goal::P95Latency => format!("p95 latency {}", latency()),
                    _ => format!("hit ratio {}", hits()),
                };
                format!("Rolled back: it brings too little: {gained}; confidence {confidence} %.")
            }
            Self::TimeLimit => format!("Inconclusive, rolled back: the time is over; {}.", more()),
            Self::TooFewRequests => format!(
                "Inconclusive, rolled back: too few requests in the time there was, {} are asked for in each arm; {}.",
                plan.min_requests,
                more()
            ),
            plain => plain.summary().to_owned(),
        }
    }
}

fn gain(goal: Goal, seen: &Comparison) -> String {
    match goal {
        Goal::CacheHitRatio => format!("hit ratio {}, ", spread(&seen.hit_ratio, " points")),
        Goal::P95Latency | Goal::NoHarm => String::new(),
    }
}

/// `+3.1 points (2.2 to 4.0)`.
fn spread(one: &Difference, unit: &str) -> String {
    let high = if one.high.is_finite() {
        format!("to {:+.1}", one.high)
    } else {
        "or more".to_owned()
    };
    format!("{:+.1}{unit} ({:+.1} {high})", one.seen, one.low)
}
