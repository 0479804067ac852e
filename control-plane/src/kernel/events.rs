//! What happens, for those who listen to the live stream.

use serde_json::Value;
use tokio::sync::broadcast;

/// Events that a slow listener may be behind.
pub(crate) const EVENTS_QUEUED: usize = 256;

/// Something that happened.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) kind: &'static str,
    pub(crate) data: Value,
}

impl Event {
    pub(crate) fn new(kind: &'static str, data: impl serde::Serialize) -> Self {
        let data = serde_json::to_value(data).unwrap_or_default();
        Self { kind, data }
    }
}

/// Where events are announced and heard. Clones are of one and the same.
#[derive(Debug, Clone)]
pub(crate) struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::channel(EVENTS_QUEUED).0)
    }
}

impl Events {
    /// Tells whoever listens.
    pub(crate) fn announce(&self, event: Event) {
        // Nobody listening is no fault.
        let _ = self.0.send(event);
    }

    /// Events from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::broadcast::error::TryRecvError;

    #[test]
    fn so_many_events_wait_for_a_listener() {
        let events = Events::default();
        for more in 0..2 {
            let mut listener = events.listen();
            (0..256 + more).for_each(|number| events.announce(Event::new("news", number)));
            let first = listener.try_recv();
            match more {
                0 => assert_eq!(first.unwrap().data, 0),
                _ => assert_eq!(first.unwrap_err(), TryRecvError::Lagged(1)),
            }
        }
    }
}
