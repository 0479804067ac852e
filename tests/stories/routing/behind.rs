//! What happens to requests between the filter and the origin, where the key cannot know of it.

use super::bench::{ask, origin, said, start};
use e2e::bootstrap::Part;

const GIVING: &str = r#"
- name: given
  match: { prefix: "/given" }
  route: { cluster: origin }
  request_headers_to_add:
  - header: { key: x-client, value: "%REQ(x-real-ip)%" }
    append_action: OVERWRITE_IF_EXISTS_OR_ADD
- name: host
  match: { prefix: "/host" }
  route: { cluster: origin, host_rewrite_header: x-target }
"#;

const GUARD: &str = r#"
- name: envoy.filters.http.rbac
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    rules:
      action: ALLOW
      policies:
        admin:
          permissions: [{ any: true }]
          principals: [{ header: { name: x-role, string_match: { exact: admin } } }]
"#;

const ANEW: &str = r#"
- name: envoy.filters.http.lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        function envoy_on_request(handle)
          if handle:headers():get("x-beta") then
            handle:headers():replace("x-route", "beta")
            handle:clearRouteCache()
          end
        end
"#;

const BETA: &str = r#"
- name: beta
  match: { prefix: "/", headers: [{ name: x-route, string_match: { exact: beta } }] }
  route: { cluster: origin, prefix_rewrite: "/beta" }
"#;

#[test]
fn what_a_route_makes_of_a_field_of_the_request_is_shared_with_nobody() {
    let origin = origin("only", |request, reply| {
        let client = request.header("x-client").unwrap_or_default().to_owned();
        reply.max_age(600).header("vary", "X-Client").header("x-for", &client)
    });
    let stack = start(&[(Part::Routes, GIVING)], origin);
    for path in ["/given/a", "/given/b"] {
        for client in ["10.0.0.1", "10.0.0.2"] {
            let answer = ask(&stack, path, &[("x-real-ip", client)]);
            assert_eq!(answer.header("x-for").as_deref(), Some(client), "{path}");
        }
    }
    for path in ["/host/a", "/host/b"] {
        for target in ["one.internal", "two.internal"] {
            let answer = ask(&stack, path, &[("x-target", target)]);
            assert_eq!(said(&answer, "host"), target, "{path}");
        }
    }
}

#[test]
fn a_guard_behind_the_cache_is_not_passed_by_once_it_was_seen() {
    let stack = start(
        &[(Part::HttpFilters, GUARD)],
        origin("only", |_, reply| reply.max_age(600)),
    );
    let answered = |role: &str, path: &str| {
        let answer = ask(&stack, path, &[("x-role", role)]);
        (answer.status, answer.cache_status().contains("guard-behind"))
    };
    assert_eq!(answered("admin", "/known").0, 200);
    assert_eq!(answered("guest", "/").0, 403);
    assert_eq!(answered("admin", "/known"), (200, true));
    assert_eq!(answered("guest", "/known"), (403, true));
}

#[test]
fn a_route_chosen_anew_behind_the_cache_answers_for_no_other() {
    let stack = start(
        &[(Part::HttpFilters, ANEW), (Part::Routes, BETA)],
        origin("only", |_, reply| reply.max_age(600)),
    );
    assert!(said(&ask(&stack, "/x", &[("x-beta", "1")]), "path").starts_with("/beta"));
    for _ in 0..2 {
        assert_eq!(said(&ask(&stack, "/x", &[]), "path"), "/x");
        assert!(said(&ask(&stack, "/x", &[("x-beta", "1")]), "path").starts_with("/beta"));
    }
}
