//! Configuration as spans: from when resources of a kind are sent until Envoy accepts or refuses them.

use super::kind::Kind;
use super::variant::Progress;
use crate::kernel::trace::TARGET;
use std::collections::BTreeMap;
use tracing::field::Empty;
use tracing::{Span, info_span};

/// What of a stream has no answer yet. What is overtaken ends without a result, as does what an Envoy leaves behind.
#[derive(Debug, Default)]
pub(super) struct PushSpans(BTreeMap<&'static str, Span>);

impl PushSpans {
    pub(super) fn begin(&mut self, node: &str, kind: Kind) {
        let kind = kind.as_str();
        let span = info_span!(
            target: TARGET,
            parent: None,
            "xds.push",
            otel.kind = "producer",
            optimizer.node = node,
            optimizer.xds.kind = kind,
            optimizer.xds.accepted = Empty,
            otel.status_code = Empty,
        );
        self.0.insert(kind, span);
    }

    pub(super) fn end(&mut self, progress: &Progress) {
        let (kind, accepted) = match progress {
            Progress::Accepted(kind) => (kind, true),
            Progress::Refused(kind, _) => (kind, false),
        };
        let Some(span) = self.0.remove(kind.as_str()) else {
            return;
        };
        span.record("optimizer.xds.accepted", accepted);
        if !accepted {
            span.record("otel.status_code", "ERROR");
        }
    }
}
