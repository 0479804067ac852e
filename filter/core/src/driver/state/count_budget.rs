//! How many purges are counted: counting reads what is stored.

use crate::Millis;

/// Purges counted in one second by one worker; further ones are in force uncounted.
const COUNTED_PER_SECOND: u32 = 16;

/// How many purges were counted within the second.
#[derive(Debug, Default)]
pub(crate) struct CountBudget {
    second: u64,
    counted: u32,
}

impl CountBudget {
    pub(crate) fn admits(&mut self, now_ms: Millis) -> bool {
        let second = now_ms / 1_000;
        if second != self.second {
            *self = Self { second, counted: 0 };
        }
        self.counted += 1;
        self.counted <= COUNTED_PER_SECOND
    }
}
