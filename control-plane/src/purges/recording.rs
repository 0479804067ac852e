//! The shared tier records purges, before Envoys are told of them where it can.

use super::record::Record;
use crate::tier::{Fault, Tier};
use control_domain::purges::Purge;
use control_domain::purges::tier_order::Subject;

/// Has the shared tier record a purge before anybody is told of it; false when it could not.
pub(super) async fn record_first(tier: &Tier, record: &Record, purge: &Purge) -> bool {
    match record_in_tier(tier, purge).await {
        Ok(()) => {
            record.recorded(&purge.id);
            true
        }
        Err(fault) => {
            // Said once; the receipt says it for as long as it is so.
            tracing::warn!(purge = purge.id, %fault, "purge not recorded in the shared tier, will be tried again");
            false
        }
    }
}

pub(super) async fn record_in_tier(tier: &Tier, purge: &Purge) -> Result<(), Fault> {
    let subjects: Vec<Subject> = purge.targets.iter().map(Subject::of).collect();
    tier.purge(&subjects).await.map(drop)
}
