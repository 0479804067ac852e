//! What the threads of a run share.

use crate::fleet::Fleet;
use crate::log::Log;
use crate::origin::Habits;
use crate::tally::Tally;
use e2e::origin::Origin;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long after an Envoy is back its clients may still meet that it was away.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// Between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Counts by two names.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<&'static str, BTreeMap<&'static str, u64>>>);

impl Counts {
    pub(crate) fn count(&self, one: &'static str, other: &'static str) {
        *lock(&self.0).entry(one).or_default().entry(other).or_default() += 1;
    }

    pub(crate) fn report(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, u64>> {
        lock(&self.0).clone()
    }
}

/// From when to when an Envoy could not answer, and why.
#[derive(Clone, Copy, Debug)]
struct Disturbance {
    envoy: usize,
    until: Option<Instant>,
    why: &'static str,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) log: Arc<Log>,
    pub(crate) habits: Arc<Habits>,
    pub(crate) origin: Mutex<Origin>,
    pub(crate) fleet: Fleet,
    pub(crate) tally: Tally,
    pub(crate) purges: Counts,
    pub(crate) faults: Counts,
    disturbances: Mutex<Vec<Disturbance>>,
    roll_outs: AtomicU64,
}

impl Run {
    pub(crate) fn new(
        seed: u64,
        stop: Arc<AtomicBool>,
        log: Arc<Log>,
        habits: Arc<Habits>,
        origin: Origin,
        fleet: Fleet,
    ) -> Self {
        Self {
            seed,
            stop,
            log,
            habits,
            origin: Mutex::new(origin),
            fleet,
            tally: Tally::new(),
            purges: Counts::default(),
            faults: Counts::default(),
            disturbances: Mutex::default(),
            roll_outs: AtomicU64::new(0),
        }
    }

    /// Another module is about to be rolled out.
    pub(crate) fn rolls_out(&self) {
        self.roll_outs.fetch_add(1, Ordering::SeqCst);
    }

    /// How often that was.
    pub(crate) fn roll_outs(&self) -> u64 {
        self.roll_outs.load(Ordering::SeqCst)
    }

    /// The run's origin.
    pub(crate) fn origin(&self) -> MutexGuard<'_, Origin> {
        lock(&self.origin)
    }

    /// Waits, or until the run is to end.
    pub(crate) fn pause(&self, lasts: Duration) {
        let end = Instant::now() + lasts;
        while Instant::now() < end && !self.stop.load(Ordering::SeqCst) {
            std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// An Envoy is about to be disturbed, until [`Run::settled`].
    pub(crate) fn disturb(&self, envoy: usize, why: &'static str) {
        let mut disturbances = lock(&self.disturbances);
        disturbances.retain(|one| one.envoy != envoy);
        disturbances.push(Disturbance {
            envoy,
            until: None,
            why,
        });
    }

    pub(crate) fn settled(&self, envoy: usize) {
        let mut disturbances = lock(&self.disturbances);
        for one in disturbances.iter_mut().filter(|one| one.envoy == envoy) {
            one.until = Some(Instant::now() + AFTERWARDS);
        }
    }

    /// Why a request to an Envoy that was sent then may have had no answer.
    pub(crate) fn disturbed_since(&self, envoy: usize, from: Instant) -> Option<&'static str> {
        let disturbances = lock(&self.disturbances);
        let met = disturbances
            .iter()
            .find(|one| one.envoy == envoy && one.until.is_none_or(|until| until >= from));
        met.map(|one| one.why)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
