//! The outer ring: Envoy's callbacks in, host calls out, through small ports that a test can stand in for.

mod answer;
mod background;
mod bootstrap;
mod brownout;
mod capture;
mod collapsing;
mod commands;
mod control;
#[cfg(test)]
mod every_order;
pub mod exchange;
mod explain;
#[cfg(test)]
mod fake_host;
mod forwarding;
mod from_cache;
mod guard;
pub mod header_map;
pub mod host;
mod instance;
mod invalidate;
mod inventory;
mod key_secret;
mod lease;
mod limiter;
mod link;
mod mailbox;
mod on_end;
mod on_request;
mod on_response;
mod proof;
mod purge_targets;
mod refresh;
mod registry;
mod repair;
mod replace;
mod routed;
mod settings_cell;
#[cfg(test)]
mod soup;
mod stats;
#[cfg(test)]
mod tests;
mod tier;
mod tier_offer;
mod tier_serve;
mod transfer;
mod trust;
mod verdict;
pub mod vm;
mod waiting;
mod wake;
