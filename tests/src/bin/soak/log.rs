//! The origin's log: what it has issued to whom and until when that may be reused, what was purged, and what it did wrong. An answer
//! is right if this explains it.

use crate::content::{Random, Resource};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long what was issued, and what went wrong, is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Longest time that a resource stays as it is.
const LONGEST_VERSION_MS: u64 = 10_000;

/// One version of a resource, for somebody.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) resource: Resource,
    pub(crate) who: String,
    pub(crate) version: u64,
    /// Until when it may serve.
    pub(crate) until: Instant,
    /// Until when it may stand in for an error.
    pub(crate) if_error_until: Instant,
}

/// Something that the origin did wrong with a resource, and until when.
#[derive(Clone, Debug)]
struct Trouble {
    until: Instant,
    what: &'static str,
}

#[derive(Debug)]
struct State {
    version: u64,
    changes_at: Instant,
    /// The least version that may be served after the purges acknowledged so far.
    floor: u64,
    /// When the origin last answered 304 to somebody who has another version.
    lied: Option<Instant>,
    troubles: VecDeque<Trouble>,
}

#[derive(Debug)]
struct Inner {
    states: HashMap<String, State>,
    /// By the hash of the content.
    issued: HashMap<u64, Issued>,
    /// By their hash: contents that the origin announced as shorter than they are. Their length, the hash of the whole, and when.
    shortened: HashMap<u64, (usize, u64, Instant)>,
    /// When the origin last failed at anything.
    failed: Option<Instant>,
    /// When it last sent more than it had announced, which spoils the connection for whoever is next.
    overran: Option<Instant>,
    /// From when to when it was away.
    away: Option<(Instant, Option<Instant>)>,
    random: Random,
    answers: BTreeMap<&'static str, u64>,
}

/// The log.
#[derive(Debug)]
pub(crate) struct Log {
    inner: Mutex<Inner>,
    /// How long what is stale may serve while the origin cannot be reached, by the settings.
    on_outage: Duration,
}

impl Log {
    pub(crate) fn new(seed: u64, on_outage: Duration) -> Self {
        let now = Instant::now();
        let states = Resource::all().map(|resource| {
            let state = State {
                version: 1,
                changes_at: now,
                floor: 0,
                lied: None,
                troubles: VecDeque::new(),
            };
            (resource.path(), state)
        });
        let inner = Inner {
            states: states.collect(),
            issued: HashMap::new(),
            shortened: HashMap::new(),
            failed: None,
            overran: None,
            away: None,
            random: Random::new(seed, 1),
            answers: BTreeMap::new(),
        };
        Self {
            inner: Mutex::new(inner),
            on_outage,
        }
    }

    /// The present version of a resource, which changes now and then.
    pub(crate) fn version(&self, resource: Resource) -> u64 {
        let now = Instant::now();
        let mut inner = self.lock();
        let lasts = Duration::from_millis(1_000 + inner.random.below(LONGEST_VERSION_MS - 1_000));
        let Some(state) = inner.states.get_mut(&resource.path()) else {
            return 0;
        };
        if now >= state.changes_at {
            state.version += 1;
            state.changes_at = now + lasts;
        }
        state.version
    }

    /// The origin gives a version, or confirms it, in an answer whose head goes out at `at`.
    pub(crate) fn issue(&self, hash: u64, resource: Resource, who: &str, version: u64, at: Instant) {
        let lifetime = resource.lifetime();
        let fresh_until = at + lifetime.fresh;
        let until = fresh_until + lifetime.while_revalidate;
        let if_error_until = fresh_until + lifetime.if_error.max(self.on_outage);
        let mut inner = self.lock();
        let known = inner.issued.entry(hash).or_insert_with(|| Issued {
            resource,
            who: who.to_owned(),
            version,
            until,
            if_error_until,
        });
        known.until = known.until.max(until);
        known.if_error_until = known.if_error_until.max(if_error_until);
    }

    /// It announced a content as shorter than it is.
    pub(crate) fn shortened(&self, hash: u64, length: usize, whole: u64) {
        self.lock().shortened.insert(hash, (length, whole, Instant::now()));
    }

    /// It did something wrong, until about `until`.
    pub(crate) fn trouble(&self, resource: Resource, what: &'static str, until: Instant) {
        let from = Instant::now();
        let mut inner = self.lock();
        *inner.answers.entry(what).or_default() += 1;
        match what {
            // Nobody can see it from one answer.
            "slow body" => {}
            "wrong 304" => {}
            _ => inner.failed = Some(until),
        }
        if what == "too much content" {
            inner.overran = Some(until);
        }
        if let Some(state) = inner.states.get_mut(&resource.path()) {
            if what == "wrong 304" {
                state.lied = Some(from);
            }
            state.troubles.push_back(Trouble { until, what });
        }
    }

    /// It answered.
    pub(crate) fn count(&self, what: &'static str) {
        *self.lock().answers.entry(what).or_default() += 1;
    }

    /// What it answered, by kind.
    pub(crate) fn answers(&self) -> BTreeMap<&'static str, u64> {
        self.lock().answers.clone()
    }

    /// It cannot be reached from now on, or can be again.
    pub(crate) fn away(&self, away: bool) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.failed = Some(now);
        inner.away = match inner.away {
            Some((from, _)) if !away => Some((from, Some(now))),
            _ => Some((now, None)),
        };
    }

    /// The resources change now, because somebody publishes something new; their versions from here on.
    pub(crate) fn publish(&self, resources: &[Resource]) -> Vec<(Resource, u64)> {
        let now = Instant::now();
        let mut inner = self.lock();
        let mut published = Vec::new();
        for resource in resources {
            if let Some(state) = inner.states.get_mut(&resource.path()) {
                state.version += 1;
                state.changes_at = now + Duration::from_millis(LONGEST_VERSION_MS / 2);
                published.push((*resource, state.version));
            }
        }
        published
    }

    /// A purge of what was before these versions was acknowledged: it must not be served to anybody who asks from now on.
    pub(crate) fn purged(&self, published: &[(Resource, u64)]) {
        let mut inner = self.lock();
        for (resource, version) in published {
            if let Some(state) = inner.states.get_mut(&resource.path()) {
                state.floor = state.floor.max(*version);
            }
        }
    }

    /// The least version that who asks now may be given.
    pub(crate) fn floor(&self, resource: Resource) -> u64 {
        self.lock().states.get(&resource.path()).map_or(0, |state| state.floor)
    }

    /// What has the content with this hash, and how much of it that is, if not the whole.
    pub(crate) fn find(&self, hash: u64) -> Option<(Issued, Option<usize>)> {
        let inner = self.lock();
        match inner.shortened.get(&hash) {
            Some((length, whole, _)) => Some((inner.issued.get(whole)?.clone(), Some(*length))),
            None => Some((inner.issued.get(&hash)?.clone(), None)),
        }
    }

    /// As how long the origin has announced a content, beside its real length.
    pub(crate) fn announced(&self, whole: u64) -> Vec<usize> {
        let inner = self.lock();
        let of = inner.shortened.values().filter(|(_, other, _)| *other == whole);
        of.map(|(length, ..)| *length).collect()
    }

    /// Whether the origin has wrongly said since `from` that a resource has not changed.
    pub(crate) fn lied_since(&self, resource: Resource, from: Instant) -> bool {
        let inner = self.lock();
        let lied = inner.states.get(&resource.path()).and_then(|state| state.lied);
        lied.is_some_and(|at| at >= from)
    }

    /// What the origin has done wrong with a resource, or with all, since `from`, that a client can have met.
    pub(crate) fn trouble_since(&self, resource: Resource, from: Instant) -> Option<&'static str> {
        let inner = self.lock();
        let state = inner.states.get(&resource.path())?;
        let own = state.troubles.iter().rev().find(|trouble| trouble.until >= from);
        let away = inner.away.is_some_and(|(_, back)| back.is_none_or(|back| back >= from));
        let spoiled = inner.overran.is_some_and(|at| at >= from);
        own.map(|trouble| trouble.what)
            .or(away.then_some("away"))
            .or(spoiled.then_some("a spoiled connection"))
    }

    /// Whether it has failed at anything since.
    pub(crate) fn failed_since(&self, from: Instant) -> bool {
        let inner = self.lock();
        let away = inner.away.is_some_and(|(_, back)| back.is_none_or(|back| back >= from));
        away || inner.failed.is_some_and(|at| at >= from)
    }

    /// Forgets what is too old to matter.
    pub(crate) fn forget(&self) {
        let now = Instant::now();
        let recent = |at: Instant| now.saturating_duration_since(at) < REMEMBERED;
        let mut inner = self.lock();
        inner.issued.retain(|_, issued| recent(issued.if_error_until));
        inner.shortened.retain(|_, (.., at)| recent(*at));
        for state in inner.states.values_mut() {
            state.troubles.retain(|trouble| recent(trouble.until));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
