//! The body of a call as it comes: every message is whole within a time and held only as far as there is memory, and what is too long or has
//! too many parts ends the call before any of it is decoded.
//!
//! tonic waits for the rest of a message, and for the end of a unary call, as long as the connection lives.

use super::Connection;
use super::parts::{Fault, MAX_PARTS, Parts};
use super::services::Service;
use crate::kernel::sync::lock;
use crate::net::bodies::Bodies;
use crate::net::places::Place;
use hyper::body::{Bytes, Frame, SizeHint};
use hyper::http::Extensions;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;

/// What stands before each message: whether it is compressed, and its length (gRPC over HTTP/2, Length-Prefixed-Message).
const PREFIX: usize = 5;

/// The memory that the messages of a call take. That of a unary call is taken until the call is answered: what was decoded is held so long.
#[derive(Clone, Debug, Default)]
struct Held(Arc<Mutex<Option<Place>>>);

impl Held {
    fn set(&self, place: Option<Place>) {
        *lock(&self.0) = place;
    }
}

/// The address that a call with these extensions comes from.
pub(super) fn caller_of(extensions: &Extensions) -> IpAddr {
    let connection = extensions.get::<Connection>();
    connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |connection| connection.address)
}

/// Bounds the body of a call. Calls whose message is refused, or finds no memory, are counted.
pub(super) fn bounded(
    mut request: hyper::Request<Body>,
    bodies: &Bodies,
    refused: &Arc<AtomicU64>,
) -> hyper::Request<Body> {
    let service = Service::at(request.uri().path());
    let from = caller_of(request.extensions());
    let (bodies, refused) = (bodies.clone(), Arc::clone(refused));
    let held = Held::default();
    if !service.is_streaming {
        request.extensions_mut().insert(held.clone());
    }
    request.map(|body| {
        Body::new(Arriving {
            body,
            bodies,
            refused,
            from,
            service,
            since: Some(Instant::now()),
            due: None,
            prefix: Vec::with_capacity(PREFIX),
            left: 0,
            parts: None,
            held,
        })
    })
}

struct Arriving {
    body: Body,
    bodies: Bodies,
    refused: Arc<AtomicU64>,
    from: IpAddr,
    service: &'static Service,
    /// Since when something is awaited that must come: the first message, the rest of one, the end of a unary call.
    since: Option<Instant>,
    due: Option<Pin<Box<Sleep>>>,
    prefix: Vec<u8>,
    /// What of the message is still to come.
    left: usize,
    /// Its parts so far, where they are counted.
    parts: Option<Parts>,
    held: Held,
}

impl Arriving {
    /// Follows the messages in what has come.
    fn take(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            if self.prefix.len() < PREFIX {
                if self.prefix.is_empty() && self.service.is_streaming {
                    self.awaited(Some(Instant::now()));
                }
                let (more, rest) = data.split_at(data.len().min(PREFIX - self.prefix.len()));
                self.prefix.extend_from_slice(more);
                data = rest;
                if let &[packed, a, b, c, d] = self.prefix.as_slice() {
                    self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                    self.begin(packed > 0)?;
                }
            } else {
                let (more, rest) = data.split_at(data.len().min(self.left));
                self.left -= more.len();
                data = rest;
                self.count(more)?;
            }
            if self.left == 0 && self.prefix.len() == PREFIX {
                self.prefix.clear();
                self.parts = None;
                if self.service.is_streaming {
                    self.held.set(None);
                    self.awaited(None);
                }
            }
        }
        Ok(())
    }

    /// Begins a message whose length is known.
    fn begin(&mut self, is_packed: bool) -> Result<(), Status> {
        let (length, allowed) = (self.left, self.service.length);
        if length > allowed {
            let sentence = format!("a message of {length} bytes, allowed are at most {allowed}");
            return Err(self.refused(Status::out_of_range(sentence)));
        }
        let place = self.bodies.reserve(self.from, length);
        let place = place.ok_or_else(|| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            Status::unavailable("too much is being received; try again")
        })?;
        self.held.set(Some(place));
        // One that is packed is refused by tonic, without being read.
        let shape = self.service.shape.filter(|_| !is_packed);
        self.parts = shape.map(|shape| Parts::of(shape, length));
        Ok(())
    }

    fn count(&mut self, bytes: &[u8]) -> Result<(), Status> {
        let Some(parts) = &mut self.parts else { return Ok(()) };
        parts.take(bytes).map_err(|fault| {
            self.refused(match fault {
                Fault::TooManyParts => Status::resource_exhausted(format!("a message of more than {MAX_PARTS} parts")),
                Fault::Malformed => Status::internal("the message cannot be decoded"),
            })
        })
    }

    fn refused(&self, status: Status) -> Status {
        // Whoever holds a stream hears of it.
        if !self.service.is_streaming {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        tracing::warn!(from = %self.from, service = self.service.path, %status, "message refused");
        status
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
