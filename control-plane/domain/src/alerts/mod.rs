//! Alerts: what is wrong now, since when, and who was notified.

mod baseline;
mod catalogue;
mod outbox;
mod registry;
mod rules;

pub use baseline::Baseline;
pub use catalogue::{About, about};
pub use outbox::{Action, Notification, Outbox};
pub use registry::{Alert, AlertRegistry, Change, Silence, State};
pub use registry::{MAX_ALERTS, MAX_SILENCES};
pub use rules::{Condition, EndedBadly, Figures, conditions};

use serde::{Deserialize, Serialize};

/// How bad it is. The runbook's SEV-1 is `critical`, its SEV-2 and SEV-3 are `warning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nearing trouble.
    Warning,
    /// Trouble.
    Critical,
}

impl Severity {
    /// As written in answers and notifications.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}
