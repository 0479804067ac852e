//! How warm a new Envoy is.

use crate::telemetry::figure::percent;
use serde::{Deserialize, Serialize};

/// Progress in which nobody is interested, percent.
const STEP: f64 = 5.0;

/// Progress of a warm start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmupProgress {
    /// `None`: it was never warmed.
    stage: Option<Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stage {
    wanted: u64,
    given: u64,
    ended: bool,
}

impl WarmupProgress {
    /// Begins: about `wanted` responses will be given.
    #[must_use]
    pub fn begun(wanted: u64) -> Self {
        let stage = Stage {
            wanted,
            given: 0,
            ended: false,
        };
        Self { stage: Some(stage) }
    }

    /// `given` responses have been given so far.
    #[must_use]
    pub fn given(mut self, given: u64) -> Self {
        if let Some(stage) = &mut self.stage {
            stage.given = given;
        }
        self
    }

    /// There are no more to give.
    #[must_use]
    pub fn ended(mut self) -> Self {
        if let Some(stage) = &mut self.stage {
            stage.ended = true;
        }
        self
    }

    /// Share of what there was to give, percent. 100 for an Envoy that was never to be warmed: nothing would make it warmer.
    #[must_use]
    pub fn percent(self) -> f64 {
        match self.stage {
            None => 100.0,
            Some(Stage { ended: true, .. }) => 100.0,
            Some(Stage { wanted: 0, .. }) => 0.0,
            // The number wanted was an estimate; only the end is the end.
            Some(Stage { wanted, given, .. }) => percent(given, wanted).min(99.0),
        }
    }

    /// Whether it is far enough from `before` to be reported again.
    #[must_use]
    pub fn is_step_after(self, before: Self) -> bool {
        let step = |warmth: Self| (warmth.percent() / STEP).floor();
        self.as_str() != before.as_str() || step(self) > step(before)
    }

    /// Its stable code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self.stage {
            None => "not_warmed",
            Some(Stage { ended: true, .. }) => "warm",
            Some(_) => "warming",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envoy_is_warm_when_there_is_no_more_to_give() {
        assert!((WarmupProgress::default().percent() - 100.0).abs() < 1e-9);
        let warming = WarmupProgress::begun(200);
        assert!(warming.percent() < 1e-9);
        assert!((warming.given(160).percent() - 80.0).abs() < 1e-9);
        assert!(warming.given(500).percent() < 100.0);
        assert!(warming.is_step_after(WarmupProgress::default()) && warming.ended().is_step_after(warming));
        assert!(warming.given(20).is_step_after(warming) && !warming.given(21).is_step_after(warming.given(20)));
        assert!((warming.given(10).ended().percent() - 100.0).abs() < 1e-9);
    }
}
