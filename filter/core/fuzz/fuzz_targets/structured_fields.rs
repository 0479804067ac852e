//! Targeted cache control, cache groups and tags: structured fields of an origin.
#![no_main]

use filter_core::cache::groups;
use filter_core::http::fields::Fields;
use filter_core::http::structured;
use libfuzzer_sys::fuzz_target;

const NAMES: [&[u8]; 7] = [
    b"cdn-cache-control",
    b"api-optimizer-cache-control",
    b"surrogate-control",
    b"cache-groups",
    b"cache-group-invalidation",
    b"surrogate-key",
    b"cache-tag",
];

fuzz_target!(|data: &[u8]| {
    let lines: Vec<(&[u8], &[u8])> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split_first())
        .filter_map(|(first, value)| Some((*NAMES.get(usize::from(*first) % NAMES.len())?, value)))
        .collect();
    let fields = Fields::from(lines);
    if let Some(read) = structured::targeted(&fields) {
        assert!(read.max_age.is_none_or(|seconds| seconds <= 1 << 31));
    }
    let tags = groups::tags(&fields);
    assert!(tags.is_none_or(|tags| tags.len() <= groups::MAX_TAGS && tags.is_sorted()));
    let _ = groups::invalidated(&fields);
});
