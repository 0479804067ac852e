//! One stream, as Envoy's filter object holds it.

use filter_core::driver::exchange::SharedExchange;
use std::cell::RefCell;

/// Of one worker's thread, from the filter's beginning to its end.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) context: u32,
    /// What the core remembers of it, and of which state of the worker. Touched under the worker's lock only.
    exchange: RefCell<Option<(u32, SharedExchange)>>,
}

impl Stream {
    pub(crate) fn new(context: u32) -> Self {
        Self {
            context,
            exchange: RefCell::new(None),
        }
    }

    /// The exchange, which begins here; `None` where its state was lost, or the stream has ended.
    pub(crate) fn exchange(&self, generation: u32) -> Option<SharedExchange> {
        let mut exchange = self.exchange.try_borrow_mut().ok()?;
        let (of, shared) = exchange.get_or_insert_with(|| (generation, SharedExchange::default()));
        (*of == generation).then(|| SharedExchange::clone(shared))
    }

    /// The same, for the last time.
    pub(crate) fn end(&self, generation: u32) -> Option<SharedExchange> {
        let (of, shared) = self.exchange.try_borrow_mut().ok()?.take()?;
        (of == generation).then_some(shared)
    }
}
