//! What operations are, how they stand, and in what their progress is counted.

use serde::{Deserialize, Serialize};

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OperationKind)]
pub enum Kind {
    /// Stored responses are gathered and sent to whoever asked.
    Snapshot,
    /// A snapshot is given to Envoys.
    Restore,
    /// An Envoy gets the responses of the others.
    Warm,
    /// What is expired or purged is removed.
    Optimize,
}

/// How an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OperationState)]
pub enum State {
    /// Under way.
    Running,
    /// Under way; the next part of the snapshot is awaited.
    AwaitingPart,
    /// Somebody has asked to cancel it, and it has not ended yet.
    Cancelling,
    /// Ended, all of it or what could be done.
    Done,
    /// Ended by somebody, with what its receipt says.
    Cancelled,
    /// Ended early.
    Failed,
    /// Nothing has been heard of it for 30 s: the replica that did it is gone or cut off.
    Lost,
}

/// In what the progress is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OperationUnit)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Stored responses.
    Responses,
    /// Envoys.
    Envoys,
}

/// What is going on within an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OperationStage)]
pub enum Stage {
    /// It has begun.
    Begun,
    /// The Envoys list what they have, so that the total is known.
    Listing,
    /// The snapshot comes in.
    Receiving,
    /// The snapshot is read and judged; nothing has been given to an Envoy.
    Judging,
    /// The work itself.
    Working,
}
