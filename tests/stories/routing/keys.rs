//! Who shares a stored response: only requests that Envoy sends the same way.

use super::bench::{ask, cluster, fresh_origin, plan, said, start};
use e2e::artefacts::Shell;
use e2e::bootstrap::Part;
use e2e::client::{Connection, Request, Response};
use e2e::ports::free_port;
use e2e::stack::Stack;
use e2e::wait;
use std::process::Command;

const SPELLINGS: [&str; 8] = [
    "evil@shop.example",
    "shop.example.",
    "shop.example:",
    "shop.example:80",
    "SHOP.example",
    "shop.example:8080",
    "other.example",
    "shop.example",
];

#[test]
fn a_host_that_is_routed_elsewhere_shares_nothing_however_it_is_spelled() {
    let shop = fresh_origin("shop");
    let hosts = "- name: shop\n  domains: [\"shop.example\"]\n  routes:\n  - name: shop\n    match: { prefix: \"/\" }\n    route: { cluster: shop }\n";
    let stack = start(
        &[(Part::Clusters, &cluster("shop", &shop)), (Part::VirtualHosts, hosts)],
        fresh_origin("office"),
    );
    for (at, victim) in SPELLINGS.iter().enumerate() {
        let path = format!("/poison{at}");
        for attempt in 0..2 {
            for spelling in SPELLINGS {
                if spelling == *victim {
                    continue;
                }
                let answer = ask(&stack, &path, &[("host", spelling)]);
                assert_eq!(
                    said(&answer, "host").to_lowercase(),
                    spelling.to_lowercase(),
                    "{path} {attempt}"
                );
            }
        }
        let answer = ask(&stack, &path, &[("host", victim)]);
        let to = if victim.eq_ignore_ascii_case("shop.example") {
            "shop"
        } else {
            "office"
        };
        assert_eq!(
            (said(&answer, "origin").as_str(), said(&answer, "host").to_lowercase()),
            (to, victim.to_lowercase())
        );
    }
    assert!(
        ask(&stack, "/poison0", &[("host", "shop.EXAMPLE")]).is_hit(),
        "case says nothing"
    );
    for path in ["/poison0", "/poison1"] {
        let odd = ask(&stack, path, &[("host", "evil@shop.example")]);
        assert!(
            odd.cache_status().contains("fwd=bypass; detail=user-information"),
            "{}",
            odd.cache_status()
        );
    }
}

fn at(port: u16, path: &str, host: &str) -> Response {
    let request = Request::get(path).header("host", host);
    let mut connection = Connection::open(([127, 0, 0, 1], port).into()).unwrap();
    connection.exchange(&request).unwrap()
}

/// The filter of a listener of our own, as the `FILTER` of the run has it.
fn filter() -> &'static str {
    match Shell::asked_for().unwrap() {
        Shell::Wasm => {
            r#"- name: envoy.filters.http.wasm
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
            config:
              name: api_optimizer
              root_id: api_optimizer
              vm_config:
                vm_id: api_optimizer
                runtime: envoy.wasm.runtime.v8
                code: { local: { filename: "${WASM}" } }
              configuration:
                "@type": type.googleapis.com/google.protobuf.StringValue
                value: "{}""#
        }
        Shell::Native => {
            r#"- name: envoy.filters.http.dynamic_modules
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter
            dynamic_module_config: { name: api_optimizer, module: { local: { filename: "${MODULE}" } } }
            filter_name: api_optimizer
            filter_config:
              "@type": type.googleapis.com/google.protobuf.StringValue
              value: "{}""#
        }
    }
}

/// A second listener with the filter, and one route to the cluster `origin`.
pub(super) fn listener(port: u16, domains: &str, route: &str) -> String {
    let filter = filter();
    format!(
        r#"- name: public
  address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
  filter_chains:
  - filters:
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: public
        route_config:
          name: public
          virtual_hosts:
          - name: public
            domains: [{domains}]
            routes:
            - match: {{ prefix: "/" }}
              route: {{ {route} }}
        http_filters:
        {filter}
        - name: envoy.filters.http.router
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
"#
    )
}

#[test]
fn a_listener_without_the_route_serves_nothing_of_one_that_has_it() {
    let (inner, port) = (fresh_origin("inner"), free_port().unwrap());
    let hosts = "- name: inner\n  domains: [\"inner.example\"]\n  routes:\n  - match: { prefix: \"/\" }\n    route: { cluster: inner }\n";
    let listener = listener(port, "\"public.example\"", "cluster: origin");
    let stack = start(
        &[
            (Part::Clusters, &cluster("inner", &inner)),
            (Part::VirtualHosts, hosts),
            (Part::Listeners, &listener),
        ],
        fresh_origin("public"),
    );
    let at_public = |host: &str| at(port, "/secret", host);
    for _ in 0..2 {
        assert_eq!(
            said(&ask(&stack, "/secret", &[("host", "inner.example")]), "origin"),
            "inner"
        );
        let refused = at_public("inner.example");
        assert_eq!((refused.status, refused.is_hit()), (404, false), "{}", refused.text());
        assert_eq!(said(&at_public("public.example"), "origin"), "public");
    }
    assert!(ask(&stack, "/secret", &[("host", "inner.example")]).is_hit());
    assert!(at_public("public.example").is_hit());
}

#[test]
fn two_listeners_with_routes_without_names_share_nothing() {
    let port = free_port().unwrap();
    let rewriting = listener(port, "\"*\"", "cluster: origin, prefix_rewrite: \"/inner/\"");
    let route = "- match: { prefix: \"/p\" }\n  route: { cluster: origin }\n";
    let stack = start(
        &[(Part::Listeners, &rewriting), (Part::Routes, route)],
        fresh_origin("only"),
    );
    for round in 0..3 {
        let plain = ask(&stack, "/p", &[("host", "a.example")]);
        assert_eq!((said(&plain, "path").as_str(), plain.is_hit()), ("/p", round > 0));
        let rewritten = at(port, "/p", "a.example");
        assert_eq!(
            (said(&rewritten, "path").as_str(), rewritten.is_hit()),
            ("/inner/p", round > 0)
        );
    }
}

/// GET over HTTP/2 without TLS, with the claimed scheme.
fn h2_get(stack: &Stack, path: &str, scheme: &str) -> String {
    let script = format!(
        "import socket,struct\ns=socket.create_connection(('127.0.0.1',{port}))\n\
         lit=lambda n,v: b'\\x00'+bytes([len(n)])+n+bytes([len(v)])+v\n\
         head=b''.join(lit(n,v) for n,v in [(b':method',b'GET'),(b':scheme',b'{scheme}'),(b':authority',b'api.example'),(b':path',b'{path}')])\n\
         f=lambda t,fl,i,p: struct.pack('>I',len(p))[1:]+bytes([t,fl])+struct.pack('>I',i)+p\n\
         s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n'+f(4,0,0,b'')+f(1,5,1,head))\n\
         b=b''\n\
         def take(n):\n  global b\n  while len(b)<n:\n    d=s.recv(65536)\n    if not d: raise SystemExit('closed')\n    b+=d\n  r,b=b[:n],b[n:]\n  return r\n\
         s.settimeout(10)\n\
         while True:\n  h=take(9); p=take(int.from_bytes(h[:3],'big'))\n  \
         if h[3]==4 and not h[4]: s.sendall(f(4,1,0,b''))\n  if h[3]==0: print(p.decode(),end='')\n  if h[3] in (0,1) and h[4]&1: break\n",
        port = stack.envoy.address().port(),
    );
    let output = Command::new("python3").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_claimed_scheme_is_not_the_scheme() {
    let stack = start(&[], fresh_origin("only"));
    // By a connection without TLS nothing comes under https, whatever it claims: the origin is told http.
    for _ in 0..3 {
        assert!(h2_get(&stack, "/login", "https").contains("\"proto\":\"http\""));
    }
    let count = || stack.origin.count("/login");
    assert_eq!(count(), 1, "stored, under what was claimed");
    assert!(h2_get(&stack, "/login", "http").contains("\"proto\":\"http\""));
    assert_eq!(count(), 2);
    assert!(ask(&stack, "/login", &[]).is_hit(), "HTTP/1.1 claims nothing");
    assert_eq!(count(), 2);
}

#[test]
fn what_a_trusted_proxy_says_of_the_scheme_counts_if_it_says_one() {
    let mut plan = plan(&[(Part::ConnectionManager, "xff_num_trusted_hops: 1")]);
    plan.workers = 1;
    let stack = Stack::start(&plan, fresh_origin("only")).unwrap();
    for proto in ["https", "http", "https", "http"] {
        assert_eq!(
            said(&ask(&stack, "/p", &[("x-forwarded-proto", proto)]), "proto"),
            proto
        );
    }
    assert_eq!(stack.origin.count("/p"), 2);
    let odd = ask(&stack, "/p", &[("x-forwarded-proto", "https,http")]);
    assert!(!odd.is_hit(), "{}", odd.cache_status());
}

const CANARY: &str =
    "- match: { prefix: \"/\", headers: [{ name: x-canary, present_match: true }] }\n  route: { cluster: canary }\n";

#[test]
fn a_request_that_a_field_sends_to_another_cluster_shares_nothing() {
    let canary = fresh_origin("canary");
    let stack = start(
        &[(Part::Clusters, &cluster("canary", &canary)), (Part::Routes, CANARY)],
        fresh_origin("stable"),
    );
    for _ in 0..3 {
        assert_eq!(said(&ask(&stack, "/p", &[]), "origin"), "stable");
        assert_eq!(said(&ask(&stack, "/p", &[("x-canary", "1")]), "origin"), "canary");
    }
    assert_eq!((stack.origin.count("/p"), canary.count("/p")), (1, 1));
    // What changes the one has changed both: who knows which of them a client is sent to.
    stack.envoy.fetch(&Request::new("POST", "/p")).unwrap();
    for fields in [&[][..], &[("x-canary", "1")]] {
        wait::until("forgotten on every worker", || {
            (!ask(&stack, "/p", fields).is_hit()).then_some(())
        })
        .unwrap();
    }
}

fn rewriting(named: bool) -> String {
    let names = if named {
        ["name: beta\n  ", "name: plain\n  "]
    } else {
        ["", ""]
    };
    format!(
        "- {}match: {{ prefix: \"/p\", headers: [{{ name: x-beta, present_match: true }}] }}\n  route: {{ cluster: origin, prefix_rewrite: \"/beta\" }}\n\
         - {}match: {{ prefix: \"/p\" }}\n  route: {{ cluster: origin }}\n",
        names[0], names[1]
    )
}

#[test]
fn a_rewrite_that_a_field_chooses_on_one_cluster_is_kept_apart() {
    for named in [true, false] {
        let stack = start(&[(Part::Routes, &rewriting(named))], fresh_origin("only"));
        for round in 0..4 {
            for path in ["/p/a", "/p/b"] {
                assert_eq!(said(&ask(&stack, path, &[]), "path"), path, "{named} {round}");
                let beta = ask(&stack, path, &[("x-beta", "1")]);
                assert_eq!(said(&beta, "path"), path.replace("/p", "/beta"), "{named} {round}");
                assert_eq!(beta.is_hit(), round > 0, "{named} {round}: {}", beta.cache_status());
            }
        }
        // Who differs in a field that may choose a route shares only where routes have names.
        let other = ask(&stack, "/p/a", &[("x-other", "1")]);
        assert_eq!((said(&other, "path").as_str(), other.is_hit()), ("/p/a", named));
    }
}
