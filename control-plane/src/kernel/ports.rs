//! How capabilities reach the other replicas of this control plane, without knowing how those are reached or whether there are any.
//!
//! `replication` implements these ports over Redis; [`Standalone`] is the answer of a control plane that has no replicas.

use control_domain::alerts::Outbox;
use control_domain::fleet::ConnectionId;
use control_domain::purges::Purge;
use control_domain::replication::Fact;
use optimizer_proto::v1::command::Body as CommandBody;
use optimizer_proto::v1::{CommandResult, Hello, SettingsAck, TelemetryReport};
use std::fmt::Debug;
use std::time::Duration;

/// What all replicas are to know.
#[tonic::async_trait]
pub(crate) trait Replication: Debug + Send + Sync {
    /// Whether there are, or may be, other replicas.
    fn is_shared(&self) -> bool;

    /// Whether what is shared has been seen since this process began.
    fn has_joined(&self) -> bool;

    /// Returns once it has.
    async fn joined(&self);

    /// Why nothing can be agreed on at the moment.
    fn fault(&self) -> Option<String>;

    /// Tells the others, and waits until they can know; false when that has to wait for Redis.
    async fn publish(&self, fact: Fact) -> bool;

    /// Tells the others, without waiting.
    fn publish_later(&self, fact: Fact);

    /// Tells the others what will be told again: it is not kept, and left out where too much waits.
    fn publish_passing(&self, fact: Fact);

    /// Tells of an accepted purge; done when the others know of it, or when they are out of reach: then it goes on in the background.
    async fn publish_purge(&self, purge: &Purge);

    /// Whether the others do not know of a purge yet.
    fn is_unpublished(&self, purge: &str) -> bool;

    /// Uses an Idempotency-Key for a purge, for all replicas; the earlier purge that it was used for, if there is one.
    async fn claim(&self, purge: &Purge) -> Option<Purge>;
}

/// Which replica sends notifications to the receivers of alerts.
#[tonic::async_trait]
pub(crate) trait Leadership: Debug + Send + Sync {
    /// Whether it is this one.
    fn leads(&self) -> bool;

    /// What receivers were last sent by the previous leader.
    async fn outbox(&self) -> Option<Outbox>;

    /// Keeps what receivers were last sent for the next leader.
    async fn keep_outbox(&self, outbox: &Outbox);
}

/// Envoys that other replicas are told of, and Envoys that are connected to them.
#[tonic::async_trait]
pub(crate) trait RemoteEnvoys: Debug + Send + Sync {
    /// The number of this replica; `None` when there are no others.
    fn replica(&self) -> Option<u64>;

    /// A name for a connection that begins now, in the order of time over all replicas; `None` when there are no others.
    fn connection_id(&self) -> Option<ConnectionId>;

    /// An Envoy has connected here.
    fn connected(&self, envoy: &str, hello: &Hello, connection: ConnectionId);

    /// An Envoy has left.
    fn left(&self, envoy: &str, connection: ConnectionId);

    /// An Envoy has acknowledged or rejected a revision.
    fn acknowledged(&self, envoy: &str, ack: &SettingsAck);

    /// Shares a report; it may be acknowledged to the Envoy when this returns.
    async fn reported(&self, envoy: &str, report: TelemetryReport);

    /// Has the replica that an Envoy is connected to ask it; `None` when there is no answer.
    async fn ask(
        &self,
        connection: ConnectionId,
        envoy: &str,
        body: CommandBody,
        timeout: Duration,
    ) -> Option<CommandResult>;

    /// Whether a call with this `authorization` comes from another replica; `None` when there are no others.
    fn admits(&self, authorization: Option<&str>) -> Option<bool>;
}

/// A control plane without replicas.
#[derive(Debug)]
pub(crate) struct Standalone;

#[tonic::async_trait]
impl Replication for Standalone {
    fn is_shared(&self) -> bool {
        false
    }

    fn has_joined(&self) -> bool {
        true
    }

    async fn joined(&self) {}

    fn fault(&self) -> Option<String> {
        None
    }

    async fn publish(&self, _: Fact) -> bool {
        true
    }

    fn publish_later(&self, _: Fact) {}

    fn publish_passing(&self, _: Fact) {}

    async fn publish_purge(&self, _: &Purge) {}

    fn is_unpublished(&self, _: &str) -> bool {
        false
    }

    async fn claim(&self, _: &Purge) -> Option<Purge> {
        None
    }
}

#[tonic::async_trait]
impl Leadership for Standalone {
    fn leads(&self) -> bool {
        true
    }

    async fn outbox(&self) -> Option<Outbox> {
        None
    }

    async fn keep_outbox(&self, _: &Outbox) {}
}

#[tonic::async_trait]
impl RemoteEnvoys for Standalone {
    fn replica(&self) -> Option<u64> {
        None
    }

    fn connection_id(&self) -> Option<ConnectionId> {
        None
    }

    fn connected(&self, _: &str, _: &Hello, _: ConnectionId) {}

    fn left(&self, _: &str, _: ConnectionId) {}

    fn acknowledged(&self, _: &str, _: &SettingsAck) {}

    async fn reported(&self, _: &str, _: TelemetryReport) {}

    async fn ask(&self, _: ConnectionId, _: &str, _: CommandBody, _: Duration) -> Option<CommandResult> {
        None
    }

    fn admits(&self, _: Option<&str>) -> Option<bool> {
        None
    }
}
