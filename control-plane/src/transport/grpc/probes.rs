//! `grpc.health.v1.Health`, as Kubernetes, Envoy and other clients ask for it (gRPC Health Checking Protocol).
//!
//! `Check` asks for no token: a kubelet has none to show, and the answer tells no more than whether the port serves. `Watch` holds a stream
//! open, so it asks for what every stream asks for.

use super::NAMES;
use crate::kernel::ports::RemoteEnvoys;
use crate::tier::Tier;
use hyper::{Request, Response};
use optimizer_proto::v1::{cache_backend_server, replica_link_server};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tonic::service::interceptor::ResponseBody;
use tonic_health::ServingStatus::{self, NotServing, Serving};
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::{HealthReporter, HealthService};
use tower::Service;

/// Longest question: the name of a service.
pub(crate) const MAX_PROBE: usize = 256;
/// What a stream of answers takes at most, bytes: each is one number.
pub(super) const WATCHED: usize = 1 << 10;
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// How often the services are asked how they are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A service with one method that is open to everybody; `guarded` is the same service for those who are let in.
#[derive(Debug, Clone)]
pub(super) struct OpenCheck<S, G> {
    pub(super) open: S,
    pub(super) guarded: G,
}

impl<S: NamedService, G> NamedService for OpenCheck<S, G> {
    const NAME: &'static str = S::NAME;
}

impl<S, G> Service<Request<Body>> for OpenCheck<S, G>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    G: Service<Request<Body>, Response = Response<ResponseBody<Body>>, Error = Infallible>,
    S::Future: Send + 'static,
    G::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.open.poll_ready(context) {
            Poll::Ready(_) => self.guarded.poll_ready(context),
            Poll::Pending => Poll::Pending,
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() == CHECK {
            Box::pin(self.open.call(request))
        } else {
            let answer = self.guarded.call(request);
            Box::pin(async move { Ok(answer.await?.map(Body::new)) })
        }
    }
}

/// Those of whose services the state changes, or differs from that of the port.
#[derive(Debug)]
pub(super) struct Checked {
    /// Serves while its Redis can be used.
    pub(super) tier: Arc<Tier>,
    /// Calls of other replicas are served where there are any.
    pub(super) replicas: Arc<dyn RemoteEnvoys>,
}

pub(super) const HEALTH: &str = health_server::SERVICE_NAME;
pub(super) const TIER: &str = cache_backend_server::SERVICE_NAME;
pub(super) const REPLICAS: &str = replica_link_server::SERVICE_NAME;

/// The service, and what says that everybody could hear of the end.
pub(super) fn health(
    checked: Checked,
    stopped: watch::Receiver<bool>,
) -> (HealthServer<HealthService>, watch::Receiver<bool>) {
    let reporter = HealthReporter::new();
    let service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let (announced, drained) = watch::channel(false);
    tokio::spawn(checked.follow(reporter, stopped, announced));
    (service.max_decoding_message_size(MAX_PROBE), drained)
}

impl Checked {
    fn states(&self) -> Vec<(&'static str, ServingStatus)> {
        let state = |serves| if serves { Serving } else { NotServing };
        let of = |name| match name {
            TIER => state(self.tier.fault().is_none()),
            REPLICAS => state(self.replicas.admits(None).is_some()),
            _ => Serving,
        };
        [""].iter().chain(&NAMES).map(|name| (*name, of(*name))).collect()
    }

    /// Tells how the services are until told to stop; then none serves any more, and `drained` says that everybody could hear of it.
    pub(super) async fn follow(
        self,
        reporter: HealthReporter,
        mut stopped: watch::Receiver<bool>,
        drained: watch::Sender<bool>,
    ) {
        let mut reported = Vec::new();
        loop {
            let states = self.states();
            for state in states.iter().filter(|state| !reported.contains(*state)) {
                reporter.set_service_status(state.0, state.1).await;
            }
            reported = states;
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                // An error means that the sender is gone: time to stop as well.
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        for (name, _) in reported {
            reporter.set_service_status(name, NotServing).await;
        }
        drained.send_replace(true);
    }
}
