//! Randomness: drawn here and nowhere else.

use super::clock::now_ms;
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes that nobody can guess; `None` without a source of chance.
pub(crate) fn bytes<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

/// A number that no other process has.
pub(crate) fn number() -> u64 {
    // Without a source of chance nothing else works either; the time then makes collisions at least unlikely.
    bytes().map_or_else(now_ms, u64::from_le_bytes)
}
