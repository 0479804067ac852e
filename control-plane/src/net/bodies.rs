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
