//! How hits are compared with the origin.

use crate::verify::Mask;
use optimizer_proto::settings::{Route, Settings, VerifySharing};

/// How hits are verified.
#[derive(Debug)]
pub struct VerifyPolicy {
    /// Most requests, as a share of those that go to the upstream.
    pub origin_percent: u32,
    /// What is left out of the comparison.
    pub masks: Vec<Mask>,
}

/// Share of a route's hits that are verified, percent.
pub(super) fn share(route: &Route, settings: &Settings) -> u32 {
    let set = &settings.verify_sharing;
    if set.enabled {
        route.verify_hits_percent.unwrap_or(set.hits_percent)
    } else {
        0
    }
}

impl VerifyPolicy {
    /// As the settings say it; `None`: no hits are verified.
    pub(super) fn of(set: &VerifySharing) -> Option<Self> {
        let mask = |mask: &optimizer_proto::settings::Mask| Mask {
            start: mask.start.as_bytes().to_vec(),
            end: mask.end.as_bytes().to_vec(),
        };
        set.enabled.then(|| Self {
            origin_percent: set.origin_percent,
            masks: set.mask.iter().map(mask).collect(),
        })
    }
}
