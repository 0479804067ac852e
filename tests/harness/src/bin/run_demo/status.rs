//! One readable line about the present.

use harness::rest::Rest;
use serde_json::Value;

/// The line; `None` while the control plane does not answer.
pub(crate) fn line(rest: &Rest) -> Option<String> {
    let performance = rest.document("/metrics/performance").ok()?;
    let cache = rest.document("/cache/stats").ok()?;
    let parts = [
        number(&performance, "requests_per_second", "", " requests/s"),
        number(&performance, "cache_hit_ratio", "hits ", " %"),
        number(&performance, "p95_latency", "p95 ", " ms"),
        number(&performance, "error_rate", "errors ", " %"),
        word(&performance, "circuit_breaker_state", "breaker "),
        number(&cache, "size", "", " stored"),
        number(&cache, "memory_usage", "", " MB"),
    ];
    // What is not measured yet is left out.
    Some(parts.into_iter().flatten().collect::<Vec<_>>().join(" | "))
}

fn number(document: &Value, field: &str, before: &str, after: &str) -> Option<String> {
    let value = document.get(field)?.as_f64()?;
    let text = if value.fract() == 0.0 {
        format!("{value}")
    } else {
        format!("{value:.2}")
    };
    Some(format!("{before}{text}{after}"))
}

fn word(document: &Value, field: &str, before: &str) -> Option<String> {
    Some(format!("{before}{}", document.get(field)?.as_str()?))
}
