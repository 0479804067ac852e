//! Filters that stand in front of the cache: what they refuse is refused, whatever is stored.

use e2e::bootstrap::Part;
use e2e::client::Request;
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};

const RBAC: &str = r#"
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

const LOCAL_RATELIMIT: &str = r#"
- name: envoy.filters.http.local_ratelimit
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
    stat_prefix: limited
    token_bucket: { max_tokens: 5, tokens_per_fill: 5, fill_interval: 3600s }
    filter_enabled: { default_value: { numerator: 100, denominator: HUNDRED } }
    filter_enforced: { default_value: { numerator: 100, denominator: HUNDRED } }
"#;

const COMPRESSOR: &str = r#"
- name: envoy.filters.http.compressor
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
    compressor_library:
      name: gzip
      typed_config: { "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip }
    response_direction_config:
      weaken_etag_on_compress: true
      uncompressible_response_codes: [206]
"#;

const CORS: &str = r#"
- name: envoy.filters.http.cors
  typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors }
"#;

const CORS_POLICY: &str = r#"
typed_per_filter_config:
  envoy.filters.http.cors:
    "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy
    allow_origin_string_match: [{ suffix: .example }]
    allow_methods: GET
"#;

fn guarded(parts: &[(Part, String)]) -> Stack {
    let origin = Origin::start(|_| {
        Reply::ok("word ".repeat(1_000))
            .header("content-type", "text/plain")
            .header("etag", "\"v\"")
            .max_age(600)
    });
    let plan = Plan {
        control_plane: false,
        workers: 1,
        parts: parts.iter().cloned().collect(),
        ..Plan::default()
    };
    Stack::start(&plan, origin.unwrap()).unwrap()
}

#[test]
fn who_is_refused_gets_nothing_from_the_cache() {
    let guards = [RBAC, LOCAL_RATELIMIT, COMPRESSOR].concat();
    let stack = guarded(&[(Part::Guards, guards.trim_start().to_owned())]);
    let ask = |role: &str, coding: &str| {
        let request = Request::get("/secret")
            .header("x-role", role)
            .header("accept-encoding", coding);
        stack.envoy.fetch(&request).unwrap()
    };
    assert_eq!(ask("guest", "gzip").status, 403);
    let miss = ask("admin", "gzip");
    assert!(
        miss.status == 200 && miss.cache_status().contains("stored"),
        "{}",
        miss.cache_status()
    );
    let hit = ask("admin", "gzip");
    assert!(
        hit.is_hit() && hit.header("content-encoding").as_deref() == Some("gzip"),
        "{hit:?}"
    );
    let refused = ask("guest", "gzip");
    assert_eq!((refused.status, refused.is_hit()), (403, false), "stored meanwhile");
    let plain = ask("admin", "identity");
    assert!(plain.is_hit() && plain.body.len() == 5_000);
    assert_eq!(ask("admin", "gzip").status, 200);
    assert_eq!(ask("admin", "gzip").status, 200, "the fifth of five");
    assert_eq!(ask("admin", "gzip").status, 429, "hits count against the limit");
    assert_eq!(stack.origin.total(), 1);
}

/// As in a mesh of Istio with the example for it: one CORS filter in front of the cache, one behind it.
#[test]
fn a_hit_carries_the_permission_of_the_origin_that_asks() {
    let stack = guarded(&[
        (Part::Guards, CORS.trim_start().to_owned()),
        (Part::RouteConfig, CORS_POLICY.trim_start().to_owned()),
    ]);
    let ask = |origin: &str| {
        stack
            .envoy
            .fetch(&Request::get("/shared").header("origin", origin))
            .unwrap()
    };
    let allowed = |origin: &str| {
        let answer = ask(origin);
        (answer.is_hit(), answer.header("access-control-allow-origin"))
    };
    assert_eq!(
        allowed("https://a.example"),
        (false, Some("https://a.example".to_owned()))
    );
    assert_eq!(
        allowed("https://b.example"),
        (true, Some("https://b.example".to_owned()))
    );
    assert_eq!(
        allowed("https://a.example"),
        (true, Some("https://a.example".to_owned()))
    );
    let (_, foreign) = allowed("https://evil.test");
    assert_ne!(foreign.as_deref(), Some("https://evil.test"));
    let preflight = Request::new("OPTIONS", "/shared")
        .header("origin", "https://b.example")
        .header("access-control-request-method", "GET");
    let preflight = stack.envoy.fetch(&preflight).unwrap();
    assert_eq!(
        preflight.header("access-control-allow-origin").as_deref(),
        Some("https://b.example")
    );
    assert_eq!(stack.origin.total(), 1);
}
