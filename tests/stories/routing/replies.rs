//! A hit leaves Envoy as its miss did, whatever Envoy does to responses on their way.

use super::bench::{ask, fresh_origin, origin, plan, said, start};
use e2e::artefacts::Shell;
use e2e::bootstrap::Part;
use e2e::client::{Request, Response};
use e2e::origin::Reply;
use e2e::stack::{Plan, Stack};
use e2e::wait;

/// Fields but those that belong to one exchange.
fn lines(answer: &Response) -> Vec<(String, String)> {
    let own = [
        "age",
        "cache-status",
        "date",
        "x-envoy-upstream-service-time",
        "connection",
        "transfer-encoding",
    ];
    let mut lines: Vec<_> = answer
        .fields
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    lines.sort();
    lines
}

const RULES: &str = r#"response_headers_to_add:
- { header: { key: LEVEL-append, value: rule }, append_action: APPEND_IF_EXISTS_OR_ADD }
- { header: { key: LEVEL-absent, value: rule }, append_action: ADD_IF_ABSENT }
- { header: { key: LEVEL-over, value: rule }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
- { header: { key: LEVEL-exists, value: rule }, append_action: OVERWRITE_IF_EXISTS }
- { header: { key: LEVEL-new, value: rule }, append_action: APPEND_IF_EXISTS_OR_ADD }
response_headers_to_remove: [LEVEL-gone]
"#;

fn rules(level: &str, indent: usize) -> String {
    let text = RULES.replace("LEVEL", level);
    text.lines().map(|line| format!("{:indent$}{line}\n", "")).collect()
}

const MUTATION: &str = r#"- name: envoy.filters.http.header_mutation
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
    mutations:
      response_mutations:
      - append: { header: { key: behind-append, value: rule }, append_action: APPEND_IF_EXISTS_OR_ADD }
      - append: { header: { key: behind-absent, value: rule }, append_action: ADD_IF_ABSENT }
      - append: { header: { key: behind-over, value: rule }, append_action: OVERWRITE_IF_EXISTS_OR_ADD }
      - append: { header: { key: behind-new, value: rule }, append_action: APPEND_IF_EXISTS_OR_ADD }
      - remove: behind-gone
"#;

fn with_rules() -> Stack {
    let hosts = format!(
        "- name: ruled\n  domains: [\"ruled.example\"]\n{}  routes:\n  - name: ruled\n    match: {{ prefix: \"/\" }}\n    route: {{ cluster: origin }}\n{}",
        rules("vhost", 2),
        rules("route", 4)
    );
    let origin = origin("only", |request, reply| {
        let mut reply = reply
            .max_age(600)
            .header("etag", "\"v\"")
            .header("set-cookie-like", "a")
            .header("set-cookie-like", "b")
            .header("access-control-allow-origin", "https://app.example");
        for level in ["config", "vhost", "route", "behind"] {
            for field in ["append", "absent", "over", "exists", "gone"] {
                reply = reply.header(&format!("{level}-{field}"), "origin");
            }
        }
        if request.path.starts_with("/missing") {
            reply
        } else {
            reply.header("vary", "x-any")
        }
    });
    let (config, behind) = (rules("config", 0), MUTATION);
    let mut parts = vec![
        (Part::RouteConfig, config.as_str()),
        (Part::VirtualHosts, hosts.as_str()),
    ];
    // Envoy shows a dynamic module no reply of its own: what filters behind it append, they append to hits once more.
    if Shell::asked_for().unwrap() == Shell::Wasm {
        parts.push((Part::HttpFilters, behind));
    }
    start(&parts, origin)
}

#[test]
fn rules_for_responses_are_applied_once() {
    let stack = with_rules();
    let host = ("host", "ruled.example");
    let miss = ask(&stack, "/p", &[host]);
    for level in ["config", "vhost", "route"] {
        assert_eq!(miss.header(&format!("{level}-append")).as_deref(), Some("origin, rule"));
        assert_eq!(miss.header(&format!("{level}-gone")), None);
    }
    for _ in 0..3 {
        let hit = ask(&stack, "/p", &[host]);
        assert!(hit.is_hit(), "{}", hit.cache_status());
        assert_eq!(lines(&hit), lines(&miss));
        assert_eq!(hit.text(), miss.text());
    }
    let etag = ("if-none-match", "\"v\"");
    let not_modified = ask(&stack, "/p", &[host, etag]);
    assert_eq!((not_modified.status, not_modified.is_hit()), (304, true));
    let of_content = |name: &str| ["content-length", "content-type"].contains(&name);
    for (name, value) in lines(&not_modified) {
        assert!(
            of_content(&name) || lines(&miss).contains(&(name.clone(), value.clone())),
            "{name}: {value}"
        );
    }
    assert_eq!(not_modified.header("route-append").as_deref(), Some("origin, rule"));
    let head = stack
        .envoy
        .fetch(&Request::new("HEAD", "/p").header("host", "ruled.example"))
        .unwrap();
    assert!(head.is_hit());
    assert_eq!(lines(&head), lines(&miss));
    let range = ask(&stack, "/p", &[host, ("range", "bytes=0-3")]);
    assert_eq!((range.status, range.text().len()), (206, 4));
    assert_eq!(range.header("vhost-append").as_deref(), Some("origin, rule"));
    let beyond = ask(&stack, "/p", &[host, ("range", "bytes=99999-")]);
    assert_eq!((beyond.status, beyond.is_hit()), (416, true));
    assert_eq!(beyond.header("config-append").as_deref(), Some("origin, rule"));
    assert_eq!(stack.origin.total(), 1);
}

#[test]
fn content_without_a_type_leaves_without_one() {
    let stack = start(
        &[],
        e2e::origin::Origin::start(|_| Reply::ok("<b>sniffed</b>").max_age(600)).unwrap(),
    );
    assert_eq!(ask(&stack, "/p", &[]).header("content-type"), None);
    for fields in [&[][..], &[("range", "bytes=0-2")]] {
        let hit = ask(&stack, "/p", fields);
        assert!(hit.is_hit());
        assert_eq!(hit.header("content-type"), None, "{:?}", hit.fields);
    }
    let head = stack.envoy.fetch(&Request::new("HEAD", "/p")).unwrap();
    assert_eq!(
        (head.header("content-type"), head.number("content-length")),
        (None, Some(14))
    );
}

/// Wasm's own: a dynamic module's hits are no local replies, see `native.rs`.
#[test]
fn an_envoy_that_rewrites_replies_is_noticed_and_has_no_cache() {
    let rewrite = "local_reply_config:\n  body_format: { json_format: { code: \"%RESPONSE_CODE%\", message: \"%LOCAL_REPLY_BODY%\" } }";
    let plan = Plan {
        shell: Some(Shell::Wasm),
        ..plan(&[(Part::ConnectionManager, rewrite)])
    };
    let stack = Stack::start(&plan, fresh_origin("only")).unwrap();
    ask(&stack, "/p", &[]);
    wait::until("the cache off on every worker", || {
        let answers: Vec<_> = (0..8).map(|_| ask(&stack, "/p", &[])).collect();
        answers
            .iter()
            .all(|answer| said(answer, "origin") == "only" && answer.cache_status().contains("reply-rewritten"))
            .then_some(())
    })
    .unwrap();
    for _ in 0..20 {
        assert_eq!(said(&ask(&stack, "/q", &[]), "origin"), "only");
    }
}

#[test]
fn a_compressor_behind_the_filter_is_no_rewriting() {
    let compressor = r#"- name: envoy.filters.http.compressor
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
    response_direction_config: { common_config: { min_content_length: 30, content_type: ["application/json"] } }
    compressor_library:
      name: text_optimized
      typed_config: { "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip }
"#;
    let stack = start(&[(Part::HttpFilters, compressor)], fresh_origin("only"));
    ask(&stack, "/p", &[]);
    for _ in 0..6 {
        ask(&stack, "/p", &[("accept-encoding", "gzip")]);
        let hit = ask(&stack, "/p", &[]);
        assert!(hit.is_hit() && said(&hit, "origin") == "only", "{}", hit.cache_status());
    }
}
