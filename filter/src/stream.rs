//! One HTTP stream.

use crate::envoy_host::EnvoyHost;
use filter_core::driver::exchange::{Exchange, Flow, SharedExchange};
use filter_core::driver::vm;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

pub(crate) struct Stream {
    context: u32,
    exchange: SharedExchange,
}

impl Stream {
    pub(crate) fn new(context: u32) -> Self {
        Self {
            context,
            exchange: SharedExchange::default(),
        }
    }

    fn with<R>(&self, work: impl FnOnce(&mut vm::Vm, &mut Exchange) -> R) -> Option<R> {
        let mut exchange = self.exchange.try_borrow_mut().ok()?;
        vm::with(|vm| work(vm, &mut exchange))
    }
}

fn action(flow: Option<Flow>) -> Action {
    // No VM state to ask means a callback inside a callback: the request passes.
    match flow {
        Some(Flow::Pause) => Action::Pause,
        Some(Flow::Continue) | None => Action::Continue,
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, end: bool) -> Action {
        #[cfg(feature = "trap-trigger")]
        trap_if_asked();
        if !end && let Ok(mut exchange) = self.exchange.try_borrow_mut() {
            exchange.expect_content();
        }
        action(vm::with(|vm| {
            vm.on_request_headers(&EnvoyHost, &self.exchange, self.context)
        }))
    }

    fn on_http_response_headers(&mut self, count: usize, end: bool) -> Action {
        action(self.with(|vm, exchange| vm.on_response_headers(&EnvoyHost, exchange, count, end)))
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        action(self.with(|vm, exchange| vm.on_response_body(&EnvoyHost, exchange, size, end)))
    }

    fn on_http_response_trailers(&mut self, _count: usize) -> Action {
        action(self.with(|vm, exchange| vm.on_response_trailers(&EnvoyHost, exchange)))
    }

    fn on_log(&mut self) {
        vm::with(|vm| vm.on_end(&EnvoyHost, &self.exchange));
    }
}

/// Ends the VM as a defect would, for the story that shows it heal. Compiled only into the test module.
#[cfg(feature = "trap-trigger")]
fn trap_if_asked() {
    use filter_core::driver::host::{Headers, MapKind};
    let map = EnvoyHost.header_map(MapKind::Request).unwrap_or_default();
    if filter_core::driver::header_map::parse(&map)
        .iter()
        .any(|(name, _)| *name == b"x-optimizer-trap")
    {
        core::arch::wasm32::unreachable();
    }
}
