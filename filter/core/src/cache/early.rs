//! Refreshing before expiry, by chance (XFetch: Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede
//! Prevention", 2015; RFC 9111 section 4 leaves a cache free to validate early).
//!
//! The nearer the end and the longer the last fetch took, the likelier a hit asks for a refresh in the background. A response that
//! is asked for often is thus renewed before it expires, at a moment of its own, and nobody waits for it; one that is asked for
//! seldom expires as it always did.

use super::stored_response::StoredView;
use crate::Millis;

/// Only the last quarter of a lifetime counts: an origin slower than its responses live would be asked without end.
const LAST_PART: Millis = 4;
/// Beyond so many fetch times the chance is below one in a million million.
const FAR: Millis = 28;

/// Whether this hit on a fresh response is to have it refreshed. `chance`: any number, evenly distributed.
#[must_use]
pub fn is_due(stored: &StoredView<'_>, chance: u64, now_ms: Millis) -> bool {
    let fetch_ms = stored.response_time_ms().saturating_sub(stored.request_time_ms());
    let left_ms = stored.lifetime_ms().saturating_sub(stored.age_ms(now_ms));
    if left_ms.saturating_mul(LAST_PART) > stored.lifetime_ms() || left_ms > fetch_ms.saturating_mul(FAR) {
        return false;
    }
    // Of 53 bits, as many as a float holds exactly; never 0, whose logarithm has no end.
    let (even, fetch_ms, left_ms) = (
        ((chance >> 11) + 1) as f64 / (1_u64 << 53) as f64,
        fetch_ms as f64,
        left_ms as f64,
    );
    fetch_ms > 0.0 && -even.ln() * fetch_ms >= left_ms
}
