//! What is done to stored responses as a whole: purges, invalidation, snapshots, restores, inventory. Control plane, clients and unsafe
//! requests all come through here.

pub(super) mod invalidate;
pub(super) mod inventory;
pub(super) mod purge_request;
pub(super) mod purge_targets;
pub(super) mod transfer;
