//! What the leader of the VMs still owes the control plane.

use crate::Millis;
use optimizer_proto::v1::{CommandResult, Violation};

/// The acknowledgement of a push.
#[derive(Debug, Clone)]
pub(crate) struct PendingAck {
    pub(crate) epoch: String,
    pub(crate) revision: u64,
    /// Fields of a newer control plane that this filter does not know.
    pub(crate) ignored: Vec<Violation>,
}

/// The acknowledgement of a purge.
#[derive(Debug)]
pub(crate) struct PendingPurgeAck {
    pub(crate) stream: u32,
    /// Number of the purge.
    pub(crate) stamp: u32,
    pub(crate) since_ms: Millis,
    /// What is told then.
    pub(crate) result: CommandResult,
}

/// What the leader still owes the control plane.
#[derive(Debug, Default)]
pub struct ControlState {
    /// The push whose acknowledgement waits for all VMs.
    pub(crate) owed: Option<PendingAck>,
    /// Sequence of the report sent last on this stream.
    pub(crate) sent: u64,
    /// Something is to be reported as soon as the report under way is acknowledged.
    pub(crate) hurry: bool,
    pub(crate) last_closed_ms: Millis,
    /// Purges whose acknowledgement waits for all VMs.
    pub(crate) purges: Vec<PendingPurgeAck>,
    /// Parts of a response that is being restored.
    pub(crate) importing: Vec<u8>,
}
