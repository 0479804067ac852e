//! How many calls there are at a time, in all and of one address. A call counts until its answer has been sent to its end, or its client has
//! left: one that waits for the shared tier, and every stream.

use super::arriving::caller_of;
use crate::net::bodies::Holding;
use crate::net::places::Places;
use hyper::{Request, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tower::Service;

/// Makes services that count their calls.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    calls: Arc<Places>,
    refused: Arc<AtomicU64>,
}

impl Layer {
    /// With so many calls at a time; those that are refused are counted.
    pub(super) fn new(calls: Arc<Places>, refused: Arc<AtomicU64>) -> Self {
        Self { calls, refused }
    }
}

impl<S> tower::Layer<S> for Layer {
    type Service = Counted<S>;

    fn layer(&self, service: S) -> Counted<S> {
        let Self { calls, refused } = self.clone();
        Counted {
            service,
            calls,
            refused,
        }
    }
}

/// A service whose calls are counted.
#[derive(Debug, Clone)]
pub(super) struct Counted<S> {
    service: S,
    calls: Arc<Places>,
    refused: Arc<AtomicU64>,
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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let from = caller_of(request.extensions());
        let Some(place) = self.calls.take(from, 1) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%from, "a call refused: too many at a time");
            let refused = Status::resource_exhausted("too many calls at a time; try again");
            return Box::pin(std::future::ready(Ok(refused.into_http())));
        };
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Body::new(Holding::new(body, place))))
        })
    }
}
