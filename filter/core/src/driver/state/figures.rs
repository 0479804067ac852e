//! What one VM counts beside its recorder.

use super::stats::Stats;
use crate::telemetry::{Connections, StoreMissReasons, TopKeys};

/// Figures that are kept for explanations, and Envoy's own statistics.
#[derive(Debug, Default)]
pub struct Figures {
    /// Why what is asked for is not stored.
    pub(crate) lost: StoreMissReasons,
    pub(crate) top: TopKeys,
    pub(crate) stats: Stats,
    pub(crate) connections: Connections,
}
