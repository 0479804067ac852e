//! Stories: the real Envoy with the shipped filter, the real control plane, and an origin that does as told.

mod alerting;
mod breaker;
mod control_plane_lost;
mod crowd;
mod hits;
mod hostile;
mod live;
mod not_stored;
mod operations;
mod prometheus;
mod runbook;
mod settings;
mod survival;
mod telemetry;
mod trap;
mod xds;
