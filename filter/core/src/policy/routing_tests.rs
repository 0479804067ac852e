//! Rules by path and host cannot be walked around.

use super::Policies;
use optimizer_proto::settings::Settings;
use proptest::prelude::*;

fn policies(routes: &str) -> Policies {
    let document = format!(r#"{{"routes":{routes}}}"#);
    let settings = Settings::parse(&serde_json::from_str(&document).unwrap()).unwrap().0;
    Policies::compile(&settings)
}

fn guarded() -> Policies {
    policies(
        r#"[{"name":"private","path_prefix":"/private","cache":false},
            {"name":"shop","host":"shop.example","path_prefix":"/cart","cache":false}]"#,
    )
}

#[test]
fn a_rule_by_path_holds_however_the_path_is_spelled() {
    let policies = guarded();
    for path in [
        "//private/a",
        "/./private/a",
        "/x/../private/a",
        "\\private/a",
        "/\\private/a",
        "/x\\..\\private/a",
        "/x/..%2fprivate/a",
        "/x/..%2Fprivate/a",
        "/x/..%5cprivate/a",
        "/x/%2e%2e/private/a",
        "/x/%2E./private/a",
        "/x/..%252fprivate/a",
        "/x/%252e%252e%252fprivate/a",
        "/%70rivate/a",
        "/%2570rivate/a",
        "/%25252570rivate/a",
        "/%2525252570rivate/a",
        "/Private/a",
        "/PRIVATE",
        "/x;/../private/a",
        "/x/..;v=1/private/a",
        "/;v=1/private/a",
        "/x%00/../private/a",
        "/%00private/a",
        "/pri%09vate/a",
        "/x/%c0%ae%c0%ae/private",
        "/x/..%u002fprivate",
        "/.%20/private/a",
        "/.../private/a",
        "/private/../a",
        "/private/..%2fa",
        "/%70rivate/..%252fa",
    ] {
        let route = policies.route(b"other.example", path.as_bytes());
        assert!(
            !route.cache || policies.is_ambiguous(b"other.example", path.as_bytes()),
            "{path}"
        );
    }
    for path in [
        "/",
        "/x",
        "/X/Y",
        "/x/y.z?q=//private/../%2e",
        "/a/private/x",
        "/x//y",
        "/x;v=1/y",
        "/caf%C3%A9",
        "/100%",
        "/private/a//b",
        "/private;v=1/a",
        "/private/%41",
        "/privateer",
    ] {
        assert!(!policies.is_ambiguous(b"other.example", path.as_bytes()), "{path}");
    }
}

#[test]
fn a_rule_by_host_holds_however_the_host_is_spelled() {
    let policies = guarded();
    for (host, path, ambiguous) in [
        ("shop.example", "/cart", false),
        ("SHOP.example:8080", "/cart", false),
        ("shop.example.", "/cart", true),
        ("shop.example.:80", "/cart", true),
        ("a@shop.example", "/cart", true),
        ("a@shop.example.", "/cart", true),
        ("shop.example.", "/x", false),
        ("other.example.", "/cart", false),
        ("shop.example", "/Cart", true),
        ("[::1]:80", "/cart", false),
    ] {
        assert_eq!(
            policies.is_ambiguous(host.as_bytes(), path.as_bytes()),
            ambiguous,
            "{host}{path}"
        );
    }
    let by_host = self::policies(r#"[{"name":"shop","host":"*.example","cache":false}]"#);
    assert!(by_host.is_ambiguous(b"a.example.", b"/x"));
    assert!(!by_host.is_ambiguous(b"a.example", b"//x/../%2e"));
}

#[test]
fn without_rules_every_path_is_clear() {
    for routes in [
        "[]",
        r#"[{"name":"all","default_ttl":"1m"}]"#,
        r#"[{"name":"all","path_prefix":"/"}]"#,
    ] {
        assert!(!policies(routes).is_ambiguous(b"a.", b"//x/%00/../%2e"), "{routes}");
    }
}

#[test]
fn rules_with_odd_paths_still_take_their_requests() {
    for (prefix, path) in [
        ("/caf%C3%A9", "/caf%C3%A9/x"),
        ("/API/", "/API/x"),
        ("/v1.", "/v1.2/x"),
        ("/a;b", "/a;b/x"),
        ("/x%20y", "/x%20y"),
    ] {
        let policies = policies(&format!(r#"[{{"name":"r","path_prefix":"{prefix}"}}]"#));
        assert_eq!(policies.route(b"h", path.as_bytes()).name, "r");
        assert!(!policies.is_ambiguous(b"h", path.as_bytes()), "{prefix}");
    }
    let encoded = policies(r#"[{"name":"r","path_prefix":"/%70rivate","cache":false}]"#);
    assert!(encoded.is_ambiguous(b"h", b"/private/x"));
}

#[test]
fn the_readings_are_shown() {
    let readings = guarded().readings(b"h", b"//private");
    let routes: Vec<&str> = readings.iter().map(|reading| reading.route.as_str()).collect();
    assert!(
        routes.contains(&"private") && routes.contains(&"default"),
        "{readings:?}"
    );
    assert!(guarded().readings(b"h", b"/%00").is_empty());
}

/// A server of the test's own: decodes, folds case, cuts parameters, and walks the segments.
fn lenient(path: &str) -> String {
    let mut text = path.split('?').next().unwrap().to_owned();
    for (escape, byte) in [("%25", "%"), ("%2f", "/"), ("%5c", "\\"), ("%2e", "."), ("%70", "p")] {
        text = text.replace(escape, byte).replace(&escape.to_uppercase(), byte);
    }
    let mut kept = Vec::new();
    for segment in text.to_lowercase().replace('\\', "/").split('/') {
        match segment.split(';').next().unwrap() {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other.to_owned()),
        }
    }
    format!("/{}", kept.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn what_a_lenient_server_takes_for_private_is_not_cached(
        parts in prop::collection::vec(prop::sample::select(vec![
            "/", "/", "//", "private", "Private", "x", "..", ".", "%2e", "%2F", "%5c", "\\", ";v=1", "%252e", "%70rivate", "?",
        ]), 0..8)
    ) {
        let path = format!("/{}", parts.concat());
        let policies = guarded();
        let route = policies.route(b"h", path.as_bytes());
        let cached = route.cache && !policies.is_ambiguous(b"h", path.as_bytes());
        prop_assert!(!cached || !lenient(&path).starts_with("/private"), "{path} is {}", lenient(&path));
    }

    #[test]
    fn no_path_is_too_odd(host in prop::collection::vec(any::<u8>(), 0..12), path in prop::collection::vec(any::<u8>(), 0..40)) {
        let policies = guarded();
        let _ = policies.is_ambiguous(&host, &path);
        let _ = policies.readings(&host, &path);
    }
}
