//! HTTP-date: what is read can be written and read again.
#![no_main]

use filter_core::http::date;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(time) = date::parse(data, 1_700_000_000_000) {
        assert_eq!(date::parse(&date::format(time), 1_700_000_000_000), Some(time / 1_000 * 1_000));
    }
});
