//! Stories: the real Envoy with the shipped filter, the real control plane, and an origin that does as told.

mod alerting;
mod breaker;
mod brownout;
mod canary;
mod configs;
mod control_plane_lost;
mod crowd;
mod durability;
mod fake_control_plane;
mod hits;
mod hostile;
mod live;
mod not_stored;
mod operations;
mod prometheus;
mod runbook;
mod settings;
mod settings_doors;
mod settings_live;
mod shared_tier;
mod steering;
mod survival;
mod telemetry;
mod trap;
mod xds;
