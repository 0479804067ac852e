//! What a run is like, and what it came to.

use crate::faults::Faults;
use crate::random::Random;
use std::collections::BTreeSet;
use std::fmt;

/// Who acts in a run beside clients, Envoys and replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Actor {
    /// Somebody at the port who says what is not so.
    Liar,
    /// An Envoy of the fleet that claims what is not so.
    Byzantine,
    /// Operators who change settings.
    Changes,
    /// Operators who override breakers.
    Overrides,
    /// The shared tier.
    Tier,
}

/// All of them, with their names.
pub const ACTORS: [(Actor, &str); 5] = [
    (Actor::Liar, "liar"),
    (Actor::Byzantine, "byzantine"),
    (Actor::Changes, "changes"),
    (Actor::Overrides, "overrides"),
    (Actor::Tier, "tier"),
];

/// What a run is like. Its text form is read back by [`Plan::read`].
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides everything else.
    pub seed: u64,
    /// Envoys.
    pub envoys: usize,
    /// VMs of each.
    pub workers: usize,
    /// Replicas of the control plane; 1 = one that stands alone, without Redis.
    pub replicas: usize,
    /// With faults for so long, milliseconds.
    pub troubled_ms: u64,
    /// What goes wrong; `None` = what the seed chooses.
    pub faults: Option<Faults>,
    /// Who does not act.
    pub without: BTreeSet<Actor>,
    /// Faults that are left out, by their number in the run.
    pub spared: BTreeSet<u64>,
}

impl Plan {
    /// The plan that a seed makes.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        Self {
            seed,
            envoys: random.index(3) + 1,
            workers: random.index(3) + 1,
            troubled_ms: random.between(15_000, 60_000),
            replicas: random.index(3) + 1,
            faults: None,
            without: BTreeSet::new(),
            spared: BTreeSet::new(),
        }
    }

    /// Whether somebody acts.
    #[must_use]
    pub fn has(&self, actor: Actor) -> bool {
        !self.without.contains(&actor)
    }

    /// Reads a plan's text form: words of the form `name=value`, those that are missing as the seed makes them.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let words: Option<Vec<(&str, &str)>> = text.split_whitespace().map(|word| word.split_once('=')).collect();
        let words = words?;
        let seed = words.iter().find(|(name, _)| *name == "seed")?.1.parse().ok()?;
        let mut plan = Self::of(seed);
        for (name, value) in words {
            match name {
                "seed" => {}
                "envoys" => plan.envoys = value.parse().ok()?,
                "workers" => plan.workers = value.parse().ok()?,
                "replicas" => plan.replicas = value.parse().ok()?,
                "faults" => plan.faults = Some(Faults::read(value)?),
                "troubled_ms" => plan.troubled_ms = value.parse().ok()?,
                "without" => {
                    plan.without = list(value, |name| {
                        ACTORS.iter().find(|(_, own)| *own == name).map(|(a, _)| *a)
                    })?
                }
                "spared" => plan.spared = list(value, |number| number.parse().ok())?,
                _ => return None,
            }
        }
        Some(plan)
    }
}

fn list<T: Ord>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<BTreeSet<T>> {
    text.split(',').map(read).collect()
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed={} envoys={} workers={} replicas={} troubled_ms={}",
            self.seed, self.envoys, self.workers, self.replicas, self.troubled_ms
        )?;
        if let Some(faults) = &self.faults {
            write!(f, " faults={faults}")?;
        }
        let without = ACTORS.iter().filter(|(actor, _)| !self.has(*actor));
        let without: Vec<&str> = without.map(|(_, name)| *name).collect();
        if !without.is_empty() {
            write!(f, " without={}", without.join(","))?;
        }
        if !self.spared.is_empty() {
            let spared: Vec<String> = self.spared.iter().map(ToString::to_string).collect();
            write!(f, " spared={}", spared.join(","))?;
        }
        Ok(())
    }
}

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Answers looked at.
    pub answers: u64,
    /// Of these from a cache.
    pub hits: u64,
    /// What the shared tier gave Envoys.
    pub tier_hits: u64,
    /// Receipts of purges.
    pub receipts: u64,
    /// Acknowledged revisions.
    pub acknowledged: u64,
    /// Changes of the settings that were accepted.
    pub written: u64,
    /// Overrides of breakers.
    pub overrides: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Events.
    pub events: u64,
    /// A checksum of all that happened, in order.
    pub trace: u64,
    /// Milliseconds of the fleet: of the run, times Envoys.
    pub fleet_ms: u64,
}

impl Summary {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.answers += other.answers;
        self.hits += other.hits;
        self.tier_hits += other.tier_hits;
        self.receipts += other.receipts;
        self.acknowledged += other.acknowledged;
        self.written += other.written;
        self.overrides += other.overrides;
        self.faults += other.faults;
        self.events += other.events;
        self.fleet_ms += other.fleet_ms;
    }
}

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What it is.
    pub what: String,
    /// When it showed, milliseconds after the beginning.
    pub at_ms: u64,
    /// Faults so far.
    pub faults: u64,
}
