//! From a change of settings through REST to its being in force in every worker.

use crate::numbers::quantile;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::{Failure, Result};
use serde_json::json;
use std::time::Instant;

/// p50 and p99 in milliseconds over `changes` changes. Measured by the writer, who is answered when every worker of the Envoy has
/// adopted the revision and the acknowledgement is back: an upper bound.
pub(crate) fn measure(changes: u32) -> Result<(f64, f64)> {
    let stack = Stack::start(&Plan::default(), Origin::start(|_| Reply::ok("x"))?)?;
    let rest = stack.rest();
    let mut times = Vec::new();
    for number in 1..=changes {
        let start = Instant::now();
        let answer = rest.merge_patch("/settings?wait=all&timeout=10s", &json!({"cache_size": 1_000 + number}))?;
        if answer.status != 200 {
            return Err(Failure::new(format!(
                "a change was answered {}: {}",
                answer.status,
                answer.text()
            )));
        }
        times.push(start.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok((quantile(&mut times, 0.5), quantile(&mut times, 0.99)))
}
