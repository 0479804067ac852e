//! What a VM remembers of upstreams, so that it need not ask the host on every request: which connections there are.

use std::collections::{HashSet, VecDeque};

/// Connections remembered: more than a worker has open.
const CONNECTIONS: usize = 4_096;

/// The connections a worker has used, by a hash of their local address. Envoy keeps a pool per worker, so one that this VM has seen
/// before is one that was there before.
#[derive(Debug, Default)]
pub struct Connections {
    seen: HashSet<u64>,
    order: VecDeque<u64>,
    counted: u32,
    new: u32,
    long_lived: bool,
}

/// With at most (first) new connections among (second) requests, connections count as long-lived.
const LONG_LIVED: (u32, u32) = (1, 256);
/// With (first) new connections among (second) sampled requests, they no longer do. So one-shot connections are noticed
/// before they are five in a hundred.
const SHORT_LIVED: (u32, u32) = (3, 64);

impl Connections {
    /// Notes that a connection was used; true if it had been used before.
    pub fn used(&mut self, connection: u64) -> bool {
        let known = !self.seen.insert(connection);
        self.weigh(known);
        if known {
            return true;
        }
        self.order.push_back(connection);
        if self.order.len() > CONNECTIONS
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        false
    }

    /// Whether a connection serves so many requests that a sample of them tells how many are new.
    #[must_use]
    pub fn are_long_lived(&self) -> bool {
        self.long_lived
    }

    fn weigh(&mut self, known: bool) {
        self.counted += 1;
        self.new += u32::from(!known);
        let (most, among) = if self.long_lived { SHORT_LIVED } else { LONG_LIVED };
        if self.long_lived && self.new >= most {
            self.long_lived = false;
        } else if self.counted < among {
            return;
        } else if self.new <= most {
            self.long_lived = true;
        }
        (self.counted, self.new) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_count_as_long_lived_while_few_are_new() {
        let mut connections = Connections::default();
        for _ in 0..255 {
            connections.used(1);
        }
        assert!(!connections.are_long_lived());
        connections.used(1);
        assert!(connections.are_long_lived(), "one new of 256");
        connections.used(2);
        connections.used(3);
        for _ in 0..62 {
            connections.used(1);
        }
        assert!(connections.are_long_lived(), "two new of 64");
        for new in 4..7 {
            connections.used(new);
        }
        assert!(!connections.are_long_lived(), "three in a row");
    }

    #[test]
    fn a_connection_is_new_once() {
        let mut connections = Connections::default();
        assert!(!connections.used(1) && connections.used(1));
        for connection in 0..2 * CONNECTIONS as u64 {
            connections.used(connection + 10);
        }
        assert_eq!(connections.seen.len(), CONNECTIONS);
        assert!(!connections.used(1), "forgotten");
    }
}
