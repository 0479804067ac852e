//! A whole exchange of arbitrary header maps: judged, stored, read back and decided about, and stored bytes as they come.
#![no_main]

use filter_core::cache::{CacheKey, Encoder, Exchange, Framing, FreshnessPolicy, KeyPolicy, KeySecret, StoredView, selecting, storability};
use filter_core::driver::host::header_map::parse;
use filter_core::engine::{CacheRequest, decide};
use filter_core::http::fields::Fields;
use libfuzzer_sys::fuzz_target;

const GET: [(&[u8], &[u8]); 3] = [(b":method", b"GET"), (b":authority", b"a"), (b":path", b"/")];

fuzz_target!(|data: &[u8]| {
    // As the host's serialization, and as stored bytes.
    let _ = parse(data);
    let _ = StoredView::decode(data, true);

    let mut sides = data.splitn(2, |byte| *byte == 0);
    let lines = |bytes: Option<&[u8]>| -> Vec<(Vec<u8>, Vec<u8>)> {
        let line = |line: &[u8]| {
            let at = line.iter().position(|byte| *byte == b':')?;
            Some((line.get(..at)?.to_ascii_lowercase(), line.get(at + 1..)?.to_vec()))
        };
        bytes.unwrap_or_default().split(|byte| *byte == b'\n').filter_map(line).collect()
    };
    let (mine, theirs) = (lines(sides.next()), lines(sides.next()));
    let request: Fields<'_> = GET.into_iter().chain(mine.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))).collect();
    let response: Fields<'_> = theirs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
    let Some(asked) = CacheRequest::read(request.clone()) else { return };
    let policy = FreshnessPolicy { default_ttl_ms: 60_000, ..FreshnessPolicy::default() };
    let exchange = Exchange {
        method: asked.method,
        request: &request,
        status: 200,
        response: &response,
        request_time_ms: 1_700_000_000_000,
        response_time_ms: 1_700_000_000_100,
        framing: Framing::Delimited,
        identity_in_key: false,
        stated_freshness_only: false,
        hidden_credentials: false,
    };
    let key = CacheKey::new(&KeyPolicy::default(), &asked.target, &asked.fields, &KeySecret::unset());
    let Ok(plan) = storability::judge(&exchange, &policy, 0) else { return };
    let Ok(mut encoder) = Encoder::begin(key.as_bytes(), &exchange, &plan, 5, 32) else { return };
    encoder.append(b"hello");
    let stored = encoder.seal().expect("a delimited body is whole");
    let view = StoredView::decode(&stored, true).expect("what was written can be read");
    assert_eq!(view.key(), key.as_bytes());
    assert!(selecting::matches(&view, &request), "a request selects what it stored");
    let directives = asked.directives(&policy);
    let _ = decide(&view, &asked, &directives, false, 7, 1_700_000_001_000);
});
