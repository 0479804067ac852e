//! What peers are sending and being answered at the moment: how much of it is held, and how long it may take.

use super::places::{Place, Places};
use super::unread::{self, ByteBudget};
use hyper::body::{Body, Frame, SizeHint};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Bytes of bodies and messages that are being received, and of one address among them.
pub(crate) const BUDGET: usize = 48 << 20;
pub(crate) const BUDGET_EACH: usize = BUDGET / 2;
/// A body or message up to this length uses memory that large ones cannot take: reports of Envoys and most requests of
/// operators.
pub(crate) const SMALL: usize = 16 << 10;
/// Bytes of those, and of one address among them.
pub(crate) const SMALL_BUDGET: usize = 16 << 20;
pub(crate) const SMALL_BUDGET_EACH: usize = SMALL_BUDGET / 2;

/// The bodies and calls of one port.
#[derive(Debug, Clone)]
pub(crate) struct Bodies {
    /// How long a sender may pause in the middle of a body, how long a message may take, and for how long an answer may wait to be read.
    pub(crate) pause: Duration,
    /// Requests that are not answered to their end yet.
    pub(crate) calls: Arc<Places>,
    /// Answers that are not read yet.
    pub(crate) answers: Arc<ByteBudget>,
    /// How often something was refused for lack of a place or memory, and how many connections ended because the peer
    /// did not read.
    pub(crate) refused: Arc<AtomicU64>,
    large: Arc<Places>,
    small: Arc<Places>,
}

impl Bodies {
    pub(crate) fn new(pause: Duration, calls: Arc<Places>, refused: Arc<AtomicU64>) -> Self {
        Self {
            pause,
            calls,
            answers: ByteBudget::new(unread::BUDGET, unread::BUDGET_EACH),
            refused,
            large: Places::new(BUDGET, BUDGET_EACH),
            small: Places::new(SMALL_BUDGET, SMALL_BUDGET_EACH),
        }
    }

    /// Counts what is refused.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Reserves memory for a body of this length; `None` when there is none at the moment.
    pub(crate) fn reserve(&self, from: IpAddr, length: usize) -> Option<Place> {
        let places = if length > SMALL { &self.large } else { &self.small };
        places.take(from, length)
    }
}

/// A body that holds a place until it has been sent, or nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Holding<B> {
    body: B,
    _place: Place,
}

impl<B> Holding<B> {
    pub(crate) fn new(body: B, place: Place) -> Self {
        Self { body, _place: place }
    }
}

impl<B: Body + Unpin> Body for Holding<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1 << 20;

    fn bodies() -> (Bodies, [IpAddr; 3]) {
        let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|text| text.parse().unwrap());
        (
            Bodies::new(Duration::ZERO, Places::new(1, 1), Arc::default()),
            addresses,
        )
    }

    #[test]
    fn there_is_so_much_room_in_all_and_for_each_address() {
        let (bodies, [a, b, c]) = bodies();
        assert!(bodies.reserve(a, 24 * MB + 1).is_none());
        let _first = bodies.reserve(a, 24 * MB).unwrap();
        assert!(bodies.reserve(a, (16 << 10) + 1).is_none(), "its own is taken");
        let second = bodies.reserve(b, 24 * MB).unwrap();
        assert!(bodies.reserve(c, (16 << 10) + 1).is_none(), "all is taken");
        assert!(
            bodies.reserve(c, 16 << 10).is_some(),
            "small bodies have a budget of their own"
        );
        drop(second);
        assert!(bodies.reserve(c, 24 * MB).is_some());
    }

    #[test]
    fn what_is_small_has_so_much_room_in_all_and_for_each_address() {
        let (bodies, [a, b, c]) = bodies();
        // 512 of 16 KB are 8 MB.
        let of = |address| -> Vec<Place> { (0..512).map(|_| bodies.reserve(address, 16 << 10).unwrap()).collect() };
        let _first = of(a);
        assert!(bodies.reserve(a, 1).is_none(), "its own is taken");
        let second = of(b);
        assert!(bodies.reserve(c, 1).is_none(), "all is taken");
        assert!(
            bodies.reserve(c, (16 << 10) + 1).is_some(),
            "large bodies have a budget of their own"
        );
        drop(second);
        assert!(bodies.reserve(c, 1).is_some());
    }

    #[test]
    fn a_body_holds_its_place_as_long_as_it_is_there() {
        let (bodies, [a, ..]) = bodies();
        let held = Holding::new(String::from("body"), bodies.calls.take(a, 1).unwrap());
        assert!(!held.is_end_stream() && held.size_hint().exact() == Some(4));
        assert!(bodies.calls.take(a, 1).is_none());
        drop(held);
        assert!(bodies.calls.take(a, 1).is_some());
    }
}
