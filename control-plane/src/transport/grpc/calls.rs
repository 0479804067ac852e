//! How many calls there are at a time, in all and of one address. A call counts until its answer has been sent to its end, or its client has
//! left: one that waits for the shared tier, and every stream.

use super::Connection;
use super::arriving::caller_of;
use crate::net::bodies::{Bodies, Holding};
use crate::net::outbox::{Leaving, Outbox};
use hyper::{Request, Response};
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tower::Service;

/// Makes services that count their calls.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    bodies: Bodies,
}

impl Layer {
    /// With bounds on calls at a time and on memory for their answers; refused calls are counted.
    pub(super) fn new(bodies: Bodies) -> Self {
        Self { bodies }
    }
}

impl<S> tower::Layer<S> for Layer {
    type Service = Counted<S>;

    fn layer(&self, service: S) -> Counted<S> {
        let bodies = self.bodies.clone();
        Counted { service, bodies }
    }
}

/// A service whose calls are counted.
#[derive(Debug, Clone)]
pub(super) struct Counted<S> {
    service: S,
    bodies: Bodies,
}

impl<S> Service<Request<Body>> for Counted<S>
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

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let from = caller_of(request.extensions());
        let Some(place) = self.bodies.calls.take(from, 1) else {
            self.bodies.refuse();
            tracing::debug!(%from, "a call refused: too many at a time");
            let refused = Status::resource_exhausted("too many calls at a time; try again");
            return Box::pin(std::future::ready(Ok(refused.into_http())));
        };
        let unread = request.extensions().get::<Connection>();
        let unread = unread.map(|connection| connection.unread.clone()).unwrap_or_default();
        let Bodies {
            answers,
            pause,
            refused,
            ..
        } = &self.bodies;
        let outbox = Outbox::new(Arc::clone(answers), from, unread, *pause, Arc::clone(refused));
        request.extensions_mut().insert(outbox.clone());
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Body::new(Holding::new(Leaving::new(body, outbox), place))))
        })
    }
}
