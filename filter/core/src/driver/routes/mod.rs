//! Where Envoy routes a request, and what is known of that cluster and route. It owns the reasons for which the cache has no part in a
//! request, and what is learned of Envoy's own changes to it.

pub(super) mod learning;
pub(super) mod quarantine;
pub(super) mod routed;
pub(super) mod searches;
pub(super) mod unsound;
