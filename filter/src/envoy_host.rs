//! The only file that names host calls: bytes in, `Result` out, never a panic.
//!
//! The SDK's own wrappers panic in ordinary situations (a non-UTF-8 header, an unexpected status), and a panic ends the whole
//! VM of a worker with every stream in it. So the Proxy-Wasm ABI 0.2.1 is bound here directly. The SDK is used for what only
//! its dispatcher can do: routing the answers of callouts and gRPC streams.
#![allow(unsafe_code)]

use filter_core::driver::host::{
    BodySource, CallError, Callouts, Clock, ControlTransport, Headers, HostError, LocalReply, LogLevel, MapKind,
    Metrics, Properties, Queues, Streams,
};
use filter_core::shared_map::{Cas, SetError, SharedMap};
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::time::Duration;

const OK: u32 = 0;
const CAS_MISMATCH: u32 = 8;

/// The number of WASI's clock that nobody sets.
const MONOTONIC: u32 = 1;

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn clock_time_get(clock: u32, precision_ns: u64, time: *mut u64) -> u32;
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_add_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize) -> u32;
    fn proxy_get_buffer_bytes(buffer: u32, start: usize, max: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
        cas: *mut u32,
    ) -> u32;
    fn proxy_set_shared_data(key: *const u8, key_size: usize, value: *const u8, value_size: usize, cas: u32) -> u32;
    fn proxy_register_shared_queue(name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_enqueue_shared_queue(id: u32, data: *const u8, size: usize) -> u32;
    fn proxy_dequeue_shared_queue(id: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, by: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_grpc_send(token: u32, message: *const u8, size: usize, end: bool) -> u32;
    fn proxy_grpc_cancel(token: u32) -> u32;
}

/// Takes over memory that the host filled. The host got it from the SDK's `proxy_on_memory_allocate`, which hands out boxed
/// slices of exactly the requested size, so capacity equals length.
fn take(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() || size == 0 {
        return Vec::new();
    }
    // SAFETY: see above; the host gives the pointer up with its return.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

fn check(status: u32) -> Result<(), HostError> {
    if status == OK { Ok(()) } else { Err(HostError(status)) }
}

/// Envoy, as one worker's VM sees it. Without state: the host keeps it all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EnvoyHost;

impl EnvoyHost {
    /// The VM's configuration, in `on_vm_start` only.
    pub(crate) fn vm_configuration(self, size: usize) -> Result<Vec<u8>, HostError> {
        const VM_CONFIGURATION: u32 = 6;
        buffer(VM_CONFIGURATION, size)
    }

    /// The plugin configuration, in `on_configure` only.
    pub(crate) fn plugin_configuration(self, size: usize) -> Result<Vec<u8>, HostError> {
        const PLUGIN_CONFIGURATION: u32 = 7;
        buffer(PLUGIN_CONFIGURATION, size)
    }
}

impl Clock for EnvoyHost {
    fn random(&self) -> u64 {
        // The standard library seeds each hasher from the host's random source.
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0_u8)
    }

    fn now_ns(&self) -> u64 {
        let mut now = 0;
        // SAFETY: the host writes one u64. On an error the clock reads 0, which the core treats as "in the past".
        unsafe { proxy_get_current_time_nanoseconds(&raw mut now) };
        now
    }

    fn steady_ms(&self) -> u64 {
        let mut now = 0;
        // SAFETY: the host writes one u64.
        let status = unsafe { clock_time_get(MONOTONIC, 1_000_000, &raw mut now) };
        // A host without such a clock: the wall clock at least goes on, so that VMs which are gone are noticed.
        if status == OK {
            now / 1_000_000
        } else {
            self.now_ns() / 1_000_000
        }
    }

    fn log(&self, level: LogLevel, message: &str) {
        // SAFETY: the host only reads the given range.
        unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) };
    }
}

impl SharedMap for EnvoyHost {
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)> {
        let (mut data, mut size, mut cas) = (null_mut(), 0, 0);
        // SAFETY: out parameters are valid for writes; `take` owns what comes back.
        let status =
            unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), &raw mut data, &raw mut size, &raw mut cas) };
        if status != OK {
            return None;
        }
        let value = take(data, size);
        if value.is_empty() { None } else { Some((value, cas)) }
    }

    fn version(&self, key: &[u8]) -> Option<Cas> {
        let (mut data, mut size, mut cas) = (null_mut(), 0, 0);
        // SAFETY: as for `get`.
        let status =
            unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), &raw mut data, &raw mut size, &raw mut cas) };
        // Empty by its use; were it not, its memory is ours all the same.
        drop(take(data, size));
        (status == OK).then_some(cas)
    }

    fn set(&self, key: &[u8], value: &[u8], cas: Option<Cas>) -> Result<(), SetError> {
        // SAFETY: the host copies the ranges before it returns.
        let status =
            unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas.unwrap_or(0)) };
        match status {
            OK => Ok(()),
            CAS_MISMATCH => Err(SetError::CasMismatch),
            _ => Err(SetError::Host),
        }
    }
}

impl Headers for EnvoyHost {
    fn header_map(&self, kind: MapKind) -> Result<Vec<u8>, HostError> {
        let (mut data, mut size) = (null_mut(), 0);
        // SAFETY: as for `get`.
        check(unsafe { proxy_get_header_map_pairs(kind as u32, &raw mut data, &raw mut size) })?;
        Ok(take(data, size))
    }

    fn add_header(&self, kind: MapKind, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        // SAFETY: the host copies the ranges before it returns.
        check(unsafe {
            proxy_add_header_map_value(kind as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
        })
    }

    fn replace_header(&self, kind: MapKind, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        // SAFETY: the host copies the ranges before it returns.
        check(unsafe {
            proxy_replace_header_map_value(kind as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
        })
    }

    fn remove_header(&self, kind: MapKind, name: &[u8]) -> Result<(), HostError> {
        // SAFETY: the host only reads the given range.
        check(unsafe { proxy_remove_header_map_value(kind as u32, name.as_ptr(), name.len()) })
    }
}

impl BodySource for EnvoyHost {
    fn shows_request_body(&self) -> bool {
        // Envoy does not tell a filter whether it may answer `StopIteration`. So who sets that option says so here, in a way that modules
        // which know nothing of it do not mind.
        static TOLD: OnceLock<bool> = OnceLock::new();
        *TOLD.get_or_init(|| std::env::var_os("API_OPTIMIZER_REQUEST_CONTENT").is_some_and(|value| value == "true"))
    }

    fn request_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        const HTTP_REQUEST_BODY: u32 = 0;
        buffer(HTTP_REQUEST_BODY, size)
    }

    fn response_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        const HTTP_RESPONSE_BODY: u32 = 1;
        buffer(HTTP_RESPONSE_BODY, size)
    }
}

fn buffer(kind: u32, size: usize) -> Result<Vec<u8>, HostError> {
    let (mut data, mut got) = (null_mut(), 0);
    // SAFETY: as for `get`.
    check(unsafe { proxy_get_buffer_bytes(kind, 0, size, &raw mut data, &raw mut got) })?;
    Ok(take(data, got))
}

impl Properties for EnvoyHost {
    fn property(&self, path: &[u8]) -> Option<Vec<u8>> {
        let (mut data, mut size) = (null_mut(), 0);
        // SAFETY: as for `get`.
        let status = unsafe { proxy_get_property(path.as_ptr(), path.len(), &raw mut data, &raw mut size) };
        (status == OK).then(|| take(data, size))
    }

    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), HostError> {
        // SAFETY: the host copies the ranges before it returns.
        check(unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
    }
}

impl Streams for EnvoyHost {
    fn reply(&self, reply: &LocalReply<'_>) -> Result<(), HostError> {
        // SAFETY: the host copies the ranges before it returns.
        check(unsafe {
            proxy_send_local_response(
                u32::from(reply.status),
                reply.details.as_ptr(),
                reply.details.len(),
                reply.body.as_ptr(),
                reply.body.len(),
                reply.fields.as_ptr(),
                reply.fields.len(),
                -1,
            )
        })
    }

    fn resume_request(&self) -> Result<(), HostError> {
        const REQUEST: u32 = 0;
        // SAFETY: no memory is shared.
        check(unsafe { proxy_continue_stream(REQUEST) })
    }

    fn enter(&self, context: u32) -> Result<(), HostError> {
        // SAFETY: no memory is shared.
        check(unsafe { proxy_set_effective_context(context) })
    }
}

impl Queues for EnvoyHost {
    fn register_queue(&self, name: &[u8]) -> Result<u32, HostError> {
        let mut id = 0;
        // SAFETY: the host reads the name and writes one u32.
        check(unsafe { proxy_register_shared_queue(name.as_ptr(), name.len(), &raw mut id) })?;
        Ok(id)
    }

    fn enqueue(&self, queue: u32, item: &[u8]) -> Result<(), HostError> {
        // SAFETY: the host copies the range before it returns.
        check(unsafe { proxy_enqueue_shared_queue(queue, item.as_ptr(), item.len()) })
    }

    fn dequeue(&self, queue: u32) -> Option<Vec<u8>> {
        let (mut data, mut size) = (null_mut(), 0);
        // SAFETY: as for `get`.
        let status = unsafe { proxy_dequeue_shared_queue(queue, &raw mut data, &raw mut size) };
        (status == OK).then(|| take(data, size))
    }

    fn set_tick_ms(&self, period_ms: u32) -> Result<(), HostError> {
        // SAFETY: no memory is shared.
        check(unsafe { proxy_set_tick_period_milliseconds(period_ms) })
    }
}

impl Metrics for EnvoyHost {
    fn define_counter(&self, name: &str) -> Result<u32, HostError> {
        define(0, name)
    }

    fn define_gauge(&self, name: &str) -> Result<u32, HostError> {
        define(1, name)
    }

    fn increment(&self, id: u32, by: i64) {
        // SAFETY: no memory is shared. A metric that cannot be counted must not disturb the request.
        unsafe { proxy_increment_metric(id, by) };
    }

    fn record(&self, id: u32, value: u64) {
        // SAFETY: as for `increment`.
        unsafe { proxy_record_metric(id, value) };
    }
}

fn define(kind: u32, name: &str) -> Result<u32, HostError> {
    let mut id = 0;
    // SAFETY: the host reads the name and writes one u32.
    check(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

impl ControlTransport for EnvoyHost {
    fn open_stream(&self, target: &str, service: &str, method: &str) -> Result<u32, HostError> {
        // Through the SDK, because only its dispatcher routes the stream's messages back. It knows all statuses that Envoy
        // answers here: ok, unknown target, cluster not usable.
        proxy_wasm::hostcalls::open_grpc_stream(target, service, method, Vec::new())
            .map_err(|status| HostError(status as u32))
    }

    fn send(&self, stream: u32, message: &[u8]) -> Result<(), HostError> {
        // SAFETY: the host copies the range before it returns.
        check(unsafe { proxy_grpc_send(stream, message.as_ptr(), message.len(), false) })
    }

    fn cancel(&self, stream: u32) {
        // SAFETY: no memory is shared. An unknown stream is already gone.
        unsafe { proxy_grpc_cancel(stream) };
    }

    fn message(&self, size: usize) -> Result<Vec<u8>, HostError> {
        const GRPC_RECEIVE_BUFFER: u32 = 5;
        buffer(GRPC_RECEIVE_BUFFER, size)
    }
}

impl Callouts for EnvoyHost {
    fn call(&self, cluster: &str, fields: Vec<(&str, &[u8])>, timeout: Duration) -> Result<u32, CallError> {
        // Through the SDK for its dispatcher's sake. Must run in a root callback: the SDK drops the answer of a call made in
        // a stream that is over by then.
        let fields = as_text(fields).ok_or(CallError)?;
        proxy_wasm::hostcalls::dispatch_http_call(cluster, fields, None, Vec::new(), timeout).map_err(|_| CallError)
    }

    fn grpc_call(
        &self,
        target: &str,
        service: &str,
        method: &str,
        message: &[u8],
        timeout: Duration,
    ) -> Result<u32, HostError> {
        // Through the SDK for its dispatcher's sake, as for a stream.
        proxy_wasm::hostcalls::dispatch_grpc_call(target, service, method, Vec::new(), Some(message), timeout)
            .map_err(|status| HostError(status as u32))
    }

    fn call_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        const HTTP_CALL_RESPONSE_BODY: u32 = 4;
        buffer(HTTP_CALL_RESPONSE_BODY, size)
    }
}

/// The SDK's call takes text. A request with a field that is none is not made at all: leaving the field out could select
/// another response than the client's.
fn as_text<'a>(fields: Vec<(&'a str, &'a [u8])>) -> Option<Vec<(&'a str, &'a str)>> {
    fields
        .into_iter()
        .map(|(name, value)| std::str::from_utf8(value).ok().map(|value| (name, value)))
        .collect()
}
