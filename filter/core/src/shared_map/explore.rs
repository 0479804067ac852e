//! Every order in which workers can use shared data, with workers that may die between any two calls.
//!
//! Calls of the host are all that workers see of each other, so interleaving them is exact. A worker is run anew for each of its calls: what it
//! was answered before is answered again, and after its next call it is stopped. So no threads are needed, and states that were reached in
//! another order before are left out.

use super::{Cas, MemoryMap, SetError, SharedMap};
use std::cell::{Cell, RefCell};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

type Values = BTreeMap<Vec<u8>, (Vec<u8>, Cas)>;

/// Shared data as [`MemoryMap`] has it, of which a copy costs as much as what has changed.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    base: Rc<Values>,
    changed: RefCell<Values>,
    last: Cell<Cas>,
}

impl Data {
    fn of(map: &MemoryMap) -> Self {
        let keys = map.keys().into_iter();
        let base: Values = keys
            .filter_map(|key| {
                let version = map.version(&key)?;
                let value = map.get(&key).map(|(value, _)| value).unwrap_or_default();
                Some((key, (value, version)))
            })
            .collect();
        let last = base.values().map(|(_, cas)| *cas).max().unwrap_or(0);
        Self {
            base: Rc::new(base),
            changed: RefCell::default(),
            last: Cell::new(last),
        }
    }

    fn held(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)> {
        self.changed.borrow().get(key).or_else(|| self.base.get(key)).cloned()
    }
}

impl SharedMap for Data {
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)> {
        self.held(key).filter(|(value, _)| !value.is_empty())
    }

    fn set(&self, key: &[u8], value: &[u8], cas: Option<Cas>) -> Result<(), SetError> {
        if let (Some(wanted), Some((_, present))) = (cas.filter(|cas| *cas != 0), self.held(key))
            && wanted != present
        {
            return Err(SetError::CasMismatch);
        }
        self.last.set(self.last.get().wrapping_add(1).max(1));
        self.changed
            .borrow_mut()
            .insert(key.to_vec(), (value.to_vec(), self.last.get()));
        Ok(())
    }

    fn version(&self, key: &[u8]) -> Option<Cas> {
        self.held(key).map(|(_, cas)| cas)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Answer {
    Got(Option<(Vec<u8>, Cas)>),
    Version(Option<Cas>),
    /// `None`: it was written; else whether the version had moved on.
    Set(Option<bool>),
}

struct Stop;

/// The shared data of one worker in one of its runs.
pub(crate) struct Stepped<'a> {
    data: &'a Data,
    answered: &'a [Answer],
    at: Cell<usize>,
    next: RefCell<Option<Answer>>,
}

impl Stepped<'_> {
    fn call(&self, call: impl FnOnce(&Data) -> Answer) -> Answer {
        if let Some(answer) = self.answered.get(self.at.get()) {
            self.at.set(self.at.get() + 1);
            return answer.clone();
        }
        *self.next.borrow_mut() = Some(call(self.data));
        resume_unwind(Box::new(Stop));
    }
}

impl SharedMap for Stepped<'_> {
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)> {
        match self.call(|data| Answer::Got(data.get(key))) {
            Answer::Got(got) => got,
            other => unreachable!("a worker that is not the same each time: {other:?}"),
        }
    }

    fn set(&self, key: &[u8], value: &[u8], cas: Option<Cas>) -> Result<(), SetError> {
        let set = |data: &Data| {
            Answer::Set(
                data.set(key, value, cas)
                    .err()
                    .map(|error| error == SetError::CasMismatch),
            )
        };
        match self.call(set) {
            Answer::Set(None) => Ok(()),
            Answer::Set(Some(true)) => Err(SetError::CasMismatch),
            Answer::Set(Some(false)) => Err(SetError::Host),
            other => unreachable!("a worker that is not the same each time: {other:?}"),
        }
    }

    fn version(&self, key: &[u8]) -> Option<Cas> {
        match self.call(|data| Answer::Version(data.version(key))) {
            Answer::Version(version) => version,
            other => unreachable!("a worker that is not the same each time: {other:?}"),
        }
    }
}

/// The state of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum WorkerState {
    Running,
    /// It ended, with a result.
    Ended(String),
    Dead,
}

impl WorkerState {
    /// What it ended with.
    pub(crate) fn result(&self) -> Option<&str> {
        match self {
            Self::Ended(result) => Some(result),
            _ => None,
        }
    }
}

/// What a worker does, to a result that says what it believes.
pub(crate) type Work<'w> = &'w dyn Fn(&Stepped<'_>) -> String;

#[derive(Clone)]
struct State {
    data: Data,
    answered: Vec<Vec<Answer>>,
    workers: Vec<WorkerState>,
    deaths: usize,
}

impl State {
    fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.data.changed.borrow().hash(&mut hasher);
        (&self.answered, &self.workers, self.deaths).hash(&mut hasher);
        hasher.finish()
    }

    /// One more call of a worker. False when it had ended before one.
    fn step(&mut self, worker: usize, work: Work<'_>) -> bool {
        let stepped = Stepped {
            data: &self.data,
            answered: &self.answered[worker],
            at: Cell::new(0),
            next: RefCell::default(),
        };
        match catch_unwind(AssertUnwindSafe(|| work(&stepped))) {
            Ok(result) => {
                self.workers[worker] = WorkerState::Ended(result);
                false
            }
            Err(cause) if cause.is::<Stop>() => {
                let next = stepped.next.into_inner();
                self.answered[worker].extend(next);
                true
            }
            Err(cause) => resume_unwind(cause),
        }
    }
}

/// Runs the workers in every order, with up to so many deaths, and looks at each end. The number of states.
pub(crate) fn explore(
    map: &MemoryMap,
    work: &[Work<'_>],
    deaths: usize,
    check: impl FnMut(&Data, &[WorkerState]),
) -> usize {
    explore_seeing(map, work, deaths, usize::MAX, |_| (), check)
}

/// As [`explore`], with a look at the shared data of every state on the way. Left out are orders in which a worker is made to try again
/// so often that it needs more than so many calls.
pub(crate) fn explore_seeing(
    map: &MemoryMap,
    work: &[Work<'_>],
    deaths: usize,
    calls: usize,
    mut see: impl FnMut(&Data),
    mut check: impl FnMut(&Data, &[WorkerState]),
) -> usize {
    let mut seen = HashSet::new();
    let mut open = vec![State {
        data: Data::of(map),
        answered: vec![Vec::new(); work.len()],
        workers: vec![WorkerState::Running; work.len()],
        deaths,
    }];
    while let Some(state) = open.pop() {
        if !seen.insert(state.print()) {
            continue;
        }
        see(&state.data);
        let running: Vec<usize> = (0..work.len())
            .filter(|at| state.workers[*at] == WorkerState::Running)
            .collect();
        if running.is_empty() {
            check(&state.data, &state.workers);
        }
        for worker in running {
            if state.answered[worker].len() >= calls {
                continue;
            }
            let mut next = state.clone();
            next.step(worker, work[worker]);
            open.push(next);
            if state.deaths > 0 && !state.answered[worker].is_empty() {
                let mut next = state.clone();
                next.workers[worker] = WorkerState::Dead;
                next.deaths -= 1;
                open.push(next);
            }
        }
    }
    println!("{} states", seen.len());
    seen.len()
}

#[test]
fn a_counter_without_comparison_loses_and_one_with_it_does_not() {
    let map = MemoryMap::default();
    map.set(b"n", &[0], None).unwrap();
    let add = |compared: bool| {
        move |map: &Stepped<'_>| {
            loop {
                let (value, cas) = map.get(b"n").unwrap();
                if map.set(b"n", &[value[0] + 1], compared.then_some(cas)).is_ok() {
                    return String::new();
                }
            }
        }
    };
    for (compared, least) in [(false, 1), (true, 3)] {
        let (one, mut found) = (add(compared), HashSet::new());
        let states = explore(&map, &[&one, &one, &one], 0, |data, _| {
            found.insert(data.get(b"n").unwrap().0[0]);
        });
        assert_eq!(found.iter().min(), Some(&least), "{states} states");
    }
    let (one, mut found) = (add(true), HashSet::new());
    explore(&map, &[&one, &one], 1, |data, workers| {
        let dead = workers.contains(&WorkerState::Dead);
        found.insert((dead, data.get(b"n").unwrap().0[0]));
    });
    assert_eq!(found, HashSet::from([(false, 2), (true, 1), (true, 2)]));
}
