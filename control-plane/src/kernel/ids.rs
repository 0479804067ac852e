//! The name of this process, numbers that nothing else in it has, and names that nothing else has at all.

use super::chance;
use super::clock::now_ms;
use control_domain::Millis;
use std::sync::atomic::{AtomicU64, Ordering};

/// A name that no other process gives, also where all have the same clock and the same process id, as in containers.
pub(crate) fn unique(at: Millis) -> String {
    format!("{at:x}-{:016x}", chance::number())
}

/// Names of one process.
#[derive(Debug)]
pub(crate) struct Ids {
    process: String,
    started_ms: Millis,
    next: AtomicU64,
}

impl Ids {
    /// Those of a process that starts now.
    pub(crate) fn new() -> Self {
        let started_ms = now_ms();
        Self {
            process: unique(started_ms),
            started_ms,
            next: AtomicU64::new(1),
        }
    }

    /// The name of this process.
    pub(crate) fn process(&self) -> &str {
        &self.process
    }

    /// When it started: what was before, nobody here has seen.
    pub(crate) fn started_ms(&self) -> Millis {
        self.started_ms
    }

    /// A number that was not given out before.
    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_of_one_millisecond_differ() {
        let names: BTreeSet<String> = (0..1_000).map(|_| unique(1_800_000_000_000)).collect();
        assert_eq!(names.len(), 1_000);
    }
}
