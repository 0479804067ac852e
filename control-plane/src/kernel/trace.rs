//! Spans that are exported, and what they come from (W3C Trace Context). Without an exporter none of them exists, and nothing here does anything.
//!
//! Attributes name what was done and with which result: no tokens, no query strings, no cookies, no values that users sent.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of every span that is exported. No log line shows one.
pub(crate) const TARGET: &str = "span";

/// What the standard asks everybody to pass on (Trace Context section 3.3.1.5); a longer `tracestate` is left out.
const MAX_STATE: usize = 512;

/// A span, here or elsewhere, from which others come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cause(Option<SpanContext>);

impl Cause {
    /// The present span.
    pub(crate) fn present() -> Self {
        Self::of(&Span::current())
    }

    /// This span.
    pub(crate) fn of(span: &Span) -> Self {
        let context = span.context();
        Self::from(context.span().span_context())
    }

    fn from(context: &SpanContext) -> Self {
        Self(context.is_valid().then(|| context.clone()))
    }

    /// What a caller says with `traceparent` and `tracestate`; nothing, where they are malformed.
    pub(crate) fn from_fields<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Self {
        let state = field("tracestate").filter(|state| state.len() <= MAX_STATE);
        let parent = field("traceparent").filter(|parent| is_well_formed(parent));
        let fields = Fields([("traceparent", parent), ("tracestate", state)]);
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &fields);
        Self::from(context.span().span_context())
    }

    /// Makes it the parent of a span that has not begun to be used.
    pub(crate) fn lead_to(&self, span: &Span) {
        if let Some(context) = &self.0 {
            // A span that is not exported has no parent.
            let _ = span.set_parent(Context::new().with_remote_span_context(context.clone()));
        }
    }

    /// Its trace, in hexadecimal digits, if that is exported.
    pub(crate) fn sampled_trace(&self) -> Option<String> {
        let context = self.0.as_ref().filter(|context| context.is_sampled())?;
        Some(context.trace_id().to_string())
    }
}

/// Whether each part has its length (Trace Context section 3.2.2), which the library does not look at.
fn is_well_formed(parent: &str) -> bool {
    let lengths: Vec<usize> = parent.trim().split('-').map(str::len).collect();
    match lengths.as_slice() {
        [2, 32, 16, 2] => true,
        [2, 32, 16, 2, ..] => !parent.trim().starts_with("00"),
        _ => false,
    }
}

/// The fields of a request that matter.
struct Fields<'a>([(&'static str, Option<&'a str>); 2]);

impl Extractor for Fields<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| *name == key)
            .and_then(|(_, value)| *value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_taken_from_sound_fields_alone() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let from_fields = |parent: &str, state: &str| {
            let fields = [("traceparent", parent), ("tracestate", state)];
            Cause::from_fields(|name| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
        };
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        assert_eq!(from_fields(&parent, "a=b").sampled_trace().as_deref(), Some(trace));
        let unsampled = from_fields(&format!("00-{trace}-00f067aa0ba902b7-00"), "");
        assert!(unsampled.0.is_some() && unsampled.sampled_trace().is_none());
        let long = from_fields(&parent, &format!("a={}", "b".repeat(MAX_STATE)));
        assert_eq!(long.0.unwrap().trace_state().header(), "");
        assert!(from_fields(&format!("01{}-later", &parent[2..]), "").0.is_some());
        for wrong in [
            "",
            "00-",
            "00-0-0-01",
            &parent[1..],
            &format!("ff{}", &parent[2..]),
            &format!("{parent}-later"),
        ] {
            assert!(from_fields(wrong, "").0.is_none(), "{wrong}");
        }
    }
}
