//! One worker: the core's state, and what keeps it to one thread at a time.
//!
//! Envoy has no timers and no calls for a worker's thread: only streams can be called there. So a worker is visited by its own thread, in
//! hooks of its streams, and, while none of its streams waits, by the main thread: for ticks, messages and answers. While some wait, a bell
//! of one of them brings its own thread, as only that may let them go on.
#![allow(unsafe_code)]

use crate::envoy::Filter;
use crate::host::{Brought, NativeHost};
use crate::mailbox::{Mailbox, lock};
use crate::note::Note;
use crate::process::Process;
use crate::reply::Action;
use crate::stream::Stream;
use crate::waiting::Waiting;
use filter_core::driver::exchange::{Flow, SharedExchange};
use filter_core::driver::vm::{RootId, Vm};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};

/// What the core knows in one worker.
#[derive(Debug)]
struct State {
    vm: Vm,
    root: RootId,
    /// The configuration in force.
    document: Arc<[u8]>,
    waiting: BTreeMap<u32, Waiting>,
    /// Counts the states that were lost.
    generation: u32,
}

/// A state that moves between threads.
#[derive(Debug)]
struct Confined(State);

// SAFETY: the core counts its references without atomics. Whatever belongs to a worker, its state and its streams' exchanges, is touched
// only while this worker's lock is held, and the lock orders one thread's work before the next one's. Nothing of it leaves the lock. What
// the core keeps per thread is one name without letters, which exchanges of that thread's worker refer to.
unsafe impl Send for Confined {}

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) mailbox: Arc<Mailbox>,
    state: Mutex<Confined>,
}

thread_local! {
    /// This thread holds some worker's state: a hook now is inside a call of ours, and must not wait for it.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

struct Inside;

impl Inside {
    fn enter() -> Option<Self> {
        (!INSIDE.replace(true)).then_some(Self)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

/// What came of a visit: the answer, and what is to be done to streams.
type Visit<R> = (R, Vec<(u32, Action)>);

impl Worker {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self {
            mailbox,
            state: Mutex::new(Confined(State {
                vm: Vm::new(),
                root: RootId(0),
                document: Arc::from([]),
                waiting: BTreeMap::new(),
                generation: 0,
            })),
        }
    }

    /// A stream waits no longer: answers its filter. On the worker's own thread.
    pub(crate) fn take_waiting(&self, process: &Process, context: u32) -> Option<Filter> {
        let _inside = Inside::enter()?;
        let taken = self.lock_even_poisoned().0.waiting.remove(&context)?;
        if self.mailbox.take_down(context) && self.mailbox.has_work() {
            process.ring(&self.mailbox);
        }
        Some(taken.filter())
    }

    /// The list of waiting streams is whole at each step, whatever the core left half-way.
    fn lock_even_poisoned(&self) -> MutexGuard<'_, Confined> {
        lock(&self.state)
    }

    /// Has the core work on a stream of this thread. `None`: it is to pass. A request that the core neither answers nor lets go on waits.
    pub(crate) fn visit(
        &self,
        process: &'static Process,
        filter: Filter,
        stream: &Stream,
        in_response: bool,
        work: impl FnOnce(&mut Vm, &NativeHost<'_>, &SharedExchange) -> Flow,
    ) -> Option<Visit<Flow>> {
        let _inside = Inside::enter()?;
        let mut state = self.state.lock().ok()?;
        let State {
            vm,
            waiting,
            generation,
            ..
        } = &mut state.0;
        let exchange = stream.exchange(*generation)?;
        let mut host = self.host(process, waiting, Brought::default());
        host.filter.set(Some(filter));
        host.context.set(stream.context);
        host.in_response = in_response;
        let flow = work(vm, &host, &exchange);
        let actions = host.actions.into_inner();
        let is_answered = actions.iter().any(|(context, _)| *context == stream.context);
        let waits = flow != Flow::Continue && !is_answered && !in_response;
        if waits
            && waiting.insert(stream.context, Waiting::of(filter)).is_none()
            && let Some(bell) = filter.bell()
        {
            self.mailbox.hang(stream.context, bell);
        }
        Some((flow, actions))
    }

    /// Takes a stream's exchange from it: it is over.
    pub(crate) fn end(&self, process: &'static Process, filter: Option<Filter>, stream: &Stream) {
        let Some(_inside) = Inside::enter() else { return };
        let mut state = self.lock_even_poisoned();
        let State {
            vm,
            waiting,
            generation,
            ..
        } = &mut state.0;
        // Whatever becomes of it, it is let go of under the lock.
        let exchange = stream.end(*generation);
        if let Some(exchange) = exchange.filter(|_| !self.state.is_poisoned()) {
            let host = self.host(process, waiting, Brought::default());
            host.filter.set(filter);
            host.context.set(stream.context);
            vm.on_end(&host, &exchange);
        }
    }

    fn host<'h>(
        &'h self,
        process: &'static Process,
        waiting: &'h BTreeMap<u32, Waiting>,
        brought: Brought,
    ) -> NativeHost<'h> {
        NativeHost {
            process,
            mailbox: &self.mailbox,
            waiting,
            filter: Cell::new(None),
            context: Cell::new(0),
            in_response: false,
            brought,
            actions: RefCell::default(),
        }
    }

    /// Works off what the worker was told, one round of it. False where there was nothing, or where only its own thread may.
    pub(crate) fn run(&self, process: &'static Process, is_own_thread: bool) -> bool {
        if !self.mailbox.has_work() {
            return false;
        }
        let Some(actions) = self.round(process, is_own_thread) else {
            return false;
        };
        self.perform(process, None, actions);
        true
    }

    fn round(&self, process: &'static Process, is_own_thread: bool) -> Option<Vec<(u32, Action)>> {
        let _inside = Inside::enter()?;
        let mut state = self.state.lock().ok()?;
        if !is_own_thread && !state.0.waiting.is_empty() {
            drop(state);
            self.mailbox.ring();
            return None;
        }
        let (notes, tick) = self.mailbox.take_notes();
        let mut actions = Vec::new();
        for note in notes {
            actions.append(&mut self.take(process, &mut state.0, note));
        }
        let State { vm, waiting, root, .. } = &mut state.0;
        if self.mailbox.has_wakes() {
            let host = self.host(process, waiting, Brought::default());
            vm.on_wake(&host, *root, self.mailbox.number);
            actions.append(&mut host.actions.into_inner());
        }
        if tick {
            let host = self.host(process, waiting, Brought::default());
            vm.on_tick(&host, *root);
            actions.append(&mut host.actions.into_inner());
        }
        Some(actions)
    }

    fn take(&self, process: &'static Process, state: &mut State, note: Note) -> Vec<(u32, Action)> {
        let State {
            vm,
            root,
            waiting,
            document,
            ..
        } = state;
        let with = |fields, content| {
            let brought = Brought {
                fields,
                content: RefCell::new(content),
            };
            self.host(process, waiting, brought)
        };
        let host = match note {
            Note::Configure {
                root: newest,
                document: came,
            } => {
                (*root, *document) = (RootId(newest), came);
                let host = with(Vec::new(), Vec::new());
                configure(vm, &host, *root, document);
                host
            }
            Note::Message { stream, message } => {
                let size = message.len();
                let host = with(Vec::new(), message);
                vm.on_control_message(&host, *root, stream, size);
                host
            }
            Note::Closed { stream, status } => {
                let host = with(Vec::new(), Vec::new());
                vm.on_control_close(&host, stream, status);
                host
            }
            Note::Asked {
                number,
                status,
                message,
            } => {
                let size = message.len();
                let host = with(Vec::new(), message);
                vm.on_grpc_answer(&host, number, status, size);
                host
            }
            Note::Refused { number } => {
                let host = with(Vec::new(), Vec::new());
                vm.on_call_refused(&host, number);
                host
            }
            Note::Called {
                number,
                lines,
                fields,
                content,
            } => {
                let size = content.len();
                let host = with(fields, content);
                vm.on_call_response(&host, number, lines, size);
                host
            }
        };
        host.actions.into_inner()
    }

    /// Does to streams what the core wants. `own`: the stream of the running hook. No lock is held: Envoy calls back from within.
    pub(crate) fn perform(&self, process: &'static Process, own: Option<(u32, Filter)>, actions: Vec<(u32, Action)>) {
        for (context, action) in actions {
            let filter = match own {
                Some((own, filter)) if own == context => Some(filter),
                // What was done before may have ended it.
                _ => self.take_waiting(process, context),
            };
            if let Some(filter) = filter {
                action.perform(filter, context);
            }
        }
    }

    /// After a panic: a new state in place of the one that was left half-way, and those that waited in it go on. What is stored, learned and
    /// counted for all workers is not lost.
    pub(crate) fn recover(&self, process: &'static Process, is_own_thread: bool) {
        if !self.state.is_poisoned() {
            return;
        }
        let Some(inside) = Inside::enter() else { return };
        let mut state = lock(&self.state);
        if !is_own_thread && !state.0.waiting.is_empty() {
            drop(state);
            self.mailbox.ring();
            return;
        }
        let lost = std::mem::replace(&mut state.0.vm, Vm::new());
        // A second panic here would take the process with it.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(lost)));
        state.0.generation = state.0.generation.wrapping_add(1);
        self.state.clear_poison();
        let State {
            vm,
            root,
            waiting,
            document,
            ..
        } = &mut state.0;
        let actions = waiting.keys().map(|context| (*context, Action::Resume)).collect();
        let host = self.host(process, waiting, Brought::default());
        configure(vm, &host, *root, document);
        drop(state);
        drop(inside);
        self.perform(process, None, actions);
    }
}

fn configure(vm: &mut Vm, host: &NativeHost<'_>, root: RootId, document: &[u8]) {
    vm.on_start(host);
    vm.on_configure(host, root, document);
}
