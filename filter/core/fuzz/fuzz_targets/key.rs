//! Keys of arbitrary requests, and the readings of arbitrary paths.
#![no_main]

use filter_core::cache::{CacheKey, KeyPolicy, KeySecret, QueryPolicy, selecting};
use filter_core::http::fields::Fields;
use filter_core::http::target::Target;
use filter_core::policy::Policies;
use libfuzzer_sys::fuzz_target;
use optimizer_proto::settings::Settings;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (authority, path, name, cookie, value) = (next(), next(), next(), next(), next());
    let document = serde_json::json!({ "routes": [
        { "name": "private", "path_prefix": "/private", "cache": false },
        { "name": "shop", "host": "*.shop.example" },
    ] });
    let policies = Policies::compile(&Settings::parse(&document).expect("sound settings").0);
    let _ = policies.is_ambiguous(authority, path);
    let _ = policies.readings(authority, path);
    let request: Fields<'_> = [(&b"cookie"[..], cookie), (b"authorization", value), (name, value)].into_iter().collect();
    let target = Target { scheme: b"http", authority: b"a", path };
    let secret = KeySecret::derived(&[7; 16]).expect("long enough");
    let names = || vec![name.to_vec()];
    for query in [QueryPolicy::All, QueryPolicy::Include(names()), QueryPolicy::Exclude(names())] {
        let policy = KeyPolicy { query, headers: names(), cookies: names(), isolate_authorization: true };
        let key = CacheKey::new(&policy, &target, &request, &secret);
        assert_eq!(CacheKey::parts(key.as_bytes()).url, key.url());
    }
    for nominated in [name, b"accept", b"accept-encoding", b"accept-language", b"accept-charset"] {
        let asked: Fields<'_> = [(nominated, value), (nominated, cookie)].into_iter().collect();
        let once = selecting::normalised(nominated, &asked).expect("it is there");
        let again = selecting::normalised(nominated, &[(nominated, once.as_slice())].into_iter().collect());
        assert_eq!(again.as_deref(), Some(once.as_slice()), "its own normal form");
    }
});
