//! Upstreams of the settings, from `upstream` blocks and `proxy_pass`.

use crate::look::{Look, duration};
use crate::nginx::tree::Directive;
use crate::report::{Note, Notes};
use crate::values;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Longest connect timeout of the settings.
const LONGEST_CONNECT_MS: u64 = 60_000;
/// Greatest weight of the settings.
const MOST_WEIGHT: u64 = 1_000;

/// An upstream of the settings.
#[derive(Debug)]
struct Made {
    name: String,
    tls: bool,
    endpoints: Vec<(String, u64)>,
    connect_timeout: Option<u64>,
    outlier_detection: bool,
}

/// All upstreams that locations send requests to, in the order in which they are met.
#[derive(Debug, Default)]
pub(crate) struct Upstreams<'a> {
    blocks: BTreeMap<&'a str, &'a Directive>,
    made: Vec<(String, Made)>,
    names: BTreeSet<String>,
}

impl<'a> Upstreams<'a> {
    /// With the `upstream` blocks of the http block, none of them used yet.
    pub(crate) fn of(http: &'a [Directive]) -> Self {
        let blocks = http.iter().filter(|item| item.name == "upstream");
        Self {
            blocks: blocks.map(|block| (block.first(), block)).collect(),
            ..Self::default()
        }
    }

    /// The upstream that a `proxy_pass` names. None: the settings cannot name it.
    pub(crate) fn of_pass(&mut self, pass: &Directive, look: &mut Look<'_, '_>) -> Option<String> {
        let target = pass.first();
        let (tls, rest) = match target.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => {
                let says = format!(
                    "\"{target}\" is not known before a request comes, or is no URL; the route has no upstream."
                );
                look.note(pass, Note::impossible("upstream", says));
                return None;
            }
        };
        let (authority, uri) = match rest.find('/') {
            Some(at) if !rest.starts_with("unix:") => rest.split_at(at),
            _ => (rest, ""),
        };
        if !uri.is_empty() && uri != look.pattern {
            let says = format!(
                "nginx replaces {} by {uri} in the path; no setting does. Envoy's route has to (prefix_rewrite), and the cache keeps the \
                 client's path in the key.",
                look.pattern
            );
            look.note(pass, Note::impossible("path_rewrite", says));
        }
        let key = format!("{}{authority}", if tls { "https://" } else { "http://" });
        let place = self.made.iter().position(|(made, _)| *made == key);
        let at = match place {
            Some(at) => at,
            None => {
                let made = self.make(authority, tls, pass, look)?;
                self.made.push((key, made));
                self.made.len() - 1
            }
        };
        let (_, made) = self.made.get_mut(at)?;
        if let Some(directive) = look.scope.one("proxy_connect_timeout")
            && let Some(ms) = values::milliseconds(directive.first())
        {
            let ms = ms.clamp(1, LONGEST_CONNECT_MS);
            made.connect_timeout = Some(made.connect_timeout.map_or(ms, |known| known.max(ms)));
            let says = format!("The connect_timeout of the upstream is {}.", duration(ms));
            look.note(directive, Note::taken("connect_timeout", says));
        }
        let says = format!("Requests of the route go to the upstream {}.", made.name);
        look.note(pass, Note::taken("upstream", says));
        note_host(pass, look);
        if tls {
            let says = "The upstream's certificate is checked by the authorities that the machine of Envoy trusts; nginx did so only with \
                        proxy_ssl_verify.";
            look.note(pass, Note::changed("upstream_tls", says));
        }
        Some(made.name.clone())
    }

    fn make(&mut self, authority: &str, tls: bool, pass: &Directive, look: &mut Look<'_, '_>) -> Option<Made> {
        let mut outlier_detection = true;
        let endpoints = if let Some(block) = self.blocks.get(authority) {
            let endpoints = endpoints(block, tls, look.notes);
            let counts = |server: &&Directive| server.name == "server";
            let mut servers = block.children().iter().filter(counts);
            outlier_detection = !servers.all(|server| server.args.iter().any(|arg| arg == "max_fails=0"));
            endpoints
        } else {
            let address = values::address(authority, if tls { 443 } else { 80 });
            address.map(|address| vec![(address, 1)]).unwrap_or_default()
        };
        if endpoints.is_empty() {
            let says =
                format!("\"{authority}\" is no host and port that a setting can hold; the route has no upstream.");
            look.note(pass, Note::impossible("upstream", says));
            return None;
        }
        Some(Made {
            name: unique(
                &mut self.names,
                &values::slug(&authority.replace(".svc.cluster.local", ""), 48),
            ),
            tls,
            endpoints,
            connect_timeout: None,
            outlier_detection,
        })
    }

    /// Says of upstreams that no location names that they are left out.
    pub(crate) fn note_unused(&self, notes: &mut Notes) {
        for (name, block) in &self.blocks {
            let used = self
                .made
                .iter()
                .any(|(key, _)| key.split_once("://").is_some_and(|(_, used)| used == *name));
            if !used {
                let says = "No location that is migrated sends requests to it; the settings leave it out.";
                notes.add(block, None, Note::irrelevant("upstream_unused", says));
                block
                    .children()
                    .iter()
                    .for_each(|child| notes.add(child, None, Note::irrelevant("upstream_unused", says)));
            }
        }
    }

    /// As the settings write them.
    pub(crate) fn document(&self) -> Vec<Value> {
        let endpoint = |(address, weight): &(String, u64)| match weight {
            1 => json!({ "address": address }),
            weight => json!({ "address": address, "weight": weight }),
        };
        let one = |(_, made): &(String, Made)| {
            let mut value = json!({
                "name": made.name,
                "endpoints": made.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
            });
            if made.tls {
                value["tls"] = json!(true);
            }
            if let Some(ms) = made.connect_timeout {
                value["connect_timeout"] = json!(duration(ms));
            }
            if !made.outlier_detection {
                value["outlier_detection"] = json!(false);
            }
            value
        };
        self.made.iter().map(one).collect()
    }
}

/// Which host the upstream sees.
fn note_host(pass: &Directive, look: &mut Look<'_, '_>) {
    let fields = look.scope.all("proxy_set_header");
    let host = fields
        .into_iter()
        .find(|field| field.first().eq_ignore_ascii_case("host"));
    let clients = |value: &str| ["$host", "$http_host", "$host:$server_port"].contains(&value);
    match host {
        Some(field) if field.args.get(1).is_some_and(|value| clients(value)) => {
            look.note(
                field,
                Note::taken("host", "Envoy sends the client's Host to the upstream."),
            );
        }
        other => {
            let says = "Envoy sends the client's Host to the upstream, unless its route says otherwise (host_rewrite_literal); nginx sent another.";
            look.note(other.unwrap_or(pass), Note::changed("host", says));
        }
    }
}

/// The endpoints of a block, and what is to be said of it.
fn endpoints(block: &Directive, tls: bool, notes: &mut Notes) -> Vec<(String, u64)> {
    notes.add(
        block,
        None,
        Note::taken(
            "upstream",
            "It is an upstream of the settings; Envoy chooses its endpoints in turn.",
        ),
    );
    let mut endpoints = Vec::new();
    for item in block.children() {
        let note = match item.name.as_str() {
            "server" => {
                server(item, tls, notes, &mut endpoints);
                continue;
            }
            "keepalive" | "keepalive_requests" | "keepalive_timeout" | "keepalive_time" | "zone" | "resolver" => {
                Note::irrelevant(
                    "upstream_pool",
                    "Envoy keeps connections and looks up names by itself (http2.idle_timeout).",
                )
            }
            "random" | "least_conn" | "ip_hash" | "hash" | "sticky" | "least_time" => Note::impossible(
                "balancing",
                "The settings know no other choice than in turn, by weight.",
            ),
            _ => continue,
        };
        notes.add(item, None, note);
    }
    endpoints
}

fn server(item: &Directive, tls: bool, notes: &mut Notes, endpoints: &mut Vec<(String, u64)>) {
    let Some(address) = values::address(item.first(), if tls { 443 } else { 80 }) else {
        let says = "It is no host and port that a setting can hold; it is left out.";
        notes.add(item, None, Note::impossible("endpoint", says));
        return;
    };
    let options = item.args.iter().skip(1);
    let mut weight = 1;
    let mut left_out = false;
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let note = match name {
            "weight" => {
                weight = value.parse().unwrap_or(1_u64).clamp(1, MOST_WEIGHT);
                Note::taken("weight", format!("The endpoint's weight is {weight}."))
            }
            "down" => {
                left_out = true;
                Note::taken("endpoint_down", "It is left out.")
            }
            "backup" => {
                left_out = true;
                Note::impossible(
                    "backup",
                    "The settings know no endpoint that waits for the others to fail; it is left out.",
                )
            }
            "max_fails" | "fail_timeout" => Note::changed(
                "max_fails",
                "Outlier detection counts in place of max_fails and fail_timeout: after 5 failures in a row Envoy leaves an endpoint out for 10 s, \
                 and longer each time; max_fails=0 at all servers switches it off. The breaker of the upstream counts besides.",
            ),
            "max_conns" => Note::impossible(
                "max_conns",
                "max_connections of the settings is for an upstream, not for one endpoint.",
            ),
            _ => Note::impossible("endpoint_option", format!("No setting says {name} of an endpoint.")),
        };
        notes.add(item, None, note);
    }
    if !left_out {
        notes.add(
            item,
            None,
            Note::taken("endpoint", "It is an endpoint of the upstream."),
        );
        endpoints.push((address, weight));
    }
}

/// A name that no other one has.
pub(crate) fn unique(names: &mut BTreeSet<String>, wanted: &str) -> String {
    // The labels of what no route is for.
    let taken = |name: &str, names: &BTreeSet<String>| names.contains(name) || matches!(name, "other" | "default");
    let mut name = wanted.to_owned();
    let mut number = 2_u64;
    while taken(&name, names) {
        name = format!("{wanted}-{number}");
        number += 1;
    }
    names.insert(name.clone());
    name
}
