//! When the content of a report really happened. The report has the time of the Envoy's clock, its arrival that of
//! ours; neither alone is right: an Envoy's clock may be wrong, and a report may come late.

use crate::Millis;

/// A report later than usual by this much has been waiting.
const LATE_MS: i64 = 3_000;

/// The difference between an Envoy's clock and ours, learned from its reports: that of the quickest one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClockOffset {
    usual: Option<i64>,
    /// The difference of the report before, if that was late. Two in a row are no delay: a clock was set.
    late: Option<i64>,
}

impl ClockOffset {
    /// When a report was closed, by our clock; never after now.
    pub fn place(&mut self, closed_ms: Millis, now_ms: Millis) -> Millis {
        let difference = signed(now_ms).saturating_sub(signed(closed_ms));
        let Some(usual) = self.usual else {
            self.usual = Some(difference);
            return now_ms;
        };
        let excess = difference.saturating_sub(usual);
        if excess < LATE_MS {
            self.late = None;
            self.usual = Some(usual.min(difference));
            return now_ms.saturating_sub(unsigned(excess));
        }
        if let Some(before) = self.late.take() {
            self.usual = Some(before.min(difference));
            return now_ms;
        }
        self.late = Some(difference);
        now_ms.saturating_sub(unsigned(excess))
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 10_000_000;

    #[test]
    fn a_wrong_clock_is_put_right_and_a_late_report_gets_its_own_time() {
        for wrong in [0, 120_000] {
            let mut arrival = ClockOffset::default();
            assert_eq!(arrival.place(NOW - wrong, NOW), NOW);
            assert_eq!(arrival.place(NOW + 1_000 - wrong, NOW + 1_000), NOW + 1_000);
            // Closed after two seconds, delivered after an outage of a minute; the next one is in time again.
            assert_eq!(arrival.place(NOW + 2_000 - wrong, NOW + 62_000), NOW + 2_000);
            assert_eq!(arrival.place(NOW + 62_100 - wrong, NOW + 62_100), NOW + 62_100);
        }
    }

    #[test]
    fn a_clock_that_was_set_is_learned() {
        let mut arrival = ClockOffset::default();
        arrival.place(NOW, NOW);
        arrival.place(NOW - 59_000, NOW + 1_000);
        assert_eq!(arrival.place(NOW - 58_000, NOW + 2_000), NOW + 2_000);
        assert_eq!(arrival.place(NOW - 57_000, NOW + 3_000), NOW + 3_000);
        // And forwards.
        assert_eq!(arrival.place(NOW + 100_000, NOW + 4_000), NOW + 4_000);
    }
}
