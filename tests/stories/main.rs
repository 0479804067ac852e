//! Stories: the real Envoy with the shipped filter, the real control plane, and an origin that does as told.

mod breaker;
mod control_plane_lost;
mod hits;
mod hostile;
mod not_stored;
mod operations;
mod runbook;
mod settings;
mod trap;
