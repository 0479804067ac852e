//! The fleet, simulated: the filter's driver and the control plane's heart as they are shipped, under a scheduler that has the clock, the
//! network and all faults in its hand. A run is made by its plan alone, so a failing one can be run again, and made smaller.

mod envoy;
pub mod faults;
mod host;
mod oracle;
pub mod plan;
pub mod random;
mod redis;
mod replica;
pub mod shrink;
mod world;

pub use world::run;
