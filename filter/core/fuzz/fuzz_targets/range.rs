//! `Range` and conditions: what is selected lies within the representation.
#![no_main]

use filter_core::cache::precondition::{Validators, evaluate};
use filter_core::cache::range::{MAX_RANGES, Selection, select};
use filter_core::http::fields::Fields;
use libfuzzer_sys::fuzz_target;

const NAMES: [&[u8]; 6] = [
    b"range",
    b"if-range",
    b"if-none-match",
    b"if-modified-since",
    b"if-match",
    b"if-unmodified-since",
];

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first() else { return };
    let length = u64::from(*length);
    let request: Fields<'_> = rest
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split_first())
        .filter_map(|(first, value)| Some((*NAMES.get(usize::from(*first) % NAMES.len())?, value)))
        .collect();
    let validators = Validators {
        etag: Some(b"\"v1\""),
        last_modified: Some(b"Sun, 06 Nov 1994 08:49:37 GMT"),
        date_ms: 1_700_000_000_000,
    };
    let _ = evaluate(&validators, &request, 1_700_000_000_000);
    let inside = |first: u64, last: u64| first <= last && last < length;
    match select(&request, &validators, length, 1_700_000_000_000) {
        Selection::Single(first, last) => assert!(inside(first, last)),
        Selection::Multiple(parts) => {
            assert!(parts.len() <= MAX_RANGES && parts.iter().all(|(first, last)| inside(*first, *last)));
            assert!(parts.iter().map(|(first, last)| last - first + 1).sum::<u64>() <= length);
        }
        Selection::Whole | Selection::Unsatisfiable => {}
    }
});
