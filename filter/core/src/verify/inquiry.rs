//! Why an answer of the origin differs from what was served: a question at a time, a handful in all.
//!
//! The request as the client made it alternates with the same request without something. A response that depends on the difference
//! answers alike each time and each way; one that depends on time or chance does not, but by luck.

use super::content::Digest;
use std::ops::Range;

/// Most questions of one inquiry with 16 parts: 5 to see that it depends on something, 4 to halve, 7 to be sure.
pub const MAX_PROBES: u32 = 16;
/// How often the two requests are asked in turn, once the part is known.
const CONFIRMATIONS: u32 = 7;

/// What to ask next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// As the client asked.
    Unchanged,
    /// The same without these parts of what is not in the key.
    Without(Range<usize>),
}

/// What the answers mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The origin says what was served.
    Same,
    /// The same request gets different answers.
    DiffersByItself,
    /// The origin says something else now, whatever is not in the key.
    Changed,
    /// The origin refuses this one request, and says what was served to the same one without what is not in the key.
    Refused,
    /// The answer depends on these parts of what is not in the key.
    NotInKey(Range<usize>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Compare with what was served.
    Compare,
    /// The same request once more.
    Again,
    /// Without all parts.
    Bare,
    /// By turns; so many answers to come.
    Alternate { turns: u32 },
    /// The part is one of these.
    Halve(Range<usize>),
    /// It seems to be these, without which it answers this.
    Confirm {
        range: Range<usize>,
        without: Option<Digest>,
        turns: u32,
    },
}

/// One inquiry about one hit.
#[derive(Debug, Clone)]
pub struct Inquiry {
    served: Digest,
    parts: usize,
    /// Another client was seen to get something else.
    suspected: bool,
    /// The answer to the request as the client made it.
    repeated: Digest,
    /// It refuses this one request.
    refused: bool,
    /// The answer without all parts.
    bare: Digest,
    stage: Stage,
}

impl Inquiry {
    /// Begins with what was served, and the number of parts of the request that are not in the key. `suspected`: another client was seen
    /// to get something else of the origin in place of the same stored response. Then an answer that is what was served is no end: either
    /// the origin has changed its mind and back, or this request has what the other one had not.
    #[must_use]
    pub fn new(served: Digest, parts: usize, suspected: bool) -> Self {
        Self {
            served,
            parts,
            suspected: suspected && parts > 0,
            repeated: served,
            refused: false,
            bare: served,
            stage: Stage::Compare,
        }
    }

    /// What was served, and another answer of the origin; the same, while there was none.
    #[must_use]
    pub fn digests(&self) -> (Digest, Digest) {
        let other = if self.repeated == self.served {
            self.bare
        } else {
            self.repeated
        };
        (self.served, other)
    }

    /// What to ask next.
    #[must_use]
    pub fn next(&self) -> Probe {
        match &self.stage {
            Stage::Compare | Stage::Again => Probe::Unchanged,
            Stage::Bare => Probe::Without(0..self.parts),
            Stage::Alternate { turns, .. } if turns % 2 == 0 => Probe::Unchanged,
            Stage::Alternate { .. } => Probe::Without(0..self.parts),
            Stage::Halve(range) => Probe::Without(first_half(range)),
            Stage::Confirm { turns, .. } if turns % 2 == 0 => Probe::Unchanged,
            Stage::Confirm { range, .. } => Probe::Without(range.clone()),
        }
    }

    /// Takes the answer to [`Self::next`]; a verdict ends the inquiry. `refuses`: it speaks of the one request, as 400 and 431 do. A client
    /// that is refused for what it alone sends has got what everybody gets: else any client could end the sharing of a route.
    pub fn take(&mut self, seen: Digest, refuses: bool) -> Option<Verdict> {
        let is_repeated = seen == self.repeated;
        let stage = match &self.stage {
            Stage::Compare if is_repeated && !self.suspected => return Some(Verdict::Same),
            Stage::Compare if is_repeated => Stage::Bare,
            Stage::Compare => {
                self.repeated = seen;
                self.refused = refuses;
                Stage::Again
            }
            Stage::Again if !is_repeated => return Some(Verdict::DiffersByItself),
            Stage::Again if self.parts == 0 => return Some(Verdict::Changed),
            Stage::Again => Stage::Bare,
            Stage::Bare if is_repeated && self.repeated == self.served => return Some(Verdict::Same),
            Stage::Bare if is_repeated => return Some(Verdict::Changed),
            Stage::Bare if self.refused && seen == self.served => return Some(Verdict::Refused),
            Stage::Bare => {
                self.bare = seen;
                Stage::Alternate { turns: 2 }
            }
            Stage::Alternate { turns: 2 } if is_repeated => Stage::Alternate { turns: 1 },
            Stage::Alternate { turns: 1 } if seen == self.bare => halved(0..self.parts),
            Stage::Alternate { .. } => return Some(Verdict::DiffersByItself),
            Stage::Halve(range) => {
                let first = first_half(range);
                halved(if is_repeated { first.end..range.end } else { first })
            }
            Stage::Confirm { range, without, turns } => {
                let expected = match (turns % 2 == 0, without) {
                    (true, _) => is_repeated,
                    (false, Some(without)) => seen == *without,
                    (false, None) => !is_repeated,
                };
                match (expected, turns) {
                    (true, 1) => return Some(Verdict::NotInKey(range.clone())),
                    (true, _) => Stage::Confirm {
                        range: range.clone(),
                        without: if turns % 2 == 0 { *without } else { Some(seen) },
                        turns: turns - 1,
                    },
                    // It depends on several at once: no single one explains it.
                    (false, _) if without.is_none() && range.len() < self.parts => Stage::Confirm {
                        range: 0..self.parts,
                        without: Some(self.bare),
                        turns: turns - 1,
                    },
                    (false, _) => return Some(Verdict::DiffersByItself),
                }
            }
        };
        self.stage = stage;
        None
    }
}

fn first_half(range: &Range<usize>) -> Range<usize> {
    range.start..range.start + range.len() / 2
}

fn halved(range: Range<usize>) -> Stage {
    if range.len() > 1 {
        return Stage::Halve(range);
    }
    Stage::Confirm {
        range,
        without: None,
        turns: CONFIRMATIONS,
    }
}
