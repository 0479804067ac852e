//! An experiment as it is told, kept and shown.

use super::arms::Sample;
use super::compare::Difference;
use super::plan::Plan;
use super::trial::Trial;
use super::words::{Because, State};
use crate::Millis;
use crate::telemetry::figure::{Figure, number, percent};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Where the change comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExperimentSource)]
pub enum Source {
    /// The caller named the settings.
    Settings,
    /// The size that `POST /cache/optimize` recommends from the miss-ratio curves.
    WhatIf,
    /// Lifetimes of routes, from how often validations found responses changed.
    TtlAdvice,
    /// Connections, where those to an upstream are nearly all used.
    Limits,
}

/// What is expected of a change, before it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ExperimentPrediction)]
pub struct Prediction {
    /// Points by which the hit ratio is to grow, by the miss-ratio curves.
    pub cache_hit_ratio: Figure,
    /// Sampled lookups behind it.
    pub samples: u64,
}

/// What one arm did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ExperimentArm)]
pub struct ArmFigures {
    /// Envoys that are measured.
    pub envoys: u64,
    /// Requests since the change is in force.
    pub requests: u64,
    /// Those of them that failed or were refused.
    pub failed: u64,
    /// The same, percent.
    pub error_rate: Figure,
    /// Requests since caches are warm.
    pub warm_requests: u64,
    /// Their 95th percentile of the latency, milliseconds.
    pub p95_latency: Figure,
    /// Lookups since caches are warm.
    pub lookups: u64,
    /// Share of them that the cache answered, percent.
    pub cache_hit_ratio: Figure,
}

/// A difference of both arms, with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ExperimentDifference)]
pub struct DifferenceFigures {
    /// As seen.
    pub seen: Figure,
    /// The least that it can be.
    pub low: Figure,
    /// The greatest that it can be; null where nothing is known.
    #[schema(required = true)]
    pub high: Option<Figure>,
}

impl From<Difference> for DifferenceFigures {
    fn from(one: Difference) -> Self {
        Self {
            seen: number(one.seen),
            low: number(one.low),
            high: one.high.is_finite().then(|| number(one.high)),
        }
    }
}

/// Both arms, and how they differ.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = ExperimentFigures)]
pub struct Figures {
    /// The Envoys that try the change.
    pub experiment: ArmFigures,
    /// The control group.
    pub control: ArmFigures,
    /// Error rate: points more in the experiment's arm.
    pub error_rate: DifferenceFigures,
    /// 95th percentile of the latency: percent more.
    pub p95_latency: DifferenceFigures,
    /// Hit ratio: points more.
    pub cache_hit_ratio: DifferenceFigures,
}

impl Figures {
    /// Of an experiment as it stands, with so many Envoys in its arms.
    #[must_use]
    pub fn of(trial: &Trial, (experiment, control): (usize, usize)) -> Self {
        let (all, warm) = trial.arms();
        let compared = trial.comparison();
        Self {
            experiment: arm(experiment, &all.experiment, &warm.experiment),
            control: arm(control, &all.control, &warm.control),
            error_rate: compared.error_rate.into(),
            p95_latency: compared.p95_latency.into(),
            cache_hit_ratio: compared.hit_ratio.into(),
        }
    }
}

fn arm(envoys: usize, all: &Sample, warm: &Sample) -> ArmFigures {
    ArmFigures {
        envoys: envoys as u64,
        requests: all.requests,
        failed: all.failed,
        error_rate: number(percent(all.failed, all.requests)),
        warm_requests: warm.requests,
        p95_latency: number(warm.latency.quantile(0.95).unwrap_or(0.0) / 1_000.0),
        lookups: warm.lookups,
        cache_hit_ratio: number(percent(warm.hits, warm.lookups)),
    }
}

/// An experiment: a change of settings on part of the fleet, beside a control group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Experiment {
    /// By which it is asked for.
    pub id: String,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Where the change comes from.
    pub source: Source,
    /// The change, as a merge patch (RFC 7396).
    #[schema(value_type = Object)]
    pub settings: Value,
    /// Number of the revision on trial.
    pub revision: u64,
    /// How it is judged.
    pub plan: Plan,
    /// How it stands.
    pub state: State,
    /// Why it ended.
    #[schema(required = true)]
    pub because: Option<Because>,
    /// How it stands, for people.
    pub summary: String,
    /// What was expected; null where nothing is known beforehand.
    #[schema(required = true)]
    pub predicted: Option<Prediction>,
    /// What was measured.
    pub figures: Figures,
    /// Requests that each arm would need besides for a finding, of one that is inconclusive; null where no number would do.
    #[schema(required = true)]
    pub more_requests: Option<u64>,
    /// The Envoys that try the change, by instance id, a hundred of them at most; `figures` tells how many there are.
    pub envoys: BTreeSet<String>,
    /// When it began, milliseconds since 1970.
    pub started_at: Millis,
    /// Since when latency and hits count; null before the change is in force.
    #[schema(required = true)]
    pub measuring_since: Option<Millis>,
    /// When this was true; another replica tells of its experiment every 10 s.
    pub updated_at: Millis,
    /// When it ended.
    #[schema(required = true)]
    pub ended_at: Option<Millis>,
}

/// Envoys of an experiment that are named.
pub const NAMED: usize = 100;
/// Longest text, characters.
pub const TEXT: usize = 512;
/// Longest change, as JSON, bytes: it is kept, and told to other replicas again and again.
pub const CHANGE: usize = 65_536;

impl Experiment {
    /// How it stands under way.
    pub fn goes_on(&mut self, trial: &Trial, figures: Figures, now_ms: Millis) {
        self.measuring_since = trial.measures_since();
        let (state, summary) = match self.measuring_since {
            Some(since) if since <= now_ms => (
                State::Measuring,
                format!("Measuring: {} requests in the smaller arm.", trial.arms().1.requests()),
            ),
            Some(_) => (
                State::WarmingUp,
                "In force on its Envoys; their caches become warm.".to_owned(),
            ),
            None => (State::WarmingUp, "The change is on its way to its Envoys.".to_owned()),
        };
        (self.state, self.summary) = (state, summary);
        self.figures = figures;
        self.updated_at = now_ms;
    }

    /// It has ended.
    pub fn end(&mut self, because: Because, summary: &str, now_ms: Millis) {
        self.state = because.state();
        self.because = Some(because);
        self.summary = summary.chars().take(TEXT).collect();
        self.updated_at = now_ms;
        self.ended_at = Some(now_ms);
    }

    /// With no more of texts, names and change than is kept.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        for text in [&mut self.id, &mut self.by, &mut self.reason, &mut self.summary] {
            *text = text.chars().take(TEXT).collect();
        }
        while self.envoys.len() > NAMED {
            self.envoys.pop_last();
        }
        if self.settings.to_string().len() > CHANGE {
            self.settings = Value::Null;
        }
        self
    }
}
