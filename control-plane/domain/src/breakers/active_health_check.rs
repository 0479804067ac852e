//! The active health check of a half-open breaker, as its status shows it.

use crate::Millis;
use optimizer_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

/// The check that probes a half-open breaker's upstream where no request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct ActiveHealthCheck {
    /// Milliseconds without a request's probe after which it asks, and between two checks.
    pub interval_ms: u64,
    /// When the last one ended, milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_check: Option<Millis>,
    /// Whether that was answered as expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// Status of the answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u32>,
}

impl From<&v1::ActiveHealthCheck> for ActiveHealthCheck {
    fn from(reported: &v1::ActiveHealthCheck) -> Self {
        let last_check = Some(reported.last_ms).filter(|at_ms| *at_ms > 0);
        Self {
            interval_ms: reported.interval_ms,
            last_check,
            healthy: last_check.map(|_| reported.healthy),
            status: Some(reported.status).filter(|status| *status > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_has_not_been_is_left_out() {
        let reported = |last_ms, healthy, status| v1::ActiveHealthCheck {
            interval_ms: 5_000,
            last_ms,
            healthy,
            status,
        };
        for (reported, shown) in [
            (reported(0, false, 0), json!({"interval_ms": 5_000})),
            (
                reported(9, false, 0),
                json!({"interval_ms": 5_000, "last_check": 9, "healthy": false}),
            ),
            (
                reported(9, true, 200),
                json!({"interval_ms": 5_000, "last_check": 9, "healthy": true, "status": 200}),
            ),
        ] {
            assert_eq!(json!(ActiveHealthCheck::from(&reported)), shown);
        }
    }
}
