//! Where a worker is reached by other threads: what it is told, and the bell by which its own thread is called.

use crate::envoy::Bell;
use crate::note::{Inbox, Note};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// By what waiting streams are called.
#[derive(Debug, Default)]
struct Bells {
    /// One for each.
    hung: BTreeMap<u32, Bell>,
    /// The one that was rung, and has not been heard yet.
    rung: Option<u32>,
}

/// The part of a worker that every thread may use.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// The worker's number, which is that of its queue.
    pub(crate) number: u32,
    inbox: Mutex<Inbox>,
    bells: Mutex<Bells>,
}

/// Locks what is whole even after a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailbox {
    pub(crate) fn new(number: u32) -> Self {
        Self {
            number,
            inbox: Mutex::default(),
            bells: Mutex::default(),
        }
    }

    pub(crate) fn deliver(&self, note: Note) {
        lock(&self.inbox).notes.push_back(note);
    }

    pub(crate) fn wake(&self, item: Vec<u8>) {
        lock(&self.inbox).wakes.push_back(item);
    }

    pub(crate) fn next_wake(&self) -> Option<Vec<u8>> {
        lock(&self.inbox).wakes.pop_front()
    }

    pub(crate) fn tick(&self) {
        lock(&self.inbox).tick = true;
    }

    pub(crate) fn has_work(&self) -> bool {
        !lock(&self.inbox).is_empty()
    }

    /// Calls the worker's own thread; false where none of its streams waits, and the main thread may visit it.
    pub(crate) fn ring(&self) -> bool {
        let mut bells = lock(&self.bells);
        let Bells { hung, rung } = &mut *bells;
        if rung.is_some_and(|rung| hung.contains_key(&rung)) {
            return true;
        }
        let Some((context, bell)) = hung.first_key_value() else {
            return false;
        };
        *rung = Some(*context);
        bell.ring(0);
        true
    }

    /// The bell that was rung has been answered.
    pub(crate) fn bell_answered(&self) {
        lock(&self.bells).rung = None;
    }

    /// A stream that waits may be called by its bell.
    pub(crate) fn hang(&self, context: u32, bell: Bell) {
        lock(&self.bells).hung.insert(context, bell);
    }

    /// A stream waits no longer. True where it was called, and did not come.
    pub(crate) fn take_down(&self, context: u32) -> bool {
        let mut bells = lock(&self.bells);
        let bell = bells.hung.remove(&context);
        let was_rung = bells.rung.take_if(|rung| *rung == context).is_some();
        drop(bells);
        drop(bell);
        was_rung
    }

    /// What the worker was told, and whether a tick is due; the items of its queue stay.
    pub(crate) fn take_notes(&self) -> (VecDeque<Note>, bool) {
        let mut inbox = lock(&self.inbox);
        (std::mem::take(&mut inbox.notes), std::mem::take(&mut inbox.tick))
    }

    pub(crate) fn has_wakes(&self) -> bool {
        !lock(&self.inbox).wakes.is_empty()
    }
}
