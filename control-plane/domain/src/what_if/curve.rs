//! Hits counted at many sizes, and what they predict.

/// Parts into which the sampled keys are split by their hash: how far these differ tells how far a sample can be trusted.
pub(super) const GROUPS: usize = 8;

/// Lookups of each group of the sampled keys, and how many there should have been of all.
#[derive(Debug, Clone, Default)]
pub(super) struct Lookups {
    pub(super) groups: [f64; GROUPS],
    pub(super) bytes: [f64; GROUPS],
    pub(super) expected: f64,
}

/// Hits at one size.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hits {
    pub(super) groups: [f64; GROUPS],
    pub(super) bytes: [f64; GROUPS],
}

impl Hits {
    pub(super) fn scale(&mut self, by: f64) {
        let sums = self.groups.iter_mut().chain(&mut self.bytes);
        sums.for_each(|sum| *sum *= by);
    }
}

impl Lookups {
    pub(super) fn scale(&mut self, by: f64) {
        let sums = self.groups.iter_mut().chain(&mut self.bytes);
        sums.for_each(|sum| *sum *= by);
        self.expected *= by;
    }

    pub(super) fn sampled(&self) -> f64 {
        self.groups.iter().sum()
    }
}

/// What caches of one size did.
#[derive(Debug, Clone, Copy, Default)]
struct Point {
    hits: f64,
    hit_bytes: f64,
    /// Memory in use.
    held: f64,
    /// Of the hits, and of their bytes.
    variance: f64,
    byte_variance: f64,
}

/// Hits by size of the cache, scaled up to all lookups.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    sizes: Vec<(u64, Point)>,
    samples: u64,
    lookups: f64,
    bytes: f64,
    /// Envoys in it.
    caches: f64,
}

/// What a size would do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Hits per lookup, percent.
    pub hit_ratio: f64,
    /// Bytes of hits per byte looked up, percent.
    pub byte_hit_ratio: f64,
    /// Half the width of the interval that holds the true value in 95 of 100 cases, points.
    pub margin: f64,
    /// The same for the bytes.
    pub byte_margin: f64,
}

/// No prediction is better than this, in points: between two sizes a straight line is drawn.
const LEAST_MARGIN: f64 = 0.5;

impl Curve {
    /// An empty curve of one Envoy with this many sampled lookups.
    pub(super) fn of(samples: u64) -> Self {
        Self {
            samples,
            caches: 1.0,
            ..Self::default()
        }
    }

    /// Adds what was counted at one size; `held` bytes of memory are in use there. Sizes come in ascending order.
    pub(super) fn count(&mut self, size: u64, lookups: &Lookups, hits: &Hits, share: f64, held: f64) {
        let (sampled, expected) = (lookups.sampled(), lookups.expected.max(1.0));
        // Too few or too many sampled lookups are those of popular keys, which any size would answer (SHARDS-adj).
        let missing = expected - sampled;
        let ratio = ((hits.groups.iter().sum::<f64>() + missing) / expected).clamp(0.0, 1.0);
        let scale = expected / share.max(1e-9);
        let looked_up: f64 = lookups.bytes.iter().sum();
        let mean = looked_up / sampled.max(1.0);
        let all = (expected * mean).max(1.0);
        let byte_ratio = ((hits.bytes.iter().sum::<f64>() + missing * mean) / all).clamp(0.0, 1.0);
        let all_bytes = all / share.max(1e-9);
        let by_chance = |ratio: f64| ratio * (1.0 - ratio) / sampled.max(1.0);
        let by_keys = spread(&lookups.groups, &hits.groups, ratio, expected) * (1.0 - share);
        let by_bytes = spread(&lookups.bytes, &hits.bytes, byte_ratio, all);
        let point = Point {
            hits: ratio * scale,
            hit_bytes: byte_ratio * all_bytes,
            held: held / share.max(1e-9),
            variance: (by_keys + by_chance(ratio)) * scale * scale,
            byte_variance: (by_bytes * (1.0 - share) + by_chance(byte_ratio)) * all_bytes * all_bytes,
        };
        self.sizes.push((size, point));
        (self.lookups, self.bytes) = (scale, all_bytes);
    }

    /// Sampled lookups behind it.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Adds another Envoy's: the fleet's ratio at one size per Envoy.
    pub fn add(&mut self, other: &Self) {
        if self.sizes.is_empty() {
            self.clone_from(other);
            return;
        }
        for ((_, mine), (_, theirs)) in self.sizes.iter_mut().zip(&other.sizes) {
            mine.hits += theirs.hits;
            mine.hit_bytes += theirs.hit_bytes;
            mine.held += theirs.held;
            mine.variance += theirs.variance;
            mine.byte_variance += theirs.byte_variance;
        }
        self.samples = self.samples.saturating_add(other.samples);
        self.lookups += other.lookups;
        self.bytes += other.bytes;
        self.caches += other.caches;
    }

    /// What a cache with this many entries and this much memory would do.
    #[must_use]
    pub fn predict(&self, entries: u64, bytes: u64) -> Prediction {
        if self.samples == 0 || self.lookups <= 0.0 {
            return Prediction {
                hit_ratio: 0.0,
                byte_hit_ratio: 0.0,
                margin: 100.0,
                byte_margin: 100.0,
            };
        }
        let point = self.at(self.within(entries as f64, bytes as f64));
        let half =
            |variance: f64, all: f64| (196.0 * variance.max(0.0).sqrt() / all.max(1.0)).clamp(LEAST_MARGIN, 100.0);
        Prediction {
            hit_ratio: (point.hits / self.lookups).clamp(0.0, 1.0) * 100.0,
            byte_hit_ratio: (point.hit_bytes / self.bytes.max(1.0)).clamp(0.0, 1.0) * 100.0,
            margin: half(point.variance, self.lookups),
            byte_margin: half(point.byte_variance, self.bytes),
        }
    }

    /// How many of the entries fit into the memory.
    fn within(&self, entries: f64, bytes: f64) -> f64 {
        let memory = |entries: f64| self.at(entries).held / self.caches.max(1.0);
        if memory(entries) <= bytes {
            return entries;
        }
        let (mut fits, mut exceeds) = (0.0, entries);
        for _ in 0..32 {
            let middle = f64::midpoint(fits, exceeds);
            if memory(middle) <= bytes {
                fits = middle;
            } else {
                exceeds = middle;
            }
        }
        fits
    }

    /// Between two sizes on a straight line over the logarithm of the size.
    fn at(&self, entries: f64) -> Point {
        let above = self.sizes.partition_point(|(size, _)| (*size as f64) < entries);
        let (Some(low), Some(high)) = (above.checked_sub(1), self.sizes.get(above)) else {
            return match (self.sizes.first(), self.sizes.last()) {
                (Some((size, first)), _) if entries < *size as f64 => {
                    Point::default().towards(first, entries / *size as f64)
                }
                (Some((_, first)), _) if above == 0 => *first,
                (_, Some((_, last))) => *last,
                _ => Point::default(),
            };
        };
        let Some((size, point)) = self.sizes.get(low) else {
            return high.1;
        };
        let (low, high_size) = (*size as f64, high.0 as f64);
        point.towards(&high.1, (entries / low).ln() / (high_size / low).ln())
    }
}

impl Point {
    fn towards(&self, other: &Self, part: f64) -> Self {
        let between = |a: f64, b: f64| a + (b - a) * part;
        Self {
            hits: between(self.hits, other.hits),
            hit_bytes: between(self.hit_bytes, other.hit_bytes),
            held: between(self.held, other.held),
            variance: between(self.variance, other.variance),
            byte_variance: between(self.byte_variance, other.byte_variance),
        }
    }
}

/// Variance of a hit ratio (0 to 1) by which keys were sampled: how much the groups differ. `expected` is what all groups should have.
fn spread(lookups: &[f64; GROUPS], hits: &[f64; GROUPS], ratio: f64, expected: f64) -> f64 {
    let each = expected / GROUPS as f64;
    let group = |(lookups, hits): (&f64, &f64)| (hits + each - lookups) / each - ratio;
    let differ: f64 = lookups.iter().zip(hits).map(group).map(|by| by * by).sum();
    differ / (GROUPS * (GROUPS - 1)) as f64
}
