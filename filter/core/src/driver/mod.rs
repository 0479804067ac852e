//! The outer ring: Envoy's callbacks in, host calls out, through small ports that a test can stand in for.

mod answer;
mod background;
mod bootstrap;
mod brownout;
mod capture;
mod commands;
mod control;
pub mod exchange;
mod explain;
#[cfg(test)]
mod fake_host;
mod from_cache;
mod guard;
pub mod header_map;
pub mod host;
mod instance;
mod invalidate;
mod inventory;
mod lease;
mod limiter;
mod link;
mod mailbox;
mod on_end;
mod on_request;
mod on_response;
mod proof;
mod registry;
mod replace;
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
pub mod vm;
mod waiting;
mod wake;
