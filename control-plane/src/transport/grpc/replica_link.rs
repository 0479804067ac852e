//! Commands that another replica has for the Envoys of this one.

use crate::plane::Plane;
use optimizer_proto::v1::replica_link_server::ReplicaLink;
use optimizer_proto::v1::{RelayedCommand, RelayedResult};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// No command takes longer.
const LONGEST: Duration = Duration::from_secs(60);

/// Lets replicas alone in, before anything of what they say is read.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    plane: Arc<Plane>,
}

impl Door {
    pub(crate) fn new(plane: Arc<Plane>) -> Self {
        Self { plane }
    }

    pub(super) fn admit(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let replicas = self.plane.replicas.as_ref().ok_or_else(alone)?;
        replicas.relay.admits(&request).inspect_err(|_| {
            self.plane.streams_refused.fetch_add(1, Ordering::Relaxed);
        })?;
        Ok(request)
    }
}

fn alone() -> Status {
    Status::unimplemented("this control plane has no replicas")
}

/// The service.
#[derive(Debug)]
pub(crate) struct Link {
    plane: Arc<Plane>,
}

impl Link {
    pub(crate) fn new(plane: Arc<Plane>) -> Self {
        Self { plane }
    }
}

#[tonic::async_trait]
impl ReplicaLink for Link {
    async fn relay(&self, request: Request<RelayedCommand>) -> Result<Response<RelayedResult>, Status> {
        let (_, _held, asked) = request.into_parts();
        let body = asked
            .command
            .and_then(|command| command.body)
            .ok_or_else(|| Status::invalid_argument("no command"))?;
        let timeout = Duration::from_millis(u64::from(asked.timeout_ms)).min(LONGEST);
        let result = self.plane.command_here(&asked.envoy, body, timeout).await;
        Ok(Response::new(RelayedResult { result }))
    }
}
