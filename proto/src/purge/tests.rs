use super::*;
use proptest::prelude::*;

fn read(kind: Kind, value: &str) -> PurgeTarget {
    PurgeTarget::read(kind, value).unwrap()
}

fn meant(kind: Kind, value: &str, host: &str, path: &str, tags: &[&str]) -> bool {
    let stored = Stored::new(host.as_bytes(), path.as_bytes());
    read(kind, value).matches(&stored, tags.iter().map(|tag| tag.as_bytes()))
}

/// Spellings of one URL: host and path of a request, as its key may have them.
const CAFE: [(&str, &str); 8] = [
    ("shop.example", "/caf%c3%a9"),
    ("shop.example", "/caf%C3%A9"),
    ("shop.example", "/café"),
    ("SHOP.example.", "/caf%C3%A9"),
    ("shop.example:80", "//caf%C3%A9"),
    ("shop.example:443", "/./caf%C3%A9"),
    ("evil@shop.example", "/x/%2e%2e/%63af%C3%A9"),
    ("shop.example.:80", r"\caf%C3%A9?"),
];

#[test]
fn every_spelling_of_a_request_is_purged_by_every_spelling_of_the_purge() {
    for (host, path) in CAFE {
        for (name, spelt) in CAFE {
            for scheme in ["http", "HTTPS"] {
                let url = format!("{scheme}://{name}{spelt}");
                assert!(meant(Kind::Url, &url, host, path, &[]), "{url} and {host}{path}");
                let prefix = url.trim_end_matches('?');
                assert!(
                    meant(Kind::Prefix, prefix, host, path, &[]),
                    "{prefix} and {host}{path}"
                );
            }
            assert!(meant(Kind::Host, name, host, path, &[]), "{name} and {host}");
            let everywhere = spelt.trim_end_matches('?');
            assert!(
                meant(Kind::Prefix, everywhere, host, path, &[]),
                "{everywhere} and {path}"
            );
        }
        for other in [
            "http://shop.example/cafe",
            "http://shop.example:8080/café",
            "http://shop/café",
        ] {
            assert!(!meant(Kind::Url, other, host, path, &[]), "{other} and {host}{path}");
        }
        for other in ["shop.example/cafe", "example/", "/caff", "shop.example:8080/"] {
            assert!(!meant(Kind::Prefix, other, host, path, &[]), "{other} and {host}{path}");
        }
        assert!(!meant(Kind::Host, "example", host, path, &[]));
    }
}

#[test]
fn queries_keep_their_order_and_a_prefix_may_end_in_one() {
    let table = [
        (Kind::Url, "http://h/p?a=%c3%a9&b=1", "/p?a=%C3%A9&b=1", true),
        (Kind::Url, "http://h/p?b=1&a=%c3%a9", "/p?a=%C3%A9&b=1", false),
        (Kind::Url, "http://h/p", "/p?", true),
        (Kind::Url, "http://h/p?", "/p", true),
        (Kind::Url, "http://h/p", "/p?x", false),
        (Kind::Url, "http://h?x", "/?x", true),
        (Kind::Url, "http://h/p?a[]=1", "/p?a%5b%5d=1", true),
        (Kind::Prefix, "h/p?", "/p?x", true),
        (Kind::Prefix, "h/p?", "/pq", false),
        (Kind::Prefix, "h/p?a=%C3%A", "/p?a=%c3%a9", true),
        (Kind::Prefix, "h/", "/", true),
        (Kind::Prefix, "http://h", "/p", true),
        (Kind::Prefix, "h:80/p", "/p/q", true),
        (Kind::Url, "http://h/a%2Fb", "/a/b", true),
        (Kind::Url, "http://h/me@x.example", "/me%40x.example", true),
        (Kind::Url, "http://h/a%2Ab", "/a*b", true),
        (Kind::Url, "http://h/p?a=b%26c", "/p?a=b&c", false),
    ];
    for (kind, value, path, expected) in table {
        assert_eq!(meant(kind, value, "h", path, &[]), expected, "{value} and {path}");
    }
}

#[test]
fn a_tag_is_also_the_name_of_a_cache_group() {
    for (tag, expected) in [
        ("products", true),
        ("group:products", true),
        ("roducts", false),
        ("group", false),
        ("group:", false),
        ("product", false),
    ] {
        assert_eq!(
            meant(Kind::Tag, tag, "h", "/", &["x", "group:products"]),
            expected,
            "{tag}"
        );
    }
    assert!(!meant(Kind::Tag, "group:products", "h", "/", &["products"]));
}

#[test]
fn what_names_nothing_is_refused() {
    for (kind, value) in [
        (Kind::Url, "/p"),
        (Kind::Url, "ftp://h/p"),
        (Kind::Url, "http:///p"),
        (Kind::Url, "http://h/a b"),
        (Kind::Url, "http://h/a\tb"),
        (Kind::Url, "http://h /p"),
        (Kind::Url, "http://café.example/p"),
        (Kind::Url, "http://h:x/p"),
        (Kind::Host, ""),
        (Kind::Host, "h/p"),
        (Kind::Host, "http://h"),
        (Kind::Host, "café.example"),
        (Kind::Host, "h "),
        (Kind::Prefix, "h"),
        (Kind::Prefix, "café.example/"),
        (Kind::Prefix, "h/a b"),
        (Kind::Prefix, "http:///p"),
        (Kind::Prefix, ""),
        (Kind::Tag, "a b"),
        (Kind::Tag, ""),
        (Kind::Host, "*"),
        (Kind::Host, "*.shop.example"),
        (Kind::Prefix, "*.shop.example/"),
        (Kind::Prefix, "shop.example/img/*"),
        (Kind::Url, "http://shop.example/img/*"),
        (Kind::Url, "http://shop.example/*/logo"),
        (Kind::Url, "http://*/logo"),
        (Kind::Url, "http://shop.example/p?*"),
    ] {
        assert!(PurgeTarget::fault(kind, value).is_some(), "{value}");
    }
    for (kind, value) in [
        (Kind::Url, "http://h/café?é"),
        (Kind::Url, "HTTPS://[::1]:8443"),
        (Kind::Url, "http://xn--caf-dma.example."),
        (Kind::Host, "shop.example.:80"),
        (Kind::Prefix, "http://shop.example:80/"),
        (Kind::Prefix, "http://shop.example"),
        (Kind::Prefix, "/café"),
        (Kind::Tag, "group:products"),
        (Kind::Tag, "a*"),
        (Kind::Url, "http://h/a%2Ab?q=*&page=1"),
        (Kind::All, ""),
    ] {
        assert_eq!(PurgeTarget::fault(kind, value), None, "{value}");
        assert!(PurgeTarget::read(kind, value).is_ok(), "{value}");
    }
}

/// Writes a path in another way that names the same: one step for each number.
fn respelt(path: &str, steps: &[u8]) -> String {
    let mut out = String::new();
    let mut steps = steps.iter().cycle();
    for byte in path.bytes() {
        let step = steps.next().unwrap_or(&0);
        match (byte, step % 6) {
            (b'/', 0) => out.push_str("//"),
            (b'/', 1) => out.push_str("/./"),
            (b'/', 2) => out.push_str("/x/../"),
            (b'/', 3) => out.push_str("/%2e/"),
            (b'/', 4) => out.push('\\'),
            (b'/', _) => out.push('/'),
            (byte, 0) => out.push_str(&format!("%{byte:02x}")),
            (byte, 1) => out.push_str(&format!("%{byte:02X}")),
            (byte, _) if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            (byte, 2 | 3) => out.push_str(&format!("%{byte:02x}")),
            (byte, _) => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

proptest! {
    #[test]
    fn any_spelling_of_the_url_purges_the_entry(
        path in "/[a-z~é ]{1,6}(/[a-zA-Z0-9._é-]{1,6}x){0,3}",
        one in proptest::collection::vec(any::<u8>(), 1..40),
        other in proptest::collection::vec(any::<u8>(), 1..40),
        hosts in (0_usize..5, 0_usize..5),
        cut in any::<proptest::sample::Index>(),
    ) {
        const HOSTS: [&str; 5] = ["shop.example", "SHOP.Example", "shop.example.", "shop.example:80", "u@shop.example:443"];
        let (host, name) = (HOSTS[hosts.0], HOSTS[hosts.1]);
        let (stored, spelt) = (respelt(&path, &one), respelt(&path, &other));
        let url = format!("http://{name}{spelt}");
        prop_assert!(meant(Kind::Url, &url, host, &stored, &[]), "{} and {}", url, stored);
        // Any beginning of the canonical path, within an escape too.
        let canonical = String::from_utf8(url::path(stored.as_bytes()).into_owned()).unwrap();
        let end = cut.index(canonical.len()) + 1;
        let prefix = [name, &canonical[..end]].concat();
        prop_assert!(meant(Kind::Prefix, &prefix, host, &stored, &[]), "{} and {}", prefix, stored);
    }
}

#[test]
fn a_url_means_what_was_stored_for_other_queries_of_its_path_too() {
    let stored = Stored::new(b"a", b"/p?id=1");
    let tag = search_tag(b"/p?utm=1");
    let means = |target: PurgeTarget, tags: &[&[u8]]| target.matches(&stored, tags.iter().copied());
    for target in [
        PurgeTarget::url(b"a", b"/p?id=2"),
        PurgeTarget::url(b"A", b"/%70"),
        PurgeTarget::prefix(b"a", b"/p?id=2"),
        PurgeTarget::prefix(b"", b"/p?"),
    ] {
        assert!(means(target.clone(), &[&tag]), "{target:?}");
    }
    assert!(!means(PurgeTarget::url(b"a", b"/p?id=2"), &[b"other"]));
    for target in [
        PurgeTarget::url(b"b", b"/p?id=1"),
        PurgeTarget::url(b"a", b"/q?id=1"),
        PurgeTarget::prefix(b"a", b"/q?id"),
    ] {
        assert!(!means(target.clone(), &[&tag]), "{target:?}");
    }
    let long = [b"/", &[b'a'; 5_000][..]].concat();
    assert!(search_tag(&long).len() < 1_000);
}
