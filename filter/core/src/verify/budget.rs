//! How many requests of its own verification may make: a share of those that go to the upstream anyway.

use std::collections::HashMap;

/// Upstreams that are told apart; the rest get nothing.
const MAX_UPSTREAMS: usize = 64;
/// What a budget holds at most, and holds at first: so much may be asked at once, in each worker.
pub const BURST: u32 = 40;
/// In thousandths of a request.
const ONE: u32 = 1_000;

/// One budget for each upstream. What is asked of it in all is at most [`BURST`] and the share of what clients' requests asked.
#[derive(Debug, Default)]
pub struct Budget {
    left: HashMap<String, u32>,
}

impl Budget {
    /// A client's request goes to this upstream: `percent` of one more is allowed.
    pub fn earn(&mut self, upstream: &str, percent: u32) {
        if let Some(left) = self.left.get_mut(upstream) {
            *left = left.saturating_add(percent.saturating_mul(ONE / 100)).min(BURST * ONE);
        }
    }

    /// Whether so many requests may be made.
    pub fn holds(&mut self, upstream: &str, requests: u32) -> bool {
        if !self.left.contains_key(upstream) && self.left.len() < MAX_UPSTREAMS {
            self.left.insert(upstream.to_owned(), BURST * ONE);
        }
        self.left
            .get(upstream)
            .is_some_and(|left| *left >= requests.saturating_mul(ONE))
    }

    /// Takes one request out; false when there is none.
    pub fn take(&mut self, upstream: &str) -> bool {
        let holds = self.holds(upstream, 1);
        if let Some(left) = self.left.get_mut(upstream).filter(|_| holds) {
            *left -= ONE;
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_burst_and_the_share() {
        let mut budget = Budget::default();
        let mut used = 0_u32;
        for forwarded in 1..=10_000_u32 {
            budget.earn("a", 1);
            while budget.take("a") {
                used += 1;
            }
            assert!(used <= BURST + forwarded / 100, "{used} of {forwarded}");
        }
        assert!(used >= BURST + 99, "it is used up: {used}");
        assert!(
            budget.holds("b", BURST) && !budget.holds("b", BURST + 1),
            "each upstream for itself"
        );
    }

    #[test]
    fn what_is_not_used_does_not_pile_up_and_upstreams_are_bounded() {
        let mut budget = Budget::default();
        assert!(budget.holds("a", 1));
        (0..100_000).for_each(|_| budget.earn("a", 100));
        assert!(budget.holds("a", BURST) && !budget.holds("a", BURST + 1));
        for number in 0..2 * MAX_UPSTREAMS {
            budget.holds(&number.to_string(), 1);
        }
        assert_eq!(budget.left.len(), MAX_UPSTREAMS);
        assert!(!budget.take("new"));
    }
}
