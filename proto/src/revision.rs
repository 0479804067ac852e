//! Which settings supersede which: a revision only grows within an epoch.

use std::fmt;

/// Number of a settings document within its [`Epoch`]. Only grows; 0 stands for the bootstrap settings of the plugin
/// configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The bootstrap settings: what an Envoy runs on before any control plane has spoken.
    pub const BOOTSTRAP: Self = Self(0);

    /// The revision after this one; the last one stays the last.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names the history a [`Revision`] belongs to: 1 to 64 visible ASCII characters. A control plane that lost its state
/// starts a new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(String);

impl Epoch {
    /// Longest accepted name, bytes.
    pub const MAX_LEN: usize = 64;

    /// No history: the epoch of the bootstrap settings, which no control plane may use.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// A named history; `None` unless the name is 1 to 64 visible ASCII characters.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let valid = (1..=Self::MAX_LEN).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        valid.then(|| Self(name.to_owned()))
    }

    /// The name; empty for [`Epoch::none`].
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A settings document's full identity: its history and its number there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Version {
    /// The history.
    pub epoch: Epoch,
    /// The number within it.
    pub revision: Revision,
}

/// What a pushed version is to the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// Above the one in force in the same history: apply it.
    Newer,
    /// Of another history than the one in force, whatever its number: apply it.
    NewHistory,
    /// The one in force, delivered again: acknowledge it, change nothing.
    Same,
    /// Below the one in force in the same history: ignore it.
    Older,
    /// No push may bear it: revision 0 or no epoch. Refuse it.
    Invalid,
}

impl Precedence {
    /// True if the push replaces what is in force.
    #[must_use]
    pub fn supersedes(self) -> bool {
        matches!(self, Self::Newer | Self::NewHistory)
    }
}

impl Version {
    /// The version of the bootstrap settings; everything pushed supersedes it.
    #[must_use]
    pub fn bootstrap() -> Self {
        Self::default()
    }

    /// What `self`, just pushed, is to the version `in_force`.
    #[must_use]
    pub fn precedence_over(&self, in_force: &Self) -> Precedence {
        if self.revision == Revision::BOOTSTRAP || self.epoch == Epoch::none() {
            return Precedence::Invalid;
        }
        if self.epoch != in_force.epoch {
            return Precedence::NewHistory;
        }
        match self.revision.cmp(&in_force.revision) {
            std::cmp::Ordering::Greater => Precedence::Newer,
            std::cmp::Ordering::Equal => Precedence::Same,
            std::cmp::Ordering::Less => Precedence::Older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(epoch: &str, revision: u64) -> Version {
        Version {
            epoch: Epoch::new(epoch).unwrap_or_default(),
            revision: Revision(revision),
        }
    }

    #[test]
    fn a_push_supersedes_only_forwards_or_from_another_history() {
        let cases = [
            (version("a", 2), version("a", 1), Precedence::Newer),
            (version("a", 1), version("a", 1), Precedence::Same),
            (version("a", 1), version("a", 2), Precedence::Older),
            (version("b", 1), version("a", 9), Precedence::NewHistory),
            (version("a", 1), Version::bootstrap(), Precedence::NewHistory),
            (version("a", 0), version("a", 2), Precedence::Invalid),
            (version("", 3), Version::bootstrap(), Precedence::Invalid),
        ];
        for (pushed, in_force, expected) in cases {
            assert_eq!(
                pushed.precedence_over(&in_force),
                expected,
                "{pushed:?} over {in_force:?}"
            );
        }
    }

    #[test]
    fn an_epoch_is_short_and_visible() {
        assert!(Epoch::new("").is_none());
        assert!(Epoch::new("a b").is_none());
        assert!(Epoch::new(&"x".repeat(65)).is_none());
        assert_eq!(
            Epoch::new("2f0c").map(|epoch| epoch.to_string()).as_deref(),
            Some("2f0c")
        );
    }

    #[test]
    fn the_last_revision_has_no_successor() {
        assert_eq!(Revision(u64::MAX).next(), Revision(u64::MAX));
        assert_eq!(Revision::BOOTSTRAP.next(), Revision(1));
    }
}
