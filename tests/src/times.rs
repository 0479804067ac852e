//! Distributions of times for the benchmarks.

use crate::{Failure, Result};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::time::Duration;

/// A distribution, in microseconds with three digits.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Times {
    /// An empty one, for times up to ten minutes.
    ///
    /// # Errors
    /// Never with these bounds.
    pub fn new() -> Result<Self> {
        let histogram = Histogram::new_with_bounds(1, 600_000_000, 3);
        histogram.map(Self).map_err(|error| Failure::new(error.to_string()))
    }

    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.0
            .saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds all of another.
    ///
    /// # Errors
    /// Never: all have the same bounds.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.0.add(&other.0).map_err(|error| Failure::new(error.to_string()))
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// A quantile in milliseconds.
    #[must_use]
    pub fn ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1_000.0
    }

    /// Quantiles in milliseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "p50": self.ms(0.5), "p99": self.ms(0.99), "p99_9": self.ms(0.999), "max": self.ms(1.0), "samples": self.count()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_merged_counts() {
        let (mut one, mut two) = (Times::new().unwrap(), Times::new().unwrap());
        one.add(Duration::from_millis(1));
        two.add(Duration::from_millis(100));
        one.merge(&two).unwrap();
        assert_eq!(one.count(), 2);
        assert!((one.ms(0.5) - 1.0).abs() < 0.01 && (one.ms(1.0) - 100.0).abs() < 0.1);
    }
}
