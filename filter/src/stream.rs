//! HTTP streams, from Envoy's callbacks to the core.
//!
//! The SDK would keep each stream in a map of its own and be told of its beginning and its end by two further calls into the VM, each as
//! dear as a lookup in the cache. Envoy does without both where a module does not export them, and leaves it to the module what it
//! knows of a stream. So the callbacks of streams are exported here, and `filter-trim` puts them in the place of the SDK's.
#![allow(unsafe_code)]

use crate::envoy_host::EnvoyHost;
use filter_core::driver::exchange::streams::LiveStreams;
use filter_core::driver::exchange::{Exchange, Flow, SharedExchange};
use filter_core::driver::vm;
use std::cell::RefCell;

/// What a callback answers, as Envoy's host has it. For the head of a request it makes of `StopIteration` "stop all", by which no content is
/// shown, unless the plugin's configuration says `allow_on_headers_stop_iteration`.
const CONTINUE: u32 = 0;
const STOP_ITERATION: u32 = 1;
/// Content is kept, and more is not read above Envoy's limit; without the watermark Envoy would refuse the request there.
const STOP_AND_WATERMARK: u32 = 2;
const STOP_ALL_AND_WATERMARK: u32 = 4;

thread_local! {
    static LIVE: RefCell<LiveStreams> = RefCell::new(LiveStreams::default());
}

/// The answer to a head.
fn head(flow: Option<Flow>) -> u32 {
    // No VM state to ask means a callback inside a callback: the request passes.
    match flow {
        Some(Flow::Pause) => STOP_ALL_AND_WATERMARK,
        Some(Flow::Collect) => STOP_ITERATION,
        Some(Flow::Continue) | None => CONTINUE,
    }
}

/// The answer to content or trailers.
fn rest(flow: Option<Flow>, stop: u32) -> u32 {
    match flow {
        Some(Flow::Pause | Flow::Collect) => stop,
        Some(Flow::Continue) | None => CONTINUE,
    }
}

/// A stream that has shown its request; `None` for another one, which passes.
fn live(context: u32) -> Option<SharedExchange> {
    LIVE.with(|live| live.try_borrow().ok()?.get(context))
}

fn with<R>(context: u32, work: impl FnOnce(&mut vm::Vm, &mut Exchange) -> R) -> Option<R> {
    let shared = live(context)?;
    let mut exchange = shared.try_borrow_mut().ok()?;
    vm::with(|vm| work(vm, &mut exchange))
}

// SAFETY of the names: nothing else in the module has them.
#[unsafe(no_mangle)]
extern "C" fn stream_request_headers(context: u32, _count: u32, end: u32) -> u32 {
    #[cfg(feature = "trap-trigger")]
    trap_if_requested();
    let shared = LIVE.with(|live| Some(live.try_borrow_mut().ok()?.begin(context)));
    let Some(shared) = shared else { return CONTINUE };
    if end == 0
        && let Ok(mut exchange) = shared.try_borrow_mut()
    {
        exchange.expect_content();
    }
    head(vm::with(|vm| vm.on_request_headers(&EnvoyHost, &shared, context)))
}

#[unsafe(no_mangle)]
extern "C" fn stream_request_body(context: u32, size: u32, end: u32) -> u32 {
    let Some(shared) = live(context) else { return CONTINUE };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let flow = vm::with(|vm| vm.on_request_body(&EnvoyHost, &shared, context, size, end != 0));
    rest(flow, STOP_AND_WATERMARK)
}

#[unsafe(no_mangle)]
extern "C" fn stream_request_trailers(context: u32, _count: u32) -> u32 {
    let Some(shared) = live(context) else { return CONTINUE };
    let flow = vm::with(|vm| vm.on_request_trailers(&EnvoyHost, &shared, context));
    rest(flow, STOP_ITERATION)
}

#[unsafe(no_mangle)]
extern "C" fn stream_response_headers(context: u32, count: u32, end: u32) -> u32 {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    head(with(context, |vm, exchange| {
        vm.on_response_headers(&EnvoyHost, exchange, count, end != 0)
    }))
}

#[unsafe(no_mangle)]
extern "C" fn stream_response_body(context: u32, size: u32, end: u32) -> u32 {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let flow = with(context, |vm, exchange| {
        vm.on_response_body(&EnvoyHost, exchange, size, end != 0)
    });
    rest(flow, STOP_ITERATION)
}

#[unsafe(no_mangle)]
extern "C" fn stream_response_trailers(context: u32, _count: u32) -> u32 {
    let flow = with(context, |vm, exchange| vm.on_response_trailers(&EnvoyHost, exchange));
    rest(flow, STOP_ITERATION)
}

/// The last that is heard of a stream.
#[unsafe(no_mangle)]
extern "C" fn stream_log(context: u32) {
    let ended = LIVE.with(|live| live.try_borrow_mut().ok()?.end(context));
    if let Some(shared) = ended {
        vm::with(|vm| vm.on_end(&EnvoyHost, &shared));
    }
}

/// Lets those go of whose end nothing was heard. Root callbacks only.
pub(crate) fn sweep() {
    let gone = LIVE.with(|live| live.try_borrow_mut().map(|mut live| live.sweep(&EnvoyHost)));
    for shared in gone.unwrap_or_default() {
        vm::with(|vm| vm.on_end(&EnvoyHost, &shared));
    }
}

/// Ends the VM as a defect would, for the story that shows it heal. Compiled only into the test module.
#[cfg(feature = "trap-trigger")]
fn trap_if_requested() {
    use filter_core::driver::host::{Headers, MapKind};
    let map = EnvoyHost.header_map(MapKind::Request).unwrap_or_default();
    if filter_core::driver::host::header_map::parse(&map)
        .iter()
        .any(|(name, _)| *name == b"x-optimizer-trap")
    {
        core::arch::wasm32::unreachable();
    }
}
