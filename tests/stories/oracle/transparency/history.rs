//! What an origin was asked and sent, and when clients changed something: by this answers are judged, not by what the filter says.

use super::breaker_rule::{Call, Farthest, WINDOW, farthest};
use super::habits::{self, Habit};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Marks, in a request's id, that its client does not stay for the answer.
pub(super) const LEAVES: &str = "-left";

/// What was sent once.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// `x-ask` of the request.
    pub(super) ask: String,
    pub(super) path: String,
    pub(super) method: String,
    pub(super) status: u16,
    pub(super) version: usize,
    pub(super) variant: Vec<(&'static str, String)>,
    /// Field lines in order, names in lower case.
    pub(super) fields: Vec<(String, String)>,
    /// When it began to be sent.
    pub(super) at: Instant,
    /// The upstream failed: an error, no response, or one that breaks off.
    pub(super) failed: bool,
    /// The request had credentials.
    pub(super) authorized: bool,
}

/// All of it.
#[derive(Debug)]
pub(super) struct History {
    /// Origins that share it fail at the same times.
    pub(super) started: Instant,
    log: Mutex<Vec<Entry>>,
    /// Paths that were changed, and when the client knew.
    changed: Mutex<Vec<(String, Instant)>>,
}

impl History {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            log: Mutex::default(),
            changed: Mutex::default(),
        }
    }

    /// Notes what is sent; gives its number.
    pub(super) fn push(&self, entry: Entry) -> usize {
        let mut log = self.log();
        log.push(Entry {
            at: Instant::now(),
            ..entry
        });
        log.len() - 1
    }

    /// What was sent under this number.
    pub(super) fn sent(&self, serial: usize) -> Option<Entry> {
        self.log().get(serial).cloned()
    }

    /// How often a request came here.
    pub(super) fn asked(&self, ask: &str) -> usize {
        self.log().iter().filter(|entry| entry.ask == ask).count()
    }

    /// A client knows that it has changed what is at a path.
    pub(super) fn change(&self, path: &str) {
        self.changes().push((path.to_owned(), Instant::now()));
    }

    /// Whether what was sent had been changed, to the knowledge of the client, before this time.
    pub(super) fn is_outdated(&self, entry: &Entry, at: Instant) -> bool {
        self.changes().iter().any(|(path, known)| {
            *path == entry.path && entry.at < *known && at > *known && entry.version < self.newest(&entry.path, *known)
        })
    }

    /// The newest version of a path that was there at a time.
    fn newest(&self, path: &str, at: Instant) -> usize {
        self.log()
            .iter()
            .filter(|entry| entry.path == path && entry.at <= at)
            .map(|entry| entry.version)
            .max()
            .unwrap_or(0)
    }

    /// How far the breaker in front of a habit may have gone.
    pub(super) fn farthest(&self, habit: &Habit, at: Instant) -> Farthest {
        farthest(&self.calls(habit), at)
    }

    /// What was counted until then, in words.
    pub(super) fn counted(&self, habit: &Habit, at: Instant) -> String {
        let calls = self.calls(habit);
        let within: Vec<_> = calls
            .iter()
            .filter(|call| call.at <= at && call.at + WINDOW >= at)
            .collect();
        let failures = within.iter().filter(|call| call.failed);
        let last = failures.clone().map(|call| at - call.at).min();
        format!(
            "{} of {} calls had failed, the last one {last:?} before; at the farthest it is {:?}",
            failures.count(),
            within.len(),
            farthest(&calls, at)
        )
    }

    /// Calls to the cluster that is asked for this habit.
    fn calls(&self, habit: &Habit) -> Vec<Call> {
        let cluster = habit.cluster();
        let log = self.log();
        let calls = log.iter().filter(|entry| habits::of(&entry.path).cluster() == cluster);
        calls
            .map(|entry| Call {
                at: entry.at,
                failed: entry.failed,
                counted: !entry.ask.contains(LEAVES),
            })
            .collect()
    }

    /// Whether a habit fails at a time, and for how long it goes on so.
    pub(super) fn phase(&self, habit: &Habit, at: Instant) -> (bool, Duration) {
        habit.fails.phase(at.saturating_duration_since(self.started))
    }

    fn log(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, Vec<(String, Instant)>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
