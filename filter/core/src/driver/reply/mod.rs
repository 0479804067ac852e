//! Responses that the filter makes itself: from what is stored, or a problem that says why. It owns their form on the way to the client.

pub(super) mod answer;
pub(super) mod brownout;
pub(super) mod repair;
