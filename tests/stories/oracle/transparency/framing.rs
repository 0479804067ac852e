//! How origins delimit content.

use std::time::Duration;

/// How the content is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length,
    Chunked,
    /// By the end of the connection.
    Close,
    /// Chunked, with two trailers.
    Trailers,
    /// Events, one chunk each, some time apart.
    Events,
    /// The same, and then the connection ends without a last chunk.
    EventsCut,
    /// The connection ends in the middle of the promised content.
    Cut,
}

/// Events of a stream, and the time between two.
pub(super) const EVENTS: usize = 4;
pub(super) const PACE: Duration = Duration::from_millis(60);

/// One event.
pub(super) fn event(number: usize) -> Vec<u8> {
    format!("data: {number}\n\n").into_bytes()
}
