//! The sketch as a message, and what makes a received one impossible.

use std::fmt;
use std::ops::Range;

use super::sketch::{BINS, MAX_VALUE, Sketch, bin_of};
use crate::v1;

/// Why a received sketch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SketchFault {
    /// Bins outside of what a sketch can have.
    BinsOutOfRange,
    /// Smallest or largest value contradict the bins, or are above what a recorder takes.
    ExtremesContradictBins,
    /// The sum is impossible for this number of values between the smallest and the largest.
    SumContradictsBins,
    /// No values, yet a sum or an extreme.
    NotEmpty,
}

impl fmt::Display for SketchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BinsOutOfRange => "bins out of range",
            Self::ExtremesContradictBins => "smallest or largest value contradict the bins",
            Self::SumContradictsBins => "sum contradicts the bins",
            Self::NotEmpty => "no values, yet a sum or an extreme",
        })
    }
}

impl std::error::Error for SketchFault {}

impl From<Sketch> for v1::Sketch {
    fn from(sketch: Sketch) -> Self {
        Self {
            zero_count: sketch.zero_count,
            // At most BINS, far below the limit of the type.
            offset: i32::try_from(sketch.offset).unwrap_or(i32::MAX),
            counts: sketch.counts,
            sum: sketch.sum,
            min: sketch.min,
            max: sketch.max,
        }
    }
}

impl TryFrom<v1::Sketch> for Sketch {
    type Error = SketchFault;

    /// Takes a received sketch, or tells why no recorder can have made it.
    fn try_from(message: v1::Sketch) -> Result<Self, SketchFault> {
        check(&message)?;
        let (offset, bins) = trimmed(&message)?;
        let mut counts = message.counts;
        counts.truncate(bins.end);
        counts.drain(..bins.start);
        Ok(Self {
            zero_count: message.zero_count,
            offset,
            counts,
            sum: message.sum,
            min: message.min,
            max: message.max,
        })
    }
}

/// How many values a received sketch holds, or why no recorder can have made it. Copies nothing: reports have hundreds of sketches.
pub(super) fn check(message: &v1::Sketch) -> Result<u64, SketchFault> {
    let (offset, bins) = trimmed(message)?;
    let counts = message.counts.get(bins).unwrap_or_default();
    let v1::Sketch { sum, min, max, .. } = *message;
    if message.zero_count == 0 && counts.is_empty() {
        return if (sum, min, max) == (0, 0, 0) {
            Ok(0)
        } else {
            Err(SketchFault::NotEmpty)
        };
    }
    let min_fits = if message.zero_count > 0 {
        min == 0
    } else {
        min > 0 && bin_of(min) == offset
    };
    let max_fits = match counts.len() {
        0 => max == 0,
        len => max > 0 && bin_of(max) == offset + len - 1,
    };
    if !min_fits || !max_fits || min > max || max > MAX_VALUE {
        return Err(SketchFault::ExtremesContradictBins);
    }
    let counted = counts.iter().map(|count| u64::from(*count)).sum::<u64>();
    let count = counted.saturating_add(message.zero_count);
    // A full bin no longer counts while the sum still grows.
    let full = counts.contains(&u32::MAX);
    let too_high = !full && sum > max.saturating_mul(count);
    if sum < min.saturating_mul(count) || too_high {
        return Err(SketchFault::SumContradictsBins);
    }
    Ok(count)
}

/// Adds one sketch to another, both as messages, without making sketches of them. One whose bins are out of range counts as
/// none; whatever else may be impossible about a received one is for the check of its report to find.
pub(super) fn merge(into: &mut Option<v1::Sketch>, from: Option<&v1::Sketch>) {
    let Some((from, theirs)) = from.and_then(|from| bins_of(from).map(|bins| (from, bins))) else {
        return;
    };
    let Some((mine, own)) = into.as_mut().and_then(|mine| bins_of(mine).map(|bins| (mine, bins))) else {
        *into = Some(from.clone());
        return;
    };
    if is_empty(from) {
        return;
    }
    if is_empty(mine) {
        mine.clone_from(from);
        return;
    }
    mine.min = mine.min.min(from.min);
    mine.max = mine.max.max(from.max);
    mine.sum = mine.sum.saturating_add(from.sum);
    mine.zero_count = mine.zero_count.saturating_add(from.zero_count);
    if theirs.is_empty() {
        return;
    }
    let own = if own.is_empty() {
        theirs.start..theirs.start
    } else {
        own
    };
    let (start, end) = (own.start.min(theirs.start), own.end.max(theirs.end));
    if start < own.start {
        let lower = std::iter::repeat_n(0, own.start - start);
        mine.counts.splice(..0, lower);
    }
    mine.counts.resize(end - start, 0);
    mine.offset = i32::try_from(start).unwrap_or(i32::MAX);
    let counts = mine.counts.get_mut(theirs.start - start..).unwrap_or_default();
    for (count, more) in counts.iter_mut().zip(&from.counts) {
        *count = count.saturating_add(*more);
    }
}

fn is_empty(message: &v1::Sketch) -> bool {
    message.zero_count == 0 && message.counts.iter().all(|count| *count == 0)
}

/// The bins a message has counts for; `None` where they are out of range.
fn bins_of(message: &v1::Sketch) -> Option<Range<usize>> {
    let start = usize::try_from(message.offset).ok()?;
    let end = start.checked_add(message.counts.len())?;
    (end <= BINS).then_some(start..end)
}

/// The first bin that is not empty, and where in the counts those are that are left without empty ones at both ends.
fn trimmed(message: &v1::Sketch) -> Result<(usize, Range<usize>), SketchFault> {
    let bins = bins_of(message).ok_or(SketchFault::BinsOutOfRange)?;
    let counts = &message.counts;
    let Some(first) = counts.iter().position(|count| *count != 0) else {
        return Ok((0, 0..0));
    };
    let last = counts.iter().rposition(|count| *count != 0).unwrap_or(first);
    Ok((bins.start + first, first..last + 1))
}
