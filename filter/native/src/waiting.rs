//! A stream that waits.
#![allow(unsafe_code)]

use crate::envoy::{Filter, KeptFilter};

/// Listed in its worker as long as its filter is alive and waits.
#[derive(Debug)]
pub(crate) struct Waiting(KeptFilter);

impl Waiting {
    pub(crate) fn of(filter: Filter) -> Self {
        Self(filter.keep())
    }

    /// Its filter.
    pub(crate) fn filter(&self) -> Filter {
        // SAFETY: the list is emptied of it before its filter ends. While it is listed only the worker's own thread has the core work, and
        // does something to streams: `Worker::round` and `Worker::recover` see to it.
        unsafe { self.0.filter() }
    }
}
