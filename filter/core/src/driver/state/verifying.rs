//! What one VM knows of hits that are being verified: one at a time.

use crate::Millis;
use crate::breaker::Permit;
use crate::cache::CacheKey;
use crate::policy::RoutePolicy;
use crate::verify::{Budget, Field, Inquiry};
use bytes::Bytes;
use std::collections::VecDeque;
use std::rc::Rc;

/// Keys remembered whose content differs by itself.
const DIFFERING: usize = 1_024;
/// For so long.
const DIFFERS_MS: u64 = 600_000;

/// Stored responses remembered that one client would not have got of the origin.
const SUSPECTS: usize = 64;

/// A hit and the questions about it.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) cluster: String,
    /// The client's header map.
    pub(crate) request: Vec<u8>,
    pub(crate) key: CacheKey,
    pub(crate) stored: Bytes,
    pub(crate) route: Rc<RoutePolicy>,
    /// The upstream marks the end of every response.
    pub(crate) marked: bool,
    /// What of the request is not in the key.
    pub(crate) parts: Vec<Vec<Field>>,
    /// From the first answer on.
    pub(crate) inquiry: Option<Inquiry>,
    pub(crate) call: Option<Call>,
}

/// A question under way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) token: u32,
    pub(crate) permits: Vec<Permit>,
    /// It holds a place within the upstream's concurrency limit.
    pub(crate) placed: bool,
    pub(crate) sent_ms: Millis,
}

/// Verification in one VM.
#[derive(Debug, Default)]
pub(crate) struct Verifying {
    pub(crate) hit: Option<Hit>,
    pub(crate) budget: Budget,
    differing: Vec<(u64, Millis)>,
    /// By key, and when the response came.
    suspects: VecDeque<(u64, Millis)>,
}

impl Verifying {
    /// Whether the content of this key was seen to differ by itself: there is nothing to compare.
    pub(crate) fn differs(&self, key: u64, now_ms: Millis) -> bool {
        self.differing
            .get(place(key))
            // A time far ahead comes from a clock that has since jumped back.
            .is_some_and(|(known, until)| *known == key && (now_ms..now_ms + 2 * DIFFERS_MS).contains(until))
    }

    /// Whether another client would have got something else than this stored response, as it seems by a change of the origin.
    pub(crate) fn is_suspected(&self, key: u64, stored_ms: Millis) -> bool {
        self.suspects.contains(&(key, stored_ms))
    }

    pub(crate) fn suspect(&mut self, key: u64, stored_ms: Millis) {
        if !self.is_suspected(key, stored_ms) {
            self.suspects.truncate(SUSPECTS - 1);
            self.suspects.push_front((key, stored_ms));
        }
    }

    pub(crate) fn note_differing(&mut self, key: u64, now_ms: Millis) {
        if self.differing.is_empty() {
            self.differing.resize(DIFFERING, (0, 0));
        }
        if let Some(place) = self.differing.get_mut(place(key)) {
            *place = (key, now_ms.saturating_add(DIFFERS_MS));
        }
    }
}

fn place(key: u64) -> usize {
    usize::try_from(key % DIFFERING as u64).unwrap_or(0)
}
