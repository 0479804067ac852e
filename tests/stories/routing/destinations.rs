//! Clusters that send a request where its connection, a field or its state says, and not its route.

use super::bench::{origin, said, start};
use super::keys::listener;
use e2e::Result;
use e2e::bootstrap::Part;
use e2e::client::{Connection, Request, Response};
use e2e::origin::Origin;
use e2e::ports::free_port;
use std::thread;
use std::time::Duration;

/// As in a mesh, where a sidecar takes over the connections of its application: the address that a client connected to stays known.
const REDIRECTED: &str = r#"- name: public
  listener_filters:
  - name: envoy.filters.listener.proxy_protocol
    typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol }
"#;

const ROUTE: &str = "- name: anywhere\n  match: { prefix: \"/\" }\n  route: { cluster: anywhere }\n";

fn cluster(more: &str) -> String {
    format!(
        "- name: anywhere\n  type: ORIGINAL_DST\n  lb_policy: CLUSTER_PROVIDED\n  connect_timeout: 1s\n  original_dst_lb_config: {{ {more} }}\n"
    )
}

/// An origin that takes its time, and whose answers are fresh for ten minutes.
fn slow(name: &'static str) -> Origin {
    origin(name, |_, reply| reply.max_age(600).after(Duration::from_millis(200)))
}

/// GET by a connection to this port, made at another one.
fn by_connection(listener: u16, to: &Origin, path: &str) -> Result<Response> {
    let mut connection = Connection::open(([127, 0, 0, 1], listener).into())?;
    let redirected = format!("PROXY TCP4 10.0.0.1 127.0.0.1 1234 {}\r\n", to.address().port());
    connection.send(redirected.as_bytes())?;
    connection.exchange(&Request::get(path))
}

#[test]
fn a_request_that_its_connection_sends_elsewhere_gets_what_is_there() {
    let (one, two) = (slow("one"), slow("two"));
    let port = free_port().unwrap();
    let named = listener(port, "\"*\"", "cluster: anywhere")
        .replacen("- name: public\n", REDIRECTED, 1)
        .replace("- match:", "- name: anywhere\n              match:");
    let _stack = start(
        &[(Part::Clusters, &cluster("")), (Part::Listeners, &named)],
        slow("unused"),
    );
    // At once, where nothing is known of the route; then one after the other.
    thread::scope(|scope| {
        for _ in 0..4 {
            for (origin, name) in [(&one, "one"), (&two, "two")] {
                scope.spawn(move || {
                    let answer = by_connection(port, origin, "/crowd").unwrap();
                    assert_eq!(said(&answer, "origin"), name, "{}", answer.cache_status());
                });
            }
        }
    });
    let mut hits = 0;
    for round in 0..4 {
        for (origin, name) in [(&one, "one"), (&two, "two")] {
            let answer = by_connection(port, origin, "/x").unwrap();
            assert_eq!(said(&answer, "origin"), name, "{round}: {}", answer.cache_status());
            hits += usize::from(answer.is_hit());
        }
    }
    assert_eq!(hits, 6, "what one connection brought is for all of its kind");
}

#[test]
fn a_request_that_brings_its_address_gets_what_is_there() {
    let (one, two) = (slow("one"), slow("two"));
    let from_field = cluster("use_http_header: true, http_header_name: x-where");
    let stack = start(&[(Part::Clusters, &from_field), (Part::Routes, ROUTE)], slow("unused"));
    for path in ["/a", "/a", "/b"] {
        for (origin, name) in [(&one, "one"), (&two, "two")] {
            let request = Request::get(path).header("x-where", origin.address().to_string());
            let answer = stack.envoy.fetch(&request).unwrap();
            assert_eq!(said(&answer, "origin"), name, "{path}: {}", answer.cache_status());
        }
    }
}

/// Host and port of the dynamic forward proxy, from a field, and the proxy itself behind the cache.
const PROXY: &str = r#"
- name: envoy.filters.http.set_filter_state
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config
    on_request_headers:
    - object_key: envoy.upstream.dynamic_host
      format_string: { text_format_source: { inline_string: "localhost" } }
    - object_key: envoy.upstream.dynamic_port
      format_string: { text_format_source: { inline_string: "%REQ(x-port)%" } }
- name: envoy.filters.http.dynamic_forward_proxy
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig
    dns_cache_config: { name: hosts, dns_lookup_family: V4_ONLY }
    allow_dynamic_host_from_filter_state: true
"#;

const ANY_HOST: &str = r#"
- name: anywhere
  lb_policy: CLUSTER_PROVIDED
  connect_timeout: 1s
  cluster_type:
    name: envoy.clusters.dynamic_forward_proxy
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig
      allow_insecure_cluster_options: true
      dns_cache_config: { name: hosts, dns_lookup_family: V4_ONLY }
"#;

#[test]
fn a_request_whose_state_names_its_host_gets_what_is_there() {
    let (one, two) = (slow("one"), slow("two"));
    let parts = [
        (Part::Clusters, ANY_HOST),
        (Part::Routes, ROUTE),
        (Part::HttpFilters, PROXY),
    ];
    let stack = start(&parts, slow("unused"));
    for path in ["/a", "/a", "/b"] {
        for (origin, name) in [(&one, "one"), (&two, "two")] {
            let request = Request::get(path).header("x-port", origin.address().port().to_string());
            let answer = stack.envoy.fetch(&request).unwrap();
            assert_eq!(said(&answer, "origin"), name, "{path}: {}", answer.cache_status());
        }
    }
}
