//! The body of a call as it comes: every message is whole within a time, and large ones are held only as far as there is room.
//!
//! tonic waits for the rest of a message, and for the end of a unary call, as long as the connection lives.

use super::MAX_STATISTICS;
use crate::credentials::Certificate;
use crate::net::bodies::Bodies;
use crate::net::places::Place;
use hyper::body::{Bytes, Frame, SizeHint};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;

/// What stands before each message: whether it is compressed, and its length (gRPC over HTTP/2, Length-Prefixed-Message).
const PREFIX: usize = 5;

/// Calls that go on after a message. All others have one message and end with it.
const STREAMING: [&str; 3] = [
    "/optimizer.v1.ControlLink/",
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/",
    "/envoy.service.metrics.v3.MetricsService/",
];

/// Bounds the body of a call.
pub(super) fn bounded(request: hyper::Request<Body>, bodies: &Bodies) -> hyper::Request<Body> {
    let streaming = STREAMING
        .iter()
        .any(|service| request.uri().path().starts_with(service));
    let certificate = request.extensions().get::<Certificate>();
    let from = certificate.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), Certificate::address);
    let bodies = bodies.clone();
    request.map(|body| {
        Body::new(Arriving {
            body,
            bodies,
            from,
            streaming,
            since: Some(Instant::now()),
            due: None,
            prefix: Vec::with_capacity(PREFIX),
            left: 0,
            place: None,
        })
    })
}

struct Arriving {
    body: Body,
    bodies: Bodies,
    from: IpAddr,
    streaming: bool,
    /// Since when something is awaited that must come: the first message, the rest of one, the end of a unary call.
    since: Option<Instant>,
    due: Option<Pin<Box<Sleep>>>,
    prefix: Vec<u8>,
    /// What of the message is still to come.
    left: usize,
    place: Option<Place>,
}

impl Arriving {
    /// Follows the messages in what has come.
    fn take(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            if self.prefix.len() < PREFIX {
                if self.prefix.is_empty() && self.streaming {
                    self.awaited(Some(Instant::now()));
                }
                let (more, rest) = data.split_at(data.len().min(PREFIX - self.prefix.len()));
                self.prefix.extend_from_slice(more);
                data = rest;
                if let &[_, a, b, c, d] = self.prefix.as_slice() {
                    self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                    self.make_room()?;
                }
            } else {
                let (_, rest) = data.split_at(data.len().min(self.left));
                self.left -= data.len() - rest.len();
                data = rest;
            }
            if self.left == 0 && self.prefix.len() == PREFIX {
                self.prefix.clear();
                self.place = None;
                if self.streaming {
                    self.awaited(None);
                }
            }
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<(), Status> {
        // What no service takes is refused by its length, without being read.
        if self.left <= MAX_STATISTICS {
            let place = self.bodies.room(self.from, self.left);
            self.place = Some(place.ok_or_else(|| Status::unavailable("too much is being received; try again"))?);
        }
        Ok(())
    }

    fn awaited(&mut self, since: Option<Instant>) {
        self.since = since;
        self.due = None;
    }
}

impl hyper::body::Body for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let own = self.get_mut();
        match Pin::new(&mut own.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let taken = frame.data_ref().map_or(Ok(()), |data| own.take(data));
                Poll::Ready(Some(taken.map(|()| frame)))
            }
            Poll::Pending => {
                let Some(since) = own.since else { return Poll::Pending };
                let pause = own.bodies.pause;
                let due = own
                    .due
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(since + pause)));
                due.as_mut()
                    .poll(context)
                    .map(|()| Some(Err(Status::deadline_exceeded("the message was not whole in time"))))
            }
            ended => ended,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
