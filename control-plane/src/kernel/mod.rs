//! What every module may use: clock, randomness, names, locks, events. It knows no capability.

pub(crate) mod blocking;
pub(crate) mod chance;
pub(crate) mod clock;
pub(crate) mod events;
pub(crate) mod ids;
pub(crate) mod ports;
pub(crate) mod sync;
pub(crate) mod trace;
pub(crate) mod watched_file;
