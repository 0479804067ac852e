//! What goes wrong, how often.

use crate::random::Random;

/// Mean time between two faults of a kind, milliseconds; 0 = never.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// A stream breaks: what is under way on it is lost.
    pub cut: u64,
    /// An Envoy and the control plane hear nothing of each other, and no stream breaks.
    pub partition: u64,
    /// An Envoy stands still.
    pub freeze: u64,
    /// A worker is not scheduled.
    pub stall: u64,
    /// A VM dies between two host calls.
    pub trap: u64,
    /// An Envoy is killed and started anew.
    pub envoy: u64,
    /// The control plane is killed and started anew.
    pub control: u64,
    /// The clock of an Envoy's machine is set.
    pub clock: u64,
}

impl Faults {
    /// None.
    pub const NONE: Self = Self {
        cut: 0,
        partition: 0,
        freeze: 0,
        stall: 0,
        trap: 0,
        envoy: 0,
        control: 0,
        clock: 0,
    };

    /// A mixture that a seed chooses: each kind is left out half of the time, so that some runs are about one kind alone.
    #[must_use]
    pub fn of(random: &mut Random) -> Self {
        let mut every = |mean: u64| {
            let chosen = random.between(mean / 2, mean * 2);
            if random.once_in(2) { 0 } else { chosen }
        };
        Self {
            cut: every(8_000),
            partition: every(20_000),
            freeze: every(15_000),
            stall: every(8_000),
            trap: every(12_000),
            envoy: every(40_000),
            control: every(40_000),
            clock: every(30_000),
        }
    }
}
