//! The fleet, simulated: the filter's driver and the control plane's heart as they are shipped, under a scheduler that has the clock, the
//! network and all faults in its hand. A run is made by its seed alone, so a failing one can be run again.

pub mod control;
pub mod envoy;
pub mod faults;
pub mod host;
pub mod oracle;
pub mod random;
pub mod world;
