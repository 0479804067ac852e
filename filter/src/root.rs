//! The root context: configuration, ticks, wake-ups, the control stream.

use crate::envoy_host::EnvoyHost;
use crate::stream::Stream;
use filter_core::driver::vm::{self, RootId};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

/// One root of this VM. A configuration update makes a new one in the same VM while streams of the old one finish; what they
/// share lives in the VM's state, and only the newest root acts.
pub(crate) struct Root {
    id: RootId,
}

impl Root {
    pub(crate) fn new(context_id: u32) -> Self {
        Self { id: RootId(context_id) }
    }
}

impl Drop for Root {
    /// Envoy has no more use for it. Here and not in `on_done`, which Envoy would call for each stream besides.
    fn drop(&mut self) {
        vm::with(|vm| vm.on_root_done(&EnvoyHost, self.id));
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
    }

    fn on_queue_ready(&mut self, queue: u32) {
        vm::with(|vm| vm.on_wake(&EnvoyHost, self.id, queue));
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(context_id)))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
