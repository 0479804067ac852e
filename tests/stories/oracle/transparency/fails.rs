//! When origins fail.

use std::time::Duration;

/// When it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fails {
    Never,
    /// In every other second and a half.
    HalfTheTime,
    /// At the end of every three seconds: never often enough for a breaker.
    Seldom,
}

impl Fails {
    /// Whether it fails so long after the beginning, and for how long it goes on so.
    pub(super) fn phase(self, since: Duration) -> (bool, Duration) {
        let well = match self {
            Self::Never => return (false, Duration::MAX),
            Self::HalfTheTime => PERIOD / 2,
            Self::Seldom => PERIOD * 9 / 10,
        };
        let within = since.as_nanos() % PERIOD.as_nanos();
        let within = Duration::from_nanos(u64::try_from(within).unwrap_or(0));
        if within < well {
            (false, well - within)
        } else {
            (true, PERIOD - within)
        }
    }

    /// The cluster of those that fail so.
    pub(super) fn cluster(self) -> &'static str {
        match self {
            Self::Never => "origin",
            Self::HalfTheTime => "failing",
            Self::Seldom => "seldom",
        }
    }
}

const PERIOD: Duration = Duration::from_secs(3);
