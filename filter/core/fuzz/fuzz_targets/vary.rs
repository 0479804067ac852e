//! `Vary` and selecting fields: the same request always selects what it stored, and equal hashes mean equal values.
#![no_main]

use filter_core::cache::selecting::{normalised, variant_hash, vary_names};
use filter_core::http::fields::Fields;
use libfuzzer_sys::fuzz_target;

const NAMES: [&[u8]; 4] = [b"accept-language", b"accept-encoding", b"x-a", b"vary"];

fuzz_target!(|data: &[u8]| {
    let mut halves = data.splitn(2, |byte| *byte == 0);
    let vary = halves.next().unwrap_or_default();
    let request: Fields<'_> = halves
        .next()
        .unwrap_or_default()
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split_first())
        .filter_map(|(first, value)| Some((*NAMES.get(usize::from(*first) % NAMES.len())?, value)))
        .collect();
    let response = Fields::from(vec![(&b"vary"[..], vary)]);
    let Some(names) = vary_names(&response) else { return };
    assert!(names.is_sorted());
    let forth = variant_hash(names.iter().map(|name| name.as_ref()), &request);
    let back = variant_hash(names.iter().rev().map(|name| name.as_ref()), &request);
    assert_eq!(forth, back);
    for name in names.iter().map(|name| name.as_ref()) {
        let Some(value) = normalised(name, &request) else { continue };
        // Normalising what is normalised changes nothing.
        let again = Fields::from(vec![(name, value.as_slice())]);
        assert_eq!(normalised(name, &again), Some(value.clone()));
    }
});
