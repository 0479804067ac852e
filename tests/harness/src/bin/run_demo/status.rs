//! One readable line about the present.

use harness::rest::Rest;
use serde_json::Value;

/// The line; `None` while the control plane does not answer.
pub(crate) fn line(rest: &Rest) -> Option<String> {
    let performance = rest.document("/metrics/performance").ok()?;
    let cache = rest.document("/cache/stats").ok()?;
    Some(of(&performance, &cache))
}

fn of(performance: &Value, cache: &Value) -> String {
    // Of no requests there is no ratio and no latency.
    let asked = performance["requests_per_second"].as_f64() > Some(0.0);
    let of_requests = |field, before, after| number(performance, field, before, after).filter(|_| asked);
    let parts = [
        number(performance, "requests_per_second", "", " requests/s"),
        of_requests("cache_hit_ratio", "hits ", " %"),
        of_requests("p95_latency", "p95 ", " ms"),
        of_requests("error_rate", "errors ", " %"),
        word(performance, "circuit_breaker_state", "breaker "),
        number(cache, "size", "", " stored"),
        number(cache, "memory_usage", "", " MB"),
    ];
    // What is not measured yet is left out.
    parts.into_iter().flatten().collect::<Vec<_>>().join(" | ")
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn of_no_requests_nothing_is_claimed() {
        let mut performance = json!({"requests_per_second": 0.0, "cache_hit_ratio": 100.0, "p95_latency": 0.0, "error_rate": 0.0,
            "circuit_breaker_state": "closed"});
        let cache = json!({"size": 0});
        assert_eq!(of(&performance, &cache), "0 requests/s | breaker closed | 0 stored");
        performance["requests_per_second"] = json!(0.5);
        let line = of(&performance, &cache);
        assert_eq!(
            line,
            "0.50 requests/s | hits 100 % | p95 0 ms | errors 0 % | breaker closed | 0 stored"
        );
    }
}
