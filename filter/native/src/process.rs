//! What this library has once in the process, below the workers: the shared map, where each worker is reached, the configurations, what
//! the main thread is to do, and the clock that ticks for all.

use crate::abi::Api;
use crate::envoy;
use crate::errand::Errand;
use crate::links::{Links, Notice};
use crate::mailbox::{Mailbox, lock};
use crate::shared::Shared;
use crate::statistics::{Defined, Statistics};
use filter_core::driver::shell;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError, RwLock};
use std::thread::ThreadId;
use std::time::Duration;

/// What the main thread is called for.
const ERRANDS: u64 = 0;
pub(crate) const TICK: u64 = 1;

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
    mailboxes: RwLock<Vec<Arc<Mailbox>>>,
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

/// The main thread is at work in this library.
pub(crate) struct AtWork;

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
            mailboxes: RwLock::default(),
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

    /// Where the worker with this queue is reached.
    pub(crate) fn mailbox(&self, number: u32) -> Option<Arc<Mailbox>> {
        let mailboxes = self.mailboxes.read().unwrap_or_else(PoisonError::into_inner);
        mailboxes.iter().find(|mailbox| mailbox.number == number).cloned()
    }

    /// For one worker more.
    pub(crate) fn new_mailbox(&self) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox::new(self.next_number()));
        let mut mailboxes = self.mailboxes.write().unwrap_or_else(PoisonError::into_inner);
        mailboxes.push(Arc::clone(&mailbox));
        mailbox
    }

    /// A configuration came; `None` where it is refused. On the main thread. Its number, and its text where the workers are to hear of it:
    /// of listeners that come and go with the same configuration they need not.
    pub(crate) fn add_config(&self, envoys: envoy::Config, document: &[u8]) -> Option<(usize, Option<Arc<[u8]>>)> {
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
        let is_changed = configs.last().is_none_or(|before| before.document != document);
        configs.push(Config {
            number,
            envoys,
            document: Arc::clone(&document),
            defined,
        });
        Some((number, is_changed.then_some(document)))
    }

    /// A configuration is gone. Where it was the newest and the one before is another one, that one's text: it is in force again.
    pub(crate) fn remove_config(&self, number: usize) -> Option<Arc<[u8]>> {
        let mut configs = lock(&self.configs);
        let at = configs.iter().position(|config| config.number == number)?;
        let was_newest = at + 1 == configs.len();
        let gone = configs.remove(at);
        let before = configs.last().map(|config| Arc::clone(&config.document));
        drop(configs);
        self.deliver(self.links.drop_config(gone.envoys.address()));
        before.filter(|document| was_newest && *document != gone.document)
    }

    /// One thread ticks for all, for as long as the process lives: it calls the main thread, which looks after the workers.
    pub(crate) fn start_clock(&'static self) {
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

    pub(crate) fn call_main(&self) {
        if !AT_WORK.get() && !self.called.swap(true, Ordering::AcqRel) {
            self.commit(ERRANDS);
        }
    }

    /// Has a worker see what it was told.
    pub(crate) fn ring(&self, mailbox: &Mailbox) {
        if !mailbox.ring() {
            self.call_main();
        }
    }

    pub(crate) fn send_errand(&self, errand: Errand) {
        lock(&self.errands).push_back(errand);
        self.call_main();
    }

    /// Delivers notes to their workers.
    pub(crate) fn deliver(&self, notices: impl IntoIterator<Item = Notice>) {
        for (owner, note) in notices {
            if let Some(mailbox) = self.mailbox(owner) {
                mailbox.deliver(note);
                self.ring(&mailbox);
            }
        }
    }

    /// The main thread has come.
    pub(crate) fn main_came(&self) {
        self.called.store(false, Ordering::Release);
    }

    /// Exports the statistics to Envoy.
    pub(crate) fn export_statistics(&self) {
        if let Some(config) = lock(&self.configs).last() {
            self.statistics.export(&config.envoys, &config.defined);
        }
    }

    /// The main thread is at work here until what is answered is dropped. `None` where it is so already, or this is another thread: then it
    /// is called.
    pub(crate) fn begin_work(&self) -> Option<AtWork> {
        if std::thread::current().id() != self.main {
            self.call_main();
            return None;
        }
        (!AT_WORK.get()).then(AtWork::begin)
    }

    pub(crate) fn has_errands(&self) -> bool {
        !lock(&self.errands).is_empty()
    }

    /// Does what workers have asked of the main thread. False where that was nothing.
    pub(crate) fn run_errands(&self) -> bool {
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
            self.deliver(note.map(|note| (owner, note)));
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
