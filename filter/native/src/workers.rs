//! All workers of the process, and the main thread's visits to them.

use crate::envoy;
use crate::guard;
use crate::note::Note;
use crate::process::{Process, TICK};
use crate::stream::Stream;
use crate::worker::Worker;
use std::sync::{Arc, PoisonError, RwLock};

/// Rounds of one visit of the main thread; what is left waits for the next.
const ROUNDS: usize = 64;

static WORKERS: RwLock<Vec<Arc<Worker>>> = RwLock::new(Vec::new());

/// A stream and its worker, as Envoy's filter object holds them.
#[derive(Debug)]
pub(crate) struct Attached {
    /// A thread that is none of Envoy's workers has no state: its streams pass.
    pub(crate) worker: Option<Arc<Worker>>,
    pub(crate) stream: Stream,
}

impl Attached {
    /// A stream of Envoy's thread with this index.
    pub(crate) fn new(index: u32, context: u32) -> Self {
        let workers = WORKERS.read().unwrap_or_else(PoisonError::into_inner);
        let worker = usize::try_from(index).ok().and_then(|index| workers.get(index));
        Self {
            worker: worker.cloned(),
            stream: Stream::new(context),
        }
    }
}

fn all() -> Vec<Arc<Worker>> {
    WORKERS.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A configuration came; `None` where it is refused. On the main thread.
pub(crate) fn configure(process: &'static Process, envoys: envoy::Config, document: &[u8]) -> Option<usize> {
    let (number, news) = process.add_config(envoys, document)?;
    if process.api.only_validates() {
        return Some(number);
    }
    make(process);
    if let Some(document) = news {
        spread(process, &document);
    }
    process.start_clock();
    Some(number)
}

/// A configuration is gone. Where it was the newest, the one before is in force again.
pub(crate) fn forget(process: &'static Process, number: usize) {
    if let Some(document) = process.remove_config(number) {
        spread(process, &document);
    }
}

fn make(process: &Process) {
    let mut workers = WORKERS.write().unwrap_or_else(PoisonError::into_inner);
    let wanted = process.api.worker_count().max(1);
    while workers.len() < usize::try_from(wanted).unwrap_or(1) {
        workers.push(Arc::new(Worker::new(process.new_mailbox())));
    }
}

/// Tells all workers of a configuration, before the first request.
fn spread(process: &'static Process, document: &Arc<[u8]>) {
    let root = process.next_number();
    for worker in all() {
        worker.mailbox.deliver(Note::Configure {
            root,
            document: Arc::clone(document),
        });
    }
    visit(process);
}

/// The main thread has come.
pub(crate) fn on_main(process: &'static Process, event: u64) {
    process.main_came();
    if event == TICK {
        all().iter().for_each(|worker| worker.mailbox.tick());
        process.export_statistics();
    }
    visit(process);
}

/// Visits all workers that may be visited, and runs their errands, until there is nothing left to do. On another thread, has the main one
/// do it.
pub(crate) fn visit(process: &'static Process) {
    let Some(at_work) = process.begin_work() else { return };
    let mut busy = true;
    for _ in 0..ROUNDS {
        busy = process.run_errands();
        for worker in all() {
            let visited = guard::run(process, "a visit of a worker", || worker.run(process, false));
            if visited.is_none() {
                worker.recover(process, false);
            }
            busy |= visited == Some(true);
        }
        if !busy {
            break;
        }
    }
    drop(at_work);
    if busy || process.has_errands() {
        process.call_main();
    }
}
