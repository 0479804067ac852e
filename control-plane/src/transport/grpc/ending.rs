//! Streams of libraries, which know nothing of tokens, of a stop, and of memory for answers: they end with the credential of their caller or
//! with the control plane, and reserve memory for as long as they are there.

use crate::credentials::Peer;
use crate::net::outbox::Outbox;
use crate::net::unread::Reserved;
use hyper::body::{Bytes, Frame, SizeHint};
use hyper::{Request, Response};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tower::Service;

/// A service whose streams end.
#[derive(Debug, Clone)]
pub(super) struct Ending<S> {
    service: S,
    /// What the answers of a call take at most, bytes.
    bytes: usize,
    stopped: watch::Receiver<bool>,
}

impl<S> Ending<S> {
    /// Its callers must have been let in.
    pub(super) fn new(service: S, bytes: usize, stopped: watch::Receiver<bool>) -> Self {
        Self {
            service,
            bytes,
            stopped,
        }
    }
}

impl<S: NamedService> NamedService for Ending<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Ending<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Response<Body>, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let outbox = request.extensions().get::<Outbox>().cloned().unwrap_or_default();
        let taken = match outbox.reserve(self.bytes) {
            Ok(taken) => taken,
            Err(refused) => return Box::pin(std::future::ready(Ok(refused.into_http()))),
        };
        let end = ended(Peer::among(request.extensions()), self.stopped.clone());
        let answer = self.service.call(request);
        Box::pin(async move {
            let end = Some(Box::pin(end) as Pin<Box<_>>);
            Ok(answer.await?.map(|body| {
                Body::new(Until {
                    body,
                    end,
                    _taken: taken,
                })
            }))
        })
    }
}

/// Why a stream ends that would go on.
async fn ended(peer: Peer, mut stopped: watch::Receiver<bool>) -> Status {
    tokio::select! {
        revoked = peer.revoked() => revoked,
        // An error means that the sender is gone: time to stop as well.
        _ = stopped.wait_for(|stop| *stop) => Status::unavailable("the control plane stops"),
    }
}

/// A body until then. What is there already is sent first.
struct Until<F> {
    body: Body,
    /// `None` once it has come.
    end: Option<Pin<Box<F>>>,
    _taken: Reserved,
}

impl<F: Future<Output = Status> + Send> hyper::body::Body for Until<F> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let own = self.get_mut();
        let Some(end) = &mut own.end else {
            return Poll::Ready(None);
        };
        match Pin::new(&mut own.body).poll_frame(context) {
            Poll::Pending => end.as_mut().poll(context).map(|status| {
                own.end = None;
                // A stream ends with its status in the trailers (gRPC over HTTP/2, Responses).
                let (mut head, _) = status.into_http::<()>().into_parts();
                head.headers.remove(hyper::header::CONTENT_TYPE);
                Some(Ok(Frame::trailers(head.headers)))
            }),
            ready => ready,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
