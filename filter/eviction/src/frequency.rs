//! How hits are forgotten.

/// Time without a hit after which a frequency counts half.
pub const HALF_LIFE_MS: u32 = 600_000;

/// A frequency after so many half-lives without a hit.
#[must_use]
#[inline]
pub fn aged(frequency: u16, half_lives: u32) -> u16 {
    frequency.checked_shr(half_lives).unwrap_or(0)
}
