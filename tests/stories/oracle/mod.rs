//! Oracles: what the filter may do is judged by somebody else. By the same Envoy without the filter ([`routing`]), by nginx and
//! Varnish in front of the same origin ([`sharing`]), and by what the client's own request looked like at the origin ([`refresh`]).
//!
//! `make oracle` runs them for longer.

mod configuration;
mod h2_client;
mod random;
mod refresh;
mod routing;
mod sharing;
