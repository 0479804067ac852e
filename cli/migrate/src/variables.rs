//! What a value depends on: the fields, cookies and parts of the request behind its variables.

use crate::nginx::tree::Directive;
use std::collections::{BTreeMap, BTreeSet};

/// What a value depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// The path of the URL.
    Path,
    /// The whole query.
    Query,
    /// One parameter of the query.
    Argument(String),
    /// The host of the request.
    Host,
    /// The scheme of the request.
    Scheme,
    /// The method of the request.
    Method,
    /// A cookie, as it is written in the configuration.
    Cookie(String),
    /// A field of the request, lower-case with dashes.
    Field(String),
    /// A field of the upstream's response, lower-case with dashes.
    ResponseField(String),
    /// The same for all requests of a location: names of the server and the upstream.
    Place,
    /// Something else: the client's address, a time, a variable of another module.
    Other(String),
}

/// What a value is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Its text, where no variable is in it.
    pub constant: Option<String>,
    /// What it depends on.
    pub sources: BTreeSet<Source>,
}

/// How a variable comes about.
#[derive(Clone, Debug, Default)]
struct Definition {
    /// Expressions that its value, or the choice of it, depends on.
    expressions: Vec<String>,
    /// Values that are chosen among without a condition that can be seen: `set` at several places.
    unconditional: usize,
    /// Its one value.
    constant: Option<String>,
    /// Depends on something that no variable says.
    other: bool,
}

/// The variables that a configuration defines.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    defined: BTreeMap<String, Definition>,
}

impl Variables {
    /// All variables of a configuration.
    pub(crate) fn of(items: &[Directive]) -> Self {
        let mut variables = Self::default();
        variables.collect(items, &[]);
        variables
    }

    fn collect(&mut self, items: &[Directive], conditions: &[String]) {
        for item in items {
            let args: Vec<&str> = item.args.iter().map(String::as_str).collect();
            match (item.name.as_str(), args.as_slice()) {
                ("set", [variable, value]) => self.set(variable, value, conditions),
                ("map", [source, variable]) => {
                    let definition = self.definition(variable);
                    definition.expressions.push((*source).to_owned());
                    let values = item.children().iter().flat_map(|entry| entry.args.iter().cloned());
                    definition.expressions.extend(values);
                    definition.unconditional = 0;
                    definition.constant = None;
                }
                ("split_clients", [source, variable]) | ("geo", [source, variable]) => {
                    let source = (*source).to_owned();
                    self.definition(variable).expressions.push(source);
                }
                ("geo", [variable]) => self.definition(variable).other = true,
                ("auth_request_set" | "perl_set" | "js_set", [variable, ..]) => self.definition(variable).other = true,
                ("if", _) => {
                    let mut inner = conditions.to_vec();
                    inner.push(condition(&item.args));
                    self.collect(item.children(), &inner);
                }
                ("http" | "server" | "location", _) => self.collect(item.children(), conditions),
                _ => {}
            }
        }
    }

    fn definition(&mut self, variable: &str) -> &mut Definition {
        self.defined.entry(bare(variable)).or_default()
    }

    fn set(&mut self, variable: &str, value: &str, conditions: &[String]) {
        let definition = self.definition(variable);
        let first = definition.expressions.is_empty() && definition.constant.is_none() && !definition.other;
        let is_constant = !value.contains('$');
        if conditions.is_empty() {
            definition.unconditional += 1;
        }
        if first && is_constant && conditions.is_empty() {
            definition.constant = Some(value.to_owned());
        } else {
            definition.expressions.extend(conditions.iter().cloned());
            definition.expressions.push(value.to_owned());
        }
    }

    /// What a value depends on.
    pub(crate) fn resolve(&self, value: &str) -> Resolved {
        let mut resolved = Resolved::default();
        let mut seen = BTreeSet::new();
        if !value.contains('$') {
            resolved.constant = Some(value.to_owned());
            return resolved;
        }
        let mut open = names(value);
        // A value that is one variable with one value is that value.
        if let [name] = open.as_slice()
            && let Some(definition) = self.defined.get(name)
            && definition.expressions.is_empty()
            && definition.unconditional == 1
            && !definition.other
            && (value == format!("${name}") || value == format!("${{{name}}}"))
        {
            resolved.constant.clone_from(&definition.constant);
            return resolved;
        }
        while let Some(name) = open.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            match self.defined.get(&name) {
                Some(definition) => {
                    if definition.other || definition.unconditional > 1 {
                        resolved.sources.insert(Source::Other(name));
                    }
                    open.extend(definition.expressions.iter().flat_map(|text| names(text)));
                }
                None => resolved.sources.extend(source(&name)),
            }
        }
        resolved
    }
}

/// The condition of an `if`, as one text. A method that is never cached says nothing about requests that may be.
fn condition(args: &[String]) -> String {
    let text = args.join(" ");
    let inner = text.trim_start_matches('(').trim_end_matches(')').trim();
    match inner.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["$request_method", "=", method] if !["GET", "HEAD"].contains(method) => String::new(),
        _ => text,
    }
}

/// A variable's name without its sign.
fn bare(variable: &str) -> String {
    let name = variable.trim_start_matches('$');
    name.trim_start_matches('{').trim_end_matches('}').to_owned()
}

/// The names of the variables in a text.
fn names(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in text.split('$').skip(1) {
        let part = part.strip_prefix('{').unwrap_or(part);
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = part.find(|c| !in_name(c)).unwrap_or(part.len());
        let name = part.get(..end).unwrap_or_default();
        // A sign with nothing behind it is the end of a regular expression.
        if !name.is_empty() {
            found.push(name.to_owned());
        }
    }
    found
}

/// What one of nginx's own variables is about.
fn source(name: &str) -> Vec<Source> {
    let dashed = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let lower = name.to_ascii_lowercase();
    if let Some(field) = lower.strip_prefix("upstream_http_") {
        return vec![Source::ResponseField(dashed(field))];
    }
    if lower.starts_with("upstream_cookie_") {
        return vec![Source::ResponseField("set-cookie".to_owned())];
    }
    let one = match lower.as_str() {
        "uri" | "document_uri" => Source::Path,
        "request_uri" => return vec![Source::Path, Source::Query],
        "args" | "query_string" | "is_args" => Source::Query,
        "host" | "http_host" => Source::Host,
        "scheme" | "https" => Source::Scheme,
        "request_method" => Source::Method,
        "server_name" | "server_port" | "proxy_host" | "proxy_port" | "hostname" | "nginx_version"
        | "document_root" | "pid" => Source::Place,
        "remote_user" => Source::Field("authorization".to_owned()),
        "content_type" | "content_length" => Source::Field(dashed(&lower)),
        "request_body" | "request" => Source::Other(lower),
        _ => match (
            lower.strip_prefix("arg_"),
            name.get(7..).filter(|_| lower.starts_with("cookie_")),
            lower.strip_prefix("http_"),
        ) {
            (Some(argument), _, _) => Source::Argument(argument.to_owned()),
            (_, Some(cookie), _) => Source::Cookie(cookie.to_owned()),
            (_, _, Some(field)) => Source::Field(dashed(field)),
            _ => Source::Other(lower),
        },
    };
    vec![one]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoFiles;
    use crate::nginx::tree::Reader;
    use crate::place::Place;

    fn resolve(configuration: &str, value: &str) -> Resolved {
        let place = Place {
            file: "t".into(),
            line: 1,
            column: 1,
        };
        let items = Reader::new(&NoFiles, false).read(configuration, &place).unwrap();
        Variables::of(&items).resolve(value)
    }

    fn sources(configuration: &str, value: &str) -> Vec<Source> {
        resolve(configuration, value).sources.into_iter().collect()
    }

    #[test]
    fn own_variables_of_nginx_are_known() {
        use Source::{Argument, Cookie, Field, Host, Other, Path, Query, Scheme};
        for (value, expected) in [
            ("$scheme$host$request_uri", vec![Path, Query, Host, Scheme]),
            ("$uri$is_args$args", vec![Path, Query]),
            ("${arg_id}x", vec![Argument("id".into())]),
            ("$cookie_SessionID", vec![Cookie("SessionID".into())]),
            ("$http_x_tenant", vec![Field("x-tenant".into())]),
            ("$remote_user", vec![Field("authorization".into())]),
            ("$remote_addr", vec![Other("remote_addr".into())]),
        ] {
            assert_eq!(sources("", value), expected, "{value}");
        }
    }

    #[test]
    fn a_constant_is_one() {
        assert_eq!(resolve("", "1").constant.as_deref(), Some("1"));
        assert_eq!(resolve("set $skip 0;", "$skip").constant.as_deref(), Some("0"));
        let twice = "server { set $skip 0; location /a { set $skip 1; } }";
        assert_eq!(sources(twice, "$skip"), [Source::Other("skip".into())]);
    }

    #[test]
    fn variables_lead_to_what_they_are_made_of() {
        let conditions = "set $skip 0; if ($http_cookie ~* \"wordpress\") { set $skip 1; } if ($request_method = POST) { set $skip 1; }";
        assert_eq!(sources(conditions, "$skip"), [Source::Field("cookie".into())]);
        let get = "set $skip 0; if ($request_method = GET) { set $skip 1; }";
        assert_eq!(sources(get, "$skip"), [Source::Method]);
        let mapped = "http { map $cookie_plan $plan { default free; gold gold; } map $plan $x { default $http_a; } }";
        assert_eq!(
            sources(mapped, "$x"),
            [Source::Cookie("plan".into()), Source::Field("a".into())]
        );
        assert_eq!(sources("geo $c { default x; }", "$c"), [Source::Other("c".into())]);
        assert!(sources("map $a $a { x $a; }", "$a").is_empty(), "a circle ends");
    }
}
