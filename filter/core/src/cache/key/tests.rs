use super::*;

fn secret(seed: u8) -> KeySecret {
    KeySecret::derived(&[seed; 16]).unwrap()
}

fn key(policy: &KeyPolicy, authority: &str, path: &str, lines: Vec<(&[u8], &[u8])>) -> CacheKey {
    let target = Target {
        scheme: b"http",
        authority: authority.as_bytes(),
        path: path.as_bytes(),
    };
    CacheKey::new(policy, &target, &Fields::from(lines), &secret(7))
}

#[test]
fn keys_tell_apart_what_is_different_and_nothing_else() {
    let all = KeyPolicy::default();
    let base = key(&all, "a", "/p?x=1", vec![]);
    assert_eq!(base, key(&all, "A:80", "/p?x=1", vec![(b"cookie", b"c")]));
    for other in [
        key(&all, "b", "/p?x=1", vec![]),
        key(&all, "a", "/p?x=2", vec![]),
        key(&all, "a", "/p", vec![]),
    ] {
        assert_ne!(base, other);
    }
    assert_eq!(
        (base.host(), base.path(), base.url()),
        (&b"a"[..], &b"/p?x=1"[..], &b"http://a/p?x=1"[..])
    );
    let parts = CacheKey::parts(base.as_bytes());
    assert_eq!(
        (parts.host, parts.path, parts.url),
        (base.host(), base.path(), base.url())
    );
}

#[test]
fn what_is_routed_apart_is_stored_apart() {
    let plain = || key(&KeyPolicy::default(), "a", "/p", vec![]);
    let to = Routing {
        cluster: b"c",
        route: b"",
        authority: b"a",
        ..Routing::default()
    };
    let base = plain().routed(&to);
    assert_eq!(base, plain().routed(&Routing { authority: b"A", ..to }));
    for other in [
        Routing { cluster: b"d", ..to },
        Routing { route: b"r", ..to },
        Routing {
            cluster: b"",
            route: b"c",
            ..to
        },
        Routing { authority: b"a.", ..to },
        Routing {
            authority: b"a:80",
            ..to
        },
        Routing { authority: b"a:", ..to },
        Routing {
            claimed_scheme: Some(b"https"),
            ..to
        },
        Routing { head: Some("00"), ..to },
    ] {
        let other = plain().routed(&other);
        assert!(other != base && other.hash() != base.hash(), "{other:?}");
        assert_eq!(CacheKey::parts(other.as_bytes()).url, b"http://a/p");
        assert!(CacheKey::is_routed(other.as_bytes()) && !CacheKey::holds_identity(other.as_bytes()));
    }
    let headed = plain().routed(&Routing { head: Some("0f"), ..to });
    assert_eq!(base.with_head_of(headed.as_bytes()), Some(headed));
    assert!(base.with_head_of(base.as_bytes()).is_none() && plain().with_head_of(base.as_bytes()).is_none());
    assert!(!CacheKey::is_routed(plain().as_bytes()));
    assert_eq!(CacheKey::without_destination(base.as_bytes()), plain().as_bytes());
    assert!(CacheKey::may_hold(b"outbound|80||a.b") && !CacheKey::may_hold(b"a\0b"));
}

#[test]
fn the_policy_shapes_the_query_and_adds_fields() {
    let names = || vec![b"x".to_vec()];
    for (query, expected) in [
        (QueryPolicy::None, "/p"),
        (QueryPolicy::Include(names()), "/p?x=1"),
        (QueryPolicy::Exclude(names()), "/p?y=2&z"),
    ] {
        let policy = KeyPolicy {
            query,
            ..KeyPolicy::default()
        };
        assert_eq!(key(&policy, "a", "/p?y=2&x=1&z", vec![]).path(), expected.as_bytes());
    }
    let policy = KeyPolicy {
        headers: vec![b"x-tenant".to_vec()],
        isolate_authorization: true,
        ..KeyPolicy::default()
    };
    let of = |tenant: &'static [u8], token: &'static [u8]| {
        key(
            &policy,
            "a",
            "/",
            vec![(b"x-tenant", tenant), (b"authorization", token)],
        )
    };
    assert_ne!(of(b"1", b"t"), of(b"2", b"t"));
    assert_ne!(of(b"1", b"t"), of(b"1", b"u"));
    assert!(!of(b"1", b"secret").as_bytes().windows(6).any(|part| part == b"secret"));
}

#[test]
fn cookies_of_the_policy_belong_to_the_key_hashed_and_no_others() {
    let policy = KeyPolicy {
        cookies: vec![b"plan".to_vec()],
        ..KeyPolicy::default()
    };
    let of = |cookies: &'static [u8]| key(&policy, "a", "/", vec![(b"cookie", cookies)]);
    let gold = of(b"plan=gold");
    assert_eq!(gold, of(b"session=1; plan=gold; theme=dark"));
    for other in ["plan=silver", "Plan=gold", "myplan=gold", "", "plan=gold; plan=silver"] {
        assert_ne!(gold, of(other.as_bytes()), "{other}");
    }
    assert!(!gold.as_bytes().windows(4).any(|part| part == b"gold"));
    assert!(CacheKey::holds_identity(gold.as_bytes()));
}
