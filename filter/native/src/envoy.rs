//! Envoy's objects behind safe methods: a stream's filter, a filter configuration, and the bells by which their threads are called.
#![allow(unsafe_code)]

use crate::abi::{Api, Buffer, Header, Object, SUCCESS};
use filter_core::driver::host::header_map;
use std::time::Duration;

/// Field lines that are read without an allocation.
const USUAL_LINES: usize = 48;

/// The filter of a stream, on the stream's own thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter {
    api: &'static Api,
    object: Object,
}

/// Field lines of Envoy's as the core reads them.
///
/// # Safety
/// As for [`Header::line`].
pub(crate) unsafe fn serialized(headers: &[Header]) -> Vec<u8> {
    // SAFETY: the caller's promise.
    header_map::serialize(headers.iter().map(|header| unsafe { header.line() }))
}

impl Filter {
    /// # Safety
    /// The filter is alive, and this thread its own, whenever a method is called.
    pub(crate) unsafe fn of(api: &'static Api, object: Object) -> Self {
        Self { api, object }
    }

    /// Which of Envoy's workers it is on.
    pub(crate) fn worker_index(self) -> u32 {
        // SAFETY: as promised for `of`. So for all methods below.
        unsafe { (self.api.http_filter_get_worker_index)(self.object) }
    }

    /// How many lines a header map has.
    pub(crate) fn line_count(self, map: u32) -> usize {
        // SAFETY: see `worker_index`.
        unsafe { (self.api.http_get_headers_size)(self.object, map) }
    }

    /// A header map, serialized; `None` where it is not there in this phase.
    pub(crate) fn lines(self, map: u32) -> Option<Vec<u8>> {
        let count = self.line_count(map);
        let mut usual = [Header::NULL; USUAL_LINES];
        let mut many = Vec::new();
        let headers = match usual.get_mut(..count) {
            Some(headers) => headers,
            None => {
                many.resize(count, Header::NULL);
                many.as_mut_slice()
            }
        };
        // SAFETY: Envoy writes as many lines as it has just counted; they are read before anything else is called.
        unsafe { (self.api.http_get_headers)(self.object, map, headers.as_mut_ptr()).then(|| serialized(headers)) }
    }

    /// Appends a line.
    pub(crate) fn add_line(self, map: u32, name: &[u8], value: &[u8]) -> bool {
        // SAFETY: Envoy copies all ranges before it returns.
        unsafe { (self.api.http_add_header)(self.object, map, Buffer::of(name), Buffer::of(value)) }
    }

    /// Replaces all lines of a name by one, or by none.
    pub(crate) fn set_line(self, map: u32, name: &[u8], value: Option<&[u8]>) -> bool {
        let value = value.map_or(Buffer::NULL, Buffer::of);
        // SAFETY: Envoy copies all ranges before it returns.
        unsafe { (self.api.http_set_header)(self.object, map, Buffer::of(name), value) }
    }

    /// Bytes of the content that came with the running hook.
    pub(crate) fn content_size(self, body: u32) -> usize {
        // SAFETY: see `worker_index`.
        unsafe { (self.api.http_get_body_size)(self.object, body) }
    }

    /// The content itself.
    pub(crate) fn content(self, body: u32) -> Vec<u8> {
        // SAFETY: Envoy writes as many chunks as it has just counted; they are read before anything else is called.
        unsafe {
            let count = (self.api.http_get_body_chunks_size)(self.object, body);
            let mut chunks = vec![Buffer::NULL; count];
            let there = (self.api.http_get_body_chunks)(self.object, body, chunks.as_mut_ptr());
            let mut content = Vec::with_capacity(self.content_size(body));
            if there {
                chunks.iter().for_each(|chunk| content.extend_from_slice(chunk.bytes()));
            }
            content
        }
    }

    /// An attribute that is text.
    pub(crate) fn text(self, attribute: u32) -> Option<Vec<u8>> {
        let mut value = Buffer::NULL;
        // SAFETY: Envoy writes one buffer, which is read before anything else is called.
        unsafe {
            (self.api.http_filter_get_attribute_string)(self.object, attribute, &raw mut value)
                .then(|| value.bytes().to_vec())
        }
    }

    /// An attribute that is a number.
    pub(crate) fn number(self, attribute: u32) -> Option<u64> {
        let mut value = 0;
        // SAFETY: Envoy writes one number.
        unsafe { (self.api.http_filter_get_attribute_int)(self.object, attribute, &raw mut value).then_some(value) }
    }

    /// Where Envoy sends the request.
    pub(crate) fn cluster_name(self) -> Option<Vec<u8>> {
        let mut value = Buffer::NULL;
        // SAFETY: as for `text`.
        unsafe { (self.api.http_get_cluster_name)(self.object, &raw mut value).then(|| value.bytes().to_vec()) }
    }

    /// What metadata says of a key; `None` where it says neither true nor false.
    pub(crate) fn metadata_bool(self, source: u32, namespace: &[u8], key: &[u8]) -> Option<bool> {
        let mut value = false;
        let (namespace, key) = (Buffer::of(namespace), Buffer::of(key));
        // SAFETY: Envoy reads both ranges and writes one value before it returns.
        unsafe {
            (self.api.http_get_metadata_bool)(self.object, source, namespace, key, &raw mut value).then_some(value)
        }
    }

    /// How many keys metadata has.
    pub(crate) fn key_count(self, source: u32, namespace: &[u8]) -> usize {
        // SAFETY: Envoy reads the range before it returns.
        unsafe { (self.api.http_get_metadata_keys_count)(self.object, source, Buffer::of(namespace)) }
    }

    /// Leaves something for the access log.
    pub(crate) fn set_state(self, key: &[u8], value: &[u8]) -> bool {
        // SAFETY: Envoy copies both ranges before it returns.
        unsafe { (self.api.http_set_filter_state_bytes)(self.object, Buffer::of(key), Buffer::of(value)) }
    }

    /// A text in the stream's state.
    pub(crate) fn state(self, key: &[u8]) -> Option<Vec<u8>> {
        let get = self.api.http_get_filter_state_bytes?;
        let mut value = Buffer::NULL;
        // SAFETY: as for `text`.
        unsafe { get(self.object, Buffer::of(key), &raw mut value).then(|| value.bytes().to_vec()) }
    }

    /// A bell that calls the stream's thread.
    pub(crate) fn bell(self) -> Option<Bell> {
        // SAFETY: see `worker_index`.
        let scheduler = unsafe { (self.api.http_filter_scheduler_new)(self.object) };
        (!scheduler.is_null()).then_some(Bell {
            scheduler,
            ring: self.api.http_filter_scheduler_commit,
            delete: self.api.http_filter_scheduler_delete,
        })
    }

    /// For the stream's own thread, later.
    pub(crate) fn keep(self) -> KeptFilter {
        KeptFilter(self)
    }
}

/// What makes Envoy call the module back from within, and may end the stream.
impl Filter {
    /// Lets a request go on that was stopped.
    pub(crate) fn resume(self) {
        // SAFETY: see `worker_index`.
        unsafe { (self.api.http_filter_continue_decoding)(self.object) };
    }

    /// Sends a response's head.
    pub(crate) fn send_head(self, headers: &[Header], end: bool) {
        // SAFETY: Envoy copies what the lines refer to before it returns; whoever made them keeps it.
        unsafe { (self.api.http_send_response_headers)(self.object, headers.as_ptr(), headers.len(), end) };
    }

    /// Sends all of its content.
    pub(crate) fn send_content(self, content: &[u8]) {
        // SAFETY: Envoy copies the range before it returns.
        unsafe { (self.api.http_send_response_data)(self.object, Buffer::of(content), true) };
    }

    /// Sends a response of Envoy's own kind.
    pub(crate) fn send_local(self, status: u16, headers: &[Header], content: &[u8], details: &str) {
        let (content, details) = (Buffer::of(content), Buffer::of(details.as_bytes()));
        // SAFETY: as for `send_head`.
        unsafe {
            (self.api.http_send_response)(
                self.object,
                u32::from(status),
                headers.as_ptr(),
                headers.len(),
                content,
                details,
            );
        }
    }
}

/// A filter that is kept between two hooks, while any thread may visit its worker.
#[derive(Debug)]
pub(crate) struct KeptFilter(Filter);

// SAFETY: on another thread it cannot be used: `filter` is unsafe.
unsafe impl Send for KeptFilter {}

impl KeptFilter {
    /// # Safety
    /// As for [`Filter::of`].
    pub(crate) unsafe fn filter(&self) -> Filter {
        self.0
    }
}

/// Calls a thread of Envoy's, from any thread. Rung after its stream or configuration has ended, it is not heard.
#[derive(Debug)]
pub(crate) struct Bell {
    scheduler: Object,
    ring: unsafe extern "C" fn(Object, u64),
    delete: unsafe extern "C" fn(Object),
}

// SAFETY: Envoy's schedulers may be rung from any thread, and are deleted once, by whoever has them alone.
unsafe impl Send for Bell {}
// SAFETY: as above.
unsafe impl Sync for Bell {}

impl Bell {
    pub(crate) fn ring(&self, event: u64) {
        // SAFETY: it is deleted with this value only.
        unsafe { (self.ring)(self.scheduler, event) };
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        // SAFETY: this value has it alone.
        unsafe { (self.delete)(self.scheduler) };
    }
}

/// A filter configuration. What is called by it is called on the main thread.
#[derive(Debug)]
pub(crate) struct Config {
    api: &'static Api,
    object: Object,
    bell: Option<Bell>,
}

// SAFETY: an address; whoever promised `of` sees to it that its methods are called where they may be.
unsafe impl Send for Config {}

impl Config {
    /// # Safety
    /// The configuration is alive whenever a method is called, and the thread is the main one, but for `ring`.
    pub(crate) unsafe fn of(api: &'static Api, object: Object) -> Self {
        // SAFETY: the caller's promise.
        let scheduler = unsafe { (api.http_filter_config_scheduler_new)(object) };
        let bell = (!scheduler.is_null()).then_some(Bell {
            scheduler,
            ring: api.http_filter_config_scheduler_commit,
            delete: api.http_filter_config_scheduler_delete,
        });
        Self { api, object, bell }
    }

    /// Tells configurations apart.
    pub(crate) fn address(&self) -> usize {
        self.object.addr()
    }

    /// Calls the main thread. From any thread.
    pub(crate) fn ring(&self, event: u64) {
        if let Some(bell) = &self.bell {
            bell.ring(event);
        }
    }

    /// Defines a counter: its number. While the configuration is made only.
    pub(crate) fn define_counter(&self, name: &str) -> Option<usize> {
        let mut number = 0;
        let (name, none) = (Buffer::of(name.as_bytes()), std::ptr::null());
        // SAFETY: as promised for `of`. Envoy reads the name and writes one number; there are no labels.
        let result =
            unsafe { (self.api.http_filter_config_define_counter)(self.object, name, none, 0, &raw mut number) };
        (result == SUCCESS).then_some(number)
    }

    /// Adds to one.
    pub(crate) fn count(&self, number: usize, by: u64) {
        // SAFETY: as promised for `of`; there are no labels.
        unsafe { (self.api.http_filter_config_increment_counter)(self.object, number, std::ptr::null(), 0, by) };
    }

    /// Makes a request without content: Envoy's number of it.
    pub(crate) fn call(&self, cluster: &str, headers: &[Header], timeout: Duration) -> Option<u64> {
        let mut id = 0;
        // SAFETY: as promised for `of`; Envoy copies all ranges and writes one number before it returns.
        let result = unsafe {
            (self.api.http_filter_config_http_callout)(
                self.object,
                &raw mut id,
                Buffer::of(cluster.as_bytes()),
                headers.as_ptr(),
                headers.len(),
                Buffer::NULL,
                millis(timeout),
            )
        };
        (result == SUCCESS).then_some(id)
    }

    /// Starts a stream: with all of its content and a time limit, or open, without either.
    pub(crate) fn start_stream(
        &self,
        cluster: &str,
        headers: &[Header],
        content: Option<(&[u8], Duration)>,
    ) -> Option<u64> {
        let mut id = 0;
        let (body, timeout) = content.map_or((Buffer::NULL, 0), |(body, timeout)| (Buffer::of(body), millis(timeout)));
        // SAFETY: as for `call`.
        let result = unsafe {
            (self.api.http_filter_config_start_http_stream)(
                self.object,
                &raw mut id,
                Buffer::of(cluster.as_bytes()),
                headers.as_ptr(),
                headers.len(),
                body,
                content.is_some(),
                timeout,
            )
        };
        (result == SUCCESS).then_some(id)
    }

    /// Sends content on a stream.
    pub(crate) fn send(&self, id: u64, content: &[u8]) {
        // SAFETY: as promised for `of`; Envoy copies the range before it returns.
        unsafe { (self.api.http_filter_config_stream_send_data)(self.object, id, Buffer::of(content), false) };
    }

    /// Gives a stream up.
    pub(crate) fn reset(&self, id: u64) {
        // SAFETY: as promised for `of`.
        unsafe { (self.api.http_filter_config_reset_http_stream)(self.object, id) };
    }
}

fn millis(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1)
}
