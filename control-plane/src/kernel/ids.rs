//! The name of this process, and numbers that nothing else in it has.

use super::clock::now_ms;
use control_domain::Millis;
use std::sync::atomic::{AtomicU64, Ordering};

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
            process: format!("{:x}-{started_ms:x}", std::process::id()),
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
