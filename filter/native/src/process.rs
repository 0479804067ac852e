//! What this library has once in the process: the shared map, the workers, the configurations, and the clock that ticks for all.

use crate::abi::Api;
use crate::envoy;
use crate::errand::Errand;
use crate::guard;
use crate::links::{Links, Told};
use crate::note::Note;
use crate::shared::Shared;
use crate::statistics::{Defined, Statistics};
use crate::worker::{Worker, lock};
use filter_core::driver::shell;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError, RwLock};
use std::thread::ThreadId;
use std::time::Duration;

/// What the main thread is called for.
const ERRANDS: u64 = 0;
const TICK: u64 = 1;

/// Rounds of one visit of the main thread; what is left waits for the next.
const ROUNDS: usize = 64;

/// A filter configuration of Envoy's.
#[derive(Debug)]
struct Config {
    number: usize,
    /// Alive as long as it is listed.
    envoys: envoy::Config,
    document: Arc<[u8]>,
    defined: Defined,
}

/// The one of this library.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) api: &'static Api,
    pub(crate) shared: Shared,
    pub(crate) links: Links,
    pub(crate) statistics: Statistics,
    workers: RwLock<Vec<Arc<Worker>>>,
    /// The newest last.
    configs: Mutex<Vec<Config>>,
    errands: Mutex<VecDeque<Errand>>,
    numbers: AtomicU32,
    main: ThreadId,
    /// The main thread was called and has not come yet.
    called: AtomicBool,
}

static PROCESS: OnceLock<Process> = OnceLock::new();

thread_local! {
    /// This thread is the main one and at work here: it need not be called.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

struct AtWork;

impl AtWork {
    fn begin() -> Self {
        AT_WORK.set(true);
        Self
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK.set(false);
    }
}

impl Process {
    /// What this library has; `None` before it was loaded.
    pub(crate) fn get() -> Option<&'static Self> {
        PROCESS.get()
    }

    /// As the library is loaded.
    pub(crate) fn start(api: &'static Api) -> &'static Self {
        PROCESS.get_or_init(|| Self {
            api,
            shared: Shared::open(api),
            links: Links::default(),
            statistics: Statistics::new(),
            workers: RwLock::default(),
            configs: Mutex::default(),
            errands: Mutex::default(),
            // Another library's workers have numbers of their own, and read of ours in what they share.
            numbers: AtomicU32::new(first_number()),
            main: std::thread::current().id(),
            called: AtomicBool::new(false),
        })
    }

    /// Of calls, streams, configurations.
    pub(crate) fn next_number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn workers(&self) -> Vec<Arc<Worker>> {
        self.workers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The worker with this queue.
    pub(crate) fn worker(&self, number: u32) -> Option<Arc<Worker>> {
        let workers = self.workers.read().unwrap_or_else(PoisonError::into_inner);
        workers.iter().find(|worker| worker.number == number).cloned()
    }

    /// The worker of Envoy's thread with this index.
    pub(crate) fn worker_at(&self, index: u32) -> Option<Arc<Worker>> {
        let index = usize::try_from(index).ok()?;
        let workers = self.workers.read().unwrap_or_else(PoisonError::into_inner);
        workers.get(index).cloned()
    }

    /// A configuration came; `None` where it is refused. On the main thread.
    pub(crate) fn configure(&'static self, envoys: envoy::Config, document: &[u8]) -> Option<usize> {
        if let Err(violations) = shell::check(document) {
            for violation in violations {
                crate::abi::log(ERROR, &format!("configuration of the filter refused: {violation}"));
            }
            return None;
        }
        let defined = self.statistics.define(&envoys);
        let number = usize::try_from(self.next_number()).ok()?.max(1);
        let document: Arc<[u8]> = Arc::from(document);
        let mut configs = lock(&self.configs);
        let before = configs.last().map(|config| Arc::clone(&config.document));
        configs.push(Config {
            number,
            envoys,
            document: Arc::clone(&document),
            defined,
        });
        drop(configs);
        if self.api.only_validates() {
            return Some(number);
        }
        self.make_workers();
        // Of listeners that come and go with the same configuration the workers need not hear.
        if before.as_ref() != Some(&document) {
            self.spread(&document);
        }
        self.start_clock();
        Some(number)
    }

    fn make_workers(&self) {
        let mut workers = self.workers.write().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.api.worker_count().max(1);
        while workers.len() < usize::try_from(wanted).unwrap_or(1) {
            workers.push(Arc::new(Worker::new(self.next_number())));
        }
    }

    /// Tells all workers of a configuration, before the first request.
    fn spread(&'static self, document: &Arc<[u8]>) {
        let root = self.next_number();
        for worker in self.workers() {
            worker.tell(Note::Configure {
                root,
                document: Arc::clone(document),
            });
        }
        self.visit_all();
    }

    /// A configuration is gone. Where it was the newest, the one before is in force again.
    pub(crate) fn forget(&'static self, number: usize) {
        let mut configs = lock(&self.configs);
        let Some(at) = configs.iter().position(|config| config.number == number) else {
            return;
        };
        let was_newest = at + 1 == configs.len();
        let gone = configs.remove(at);
        let before = configs.last().map(|config| Arc::clone(&config.document));
        drop(configs);
        self.tell(self.links.drop_config(gone.envoys.address()));
        if let Some(document) = before.filter(|document| was_newest && *document != gone.document) {
            self.spread(&document);
        }
    }

    /// One thread ticks for all, for as long as the process lives: it calls the main thread, which looks after the workers.
    fn start_clock(&'static self) {
        static STARTED: Once = Once::new();
        STARTED.call_once(|| {
            let clock = std::thread::Builder::new().name("optimizer-clock".to_owned());
            let started = clock.spawn(|| {
                loop {
                    std::thread::sleep(Duration::from_millis(u64::from(shell::TICK_MS)));
                    self.commit(TICK);
                }
            });
            if started.is_err() {
                crate::abi::log(ERROR, "no tick, settings and telemetry stand still");
            }
        });
    }

    /// Calls the main thread, if there is a configuration to call it by.
    fn commit(&self, event: u64) {
        if let Some(config) = lock(&self.configs).last() {
            config.envoys.ring(event);
        }
    }

    fn call_main(&self) {
        if !AT_WORK.get() && !self.called.swap(true, Ordering::AcqRel) {
            self.commit(ERRANDS);
        }
    }

    /// Has a worker see what it was told.
    pub(crate) fn ring(&self, worker: &Worker) {
        if !worker.ring() {
            self.call_main();
        }
    }

    pub(crate) fn send_errand(&self, errand: Errand) {
        lock(&self.errands).push_back(errand);
        self.call_main();
    }

    /// Passes notes on to their workers.
    pub(crate) fn tell(&self, told: impl IntoIterator<Item = Told>) {
        for (owner, note) in told {
            if let Some(worker) = self.worker(owner) {
                worker.tell(note);
                self.ring(&worker);
            }
        }
    }

    /// The main thread has come.
    pub(crate) fn on_main(&'static self, event: u64) {
        self.called.store(false, Ordering::Release);
        if event == TICK {
            self.workers().iter().for_each(|worker| worker.tick());
            if let Some(config) = lock(&self.configs).last() {
                self.statistics.tell(&config.envoys, &config.defined);
            }
        }
        self.visit_all();
    }

    /// Visits all workers that may be visited, and runs their errands, until there is nothing left to do.
    pub(crate) fn visit_all(&'static self) {
        if std::thread::current().id() != self.main {
            return self.call_main();
        }
        if AT_WORK.get() {
            return;
        }
        let at_work = AtWork::begin();
        let mut busy = true;
        for _ in 0..ROUNDS {
            busy = self.run_errands();
            for worker in self.workers() {
                let visited = guard::run(self, "a visit of a worker", || worker.run(self, false));
                if visited.is_none() {
                    worker.recover(self, false);
                }
                busy |= visited == Some(true);
            }
            if !busy {
                break;
            }
        }
        drop(at_work);
        if busy || !lock(&self.errands).is_empty() {
            self.call_main();
        }
    }

    fn run_errands(&self) -> bool {
        let errands = std::mem::take(&mut *lock(&self.errands));
        let any = !errands.is_empty();
        for errand in errands {
            let owner = errand.owner;
            // Locked until Envoy returns: a configuration may be let go of on another thread. Hooks that Envoy calls from within do not
            // take this lock.
            let configs = lock(&self.configs);
            let note = match configs.last() {
                Some(config) => errand.run(&config.envoys, &self.links),
                None => errand.fail(&self.links),
            };
            drop(configs);
            self.tell(note.map(|note| (owner, note)));
        }
        any
    }
}

/// Envoy's level for errors.
pub(crate) const ERROR: u32 = 4;

fn first_number() -> u32 {
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1_u8);
    // Far from the end of the range, where numbers would begin again.
    u32::try_from(random >> 33).unwrap_or(1).max(1)
}
