//! Which reports of an Envoy have been merged, so that each counts once in whatever order they come.

/// How far behind the newest one a report may come.
const REMEMBERED: u64 = 64;

/// The newest sequence number, and which of those before it have been seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sequences {
    newest: u64,
    /// Bit n: `newest - n`.
    seen: u64,
}

impl Sequences {
    /// The newest number seen.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// True the first time a number comes. One too far behind the newest may have come before and counts as seen.
    pub fn is_new(&mut self, sequence: u64) -> bool {
        if sequence > self.newest {
            let ahead = sequence - self.newest;
            self.seen = if ahead < REMEMBERED { self.seen << ahead } else { 0 } | 1;
            self.newest = sequence;
            return true;
        }
        let behind = self.newest - sequence;
        if behind >= REMEMBERED || self.seen & (1 << behind) != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_new_once_in_any_order() {
        let mut sequences = Sequences::default();
        for (sequence, new) in [
            (100, true),
            (100, false),
            (102, true),
            (101, true),
            (101, false),
            (99, true),
            (39, true),
            (38, false),
            (500, true),
            (437, true),
            (436, false),
            (102, false),
            (u64::MAX, true),
            (u64::MAX, false),
        ] {
            assert_eq!(sequences.is_new(sequence), new, "{sequence}");
        }
    }
}
