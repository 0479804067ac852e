//! Confidence sequences: intervals that hold at all times at once, so that looking often makes no false finding likelier.
//!
//! The method is the mixture of Robbins (1970): the likelihood of what was seen, averaged over all shares, against its likelihood under one
//! share is a martingale that begins at 1, and by Ville's inequality ever exceeds `1 / alpha` with probability `alpha` at most. The shares
//! against which it has not, are the interval. Howard, Ramdas, McAuliffe and Sekhon (2021) call it the beta-binomial mixture; Howard and
//! Ramdas (2022) apply it to quantiles; always-valid tests of A/B experiments by mixtures are from Johari, Pekelis and Walsh (2017). The
//! martingales of two independent groups are multiplied, so that one region holds for both.

/// Parts into which the room of the region is cut: the interval of a difference is wider than it must be by one part at most.
const CELLS: u16 = 8;
/// Halvings of an interval in which a bound is sought.
const HALVINGS: u32 = 28;

/// The share of values that lie at or below the 95th percentile.
const P95: f64 = 0.95;

fn ln_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

/// `x * ln(y)`, 0 where `x` is.
fn x_ln_y(x: f64, y: f64) -> f64 {
    if x <= 0.0 { 0.0 } else { x * y.ln() }
}

/// The logarithm of the mixture martingale against the share `p` after `k` of `n`, with the Beta distribution of `prior` for the mixture.
fn evidence((a, b): (f64, f64), (k, n): (f64, f64), p: f64) -> f64 {
    ln_beta(a + k, b + n - k) - ln_beta(a, b) - x_ln_y(k, p) - x_ln_y(n - k, 1.0 - p)
}

/// The point between `inside` and `outside` where `is_inside` ends.
fn edge(mut inside: f64, mut outside: f64, is_inside: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(inside, outside);
        if is_inside(middle) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    outside
}

/// What was counted in a group: the bounds of a parameter for each amount of evidence against it that is allowed.
pub(super) trait Counted {
    /// The least evidence that any value of the parameter has against it: 0 or below.
    fn least_evidence(&self) -> f64;

    /// The values that have at most this much more against them.
    fn bounds(&self, excess: f64) -> (f64, f64);
}

/// So many of so many; parts of one where counts are weighted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    pub(super) k: f64,
    pub(super) n: f64,
}

impl Counted for Share {
    fn least_evidence(&self) -> f64 {
        if self.n <= 0.0 {
            return 0.0;
        }
        // The prior of Jeffreys: no share is expected.
        evidence((0.5, 0.5), (self.k, self.n), self.k / self.n)
    }

    fn bounds(&self, excess: f64) -> (f64, f64) {
        let Self { k, n } = *self;
        if n <= 0.0 {
            return (0.0, 1.0);
        }
        let best = k / n;
        let highest = x_ln_y(k, best) + x_ln_y(n - k, 1.0 - best);
        let is_inside = |p: f64| highest - x_ln_y(k, p) - x_ln_y(n - k, 1.0 - p) <= excess;
        let low = if k <= 0.0 { 0.0 } else { edge(best, 0.0, is_inside) };
        let high = if k >= n { 1.0 } else { edge(best, 1.0, is_inside) };
        (low, high)
    }
}

/// The rank of the 95th percentile among `n` values, as a share of them: how many lie at or below it is 95 % of them but for chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rank {
    n: f64,
    /// The rank with the least evidence against it, and that evidence.
    best: (f64, f64),
}

impl Rank {
    pub(super) fn of(n: f64) -> Self {
        // Convex in the rank: thirds lead to the lowest point.
        let (mut low, mut high) = (0.0, n);
        for _ in 0..2 * HALVINGS {
            let third = (high - low) / 3.0;
            if Self::against(n, low + third) < Self::against(n, high - third) {
                high -= third;
            } else {
                low += third;
            }
        }
        let best = f64::midpoint(low, high);
        let least = if n <= 0.0 { 0.0 } else { Self::against(n, best) };
        Self { n, best: (best, least) }
    }

    fn against(n: f64, rank: f64) -> f64 {
        // As much as ten values know beforehand, around 95 %.
        evidence((9.5, 0.5), (rank, n), P95)
    }
}

impl Counted for Rank {
    fn least_evidence(&self) -> f64 {
        self.best.1
    }

    /// Above 1 where no value that was seen is known to lie above it.
    fn bounds(&self, excess: f64) -> (f64, f64) {
        let (n, (best, least)) = (self.n, self.best);
        if n <= 0.0 {
            return (0.0, f64::INFINITY);
        }
        let is_inside = |rank: f64| Self::against(n, rank) - least <= excess;
        let low = if is_inside(0.0) {
            0.0
        } else {
            edge(best, 0.0, is_inside)
        };
        let high = if is_inside(n) {
            f64::INFINITY
        } else {
            // The percentile lies below the next value.
            (edge(best, n, is_inside) + 1.0) / n
        };
        (low / n, high)
    }
}

/// The region in which the parameters of two groups lie together, at all times, with probability `1 - alpha`.
#[derive(Debug)]
pub(super) struct Region {
    /// Bounds of the first group by cell, from narrow to wide.
    one: Vec<(f64, f64)>,
    other: Vec<(f64, f64)>,
}

impl Region {
    pub(super) fn of(one: &impl Counted, other: &impl Counted, alpha: f64) -> Self {
        let evidence = -alpha.ln() - one.least_evidence() - other.least_evidence();
        let cells = |counted: &dyn Fn(f64) -> (f64, f64)| {
            let excess = |cell: u16| evidence.max(0.0) * f64::from(cell) / f64::from(CELLS);
            (1..=CELLS).map(|cell| counted(excess(cell))).collect()
        };
        Self {
            one: cells(&|excess| one.bounds(excess)),
            other: cells(&|excess| other.bounds(excess)),
        }
    }

    /// The parameters by other names, bounds by bounds: of a rank the value that has it.
    pub(super) fn mapped(
        &self,
        one: impl Fn((f64, f64)) -> (f64, f64),
        other: impl Fn((f64, f64)) -> (f64, f64),
    ) -> Self {
        Self {
            one: self.one.iter().copied().map(one).collect(),
            other: self.other.iter().copied().map(other).collect(),
        }
    }

    /// The least and the greatest that `of` can be: it grows with the first parameter and falls with the second.
    pub(super) fn range(&self, of: impl Fn(f64, f64) -> f64) -> (f64, f64) {
        // Where the first group uses up to so many cells of the room, the second has the others, and the one they share.
        let pairs = self.one.iter().zip(self.other.iter().rev());
        pairs.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (one, other)| {
            (low.min(of(one.0, other.1)), high.max(of(one.1, other.0)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(k: f64, n: f64, alpha: f64) -> (f64, f64) {
        let share = Share { k, n };
        share.bounds(-alpha.ln() - share.least_evidence())
    }

    #[test]
    fn an_interval_holds_its_share_and_shrinks() {
        for (k, n) in [(0.0, 100.0), (5.0, 100.0), (100.0, 100.0), (0.5, 3.0), (0.0, 0.0)] {
            let (low, high) = wide(k, n, 0.05);
            assert!(
                (0.0..=1.0).contains(&low) && low <= k / f64::max(n, 1.0) && high <= 1.0,
                "{k} of {n}"
            );
        }
        let (low, high) = wide(500.0, 10_000.0, 0.05);
        assert!(
            (0.038..0.045).contains(&low) && (0.056..0.063).contains(&high),
            "{low} {high}"
        );
        let none = wide(0.0, 1_000.0, 0.05);
        assert!(none.0 <= 0.0 && (0.004..0.01).contains(&none.1), "{none:?}");
        assert!(wide(5.0, 100.0, 0.01).1 > wide(5.0, 100.0, 0.05).1);
    }

    #[test]
    fn the_evidence_against_the_truth_is_one_on_average() {
        // Summed over all that can be seen of twenty: a martingale stays at its beginning.
        for p in [0.1, 0.5, 0.95] {
            for prior in [(0.5, 0.5), (9.5, 0.5)] {
                let n = 20.0;
                let mean: f64 = (0..=20)
                    .map(|k| {
                        let k = f64::from(k);
                        let ways = -ln_beta(k + 1.0, n - k + 1.0) - (n + 1.0).ln();
                        let likely = ways + x_ln_y(k, p) + x_ln_y(n - k, 1.0 - p);
                        (likely + evidence(prior, (k, n), p)).exp()
                    })
                    .sum();
                assert!((mean - 1.0).abs() < 1e-9, "{p}: {mean}");
            }
        }
    }

    #[test]
    fn few_values_say_nothing_of_what_lies_above_them() {
        let ranks = |n: f64| {
            let rank = Rank::of(n);
            rank.bounds(-(0.05_f64).ln() - rank.least_evidence())
        };
        assert_eq!(ranks(0.0), (0.0, f64::INFINITY));
        assert!(ranks(50.0).1.is_infinite());
        let (low, high) = ranks(2_000.0);
        assert!(
            (0.92..0.945).contains(&low) && (0.955..0.98).contains(&high),
            "{low} {high}"
        );
    }

    #[test]
    fn a_region_is_narrower_than_two_intervals() {
        let (one, other) = (Share { k: 500.0, n: 1_000.0 }, Share { k: 400.0, n: 1_000.0 });
        let (low, high) = Region::of(&one, &other, 0.05).range(|one, other| one - other);
        let (ones, others) = (wide(one.k, one.n, 0.025), wide(other.k, other.n, 0.025));
        assert!(low > ones.0 - others.1 && high < ones.1 - others.0, "{low} {high}");
        assert!(low < 0.1 && high > 0.1, "{low} {high}");
    }
}
