//! How hits are compared with the origin.

use crate::verify::Mask;
use optimizer_proto::settings::VerifySharing;

/// How hits are verified.
#[derive(Debug)]
pub struct VerifyPolicy {
    /// Share of the hits.
    pub hits_percent: u32,
    /// Most requests, as a share of those that go to the upstream.
    pub origin_percent: u32,
    /// What is left out of the comparison.
    pub masks: Vec<Mask>,
}

impl VerifyPolicy {
    /// As the settings say it; `None`: no hits are verified.
    pub(super) fn of(set: &VerifySharing) -> Option<Self> {
        let mask = |mask: &optimizer_proto::settings::Mask| Mask {
            start: mask.start.as_bytes().to_vec(),
            end: mask.end.as_bytes().to_vec(),
        };
        set.enabled.then(|| Self {
            hits_percent: set.hits_percent,
            origin_percent: set.origin_percent,
            masks: set.mask.iter().map(mask).collect(),
        })
    }
}
