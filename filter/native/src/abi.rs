//! Envoy's C ABI for dynamic modules: what this module calls, as of ABI v0.2.0 (Envoy 1.40); v0.1.0 (Envoy 1.39) has the same of it.
//!
//! Every callback is looked up by name when the module is loaded. A module that was linked to them would not load into an Envoy that lacks
//! one, and Envoy would say "not found in any search path"; this one says what is missing.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

/// An object of Envoy's: a filter, a filter configuration, a scheduler. What it is, and how long it lives, is said where it is used.
pub(crate) type Object = *mut c_void;

/// A range of bytes, Envoy's or ours.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Buffer {
    ptr: *const u8,
    length: usize,
}

impl Buffer {
    pub(crate) const NULL: Self = Self {
        ptr: std::ptr::null(),
        length: 0,
    };

    /// For Envoy to read before the call returns.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            length: bytes.len(),
        }
    }

    /// The bytes.
    ///
    /// # Safety
    /// Envoy gave this buffer in the hook that is running, and no setter was called since.
    pub(crate) unsafe fn bytes<'b>(self) -> &'b [u8] {
        if self.ptr.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.ptr, self.length) }
    }
}

/// A field line, Envoy's or ours.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Header {
    name_ptr: *const u8,
    name_length: usize,
    value_ptr: *const u8,
    value_length: usize,
}

impl Header {
    pub(crate) const NULL: Self = Self {
        name_ptr: std::ptr::null(),
        name_length: 0,
        value_ptr: std::ptr::null(),
        value_length: 0,
    };

    /// For Envoy to read before the call returns.
    pub(crate) fn of(name: &[u8], value: &[u8]) -> Self {
        Self {
            name_ptr: name.as_ptr(),
            name_length: name.len(),
            value_ptr: value.as_ptr(),
            value_length: value.len(),
        }
    }

    /// Name and value.
    ///
    /// # Safety
    /// As for [`Buffer::bytes`].
    pub(crate) unsafe fn line<'b>(self) -> (&'b [u8], &'b [u8]) {
        let (name, value) = (
            Buffer {
                ptr: self.name_ptr,
                length: self.name_length,
            },
            Buffer {
                ptr: self.value_ptr,
                length: self.value_length,
            },
        );
        // SAFETY: the caller's promise.
        unsafe { (name.bytes(), value.bytes()) }
    }
}

/// Header maps by Envoy's number.
pub(crate) mod map {
    pub(crate) const REQUEST: u32 = 0;
    pub(crate) const RESPONSE: u32 = 2;
    pub(crate) const RESPONSE_TRAILERS: u32 = 3;
}

/// Bodies by Envoy's number.
pub(crate) mod body {
    pub(crate) const RECEIVED_REQUEST: u32 = 0;
    pub(crate) const RECEIVED_RESPONSE: u32 = 2;
}

/// Where metadata is taken from, by Envoy's number.
pub(crate) mod metadata {
    pub(crate) const DYNAMIC: u32 = 0;
    pub(crate) const ROUTE: u32 = 1;
    pub(crate) const CLUSTER: u32 = 2;
}

/// Attributes by Envoy's number.
pub(crate) mod attribute {
    pub(crate) const REQUEST_PROTOCOL: u32 = 10;
    pub(crate) const REQUEST_SIZE: u32 = 13;
    pub(crate) const RESPONSE_CODE_DETAILS: u32 = 16;
    pub(crate) const RESPONSE_FLAGS: u32 = 17;
    pub(crate) const SOURCE_ADDRESS: u32 = 24;
    pub(crate) const DESTINATION_ADDRESS: u32 = 26;
    pub(crate) const UPSTREAM_ADDRESS: u32 = 41;
    pub(crate) const UPSTREAM_LOCAL_ADDRESS: u32 = 51;
    pub(crate) const ROUTE_NAME: u32 = 61;
}

/// What a hook for headers answers.
pub(crate) mod headers_status {
    pub(crate) const CONTINUE: u32 = 0;
    pub(crate) const STOP_ITERATION: u32 = 1;
    pub(crate) const STOP_ALL_AND_WATERMARK: u32 = 4;
}

/// What a hook for content or trailers answers.
pub(crate) mod data_status {
    pub(crate) const CONTINUE: u32 = 0;
    pub(crate) const STOP_AND_BUFFER: u32 = 1;
    /// More is not read above Envoy's limit, where "buffer" alone would refuse the request.
    pub(crate) const STOP_AND_WATERMARK: u32 = 2;
}

/// What a call that Envoy accepted, or a metric, answers.
pub(crate) const SUCCESS: u32 = 0;

macro_rules! callbacks {
    (
        required { $(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)* }
        optional { $(fn $maybe:ident($($arg_o:ident: $type_o:ty),* $(,)?) $(-> $result_o:ty)?;)* }
    ) => {
        /// Envoy's callbacks. May be called from any thread only where it is said; else in the hook that is running.
        #[derive(Debug)]
        pub(crate) struct Api {
            $(pub(crate) $name: unsafe extern "C" fn($($type),*) $(-> $result)?,)*
            $(pub(crate) $maybe: Option<unsafe extern "C" fn($($type_o),*) $(-> $result_o)?>,)*
        }

        impl Api {
            /// Looks all up.
            fn load() -> Result<Self, &'static str> {
                Ok(Self {
                    $($name: {
                        let name = concat!("envoy_dynamic_module_callback_", stringify!($name), "\0");
                        let found = look_up(name).ok_or(stringify!($name))?;
                        // SAFETY: Envoy's function of this name has this type in all versions of the ABI that are served.
                        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($type),*) $(-> $result)?>(found) }
                    },)*
                    $($maybe: {
                        let name = concat!("envoy_dynamic_module_callback_", stringify!($maybe), "\0");
                        // SAFETY: as above.
                        look_up(name).map(|found| unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($type_o),*) $(-> $result_o)?>(found)
                        })
                    },)*
                })
            }
        }
    };
}

callbacks! {
    required {
        // From any thread.
        fn log(level: u32, message: Buffer);
        fn get_concurrency() -> u32;
        fn is_validation_mode() -> bool;
        fn http_filter_config_define_counter(
            config: Object, name: Buffer, labels: *const Buffer, label_count: usize, id: *mut usize,
        ) -> u32;
        fn http_filter_config_increment_counter(
            config: Object, id: usize, labels: *const Buffer, label_count: usize, by: u64,
        ) -> u32;
        fn http_get_headers_size(filter: Object, map: u32) -> usize;
        fn http_get_headers(filter: Object, map: u32, headers: *mut Header) -> bool;
        fn http_add_header(filter: Object, map: u32, name: Buffer, value: Buffer) -> bool;
        fn http_set_header(filter: Object, map: u32, name: Buffer, value: Buffer) -> bool;
        fn http_get_body_size(filter: Object, body: u32) -> usize;
        fn http_get_body_chunks_size(filter: Object, body: u32) -> usize;
        fn http_get_body_chunks(filter: Object, body: u32, chunks: *mut Buffer) -> bool;
        fn http_send_response(
            filter: Object, status: u32, headers: *const Header, count: usize, body: Buffer, details: Buffer,
        );
        fn http_send_response_headers(filter: Object, headers: *const Header, count: usize, end: bool);
        fn http_send_response_data(filter: Object, data: Buffer, end: bool);
        fn http_filter_continue_decoding(filter: Object);
        fn http_get_metadata_bool(filter: Object, source: u32, namespace: Buffer, key: Buffer, value: *mut bool) -> bool;
        fn http_get_metadata_keys_count(filter: Object, source: u32, namespace: Buffer) -> usize;
        fn http_set_filter_state_bytes(filter: Object, key: Buffer, value: Buffer) -> bool;
        fn http_filter_get_attribute_string(filter: Object, attribute: u32, value: *mut Buffer) -> bool;
        fn http_filter_get_attribute_int(filter: Object, attribute: u32, value: *mut u64) -> bool;
        fn http_get_cluster_name(filter: Object, name: *mut Buffer) -> bool;
        fn http_filter_get_worker_index(filter: Object) -> u32;
        // A scheduler is made and deleted on its own thread, and rung from any.
        fn http_filter_scheduler_new(filter: Object) -> Object;
        fn http_filter_scheduler_commit(scheduler: Object, event: u64);
        fn http_filter_scheduler_delete(scheduler: Object);
        fn http_filter_config_scheduler_new(config: Object) -> Object;
        fn http_filter_config_scheduler_commit(scheduler: Object, event: u64);
        fn http_filter_config_scheduler_delete(scheduler: Object);
        // The main thread only.
        fn http_filter_config_http_callout(
            config: Object, id: *mut u64, cluster: Buffer, headers: *const Header, count: usize, body: Buffer, timeout_ms: u64,
        ) -> u32;
        fn http_filter_config_start_http_stream(
            config: Object, id: *mut u64, cluster: Buffer, headers: *const Header, count: usize, body: Buffer, end: bool,
            timeout_ms: u64,
        ) -> u32;
        fn http_filter_config_reset_http_stream(config: Object, id: u64);
        fn http_filter_config_stream_send_data(config: Object, id: u64, data: Buffer, end: bool) -> bool;
    }
    optional {
        fn http_get_filter_state_bytes(filter: Object, key: Buffer, value: *mut Buffer) -> bool;
        // Envoy 1.39 and later. From any thread.
        fn register_function(name: Buffer, function: *mut c_void) -> bool;
        fn get_function(name: Buffer, function: *mut *mut c_void) -> bool;
    }
}

/// What `dladdr` tells of an address.
#[repr(C)]
struct Place {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    symbol_address: *mut c_void,
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dladdr(address: *const c_void, place: *mut Place) -> c_int;
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
}

/// Keeps this library in memory for as long as the process lives, whatever the configuration says: its thread runs there, and a later library
/// reads what it has stored.
pub(crate) fn stay_loaded() {
    // As glibc and musl have them.
    const RTLD_LAZY: c_int = 1;
    const RTLD_NOLOAD: c_int = 4;
    const RTLD_NODELETE: c_int = 0x1000;
    let mut place = Place {
        file: std::ptr::null(),
        base: std::ptr::null_mut(),
        symbol: std::ptr::null(),
        symbol_address: std::ptr::null_mut(),
    };
    let here: fn() = stay_loaded;
    // SAFETY: `dladdr` writes the place, whose file name lives as long as the library; `dlopen` finds it loaded and only marks it.
    unsafe {
        if dladdr(here as *const c_void, &raw mut place) != 0 && !place.file.is_null() {
            dlopen(place.file, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
        }
    }
}

/// A function of this name in the running program.
fn look_up(name: &'static str) -> Option<*mut c_void> {
    let name = CStr::from_bytes_with_nul(name.as_bytes()).ok()?;
    // SAFETY: the name ends with a NUL; the null handle is the default search order.
    let found = unsafe { dlsym(std::ptr::null_mut(), name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

static API: OnceLock<Api> = OnceLock::new();

/// Looks Envoy's callbacks up, once.
///
/// # Errors
/// The name of one that this Envoy lacks.
pub(crate) fn load() -> Result<&'static Api, &'static str> {
    if let Some(api) = API.get() {
        return Ok(api);
    }
    let api = Api::load()?;
    Ok(API.get_or_init(|| api))
}

/// Envoy's callbacks; `None` before the module was loaded.
pub(crate) fn api() -> Option<&'static Api> {
    API.get()
}

/// Tells Envoy's log, where there is one.
pub(crate) fn log(level: u32, message: &str) {
    if let Some(api) = api() {
        // SAFETY: Envoy copies the message before it returns.
        unsafe { (api.log)(level, Buffer::of(message.as_bytes())) };
    }
}

/// The version of the ABI to name to this Envoy, which warns of another one.
pub(crate) fn version() -> &'static CStr {
    // New in v0.2.0.
    match look_up("envoy_dynamic_module_callback_http_filter_get_generic_secret\0") {
        Some(_) => c"v0.2.0",
        None => c"v0.1.0",
    }
}

/// What may be asked on the main thread.
impl Api {
    /// How many workers Envoy has.
    pub(crate) fn worker_count(&self) -> u32 {
        // SAFETY: without arguments; the caller is on the main thread.
        unsafe { (self.get_concurrency)() }
    }

    /// Whether Envoy only judges a configuration.
    pub(crate) fn only_validates(&self) -> bool {
        // SAFETY: as above.
        unsafe { (self.is_validation_mode)() }
    }
}
