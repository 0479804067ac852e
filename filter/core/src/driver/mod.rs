//! The outer ring: Envoy's callbacks in, host calls out, through small ports that a test can stand in for.

mod answering;
mod callbacks;
mod callouts;
mod control_link;
#[cfg(test)]
mod every_order;
pub mod exchange;
#[cfg(test)]
mod fake_host;
mod fetches;
pub mod host;
#[cfg(test)]
mod random_streams;
mod reply;
mod request;
mod routes;
mod shared;
pub mod shell;
mod state;
mod stored;
#[cfg(test)]
mod tests;
mod upstream;
pub mod vm;
mod workers;
