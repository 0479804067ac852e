//! `Cache-Control` of both directions: read without a panic, and cautiously.
#![no_main]

use filter_core::http::cache_control::CacheControl;
use filter_core::http::fields::Fields;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let lines: Vec<(&[u8], &[u8])> = data.split(|byte| *byte == b'\n').map(|line| (&b"cache-control"[..], line)).collect();
    let read = CacheControl::of(&Fields::from(lines.clone()));
    // A further line can only forbid more.
    let mut more = lines;
    more.push((b"cache-control", b"no-store, max-age=0"));
    let stricter = CacheControl::of(&Fields::from(more));
    assert!(stricter.no_store || data.contains(&b'"'));
    assert!(stricter.max_age <= read.max_age || read.max_age.is_none());
    assert!(read.max_age.is_none_or(|seconds| seconds <= 1 << 31));
});
