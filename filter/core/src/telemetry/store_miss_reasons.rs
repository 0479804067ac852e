//! Hits that were lost: a key is asked for again, and what came for it the last time was not stored for a reason that is known.

use optimizer_proto::codes::Code;

/// Keys remembered per VM, each in the one place that its hash gives: a newer one takes an older one's.
const PLACES: usize = 1_024;

/// Why the responses to the last keys were not stored.
#[derive(Debug, Default)]
pub struct StoreMissReasons {
    places: Vec<(u64, &'static str)>,
}

impl StoreMissReasons {
    /// The response to a key was not stored.
    pub fn not_stored(&mut self, key: u64, reason: impl Code) {
        if self.places.is_empty() {
            self.places.resize(PLACES, (0, ""));
        }
        if let Some(place) = self.places.get_mut(index(key)) {
            *place = (key, reason.as_str());
        }
    }

    /// Nothing is stored for a key: the reason that is known for it. The place is kept, so every further request counts.
    #[must_use]
    pub fn reason(&self, key: u64) -> Option<&'static str> {
        let (known, reason) = self.places.get(index(key))?;
        (*known == key && !reason.is_empty()).then_some(*reason)
    }
}

fn index(key: u64) -> usize {
    // The sample of the miss-ratio curves and the directory use the upper bits.
    (key & (PLACES as u64 - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::NotStored;

    #[test]
    fn a_repeated_key_names_its_reason_and_memory_is_bounded() {
        let mut lost = StoreMissReasons::default();
        assert_eq!(lost.reason(7), None);
        lost.not_stored(7, NotStored::NoStore);
        assert_eq!(lost.reason(7), Some("no-store"));
        assert_eq!(lost.reason(7 + PLACES as u64), None, "another key in the same place");
        (0..100_000).for_each(|key| lost.not_stored(key, NotStored::Private));
        assert_eq!(lost.places.len(), PLACES);
    }
}
