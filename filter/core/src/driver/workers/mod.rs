//! A worker as one of several in its Envoy: settings that it takes over, pauses that it notices, and what it tells the others. Every
//! callback that may answer a request begins here.

pub(super) mod acknowledge;
pub(super) mod pause;
pub(super) mod worker;
