//! A random configuration, in two Envoys: one with the filter, and its twin without.

use super::echo;
use crate::oracle::configuration::Configuration;
use crate::oracle::random::Random;
use e2e::Result;
use e2e::envoy::Envoy;
use e2e::origin::Origin;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use tempfile::TempDir;

/// The clusters; each origin tells its name.
const CLUSTERS: [&str; 3] = ["a", "b", "c"];

/// Hosts that some virtual host names.
pub(super) const HOSTS: [&str; 4] = ["shop.example", "blog.example", "www.blog.example", "public.example"];

/// The two Envoys, with everything behind them.
pub(super) struct World {
    pub(super) with: [SocketAddr; 2],
    pub(super) without: [SocketAddr; 2],
    pub(super) settings: Value,
    pub(super) hosts: [Value; 2],
    pub(super) options: Value,
    folder: Option<TempDir>,
    _running: (Envoy, Envoy, Vec<Origin>),
}

impl World {
    pub(super) fn start(random: &mut Random) -> Result<Self> {
        let origins = CLUSTERS.into_iter().map(echo::start).collect::<Result<Vec<_>>>()?;
        let folder = tempfile::Builder::new().prefix("oracle-").tempdir()?;
        let settings = settings(random);
        let hosts = [first_listener(random), second_listener(random)];
        let options = options(random);
        let one = |name: &str, settings: Option<&Value>| {
            let mut configuration = Configuration::new(settings, origins[0].address().port())?;
            for (cluster, origin) in CLUSTERS.into_iter().zip(&origins) {
                configuration.add_cluster(cluster, origin.address().port());
            }
            let port = configuration.add_listener()?;
            for (listener, hosts) in hosts.iter().enumerate() {
                configuration.set_virtual_hosts(listener, hosts.clone());
                configuration.set_options(listener, &options);
            }
            let envoy = configuration.start(&folder.path().join(name))?;
            Ok::<_, e2e::Failure>(([envoy.address(), (Ipv4Addr::LOCALHOST, port).into()], envoy))
        };
        let (with, filtered) = one("with", Some(&settings))?;
        let (without, plain) = one("without", None)?;
        Ok(Self {
            with,
            without,
            settings,
            hosts,
            options,
            folder: Some(folder),
            _running: (filtered, plain, origins),
        })
    }

    /// Keeps the files of both Envoys; tells where.
    pub(super) fn keep(&mut self) -> String {
        let folder = self.folder.take().map(TempDir::keep);
        folder.map(|folder| folder.display().to_string()).unwrap_or_default()
    }
}

/// Settings under which the origins are honest: what their answers depend on is in the key.
fn settings(random: &mut Random) -> Value {
    let mut routes = vec![
        json!({"name": "private", "path_prefix": "/private/", "cache": false}),
        json!({"name": "plans", "path_prefix": "/plans/", "key_cookies": ["plan"]}),
        json!({"name": "tenants", "path_prefix": "/tenants/", "key_headers": ["x-tenant"]}),
    ];
    if random.percent(80) {
        routes.push(
            json!({"name": "include", "path_prefix": "/include/", "key_query": {"mode": "include", "names": ["id"]}}),
        );
    }
    if random.percent(80) {
        routes.push(
            json!({"name": "exclude", "path_prefix": "/exclude/", "key_query": {"mode": "exclude", "names": ["utm_source"]}}),
        );
    }
    if random.percent(30) {
        routes
            .push(json!({"name": "rw", "path_prefix": "/rw/", "ttl_override": "1s", "stale_while_revalidate": "60s"}));
    }
    let mut settings = json!({"routes": routes, "default_ttl": random.pick(&["0s", "60s", "1s"])});
    if random.percent(50) {
        settings["freshness"] = json!({"stale_while_revalidate": "60s"});
    }
    settings
}

/// Options of both connection managers.
fn options(random: &mut Random) -> Value {
    let mut options = json!({});
    for (chance, more) in [
        (25, json!({"strip_trailing_host_dot": true})),
        (25, json!({"strip_any_host_port": true})),
        (30, json!({"use_remote_address": false})),
        (25, json!({"merge_slashes": true})),
        (20, json!({"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD"})),
    ] {
        if random.percent(chance) {
            let more = more.as_object().expect("an object").clone();
            options.as_object_mut().expect("an object").extend(more);
        }
    }
    options
}

fn first_listener(random: &mut Random) -> Value {
    let mut hosts = vec![
        host(random, "shop", &["shop.example"], "a", "b"),
        host(random, "blog", &["blog.example", "*.blog.example"], "b", "c"),
    ];
    match random.below(3) {
        0 => {}
        1 => hosts.push(host(random, "rest", &["*"], "c", "a")),
        _ => hosts.push(host(random, "ports", &["shop.example:*"], "c", "a")),
    }
    json!(hosts)
}

fn second_listener(random: &mut Random) -> Value {
    let mut hosts = vec![host(random, "public", &["public.example"], "b", "a")];
    if random.percent(50) {
        hosts.push(host(random, "inner", &["shop.example"], "c", "b"));
    }
    json!(hosts)
}

fn host(random: &mut Random, name: &str, domains: &[&str], cluster: &str, other: &str) -> Value {
    let mut host = json!({"name": name, "domains": domains, "routes": routes(random, cluster, other)});
    if random.percent(30) {
        host["request_headers_to_add"] = json!([added("x-vhost", name, "OVERWRITE_IF_EXISTS_OR_ADD")]);
    }
    if random.percent(30) {
        host["response_headers_to_add"] = json!([added("x-of-host", name, "APPEND_IF_EXISTS_OR_ADD")]);
    }
    host
}

fn added(key: &str, value: &str, action: &str) -> Value {
    json!({"header": {"key": key, "value": value}, "append_action": action})
}

/// Routes by fields, then those by path, then the rest; each of them by chance, and by chance with a name.
fn routes(random: &mut Random, cluster: &str, other: &str) -> Value {
    let rewritten = |to: &str| json!({"cluster": cluster, "prefix_rewrite": to});
    let by_field = |prefix: &str, name: &str, matcher: Value| json!({"prefix": prefix, "headers": [{"name": name, "string_match": matcher}]});
    let candidates = [
        (
            30,
            json!({"match": by_field("/", "x-canary", json!({"exact": "1"})), "route": {"cluster": other}}),
        ),
        (
            30,
            json!({"match": by_field("/", "x-tenant", json!({"exact": "gold"})), "route": rewritten("/gold/")}),
        ),
        (
            20,
            json!({"match": by_field("/", "cookie", json!({"contains": "beta=1"})), "route": {"cluster": other}}),
        ),
        (
            20,
            json!({"match": {"prefix": "/rw/", "query_parameters": [{"name": "debug", "present_match": true}]}, "route": {"cluster": other}}),
        ),
        (
            20,
            json!({"match": by_field("/", "x-canary", json!({"exact": "2"})),
            "route": {"cluster": cluster}, "request_headers_to_add": [added("x-route", "canary", "OVERWRITE_IF_EXISTS_OR_ADD")]}),
        ),
        (
            90,
            json!({"match": {"prefix": "/rw/"}, "route": rewritten("/rewritten/")}),
        ),
        (
            90,
            json!({"match": {"prefix": "/re/"}, "route": {"cluster": cluster,
            "regex_rewrite": {"pattern": {"regex": "^/re/([^/]+)/(.*)$"}, "substitution": "/swapped/\\1/\\2"}}}),
        ),
        (
            90,
            json!({"match": {"prefix": "/lit/"}, "route": {"cluster": cluster, "host_rewrite_literal": "inner.example"}}),
        ),
        (
            90,
            json!({"match": {"prefix": "/add/"}, "route": {"cluster": cluster},
            "request_headers_to_add": [added("x-route", "add", "OVERWRITE_IF_EXISTS_OR_ADD")],
            "response_headers_to_add": [
                added("access-control-allow-origin", "https://app.example", "APPEND_IF_EXISTS_OR_ADD"),
                added("x-kind", "of the route", "OVERWRITE_IF_EXISTS_OR_ADD"),
                added("x-absent", "given", "ADD_IF_ABSENT")],
            "response_headers_to_remove": ["x-echo-debug"]}),
        ),
        (
            50,
            json!({"match": {"prefix": "/direct/"}, "direct_response": {"status": 200, "body": {"inline_string": "by Envoy"}}}),
        ),
        (
            50,
            json!({"match": {"prefix": "/go/"}, "redirect": {"https_redirect": true}}),
        ),
        (100, json!({"match": {"prefix": "/"}, "route": {"cluster": cluster}})),
    ];
    let mut chosen = Vec::new();
    for (at, (chance, mut route)) in candidates.into_iter().enumerate() {
        if random.percent(chance) {
            if random.percent(50) {
                route["name"] = json!(format!("{cluster}{at}"));
            }
            chosen.push(route);
        }
    }
    json!(chosen)
}
