//! A panic ends here. Beyond, in Envoy's own code, it would end the process with all its connections.

use crate::process::{ERROR, Process};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work`; `None` after a panic, which is counted and told.
pub(crate) fn run<R>(process: &Process, what: &str, work: impl FnOnce() -> R) -> Option<R> {
    // What it leaves half-way is a worker's state, whose lock tells of it, or is whole at each step.
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    if done.is_none() {
        process.statistics.count_panic();
        crate::abi::log(ERROR, &format!("a defect in {what} was caught: the request passes"));
    }
    done
}

/// Has panics written to Envoy's log, with where they happened.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload();
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        crate::abi::log(ERROR, &format!("panic at {place}: {text}"));
    }));
}
