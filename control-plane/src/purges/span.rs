//! Purges as spans: how many targets, and what the receipt says. Never what the targets are: URLs and tags may name users.

use crate::kernel::trace::TARGET;
use control_domain::purges::Purge;
use tracing::field::Empty;
use tracing::{Span, info_span};

/// From when the Envoys are told until all have answered or given up.
pub(super) fn of(purge: &Purge) -> Span {
    info_span!(
        target: TARGET,
        "purge",
        optimizer.purge.id = purge.id,
        optimizer.purge.targets = purge.targets.len(),
        optimizer.purge.soft = purge.soft,
        optimizer.purge.envoys = Empty,
        optimizer.purge.pending = Empty,
        optimizer.purge.complete = Empty,
    )
}

/// What its receipt says by then.
pub(super) fn end(span: &Span, purge: Option<&Purge>) {
    let Some(purge) = purge else { return };
    let pending = purge
        .awaited
        .iter()
        .filter(|envoy| !purge.applied.contains_key(*envoy))
        .count();
    span.record("optimizer.purge.envoys", purge.applied.len());
    span.record("optimizer.purge.pending", pending);
    span.record("optimizer.purge.complete", pending == 0 && !purge.unrecorded);
}

/// One Envoy's part.
pub(super) fn apply(envoy: &str, purge: &Purge) -> Span {
    info_span!(
        target: TARGET,
        "purge.apply",
        otel.kind = "client",
        optimizer.envoy = envoy,
        optimizer.purge.id = purge.id,
        optimizer.purge.applied = Empty,
        otel.status_code = Empty,
    )
}

pub(super) fn applied(span: &Span, done: bool) {
    span.record("optimizer.purge.applied", done);
    if !done {
        span.record("otel.status_code", "ERROR");
    }
}
