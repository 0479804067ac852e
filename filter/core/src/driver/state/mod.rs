//! What one worker remembers between callbacks, one file for each part of [`super::vm::Vm`]. A part decides by itself; none knows the
//! others or carries a request on.

pub(super) mod bootstrap;
pub(super) mod count_budget;
pub(super) mod figures;
pub(super) mod forwarding;
pub(super) mod health_checks;
pub(super) mod learned_routes;
pub(super) mod limiter;
pub(super) mod link;
pub(super) mod local_quarantine;
pub(super) mod membership;
pub(super) mod parked;
pub(super) mod pending_acks;
pub(super) mod refreshes;
pub(super) mod staleness_guard;
pub(super) mod stats;
pub(super) mod upstreams;
pub(super) mod verifying;
