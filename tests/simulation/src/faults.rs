//! What goes wrong, how often.

use crate::random::Random;
use std::fmt;

/// The text form of no faults.
const NO_FAULTS: &str = "none";

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A stream breaks: what is under way on it is lost.
    Cut,
    /// An Envoy and the control plane hear nothing of each other, and no stream breaks.
    Partition,
    /// All VMs of an Envoy are stopped for a while.
    Freeze,
    /// A worker is not scheduled.
    Stall,
    /// A VM dies between two host calls.
    Trap,
    /// An Envoy is killed and started anew.
    Envoy,
    /// A replica of the control plane is killed and started anew, mostly with its disk.
    Replica,
    /// The clock of an Envoy's machine is set.
    Clock,
    /// A replica's connections to Redis break: some of what is under way is done all the same, and its answer is lost.
    RedisCut,
    /// A replica and Redis hear nothing of each other.
    RedisPartition,
    /// Redis is gone for a while, and comes back with its data.
    RedisRestart,
    /// Another server takes over from Redis, with an older data set or none.
    RedisFailover,
}

/// All kinds, with the usual time between two faults of the kind, milliseconds.
pub const KINDS: [(Kind, u64); 12] = [
    (Kind::Cut, 8_000),
    (Kind::Partition, 20_000),
    (Kind::Freeze, 15_000),
    (Kind::Stall, 8_000),
    (Kind::Trap, 12_000),
    (Kind::Envoy, 40_000),
    (Kind::Replica, 30_000),
    (Kind::Clock, 30_000),
    (Kind::RedisCut, 10_000),
    (Kind::RedisPartition, 20_000),
    (Kind::RedisRestart, 30_000),
    (Kind::RedisFailover, 60_000),
];

/// Mean time between two faults of each kind, milliseconds; 0 = never.
#[derive(Debug, Clone, Copy)]
pub struct Faults([u64; KINDS.len()]);

impl Faults {
    /// None.
    pub const NONE: Self = Self([0; KINDS.len()]);

    /// A mixture that a seed chooses: each kind is left out half of the time, so that some runs are about one kind alone.
    #[must_use]
    pub fn of(random: &mut Random) -> Self {
        Self(KINDS.map(|(_, usual)| {
            let chosen = random.between(usual / 2, usual * 2);
            if random.once_in(2) { 0 } else { chosen }
        }))
    }

    /// Only these kinds, with their mean times.
    #[must_use]
    pub fn only(chosen: &[(Kind, u64)]) -> Self {
        let mean = |kind| {
            chosen
                .iter()
                .find(|(other, _)| *other == kind)
                .map_or(0, |(_, mean)| *mean)
        };
        Self(KINDS.map(|(kind, _)| mean(kind)))
    }

    /// Reads the text form, `Kind:mean,Kind:mean` or `none`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        if text == NO_FAULTS {
            return Some(Self::NONE);
        }
        let chosen: Option<Vec<(Kind, u64)>> = text
            .split(',')
            .map(|word| {
                let (name, mean) = word.split_once(':')?;
                let kind = KINDS.iter().find(|(kind, _)| format!("{kind:?}") == name)?.0;
                Some((kind, mean.parse().ok()?))
            })
            .collect();
        chosen.map(|chosen| Self::only(&chosen))
    }

    /// Mean time between two faults of this kind.
    #[must_use]
    pub fn mean(&self, kind: Kind) -> u64 {
        let place = KINDS.iter().position(|(other, _)| *other == kind);
        place.map_or(0, |place| self.0[place])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = KINDS.iter().zip(self.0).filter(|(_, mean)| *mean > 0);
        let words: Vec<String> = chosen.map(|((kind, _), mean)| format!("{kind:?}:{mean}")).collect();
        let all = words.join(",");
        f.write_str(if words.is_empty() { NO_FAULTS } else { &all })
    }
}
