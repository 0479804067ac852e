//! Distances counted, and what they predict.

/// Each bin is this much wider than the one before.
const GROWTH: f64 = 1.08;
const BINS: usize = 420;
/// Counts are halved when there are so many, so that old traffic is forgotten.
const FORGET_AT: f64 = 2_000_000.0;

/// How often which distance was seen.
#[derive(Debug, Clone)]
pub struct Curve {
    entries: Vec<f64>,
    bytes: Vec<f64>,
    /// The same, each lookup counted with its bytes.
    entries_weighed: Vec<f64>,
    bytes_weighed: Vec<f64>,
    /// Bytes of all lookups whose size is known.
    weight: f64,
    /// Lookups that no size would have answered: first ones, expired and unstorable ones.
    never: f64,
    sampled: f64,
    expected: f64,
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
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            entries: vec![0.0; BINS],
            bytes: vec![0.0; BINS],
            entries_weighed: vec![0.0; BINS],
            bytes_weighed: vec![0.0; BINS],
            weight: 0.0,
            never: 0.0,
            sampled: 0.0,
            expected: 0.0,
        }
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn bin(distance: f64) -> usize {
    if distance < 1.0 {
        return 0;
    }
    ((distance.ln() / GROWTH.ln()) as usize + 1).min(BINS - 1)
}

/// Share of a bin that lies below a size.
fn below(bins: &[f64], size: f64) -> f64 {
    let last = bin(size);
    let whole: f64 = bins.iter().take(last).sum();
    let low = if last == 0 {
        0.0
    } else {
        GROWTH.powi(i32::try_from(last).unwrap_or(i32::MAX) - 1)
    };
    let high = if last == 0 { 1.0 } else { low * GROWTH };
    let part = ((size - low) / (high - low)).clamp(0.0, 1.0);
    whole + bins.get(last).copied().unwrap_or(0.0) * part
}

impl Curve {
    /// A key was looked up again; so many entries and bytes came in between.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn seen(&mut self, (entries, bytes): (u64, u64), size: u32, share: f64, fresh: bool) {
        self.sampled += 1.0;
        self.weight += f64::from(size);
        if !fresh {
            self.never += 1.0;
            return;
        }
        let scaled = |distance: u64| bin(distance as f64 / share.max(1e-9));
        let (entries, bytes) = (scaled(entries), scaled(bytes));
        for (bins, at, weight) in [
            (&mut self.entries, entries, 1.0),
            (&mut self.bytes, bytes, 1.0),
            (&mut self.entries_weighed, entries, f64::from(size)),
            (&mut self.bytes_weighed, bytes, f64::from(size)),
        ] {
            if let Some(count) = bins.get_mut(at) {
                *count += weight;
            }
        }
        if self.sampled >= FORGET_AT {
            self.forget();
        }
    }

    /// The size of what the last first lookup of a key was about.
    pub(super) fn sized(&mut self, size: u32) {
        self.weight += f64::from(size);
    }

    pub(super) fn first(&mut self) {
        self.sampled += 1.0;
        self.never += 1.0;
    }

    /// Compares how many lookups were sampled with how many should have been: a popular key inside or outside the sample bends the
    /// curve, and this straightens it (SHARDS-adj).
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn account(&mut self, lookups: u64, share: f64) {
        self.expected += lookups as f64 * share;
    }

    fn forget(&mut self) {
        let counts = self.entries.iter_mut().chain(&mut self.bytes);
        let weights = self.entries_weighed.iter_mut().chain(&mut self.bytes_weighed);
        counts.chain(weights).for_each(|count| *count /= 2.0);
        self.weight /= 2.0;
        self.never /= 2.0;
        self.sampled /= 2.0;
        self.expected /= 2.0;
    }

    /// Lookups behind it.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn samples(&self) -> u64 {
        self.sampled as u64
    }

    /// Adds another Envoy's: the fleet's ratio at one size per Envoy.
    pub fn add(&mut self, other: &Self) {
        let lists = [
            (&mut self.entries, &other.entries),
            (&mut self.bytes, &other.bytes),
            (&mut self.entries_weighed, &other.entries_weighed),
            (&mut self.bytes_weighed, &other.bytes_weighed),
        ];
        self.weight += other.weight;
        for (mine, theirs) in lists {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
        self.never += other.never;
        self.sampled += other.sampled;
        self.expected += other.expected;
    }

    /// What a cache of so many entries and bytes would do.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn predict(&self, entries: u64, bytes: u64) -> Prediction {
        let hits = below(&self.entries, entries as f64).min(below(&self.bytes, bytes as f64));
        let weighed = below(&self.entries_weighed, entries as f64).min(below(&self.bytes_weighed, bytes as f64));
        // Too few or too many sampled lookups are those of popular keys, which any size would answer.
        let missing = if self.expected > 0.0 {
            self.expected - self.sampled
        } else {
            0.0
        };
        let total = self.sampled + missing;
        if total <= 0.0 || self.sampled <= 0.0 {
            return Prediction {
                hit_ratio: 0.0,
                byte_hit_ratio: 0.0,
                margin: 100.0,
            };
        }
        let ratio = ((hits + missing) / total).clamp(0.0, 1.0);
        let margin = 1.96 * (ratio * (1.0 - ratio) / self.sampled).sqrt();
        Prediction {
            hit_ratio: ratio * 100.0,
            byte_hit_ratio: (weighed / self.weight.max(1.0)).clamp(0.0, 1.0) * 100.0,
            margin: (margin * 100.0).max(0.5),
        }
    }
}
