//! What the leader of the VMs still owes the control plane.

use crate::Millis;
use optimizer_proto::v1::{PurgeCount, Violation};

/// The acknowledgement of a push.
#[derive(Debug, Clone)]
pub(super) struct PendingAck {
    pub(super) epoch: String,
    pub(super) revision: u64,
    /// Fields of a newer control plane that this filter does not know.
    pub(super) ignored: Vec<Violation>,
}

/// The acknowledgement of a purge.
#[derive(Debug)]
pub(super) struct PendingPurgeAck {
    pub(super) stream: u32,
    /// Of the command.
    pub(super) id: String,
    /// Number of the purge.
    pub(super) stamp: u32,
    pub(super) since_ms: Millis,
    pub(super) count: Option<PurgeCount>,
}

/// What the leader still owes the control plane.
#[derive(Debug, Default)]
pub struct ControlState {
    /// The push whose acknowledgement waits for all VMs.
    pub(super) owed: Option<PendingAck>,
    /// Sequence of the report sent last on this stream.
    pub(super) sent: u64,
    /// Something is to be reported as soon as the report under way is acknowledged.
    pub(super) hurry: bool,
    pub(super) last_closed_ms: Millis,
    /// Purges whose acknowledgement waits for all VMs.
    pub(super) purges: Vec<PendingPurgeAck>,
    /// Parts of a response that is being restored.
    pub(super) importing: Vec<u8>,
}
