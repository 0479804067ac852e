//! A push of settings as a span: from when it is sent until the Envoy says what became of it.

use crate::kernel::trace::{Cause, TARGET};
use optimizer_proto::v1::SettingsAck;
use tracing::field::Empty;
use tracing::{Span, info_span};

/// The newest push of a stream, and its span. One that is overtaken ends without a result, as does one whose Envoy leaves.
#[derive(Debug, Default)]
pub(super) struct Pushed(Option<(u64, Span)>);

impl Pushed {
    /// A revision is about to be sent.
    pub(super) fn begin(&mut self, envoy: &str, revision: u64, cause: &Cause) {
        let span = info_span!(
            target: TARGET,
            parent: None,
            "settings.push",
            otel.kind = "producer",
            optimizer.envoy = envoy,
            optimizer.settings.revision = revision,
            optimizer.settings.accepted = Empty,
            optimizer.settings.violations = Empty,
            otel.status_code = Empty,
        );
        cause.lead_to(&span);
        self.0 = Some((revision, span));
    }

    /// The Envoy has answered.
    pub(super) fn end(&mut self, ack: &SettingsAck) {
        let Some((_, span)) = self.0.take_if(|(revision, _)| *revision == ack.revision) else {
            return;
        };
        span.record("optimizer.settings.accepted", ack.accepted);
        if !ack.accepted {
            span.record("optimizer.settings.violations", ack.violations.len());
            span.record("otel.status_code", "ERROR");
        }
    }
}
