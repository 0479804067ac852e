//! From a call of the upstream to a stored response: who fetches and who follows, how the response is captured, who refreshes it. It owns
//! what followers and the shared tier learn of a fetch's end.

pub(super) mod capture;
pub(super) mod collapsing;
pub(super) mod complete_fetch;
pub(super) mod refresh;
pub(super) mod tier_offer;
