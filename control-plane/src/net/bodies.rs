//! What peers are sending at the moment: how much of it is held, and how long it may take.

use super::places::{Place, Places};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of bodies and messages that are being received, and of one address among them.
pub(crate) const ROOM: usize = 48 << 20;
pub(crate) const ROOM_EACH: usize = ROOM / 2;
/// A body or message up to this length needs none: reports of Envoys and most requests of operators.
pub(crate) const SMALL: usize = 16 << 10;

/// The bodies of one port.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    /// How long a sender may pause in the middle of a body, and how long a message may take.
    pub(crate) pause: Duration,
    room: Arc<Places>,
}

impl Bodies {
    pub(crate) fn new(pause: Duration) -> Self {
        Self {
            pause,
            room: Places::new(ROOM, ROOM_EACH),
        }
    }

    /// Room for a body of this length; `None` when there is none at the moment.
    pub(crate) fn room(&self, from: IpAddr, length: usize) -> Option<Place> {
        self.room.take(from, if length > SMALL { length } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_so_much_room_in_all_and_for_each_address() {
        const MB: usize = 1 << 20;
        let bodies = Bodies::new(Duration::ZERO);
        let [a, b, c]: [IpAddr; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|text| text.parse().unwrap());
        assert!(bodies.room(a, 24 * MB + 1).is_none());
        let _first = bodies.room(a, 24 * MB).unwrap();
        assert!(bodies.room(a, (16 << 10) + 1).is_none(), "its own is taken");
        let second = bodies.room(b, 24 * MB).unwrap();
        assert!(bodies.room(c, (16 << 10) + 1).is_none(), "all is taken");
        assert!(bodies.room(c, 16 << 10).is_some(), "what is small needs none");
        drop(second);
        assert!(bodies.room(c, 24 * MB).is_some());
    }
}
