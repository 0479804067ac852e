//! What Envoy calls. Each hook is guarded: a panic in it is the end of what it did, and of nothing else.
#![allow(unsafe_code)]
// What a hook answers after a panic is written out, also where that is nothing.
#![allow(clippy::unused_unit)]

use crate::abi::{self, Buffer, Header, Object, body, data_status, headers_status, map};
use crate::envoy::{Config, Filter, serialized};
use crate::guard;
use crate::note::Note;
use crate::process::Process;
use crate::reply;
use crate::stream::Stream;
use crate::worker::Worker;
use crate::workers::{self, Attached};
use filter_core::driver::exchange::{Exchange, Flow, SharedExchange};
use filter_core::driver::vm::Vm;
use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// An object of ours, as Envoy hands it back.
type Ours = *const c_void;

/// Exports hooks: what is in the body runs guarded, and with the process at hand. What stands before it is answered after a panic.
macro_rules! hooks {
    ($($(#[$doc:meta])* fn $name:ident($process:ident $(, $arg:ident: $type:ty)* $(,)?) $(-> $result:ty)? = $otherwise:expr; $body:block)*) => {
        $(
            $(#[$doc])*
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name($($arg: $type),*) $(-> $result)? {
                let Some($process) = Process::get() else { return $otherwise };
                // SAFETY of the name: nothing else in the library has it.
                guard::run($process, stringify!($name), || $body).unwrap_or($otherwise)
            }
        )*
    };
}

/// Runs a hook of a stream, and heals its worker after a panic.
fn on_stream<R>(
    process: &'static Process,
    what: &str,
    stream: Ours,
    work: impl FnOnce(&Stream, &Worker) -> R,
) -> Option<R> {
    // SAFETY: what `http_filter_new` made, and `http_filter_destroy` has not taken back.
    let Attached { worker, stream } = unsafe { stream.cast::<Attached>().as_ref() }?;
    // The stream may be over when `work` returns.
    let worker = Arc::clone(worker.as_ref()?);
    let done = guard::run(process, what, || work(stream, &worker));
    if done.is_none() {
        worker.recover(process, true);
    }
    done
}

/// Has the core work on a stream, and does what it wants.
fn visit(
    process: &'static Process,
    filter: Filter,
    (stream, worker): (&Stream, &Worker),
    in_response: bool,
    work: impl FnOnce(&mut Vm, &crate::host::NativeHost<'_>, &SharedExchange) -> Flow,
) -> Flow {
    let context = stream.context;
    match worker.visit(process, filter, stream, in_response, work) {
        Some((flow, actions)) => {
            worker.perform(process, Some((context, filter)), actions);
            flow
        }
        None => Flow::Continue,
    }
}

/// As [`visit`], for what follows a request's head. A request that goes on now, or is answered, waits no longer.
fn visit_rest(
    process: &'static Process,
    filter: Filter,
    (stream, worker): (&Stream, &Worker),
    work: impl FnOnce(&mut Vm, &crate::host::NativeHost<'_>, &SharedExchange) -> Flow,
) -> Flow {
    let context = stream.context;
    let Some((flow, actions)) = worker.visit(process, filter, stream, false, work) else {
        return Flow::Continue;
    };
    let answered = actions.iter().any(|(of, _)| *of == context);
    if flow == Flow::Continue || answered {
        worker.take_waiting(process, context);
    }
    worker.perform(process, Some((context, filter)), actions);
    flow
}

/// The filter of the running hook.
fn this(process: &'static Process, filter: Object) -> Filter {
    // SAFETY: Envoy calls a filter's hooks on its own thread while it is alive.
    unsafe { Filter::of(process.api, filter) }
}

fn with(exchange: &SharedExchange, work: impl FnOnce(&mut Exchange) -> Flow) -> Flow {
    match exchange.try_borrow_mut() {
        Ok(mut exchange) => work(&mut exchange),
        Err(_) => Flow::Continue,
    }
}

fn headers_status(flow: Option<Flow>) -> u32 {
    match flow {
        Some(Flow::Pause) => headers_status::STOP_ALL_AND_WATERMARK,
        Some(Flow::Collect) => headers_status::STOP_ITERATION,
        Some(Flow::Continue) | None => headers_status::CONTINUE,
    }
}

fn data_status(flow: Option<Flow>, stop: u32) -> u32 {
    match flow {
        Some(Flow::Pause | Flow::Collect) => stop,
        Some(Flow::Continue) | None => data_status::CONTINUE,
    }
}

thread_local! {
    /// Numbers of this thread's streams.
    static CONTEXTS: Cell<u32> = const { Cell::new(0) };
}

fn next_context() -> u32 {
    let next = CONTEXTS.get().wrapping_add(1);
    CONTEXTS.set(next);
    next
}

/// A slice of Envoy's.
///
/// # Safety
/// There are so many at that address until the hook ends.
unsafe fn slice<'e, T>(data: *const T, count: usize) -> &'e [T] {
    if data.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(data, count) }
}

/// The library was loaded: null where this Envoy is not served.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    abi::stay_loaded();
    match abi::load() {
        Ok(api) => {
            guard::log_panics();
            let process = Process::start(api);
            if process.shared.is_inherited() {
                abi::log(2, "what was stored by the module before this one is kept");
            }
            abi::version().as_ptr()
        }
        Err(missing) => {
            // There may be no log to tell.
            eprintln!("api_optimizer: this module serves Envoy 1.39 and 1.40; this Envoy has no {missing} for modules");
            std::ptr::null()
        }
    }
}

hooks! {
    fn envoy_dynamic_module_on_http_filter_config_new(
        process, config: Object, _name: Buffer, document: Buffer,
    ) -> Ours = std::ptr::null(); {
        // SAFETY: Envoy's until the hook ends; it is destroyed only after the hook for that was called.
        let (config, document) = unsafe { (Config::of(process.api, config), document.bytes()) };
        workers::configure(process, config, document).map_or(std::ptr::null(), std::ptr::without_provenance)
    }

    fn envoy_dynamic_module_on_http_filter_config_destroy(process, config: Ours) = (); {
        workers::forget(process, config.addr());
    }

    fn envoy_dynamic_module_on_http_filter_new(process, _ours: Ours, filter: Object) -> Ours = std::ptr::null(); {
        // SAFETY: the filter that Envoy is making.
        let filter = unsafe { Filter::of(process.api, filter) };
        Box::into_raw(Box::new(Attached::new(filter.worker_index(), next_context()))).cast_const().cast()
    }

    fn envoy_dynamic_module_on_http_filter_request_headers(
        process, filter: Object, stream: Ours, end: bool,
    ) -> u32 = headers_status::CONTINUE; {
        headers_status(on_stream(process, "a request", stream, |stream, worker| {
            visit(process, this(process, filter), (stream, worker), false, |vm, host, shared| {
                #[cfg(feature = "panic-trigger")]
                panic_if_requested(host);
                if !end && let Ok(mut exchange) = shared.try_borrow_mut() {
                    exchange.expect_content();
                }
                vm.on_request_headers(host, shared, stream.context)
            })
        }))
    }

    fn envoy_dynamic_module_on_http_filter_request_body(
        process, filter: Object, stream: Ours, end: bool,
    ) -> u32 = data_status::CONTINUE; {
        let flow = on_stream(process, "a request's content", stream, |stream, worker| {
            let filter = this(process, filter);
            let size = filter.content_size(body::RECEIVED_REQUEST);
            visit_rest(process, filter, (stream, worker), |vm, host, shared| {
                vm.on_request_body(host, shared, stream.context, size, end)
            })
        });
        data_status(flow, data_status::STOP_AND_WATERMARK)
    }

    fn envoy_dynamic_module_on_http_filter_request_trailers(
        process, filter: Object, stream: Ours,
    ) -> u32 = data_status::CONTINUE; {
        let flow = on_stream(process, "a request's trailers", stream, |stream, worker| {
            visit_rest(process, this(process, filter), (stream, worker), |vm, host, shared| {
                vm.on_request_trailers(host, shared, stream.context)
            })
        });
        data_status(flow, data_status::STOP_AND_BUFFER)
    }

    fn envoy_dynamic_module_on_http_filter_response_headers(
        process, filter: Object, stream: Ours, end: bool,
    ) -> u32 = headers_status::CONTINUE; {
        headers_status(on_stream(process, "a response", stream, |stream, worker| {
            let filter = this(process, filter);
            let count = filter.line_count(map::RESPONSE);
            visit(process, filter, (stream, worker), true, |vm, host, shared| {
                with(shared, |exchange| vm.on_response_headers(host, exchange, count, end))
            })
        }))
    }

    fn envoy_dynamic_module_on_http_filter_response_body(
        process, filter: Object, stream: Ours, end: bool,
    ) -> u32 = data_status::CONTINUE; {
        let flow = on_stream(process, "a response's content", stream, |stream, worker| {
            let filter = this(process, filter);
            let size = filter.content_size(body::RECEIVED_RESPONSE);
            visit(process, filter, (stream, worker), true, |vm, host, shared| {
                with(shared, |exchange| vm.on_response_body(host, exchange, size, end))
            })
        });
        data_status(flow, data_status::STOP_AND_BUFFER)
    }

    fn envoy_dynamic_module_on_http_filter_response_trailers(
        process, filter: Object, stream: Ours,
    ) -> u32 = data_status::CONTINUE; {
        let flow = on_stream(process, "a response's trailers", stream, |stream, worker| {
            visit(process, this(process, filter), (stream, worker), true, |vm, host, shared| {
                with(shared, |exchange| vm.on_response_trailers(host, exchange))
            })
        });
        data_status(flow, data_status::STOP_AND_BUFFER)
    }

    fn envoy_dynamic_module_on_http_filter_stream_complete(process, filter: Object, stream: Ours) = (); {
        on_stream(process, "a stream's end", stream, |stream, worker| {
            worker.take_waiting(process, stream.context);
            worker.end(process, Some(this(process, filter)), stream);
        });
    }

    fn envoy_dynamic_module_on_http_filter_destroy(process, stream: Ours) = (); {
        on_stream(process, "a stream's end", stream, |stream, worker| {
            reply::note_end(stream.context);
            worker.take_waiting(process, stream.context);
            // Where Envoy has not told of its end.
            worker.end(process, None, stream);
        });
        if !stream.is_null() {
            // SAFETY: made by `http_filter_new`, and given back once.
            drop(unsafe { Box::from_raw(stream.cast::<Attached>().cast_mut()) });
        }
    }

    fn envoy_dynamic_module_on_http_filter_scheduled(process, _filter: Object, stream: Ours, _event: u64) = (); {
        on_stream(process, "a visit of a worker", stream, |_, worker| {
            worker.mailbox.bell_answered();
            worker.recover(process, true);
            worker.run(process, true);
            if worker.mailbox.has_work() {
                process.ring(&worker.mailbox);
            }
        });
    }

    fn envoy_dynamic_module_on_http_filter_config_scheduled(
        process, _envoys: Object, _ours: Ours, event: u64,
    ) = (); {
        workers::on_main(process, event);
    }

    fn envoy_dynamic_module_on_http_filter_config_http_callout_done(
        process, config: Object, _ours: Ours, id: u64, result: u32, headers: *const Header, count: usize,
        chunks: *const Buffer, chunk_count: usize,
    ) = (); {
        if let Some((owner, number)) = process.links.called(config.addr(), id) {
            let note = if result == abi::SUCCESS {
                // SAFETY: Envoy's until the hook ends.
                let (fields, content) = unsafe {
                    let chunks = slice(chunks, chunk_count).iter().flat_map(|chunk| chunk.bytes());
                    (serialized(slice(headers, count)), chunks.copied().collect())
                };
                Note::Called { number, lines: count, fields, content }
            } else {
                Note::called_in_vain(number)
            };
            process.deliver([(owner, note)]);
            workers::visit(process);
        }
    }

    fn envoy_dynamic_module_on_http_filter_config_http_stream_headers(
        process, config: Object, _ours: Ours, id: u64, headers: *const Header, count: usize, _end: bool,
    ) = (); {
        // SAFETY: Envoy's until the hook ends.
        let lines = unsafe { slice(headers, count).iter().map(|header| header.line()) };
        process.links.lines(config.addr(), id, lines);
    }

    fn envoy_dynamic_module_on_http_filter_config_http_stream_data(
        process, config: Object, _ours: Ours, id: u64, chunks: *const Buffer, count: usize, _end: bool,
    ) = (); {
        // SAFETY: Envoy's until the hook ends.
        let chunks = unsafe { slice(chunks, count).iter().map(|chunk| chunk.bytes()) };
        match process.links.content(config.addr(), id, chunks) {
            Ok(notices) => process.deliver(notices),
            Err(notices) => {
                process.deliver(notices);
                // SAFETY: on the main thread; the configuration of this hook.
                unsafe { (process.api.http_filter_config_reset_http_stream)(config, id) };
            }
        }
        workers::visit(process);
    }

    fn envoy_dynamic_module_on_http_filter_config_http_stream_trailers(
        process, config: Object, _ours: Ours, id: u64, trailers: *const Header, count: usize,
    ) = (); {
        // SAFETY: Envoy's until the hook ends.
        let lines = unsafe { slice(trailers, count).iter().map(|header| header.line()) };
        process.links.lines(config.addr(), id, lines);
    }

    fn envoy_dynamic_module_on_http_filter_config_http_stream_complete(
        process, config: Object, _ours: Ours, id: u64,
    ) = (); {
        process.deliver(process.links.ended(config.addr(), id, false));
        workers::visit(process);
    }

    fn envoy_dynamic_module_on_http_filter_config_http_stream_reset(
        process, config: Object, _ours: Ours, id: u64, _reason: u32,
    ) = (); {
        process.deliver(process.links.ended(config.addr(), id, true));
        workers::visit(process);
    }
}

/// Hooks that Envoy wants and that have nothing to do: calls of single streams, which are none of ours, and the fill of buffers.
mod idle {
    use super::{Object, Ours};

    macro_rules! idle {
        ($($name:ident($($type:ty),*);)*) => {
            $(
                #[unsafe(no_mangle)]
                extern "C" fn $name(_: Object, _: Ours $(, _: $type)*) {}
            )*
        };
    }

    idle! {
        envoy_dynamic_module_on_http_filter_http_callout_done(u64, u32, Ours, usize, Ours, usize);
        envoy_dynamic_module_on_http_filter_http_stream_headers(u64, Ours, usize, bool);
        envoy_dynamic_module_on_http_filter_http_stream_data(u64, Ours, usize, bool);
        envoy_dynamic_module_on_http_filter_http_stream_trailers(u64, Ours, usize);
        envoy_dynamic_module_on_http_filter_http_stream_complete(u64);
        envoy_dynamic_module_on_http_filter_http_stream_reset(u64, u32);
        envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark();
        envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark();
    }
}

/// Panics as a defect would, for the story that shows that it is caught. Compiled only into the test module.
#[cfg(feature = "panic-trigger")]
#[allow(clippy::panic)]
fn panic_if_requested(host: &crate::host::NativeHost<'_>) {
    use filter_core::driver::host::{Headers, MapKind};
    let map = host.header_map(MapKind::Request).unwrap_or_default();
    let lines = filter_core::driver::host::header_map::parse(&map);
    if lines.iter().any(|(name, _)| *name == b"x-optimizer-trap") {
        panic!("asked for by the request");
    }
}
