//! The load generator, and what it costs Envoy.

use e2e::envoy::Envoy;
use e2e::{Failure, Result};
use std::process::Command;

/// Envoy's CPU time for one request, microseconds, under load on `path` for `seconds`.
pub(crate) fn cpu_per_request(envoy: &Envoy, path: &str, seconds: u32, core: &str) -> Result<f64> {
    let before = envoy.cpu_ticks();
    let output = Command::new("taskset")
        .args([
            "-c",
            core,
            "wrk",
            "-t1",
            "-c16",
            &format!("-d{seconds}s"),
            &format!("http://{}{path}", envoy.address()),
        ])
        .output()
        .map_err(|error| Failure::from(error).during("running wrk"))?;
    let ticks = envoy.cpu_ticks().saturating_sub(before);
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(line) = text
        .lines()
        .find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
    {
        return Err(Failure::new(format!("{path}: {}", line.trim())));
    }
    let requests = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse::<u32>().ok());
    let requests = requests
        .filter(|count| *count > 0)
        .ok_or_else(|| Failure::new(format!("wrk made no requests: {text}")))?;
    let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
    Ok(f64::from(ticks) * 10_000.0 / f64::from(requests))
}

/// Median, lowest and highest.
pub(crate) fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

/// The value below which `share` of the values lie.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let index = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_quantiles() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
        let mut values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((quantile(&mut values, 0.5) - 100.0).abs() < f64::EPSILON);
        assert!((quantile(&mut values, 0.99) - 198.0).abs() < f64::EPSILON);
    }
}
