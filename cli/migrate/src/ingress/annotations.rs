//! Annotations of ingress-nginx, and the keys of its ConfigMap, as directives.

use super::documents::{Ingress, Text};
use super::made;
use crate::error::Error;
use crate::nginx::tree::{Directive, Reader};
use std::collections::BTreeMap;

/// What every annotation of the controller begins with.
const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// Directives by the block that they are for, and what changes how a path is read.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub http: Vec<Directive>,
    pub server: Vec<Directive>,
    pub location: Vec<Directive>,
    pub aliases: Vec<String>,
    pub expressions: bool,
    pub protocol: Option<String>,
    pub canary: Option<Directive>,
}

/// Names that are not those of the directive with dashes.
const OTHER_NAMES: [(&str, &str); 16] = [
    ("proxy-body-size", "client_max_body_size"),
    ("limit-connections", "limit_conn"),
    ("auth-url", "auth_request"),
    ("auth-type", "auth_basic"),
    ("auth-tls-secret", "auth_request"),
    ("whitelist-source-range", "allow"),
    ("allowlist-source-range", "allow"),
    ("denylist-source-range", "deny"),
    ("permanent-redirect", "return"),
    ("temporal-redirect", "return"),
    ("ssl-redirect", "listen"),
    ("force-ssl-redirect", "listen"),
    ("ssl-passthrough", "listen"),
    ("app-root", "error_page"),
    ("mirror-target", "mirror"),
    ("custom-http-errors", "error_page"),
];

/// What the annotations of an Ingress say.
///
/// # Errors
/// A snippet is no nginx configuration.
pub(super) fn of_ingress(ingress: &Ingress, reader: &mut Reader<'_>) -> Result<Made, Error> {
    let mut made_of = Made::default();
    for (name, text) in &ingress.annotations {
        let Some(name) = name.strip_prefix(PREFIX) else {
            continue;
        };
        match name {
            "configuration-snippet" => made_of.location.extend(reader.read(&text.value, &text.content)?),
            "server-snippet" => made_of.server.extend(reader.read(&text.value, &text.content)?),
            "stream-snippet" => made_of.server.push(shown("stream", &[], name, text)),
            "server-alias" => {
                let names = text.value.split(',').map(|alias| alias.trim().to_owned());
                made_of.aliases.extend(names);
                made_of.server.push(shown("include", &[], name, text));
            }
            "backend-protocol" => {
                made_of.protocol = Some(text.value.to_ascii_uppercase());
                made_of.location.push(shown("include", &[], name, text));
            }
            "canary" if text.value == "true" => made_of.canary = Some(shown("canary", &[], name, text)),
            "use-regex" => {
                made_of.expressions |= text.value == "true";
                made_of.location.push(shown("use_regex", &[], name, text));
            }
            "rewrite-target" => {
                made_of.expressions = true;
                made_of
                    .location
                    .push(shown("rewrite", &["^", &text.value, "break"], name, text));
            }
            "upstream-vhost" => made_of
                .location
                .push(shown("proxy_set_header", &["Host", &text.value], name, text)),
            _ => made_of.location.push(plain(name, text)),
        }
    }
    Ok(made_of)
}

/// What the data of the controller's ConfigMap say.
///
/// # Errors
/// A snippet is no nginx configuration.
pub(super) fn of_config_map(data: &BTreeMap<String, Text>, reader: &mut Reader<'_>) -> Result<Made, Error> {
    let mut made_of = Made::default();
    for (name, text) in data {
        match name.as_str() {
            "http-snippet" => made_of.http.extend(reader.read(&text.value, &text.content)?),
            "server-snippet" => made_of.server.extend(reader.read(&text.value, &text.content)?),
            "location-snippet" => made_of.location.extend(reader.read(&text.value, &text.content)?),
            "main-snippet" => {}
            _ => made_of.http.push(plain(name, text)),
        }
    }
    Ok(made_of)
}

/// The directive that an annotation stands for. Times are in seconds.
fn plain(name: &str, text: &Text) -> Directive {
    let other = OTHER_NAMES.iter().find(|(annotation, _)| *annotation == name);
    let directive = other.map_or_else(|| name.replace('-', "_"), |(_, directive)| (*directive).to_owned());
    let value = text.value.trim();
    let seconds = format!("{value}s");
    let args: Vec<&str> = match name {
        "limit-connections" => vec!["by client", value],
        "permanent-redirect" => vec!["301", value],
        "temporal-redirect" => vec!["302", value],
        _ if name.ends_with("-timeout") && value.bytes().all(|byte| byte.is_ascii_digit()) => vec![&seconds],
        _ => value.split_whitespace().collect(),
    };
    shown(&directive, &args, name, text)
}

fn shown(directive: &str, args: &[&str], name: &str, text: &Text) -> Directive {
    made(directive, args, &text.place, &format!("{name}: {}", text.value.trim()))
}
