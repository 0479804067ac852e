//! How many findings of verified sharing are taken, and which are on their way into the settings.

use crate::kernel::sync::lock;
use control_domain::Millis;
use std::collections::VecDeque;
use std::sync::Mutex;

/// Findings that are taken in an hour: of one Envoy, and of all. Each is a revision of the settings. What is not taken is found again.
const OF_ONE: usize = 16;
const OF_ALL: usize = 64;
const HOUR_MS: Millis = 3_600_000;

/// A finding that was taken.
#[derive(Debug)]
struct Taken {
    envoy: String,
    id: String,
    at: Millis,
    /// It is on its way into the settings.
    waits: bool,
}

/// Findings on their way into the settings, and those of the last hour.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<VecDeque<Taken>>);

impl Waiting {
    /// Whether this one is to be taken: it does not wait already, and its Envoy has not found too much.
    pub(super) fn begin(&self, envoy: &str, id: &str, now_ms: Millis) -> bool {
        let mut taken = lock(&self.0);
        taken.retain(|one| one.waits || now_ms.abs_diff(one.at) < HOUR_MS);
        let of_one = taken.iter().filter(|one| one.envoy == envoy).count();
        let waits = taken.iter().any(|one| one.waits && one.id == id);
        if waits || of_one >= OF_ONE || taken.len() >= OF_ALL {
            return false;
        }
        taken.push_back(Taken {
            envoy: envoy.to_owned(),
            id: id.to_owned(),
            at: now_ms,
            waits: true,
        });
        true
    }

    pub(super) fn end(&self, id: &str) {
        let mut taken = lock(&self.0);
        taken
            .iter_mut()
            .filter(|one| one.id == id)
            .for_each(|one| one.waits = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_findings_are_taken_in_an_hour() {
        let waiting = Waiting::default();
        let begin = |envoy: &str, id: usize, at| waiting.begin(envoy, &id.to_string(), at);
        assert!(begin("a", 0, 1_000) && !begin("b", 0, 1_000), "it waits already");
        assert_eq!((1..40).filter(|id| begin("a", *id, 1_000)).count(), OF_ONE - 1);
        for envoy in 0..40 {
            let ids = 100 + 4 * envoy..104 + 4 * envoy;
            assert!(ids.filter(|id| begin(&envoy.to_string(), *id, 1_000)).count() <= 4);
        }
        assert_eq!(lock(&waiting.0).len(), OF_ALL);
        waiting.end("0");
        assert!(!begin("c", 1_000, 1_000 + HOUR_MS - 1) && begin("c", 1_000, 1_000 + HOUR_MS));
    }
}
