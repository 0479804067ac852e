//! Request collapsing (RFC 9111 section 4): one fetch for many requests.
//!
//! A flight is a fetch that others may follow. It is kept in a fixed set of records in shared data, by a hash of what its requests
//! have in common. Two flights that share a record only lose the collapsing between them, never correctness: whoever followed
//! looks its own key up afterwards.
//!
//! A request follows at most one fetch that ends well, and at most two that fail. Trouble is neither queued nor multiplied: a fetch
//! that fails is tried once more for all who wait, and a fetch that stays silent gets one more beside it per deadline.

mod flight;
mod unshared;

pub use flight::{
    Beside, Failed, FetchOutcome, FlightRole, Retry, Ticket, beside, complete_fetch, forget, join_flight, retry, seed,
};
pub use unshared::Unshared;

use crate::Millis;

/// For this time nobody follows a fetch of a key whose response turned out not to be shareable.
pub const ALONE_MS: u64 = 10_000;

/// What a flight came to, as those who followed it are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub fetched: FetchOutcome,
    /// It was the second attempt: those who waited get what it came to.
    pub second: bool,
}

impl Outcome {
    /// For a queue between VMs.
    #[must_use]
    pub fn encode(self) -> [u8; 4] {
        let (kind, failed) = match self.fetched {
            FetchOutcome::Stored => (0, Failed::default()),
            FetchOutcome::NotShareable => (1, Failed::default()),
            FetchOutcome::Released => (2, Failed::default()),
            FetchOutcome::Left => (3, Failed::default()),
            FetchOutcome::Failed(failed) => (4, failed),
        };
        let [low, high] = failed.status.to_le_bytes();
        let flags = u8::from(self.second) | u8::from(failed.unreachable) << 1;
        [kind, low, high, flags]
    }

    /// What [`Outcome::encode`] wrote; anything else lets whoever waits go on alone.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let (fetched, flags) = match bytes {
            [0, _, _, flags] => (FetchOutcome::Stored, *flags),
            [1, _, _, flags] => (FetchOutcome::NotShareable, *flags),
            [3, _, _, flags] => (FetchOutcome::Left, *flags),
            [4, low, high, flags] => {
                let failed = Failed {
                    status: u16::from_le_bytes([*low, *high]),
                    unreachable: flags & 2 != 0,
                };
                (FetchOutcome::Failed(failed), *flags)
            }
            _ => (FetchOutcome::Released, 0),
        };
        Self {
            fetched,
            second: flags & 1 != 0,
        }
    }
}

/// A flight that nobody lands ends by itself: its VM trapped, or its origin hangs.
fn expires_ms(deadline_ms: u64, now_ms: Millis) -> Millis {
    now_ms.saturating_add(deadline_ms.saturating_mul(2).max(ALONE_MS))
}

#[cfg(test)]
mod tests;
