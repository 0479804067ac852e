//! What a VM remembers of keys that are not worth collapsing.

use super::ALONE_MS;
use crate::Millis;

/// Keys a VM remembers as not shareable: 16 KB.
const UNSHARED: usize = 1024;
/// For so long a VM does not look whether that still holds.
const BELIEVED_MS: u64 = 1_000;

/// Keys a VM knows not to be shareable, so that it need not ask. A table with one place per key and no search: what is pushed out is
/// asked for again.
#[derive(Debug, Default)]
pub struct Unshared {
    places: Vec<(u64, Millis)>,
}

impl Unshared {
    /// Whether the flight with this hash is known not to be shareable.
    #[must_use]
    pub fn knows(&self, hash: u64, now_ms: Millis) -> bool {
        // A time far ahead comes from a clock that has since jumped back.
        self.places.get(place(hash)).is_some_and(|(known, until)| {
            *known == hash && *until > now_ms && *until <= now_ms.saturating_add(2 * ALONE_MS)
        })
    }

    /// Remembers it until then, or until it is time to look again.
    pub fn note(&mut self, hash: u64, until: Millis, now_ms: Millis) {
        if self.places.is_empty() {
            self.places.resize(UNSHARED, (0, 0));
        }
        if let Some(place) = self.places.get_mut(place(hash)) {
            *place = (hash, until.min(now_ms.saturating_add(BELIEVED_MS)));
        }
    }

    /// It does not hold any more.
    pub fn forget(&mut self, hash: u64) {
        if let Some(place) = self.places.get_mut(place(hash))
            && place.0 == hash
        {
            *place = (0, 0);
        }
    }
}

fn place(hash: u64) -> usize {
    usize::try_from(hash % UNSHARED as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_remembers_what_is_not_shareable_and_looks_again_after_a_while() {
        let mut unshared = Unshared::default();
        assert!(!unshared.knows(9, 1000));
        unshared.note(9, 11_000, 1_000);
        assert!(unshared.knows(9, 1_999) && !unshared.knows(9, 2_000));
        unshared.note(9, 1_200, 1_000);
        assert!(!unshared.knows(9, 1_200), "no longer than it holds");
        unshared.note(9, 1_000_000, 999_500);
        assert!(!unshared.knows(9, 1000), "the clock went back");
        unshared.note(9, 11_000, 1_000);
        assert!(!unshared.knows(9 + UNSHARED as u64, 1000));
        unshared.note(9 + UNSHARED as u64, 11_000, 1_000);
        assert!(!unshared.knows(9, 1000), "pushed out");
        unshared.forget(9);
        assert!(unshared.knows(9 + UNSHARED as u64, 1000));
        unshared.forget(9 + UNSHARED as u64);
        assert!(!unshared.knows(9 + UNSHARED as u64, 1000));
    }
}
