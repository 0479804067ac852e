//! What a worker is told by others: by the main thread, by other workers, by itself.

use std::collections::VecDeque;
use std::sync::Arc;

/// Something a worker is told.
#[derive(Debug)]
pub(crate) enum Note {
    /// A configuration came.
    Configure { root: u32, document: Arc<[u8]> },
    /// A message on the control stream.
    Message { stream: u32, message: Vec<u8> },
    /// The control stream has ended.
    Closed { stream: u32, status: u32 },
    /// A unary gRPC call has ended.
    Asked { number: u32, status: u32, message: Vec<u8> },
    /// A callout could not be started.
    Refused { number: u32 },
    /// A callout has ended: lines of its head, none where it failed, and its content.
    Called {
        number: u32,
        lines: usize,
        fields: Vec<u8>,
        content: Vec<u8>,
    },
}

impl Note {
    /// A callout that came to nothing.
    pub(crate) fn called_in_vain(number: u32) -> Self {
        Self::Called {
            number,
            lines: 0,
            fields: Vec::new(),
            content: Vec::new(),
        }
    }
}

/// What a worker has not seen yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) notes: VecDeque<Note>,
    /// Items of the core's queue.
    pub(crate) wakes: VecDeque<Vec<u8>>,
    /// A tick is due.
    pub(crate) tick: bool,
}

impl Inbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.notes.is_empty() && self.wakes.is_empty() && !self.tick
    }
}
