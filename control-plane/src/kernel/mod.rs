//! What every room may use: the clock, chance, names, locks, events. It knows no capability.

pub(crate) mod chance;
pub(crate) mod clock;
pub(crate) mod events;
pub(crate) mod ids;
pub(crate) mod ports;
pub(crate) mod sync;
