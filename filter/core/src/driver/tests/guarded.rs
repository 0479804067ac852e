//! Requests whose credentials a filter in front has taken off.

use super::*;

const CHECKED: &str = "metadata\0filter_metadata\0envoy.filters.http.jwt_authn";
const ROUTE: &str = "xds\0route_metadata\0filter_metadata\0api_optimizer\0authenticated";

#[test]
fn what_an_authenticated_client_is_answered_is_not_shared() {
    let hidden: [(&str, &[u8], bool); 4] = [
        (CHECKED, b"\x0a\x04some", true),
        (ROUTE, b"\x01", true),
        (ROUTE, b"\0", false),
        (CHECKED, b"", false),
    ];
    for (property, value, is_hidden) in hidden {
        for (control, permitted) in [
            ("max-age=60", false),
            ("public, max-age=60", true),
            ("s-maxage=60", true),
            ("max-age=60, must-revalidate", true),
        ] {
            let mut envoy = Envoy::new("{}");
            envoy.host.set_property(property, value);
            let response = [("cache-control", control), ("content-type", "text/plain")];
            let (_, status) = forwarded(envoy.get(&[], "200", &response, b"alice"));
            let stored = permitted || !is_hidden;
            let expected = if stored { "stored" } else { "detail=authorization" };
            assert!(status.contains(expected), "{property:?} {control}: {status}");
            let again = envoy.get(&[], "200", &response, b"bob");
            assert_eq!(matches!(again, Seen::Replied(_)), stored, "{property:?} {control}");
        }
    }
}

#[test]
fn a_field_in_the_key_tells_them_apart_where_it_is_known_for_one_of_credentials() {
    for (settings, field, stored) in [
        (
            r#"{"routes":[{"name":"r","key_headers":["x-jwt-payload"]}]}"#,
            "x-jwt-payload",
            true,
        ),
        (r#"{"routes":[{"name":"r","key_headers":["x-sub"]}]}"#, "x-sub", false),
        (
            r#"{"credential_headers":["x-sub"],"routes":[{"name":"r","key_headers":["x-sub"]}]}"#,
            "x-sub",
            true,
        ),
        // Keyed, but not in the request; or an identity that is not there.
        (
            r#"{"routes":[{"name":"r","key_headers":["x-jwt-payload"]}]}"#,
            "x-other",
            false,
        ),
        (
            r#"{"routes":[{"name":"r","isolate_authorization":true}]}"#,
            "x-other",
            false,
        ),
    ] {
        let mut envoy = Envoy::new(settings);
        envoy.host.set_property(CHECKED, b"\x01");
        let (_, status) = forwarded(envoy.get(&[(field, "alice")], "200", &FRESH, b"alice"));
        assert_eq!(status.contains("stored"), stored, "{settings} {status}");
        forwarded(envoy.get(&[(field, "bob")], "200", &FRESH, b"bob"));
    }
}

#[test]
fn what_a_guess_would_share_is_not_shared_either() {
    let mut envoy = Envoy::new(r#"{"default_ttl":"10m"}"#);
    envoy.host.set_property(CHECKED, b"\x01");
    for _ in 0..2 {
        let (_, status) = forwarded(envoy.get(&[], "200", &[("content-type", "text/plain")], b"alice"));
        assert!(status.contains("detail=authorization"), "{status}");
    }
}
