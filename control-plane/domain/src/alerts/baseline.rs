//! How much traffic is usual at an hour, so that a quiet night is no alert and a quiet noon is one.

use crate::Millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const HOUR_MS: u64 = 3_600_000;
const DAY_HOURS: u64 = 24;
const WEEK_HOURS: u64 = 7 * DAY_HOURS;
/// Readings without which an hour says nothing: ten minutes of one a second.
const ENOUGH: u32 = 600;

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Hour {
    sum: f64,
    readings: u32,
}

/// Mean requests per second, hour by hour, for eight days.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    hours: BTreeMap<u64, Hour>,
}

impl Baseline {
    /// Notes a reading. True when an hour has begun: what came before is worth writing down.
    pub fn note(&mut self, per_second: f64, now_ms: Millis) -> bool {
        let number = now_ms / HOUR_MS;
        let begins = !self.hours.contains_key(&number);
        let hour = self.hours.entry(number).or_default();
        if per_second.is_finite() {
            hour.sum += per_second;
            hour.readings = hour.readings.saturating_add(1);
        }
        if begins {
            self.hours
                .retain(|hour, _| hour.abs_diff(number) <= WEEK_HOURS + DAY_HOURS);
        }
        begins
    }

    /// What is usual at this hour: as a week ago, or yesterday where a week ago is not known.
    #[must_use]
    pub fn usual(&self, now_ms: Millis) -> Option<f64> {
        let number = now_ms / HOUR_MS;
        [WEEK_HOURS, DAY_HOURS].into_iter().find_map(|ago| {
            let hour = self.hours.get(&number.checked_sub(ago)?)?;
            (hour.readings >= ENOUGH).then(|| hour.sum / f64::from(hour.readings))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_compared_with_last_weeks_else_yesterdays() {
        let mut baseline = Baseline::default();
        let noon = 20_000 * HOUR_MS;
        assert_eq!(baseline.usual(noon), None);
        let mut fill = |hours_ago: u64, per_second: f64, readings: u64| {
            for second in 0..readings {
                baseline.note(per_second, noon - hours_ago * HOUR_MS + second * 1_000);
            }
            baseline.usual(noon)
        };
        assert_eq!(fill(24, 80.0, 599), None, "too little to go by");
        assert_eq!(fill(24, 80.0, 1), Some(80.0));
        assert_eq!(fill(23, 10.0, 600), Some(80.0), "another hour");
        assert_eq!(fill(168, 60.0, 600), Some(60.0));
        let read_back: Baseline = serde_json::from_str(&serde_json::to_string(&baseline).unwrap()).unwrap();
        assert_eq!(read_back.usual(noon), Some(60.0));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut baseline = Baseline::default();
        let begun = (0..1_000_u64).filter(|hour| baseline.note(1.0, hour * HOUR_MS)).count();
        assert_eq!(begun, 1_000);
        assert!(baseline.hours.len() <= 194);
    }
}
