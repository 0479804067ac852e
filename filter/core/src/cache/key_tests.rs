//! Keys tell apart whatever any server tells apart by the named parameters, cookies and fields.

use super::key::CacheKey;
use super::key_secret::KeySecret;
use super::policy::{KeyPolicy, QueryPolicy};
use crate::http::fields::Fields;
use crate::http::target::Target;
use proptest::prelude::*;

fn under(seed: u8, policy: &KeyPolicy, path: &[u8], lines: &[(&[u8], &[u8])]) -> CacheKey {
    let target = Target {
        scheme: b"http",
        authority: b"a",
        path,
    };
    let secret = KeySecret::derived(&[seed; 16]).unwrap();
    CacheKey::new(policy, &target, &lines.iter().copied().collect::<Fields<'_>>(), &secret)
}

fn key(policy: &KeyPolicy, path: &str, lines: &[(&[u8], &[u8])]) -> CacheKey {
    under(7, policy, path.as_bytes(), lines)
}

fn cookies(name: &str) -> KeyPolicy {
    KeyPolicy {
        cookies: vec![name.as_bytes().to_vec()],
        ..KeyPolicy::default()
    }
}

fn included(name: &str) -> KeyPolicy {
    KeyPolicy {
        query: QueryPolicy::Include(vec![name.as_bytes().to_vec()]),
        ..KeyPolicy::default()
    }
}

#[test]
fn a_parameter_belongs_to_the_key_in_whatever_spelling() {
    let policy = included("id");
    let bare = key(&policy, "/p", &[]);
    for query in [
        "%69d=2",
        "x=1;id=2",
        "ID=2",
        "+id=2",
        "id[]=2",
        "id%00=2",
        "x=1%26id=2",
        "i%64=%",
        "id",
    ] {
        let one = key(&policy, &format!("/p?y=1&{query}&z=2"), &[]);
        assert_ne!(one, bare, "{query}");
        assert_eq!(one.path(), format!("/p?{query}").as_bytes(), "as it was sent");
    }
    assert_eq!(key(&policy, "/p?x=1&y=id&idx=%41", &[]), bare);
    assert_ne!(key(&policy, "/p?id=1&id=2", &[]), key(&policy, "/p?id=2&id=1", &[]));
    let without = KeyPolicy {
        query: QueryPolicy::Exclude(vec![b"utm".to_vec()]),
        ..KeyPolicy::default()
    };
    for query in ["utm=1;id=2", "utm=1%26id=2", "UTM=1", "%75tm=1", "utm=%"] {
        assert_ne!(
            key(&without, &format!("/p?{query}"), &[]),
            key(&without, "/p", &[]),
            "{query}"
        );
    }
    assert_eq!(
        key(&without, "/p?utm=a%20b&x=1", &[]),
        key(&without, "/p?x=1&utm=c", &[])
    );
}

#[test]
fn a_cookie_belongs_to_the_key_in_whatever_spelling() {
    let policy = cookies("sid");
    let of = |line: &str| key(&policy, "/", &[(b"cookie", line.as_bytes())]);
    let (nobody, alice) = (key(&policy, "/", &[]), of("sid=alice"));
    for line in [
        "sid =alice",
        " SID=alice",
        "\"sid\"=alice",
        "a=1, sid=alice",
        "%73id=alice",
        "sid\t= alice",
        "a=\"x; sid=alice\"",
        "a=1;sid=alice",
        "sid",
        "sid=",
        "sid=alice; sid=bob",
        "sid[]=alice",
        "sid%00=alice",
    ] {
        assert_ne!(of(line), nobody, "{line}");
        let bobs = line.replace("alice", "bob");
        assert!(bobs == line || of(line) != of(&bobs), "{line}");
    }
    assert_eq!(of("a=1; b=2"), nobody);
    assert_eq!(of(" sid=alice ; a=1"), alice);
    assert_ne!(of("sid=a,b"), of("sid=a,c"), "a comma may be part of the value");
    assert_ne!(of("sid=\"a;b\""), of("sid=\"a;c\""), "so may a semicolon within quotes");
    assert_ne!(of("sid=a; sid=b"), of("sid=b; sid=a"));
    let lines = |first: &str, second: &str| {
        let lines: [(&[u8], &[u8]); 2] = [(b"cookie", first.as_bytes()), (b"cookie", second.as_bytes())];
        key(&policy, "/", &lines)
    };
    assert_eq!(lines("a=1", "sid=alice"), alice);
    assert_ne!(lines("sid=alice", "sid=bob"), alice);
    assert_ne!(lines("sid=\"a", "b\""), lines("sid=\"a", "c\""));
}

#[test]
fn a_field_belongs_to_the_key_with_its_cgi_aliases() {
    let policy = KeyPolicy {
        headers: vec![b"x-tenant".to_vec()],
        ..KeyPolicy::default()
    };
    let of = |lines: &[(&[u8], &[u8])]| key(&policy, "/", lines);
    let one = of(&[(b"x-tenant", b"1")]);
    for other in [
        of(&[(b"x_tenant", b"1")]),
        of(&[(b"x-tenant", b"1"), (b"x_tenant", b"2")]),
        of(&[(b"x_tenant", b"2"), (b"x-tenant", b"1")]),
        of(&[]),
        of(&[(b"x-tenant", b"1"), (b"x-tenant", b"1")]),
    ] {
        assert_ne!(one, other);
    }
    assert_eq!(
        one,
        of(&[(b"x-tenant", b"1"), (b"x-tenants", b"2"), (b"xatenant", b"2")])
    );
}

#[test]
fn no_value_looks_like_another_part_of_the_key() {
    let policy = KeyPolicy {
        headers: vec![b"x".to_vec(), b"y".to_vec()],
        ..KeyPolicy::default()
    };
    let of = |lines: &[(&[u8], &[u8])]| under(7, &policy, b"/", lines);
    assert_ne!(of(&[(b"x", b"1\0y\x012")]), of(&[(b"x", b"1"), (b"y", b"2")]));
    assert_ne!(of(&[(b"x", b"1\x012")]), of(&[(b"x", b"1"), (b"x", b"2")]));
    assert_ne!(of(&[(b"x", b"\x03=1")]), of(&[(b"x", b"\x031")]));
    let path = under(7, &KeyPolicy::default(), b"/a\x02", &[]);
    assert!(!CacheKey::holds_identity(path.as_bytes()));
    assert_eq!(CacheKey::parts(path.as_bytes()).url, path.url());
}

#[test]
fn identities_are_told_apart_and_not_told() {
    let isolated = KeyPolicy {
        isolate_authorization: true,
        ..KeyPolicy::default()
    };
    let of = |seed: u8, lines: &[(&[u8], &[u8])]| under(seed, &isolated, b"/", lines);
    let alice: (&[u8], &[u8]) = (b"authorization", b"Bearer alice");
    let bob: (&[u8], &[u8]) = (b"authorization", b"Bearer bob");
    assert_eq!(of(1, &[alice]), of(1, &[alice]));
    for other in [of(1, &[bob]), of(1, &[alice, bob]), of(1, &[]), of(2, &[alice])] {
        assert_ne!(of(1, &[alice]), other);
    }
    let shown = of(1, &[alice]);
    let unkeyed = xxhash_rust::xxh3::xxh3_128(alice.1).to_le_bytes();
    for secret in [
        &b"alice"[..],
        &unkeyed,
        blake3::hash(alice.1).as_bytes().first_chunk::<16>().unwrap(),
    ] {
        assert!(!shown.as_bytes().windows(secret.len()).any(|part| part == secret));
    }
    assert!(CacheKey::holds_identity(shown.as_bytes()));
}

/// A server of the test's own: decodes, splits at `;` and `&`, trims, folds case.
fn values(text: &str, separators: &[char], name: &str) -> Vec<String> {
    let mut decoded = text.to_owned();
    for (escape, byte) in [
        ("%25", "%"),
        ("%69", "i"),
        ("%64", "d"),
        ("%3b", ";"),
        ("%26", "&"),
        ("%20", " "),
    ] {
        decoded = decoded.replace(escape, byte);
    }
    let pairs = decoded.split(|byte| separators.contains(&byte)).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (
            name.trim_matches([' ', '+', '"']).to_ascii_lowercase(),
            value.trim().to_owned(),
        )
    });
    pairs
        .filter(|(found, _)| found == name)
        .map(|(_, value)| value)
        .collect()
}

fn soup(separators: &'static [&'static str]) -> impl Strategy<Value = String> {
    let mut parts = vec![
        "id", "i", "d", "ID", "%69", "%64", "%2569", "=", "=", "1", "2", "%20", "+", "%3b", "%26", "x", "\"", "[0]",
    ];
    parts.extend_from_slice(separators);
    prop::collection::vec(prop::sample::select(parts), 0..9).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn parameters_that_a_lenient_server_tells_apart_have_keys_of_their_own(one in soup(&["&", ";", "&id="]), two in soup(&["&", ";", "&id="])) {
        let separators = ['&', ';'];
        let told_apart = values(&one, &separators, "id") != values(&two, &separators, "id");
        let of = |query: &str| key(&included("id"), &format!("/p?{query}"), &[]);
        prop_assert!(!told_apart || of(&one) != of(&two), "{one} and {two}");
    }

    #[test]
    fn cookies_that_a_lenient_server_tells_apart_have_keys_of_their_own(one in soup(&[";", ",", "; id="]), two in soup(&[";", ",", "; id="])) {
        let of = |line: &str| key(&cookies("id"), "/", &[(b"cookie", line.as_bytes())]);
        for separators in [&[';'][..], &[';', ',']] {
            let told_apart = values(&one, separators, "id") != values(&two, separators, "id");
            prop_assert!(!told_apart || of(&one) != of(&two), "{one} and {two}");
        }
    }

    #[test]
    fn equal_credentials_have_equal_keys_and_others_not(one in "[a-c]{0,2}", two in "[a-c]{0,2}", seeds in (0_u8..3, 0_u8..3)) {
        let isolated = KeyPolicy { isolate_authorization: true, ..cookies("sid") };
        let of = |seed: u8, credential: &str| {
            let cookie = format!("sid={credential}");
            under(seed, &isolated, b"/", &[(b"authorization", credential.as_bytes()), (b"cookie", cookie.as_bytes())])
        };
        prop_assert_eq!(of(seeds.0, &one) == of(seeds.1, &two), one == two && seeds.0 == seeds.1);
    }

    #[test]
    fn no_request_is_too_odd(path in prop::collection::vec(any::<u8>(), 0..60), value in prop::collection::vec(any::<u8>(), 0..60), name in prop::collection::vec(any::<u8>(), 0..6)) {
        let policies = [
            QueryPolicy::Include(vec![name.clone()]),
            QueryPolicy::Exclude(vec![name.clone()]),
            QueryPolicy::None,
        ];
        for query in policies {
            let policy = KeyPolicy { query, headers: vec![name.clone()], cookies: vec![name.clone()], isolate_authorization: true };
            let key = under(1, &policy, &path, &[(b"cookie", &value), (b"authorization", &value), (&name, &value)]);
            prop_assert_eq!(CacheKey::parts(key.as_bytes()).url, key.url());
        }
    }
}
