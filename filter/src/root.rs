//! The root context: configuration, ticks, wake-ups, the control stream.

#![allow(unsafe_code)]

use crate::envoy_host::EnvoyHost;
use crate::stream;
use filter_core::driver::host::{Clock, LogLevel, Streams};
use filter_core::driver::vm::{self, RootId};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::cell::{Cell, RefCell};

/// One root of this VM. A configuration update makes a new one in the same VM while streams of the old one finish; what they
/// share lives in the VM's state, and only the newest root acts.
pub(crate) struct Root {
    id: RootId,
    /// It was logged that the module is not finished.
    reported: Cell<bool>,
}

impl Root {
    pub(crate) fn new(context_id: u32) -> Self {
        Self {
            id: RootId(context_id),
            reported: Cell::new(false),
        }
    }
}

impl Context for Root {
    fn on_grpc_stream_message(&mut self, stream: u32, size: usize) {
        vm::with(|vm| vm.on_control_message(&EnvoyHost, self.id, stream, size));
    }

    fn on_grpc_stream_close(&mut self, stream: u32, status: u32) {
        vm::with(|vm| vm.on_control_close(&EnvoyHost, stream, status));
    }

    fn on_grpc_call_response(&mut self, token: u32, status: u32, size: usize) {
        vm::with(|vm| vm.on_grpc_answer(&EnvoyHost, token, status, size));
    }

    fn on_http_call_response(&mut self, token: u32, fields: usize, body_size: usize, _trailers: usize) {
        vm::with(|vm| vm.on_call_response(&EnvoyHost, token, fields, body_size));
    }
}

impl RootContext for Root {
    fn on_vm_start(&mut self, configuration_size: usize) -> bool {
        let name = EnvoyHost.vm_configuration(configuration_size).unwrap_or_default();
        vm::with(|vm| {
            vm.on_vm_configuration(&name);
            vm.on_start(&EnvoyHost);
        });
        true
    }

    fn on_configure(&mut self, configuration_size: usize) -> bool {
        // Never false: a refused configuration would stick to a worker that failed once and poison all later pushes. The last
        // good settings stay, and the refusal is reported.
        let document = EnvoyHost.plugin_configuration(configuration_size).unwrap_or_default();
        vm::with(|vm| vm.on_configure(&EnvoyHost, self.id, &document));
        true
    }

    fn on_tick(&mut self) {
        vm::with(|vm| vm.on_tick(&EnvoyHost, self.id));
        stream::sweep();
        // The sweep has asked for streams.
        let _ = EnvoyHost.enter(self.id.0);
    }

    fn on_queue_ready(&mut self, queue: u32) {
        vm::with(|vm| vm.on_wake(&EnvoyHost, self.id, queue));
    }

    fn create_http_context(&self, _context: u32) -> Option<Box<dyn HttpContext>> {
        if !self.reported.replace(true) {
            EnvoyHost.log(LogLevel::Error, UNFINISHED);
        }
        Some(Box::new(Passing))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

const UNFINISHED: &str = "this module is not finished: `make wasm` runs filter-trim on it; until then requests pass";

/// A stream of a module whose exports are still the SDK's.
struct Passing;

impl Context for Passing {}

impl HttpContext for Passing {}

thread_local! {
    /// Roots that the SDK knows.
    static ROOTS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

// The SDK's.
unsafe extern "C" {
    fn proxy_on_context_create(context: u32, root: u32);
    fn proxy_on_vm_start(context: u32, size: usize) -> bool;
    fn proxy_on_configure(context: u32, size: usize) -> bool;
}

/// The SDK is told of a root when it starts: Envoy tells of none, as this module has no callback for contexts.
fn begin(root: u32) {
    let is_new = ROOTS.with(|roots| {
        let mut roots = roots.borrow_mut();
        let is_new = !roots.contains(&root);
        if is_new {
            roots.push(root);
        }
        is_new
    });
    if is_new {
        // SAFETY: a function of the SDK in this module; numbers only.
        unsafe { proxy_on_context_create(root, 0) };
    }
}

// SAFETY of the names: nothing else in the module has them.
#[unsafe(no_mangle)]
extern "C" fn root_vm_start(root: u32, size: usize) -> bool {
    begin(root);
    // SAFETY: as in `begin`.
    unsafe { proxy_on_vm_start(root, size) }
}

#[unsafe(no_mangle)]
extern "C" fn root_configure(root: u32, size: usize) -> bool {
    begin(root);
    // SAFETY: as in `begin`.
    unsafe { proxy_on_configure(root, size) }
}
