//! A sketch of positive integers from which any quantile can be read within 1 %, and which merges without loss.
//!
//! Logarithmic bins as in DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch with
//! relative-error guarantees", VLDB 2019). The bin of `v = 2^e * (1 + s)` is `floor(35 e + 6 s^3 - 21 s^2 + 50 s)`: the
//! cubic replaces the logarithm between two powers of two, joins without a gap (it is 35 at `s = 1`) and needs integers
//! only. Its slope over `ln v` is `(18 s^2 - 42 s + 50)(1 + s)`, nowhere below 50, so a bin spans at most 1/50 in
//! `ln v` and reading its harmonic middle is wrong by at most `tanh(1/100)`, just below 1 %.

use std::ops::RangeInclusive;

/// Bins per doubling of the value.
const BINS_PER_OCTAVE: u32 = 35;
/// Values from `2^OCTAVES` (about 1.1e12) up share the last bin.
const OCTAVES: u32 = 40;
/// The largest value told apart from larger ones: 104 days in nanoseconds. Keeps sums sound when a clock jumps.
pub const MAX_VALUE: u64 = 1 << 53;
/// Fractional bits of the fixed-point position between two powers of two.
const FRACTION_BITS: u32 = 28;

/// Number of bins a sketch can have.
pub(super) const BINS: usize = (BINS_PER_OCTAVE * OCTAVES) as usize;

/// A mergeable distribution of `u64` values (the unit is the caller's: microseconds, nanoseconds).
///
/// Quantiles are within 1 % of exact for values up to 10^12, and exact up to 50; larger values are told apart only by
/// [`Sketch::max`]. Memory: four bytes for each bin between the smallest and the largest value seen, at most 5.6 KB. A
/// bin holds at most `u32::MAX` values; further ones are not counted. Merging is associative and commutative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    pub(super) zero_count: u64,
    /// Bin of `counts[0]`. The first and the last count are never zero, so equal contents are equal values.
    pub(super) offset: usize,
    pub(super) counts: Vec<u32>,
    pub(super) sum: u64,
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Sketch {
    /// An empty sketch; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one value; one above [`MAX_VALUE`] counts as that. Allocates only while the range of values seen still
    /// grows.
    pub fn record(&mut self, value: u64) {
        let value = value.min(MAX_VALUE);
        let first = self.is_empty();
        self.note_extremes(first, value, value);
        self.sum = self.sum.saturating_add(value);
        if value == 0 {
            self.zero_count = self.zero_count.saturating_add(1);
            return;
        }
        let bin = bin_of(value);
        self.cover(bin, bin);
        if let Some(count) = self.counts.get_mut(bin - self.offset) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds everything `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        let first = self.is_empty();
        self.note_extremes(first, other.min, other.max);
        self.sum = self.sum.saturating_add(other.sum);
        self.zero_count = self.zero_count.saturating_add(other.zero_count);
        if other.counts.is_empty() {
            return;
        }
        self.cover(other.offset, other.offset + other.counts.len() - 1);
        let start = other.offset - self.offset;
        for (mine, theirs) in self.counts.iter_mut().skip(start).zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// Forgets everything and keeps the memory for the values to come.
    pub fn clear(&mut self) {
        self.counts.clear();
        *self = Self {
            counts: std::mem::take(&mut self.counts),
            ..Self::default()
        };
    }

    /// True if nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.zero_count == 0 && self.counts.is_empty()
    }

    /// How many values were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        let bins = self.counts.iter().map(|count| u64::from(*count)).sum::<u64>();
        bins.saturating_add(self.zero_count)
    }

    /// Exact sum of the values; stays at `u64::MAX` once reached.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Exact mean of the values; `None` if there are none.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.sum as f64 / count as f64)
    }

    /// The smallest value, exactly.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.min)
    }

    /// The largest value, exactly.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.max)
    }

    /// How many values are at most `bound`, but for those that share its bin: at most 2 % below it.
    #[must_use]
    pub fn count_at_most(&self, bound: u64) -> u64 {
        let bins = bin_of(bound.saturating_add(1)).saturating_sub(self.offset);
        let below = self
            .counts
            .iter()
            .take(bins)
            .map(|count| u64::from(*count))
            .sum::<u64>();
        below.saturating_add(self.zero_count)
    }

    /// The value below or at which a share `q` (0 to 1, clamped) of the recorded values lies, within 1 %.
    ///
    /// It estimates the value of rank `ceil(q * count)`, counted from 1 (rank 1 for `q = 0`). `None` if the sketch is
    /// empty or `q` is NaN.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 || q.is_nan() {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count);
        if rank == count {
            return Some(self.max as f64);
        }
        if rank <= self.zero_count {
            return Some(0.0);
        }
        let mut seen = self.zero_count;
        for (position, bin_count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(u64::from(*bin_count));
            if seen >= rank {
                let estimate = middle_of(self.offset + position);
                return Some(estimate.clamp(self.min as f64, self.max as f64));
            }
        }
        Some(self.max as f64)
    }

    fn note_extremes(&mut self, first: bool, min: u64, max: u64) {
        self.min = if first { min } else { self.min.min(min) };
        self.max = self.max.max(max);
    }

    /// Extends the bins so that `from..=to` have a count.
    fn cover(&mut self, from: usize, to: usize) {
        if self.counts.is_empty() {
            self.offset = from;
        }
        if from < self.offset {
            let missing = self.offset - from;
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.offset = from;
        }
        let needed = to - self.offset + 1;
        if needed > self.counts.len() {
            self.counts.resize(needed, 0);
        }
    }
}

/// The bin of a value of at least 1.
pub(super) fn bin_of(value: u64) -> usize {
    let leading = value.leading_zeros().min(63);
    let exponent = 63 - leading;
    if exponent >= OCTAVES {
        return BINS - 1;
    }
    // The bits below the leading one, as a fraction in 0..1 with FRACTION_BITS bits; all products below stay under
    // 2^62.
    let s = (((value << leading) << 1) >> (64 - FRACTION_BITS)) as i64;
    let quadratic = (((6 * s - (21 << FRACTION_BITS)) * s) >> FRACTION_BITS) + (50 << FRACTION_BITS);
    let cubic = (quadratic * s) >> (2 * FRACTION_BITS);
    (exponent * BINS_PER_OCTAVE) as usize + cubic as usize
}

/// The value to read for a bin: the harmonic middle of the integers in it.
fn middle_of(bin: usize) -> f64 {
    let range = values_of(bin);
    let (low, high) = (*range.start() as f64, *range.end() as f64);
    2.0 * low * high / (low + high)
}

/// The integers of a bin. Found by search over [`bin_of`], so that reading agrees with recording to the last value.
fn values_of(bin: usize) -> RangeInclusive<u64> {
    let low = first_value_from(bin);
    let high = first_value_from(bin + 1).saturating_sub(1).max(low);
    low..=high
}

/// The smallest value whose bin is `bin` or above.
fn first_value_from(bin: usize) -> u64 {
    let (mut low, mut high) = (1_u64, 1_u64 << OCTAVES);
    while low < high {
        let middle = low + (high - low) / 2;
        if bin_of(middle) >= bin {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_monotonic_and_at_most_two_percent_wide() {
        let mut previous = 0;
        for bin in 0..BINS - 1 {
            let range = values_of(bin);
            let (low, high) = (*range.start() as f64, *range.end() as f64);
            if bin_of(*range.start()) != bin {
                continue; // Small bins with no integer in them.
            }
            assert!(*range.start() > previous, "bin {bin} overlaps");
            previous = *range.end();
            let middle = middle_of(bin);
            assert!(
                (middle - low) / low <= 0.01 && (high - middle) / high <= 0.01,
                "bin {bin}: {low}..={high}"
            );
        }
    }

    #[test]
    fn small_values_are_exact() {
        for value in 1..=50 {
            assert_eq!(values_of(bin_of(value)), value..=value);
        }
    }

    #[test]
    fn values_up_to_a_bound_are_counted() {
        let mut sketch = Sketch::new();
        (0..=100_000).for_each(|value| sketch.record(value));
        for bound in [0, 1, 7, 50, 1_000, 50_000, 100_000, 1_000_000] {
            let exact = bound.min(100_000) + 1;
            let counted = sketch.count_at_most(bound);
            assert!(
                counted <= exact && counted as f64 >= exact as f64 * 0.98,
                "{bound}: {counted}"
            );
        }
        assert_eq!(Sketch::new().count_at_most(5), 0);
    }

    #[test]
    fn extremes_stay_in_range() {
        assert_eq!(bin_of(1), 0);
        assert_eq!(bin_of(0), 0);
        assert_eq!(bin_of((1 << 40) - 1), BINS - 1);
        assert_eq!(bin_of(1 << 40), BINS - 1);
        assert_eq!(bin_of(u64::MAX), BINS - 1);
    }

    #[test]
    fn clearing_keeps_the_memory() {
        let mut sketch = Sketch::new();
        (1..10_000).for_each(|value| sketch.record(value));
        let capacity = sketch.counts.capacity();
        sketch.clear();
        assert_eq!(sketch, Sketch::new());
        (1..10_000).for_each(|value| sketch.record(value));
        assert_eq!(sketch.counts.capacity(), capacity);
    }
}
