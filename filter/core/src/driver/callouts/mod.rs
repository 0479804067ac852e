//! Calls that the filter makes itself, from the callbacks of the root context only: to the shared tier, to refresh, to verify, to check
//! health. It owns what they may cost and what their answers lead to.

pub(super) mod background;
pub(super) mod health_check;
pub(super) mod tier;
pub(super) mod tier_serve;
pub(super) mod verify;
