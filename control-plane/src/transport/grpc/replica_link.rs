//! Commands that another replica has for the Envoys of this one.

use crate::fleet::FleetService;
use crate::kernel::ports::RemoteEnvoys;
use optimizer_proto::v1::replica_link_server::ReplicaLink;
use optimizer_proto::v1::{RelayedCommand, RelayedResult};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::{Request, Response, Status};

/// No command takes longer.
const LONGEST: Duration = Duration::from_secs(60);

/// Lets replicas alone in, before anything of what they say is read.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaAuthenticator {
    replicas: Arc<dyn RemoteEnvoys>,
    /// Streams that were refused.
    refused: Arc<AtomicU64>,
}

impl ReplicaAuthenticator {
    pub(crate) fn new(replicas: Arc<dyn RemoteEnvoys>, refused: Arc<AtomicU64>) -> Self {
        Self { replicas, refused }
    }

    pub(super) fn admit(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get("authorization");
        match self.replicas.admits(given.and_then(|value| value.to_str().ok())) {
            None => Err(Status::unimplemented("this control plane has no replicas")),
            Some(false) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Err(Status::unauthenticated(
                    "only replicas of this control plane are let in",
                ))
            }
            Some(true) => Ok(request),
        }
    }
}

/// The service.
#[derive(Debug)]
pub(crate) struct Link {
    fleet: Arc<FleetService>,
}

impl Link {
    pub(crate) fn new(fleet: Arc<FleetService>) -> Self {
        Self { fleet }
    }
}

#[tonic::async_trait]
impl ReplicaLink for Link {
    async fn relay(&self, request: Request<RelayedCommand>) -> Result<Response<RelayedResult>, Status> {
        let (_, _held, asked) = request.into_parts();
        let command = asked
            .command
            .filter(|command| command.body.is_some())
            .ok_or_else(|| Status::invalid_argument("no command"))?;
        let timeout = Duration::from_millis(u64::from(asked.timeout_ms)).min(LONGEST);
        let result = self.fleet.relayed(&asked.envoy, command, timeout).await;
        Ok(Response::new(RelayedResult { result }))
    }
}
