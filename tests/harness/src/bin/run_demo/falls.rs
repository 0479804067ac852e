//! How often something may fall and be started again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What falls more often than this within [`SPAN`] does not stand by being started again.
const MOST: usize = 5;
const SPAN: Duration = Duration::from_secs(60);

/// The falls of one process.
#[derive(Debug, Default)]
pub(crate) struct Falls(VecDeque<Instant>);

impl Falls {
    /// Counts one; whether it is worth while to start it again.
    pub(crate) fn another(&mut self, now: Instant) -> bool {
        self.0.retain(|fall| now.saturating_duration_since(*fall) < SPAN);
        self.0.push_back(now);
        self.0.len() <= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_falls_in_a_minute_are_enough() {
        let mut falls = Falls::default();
        let start = Instant::now();
        let second = |number| start + Duration::from_secs(number);
        assert!((0..5).all(|number| falls.another(second(number))));
        assert!(!falls.another(second(30)));
        assert!(falls.another(second(100)), "the others are long ago");
    }
}
