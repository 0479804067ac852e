//! Servers and locations, as nginx chooses among them.

use crate::nginx::tree::Directive;
use crate::scope::Scope;

/// How a location is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By the beginning of the path, if no expression fits; the longest one.
    Prefix,
    /// By the beginning of the path, whatever expressions there are (`^~`).
    FirmPrefix,
    /// By the whole path (`=`).
    Exact,
    /// By a regular expression (`~`, `~*`): the first that fits.
    Expression,
    /// By name only (`@name`).
    Named,
}

/// A location.
#[derive(Clone, Debug)]
pub(crate) struct Location<'a> {
    pub kind: Kind,
    pub pattern: &'a str,
    pub directive: &'a Directive,
    pub scope: Scope<'a>,
}

/// A server.
#[derive(Clone, Debug)]
pub(crate) struct Server<'a> {
    pub directive: &'a Directive,
    /// Hosts in the form of the settings: `a.example`, `*.example`.
    pub hosts: Vec<String>,
    /// It gets what no host fits.
    pub is_default: bool,
    pub locations: Vec<Location<'a>>,
}

/// A name of a server that no setting holds.
pub(crate) type Unsaid<'a> = (&'a Directive, String);

/// The servers of the http block, and names that cannot be said.
pub(crate) fn servers<'a>(http: &'a [Directive], outer: &Scope<'a>) -> (Vec<Server<'a>>, Vec<Unsaid<'a>>) {
    let mut unsaid = Vec::new();
    let mut listened: Vec<(String, usize, bool)> = Vec::new();
    let mut servers: Vec<Server<'a>> = Vec::new();
    for directive in http.iter().filter(|item| item.name == "server" && item.block.is_some()) {
        let scope = outer.within(directive.children());
        let mut locations = Vec::new();
        collect(directive.children(), &scope, &mut locations);
        let mut hosts = Vec::new();
        for names in directive.children().iter().filter(|item| item.name == "server_name") {
            for name in &names.args {
                match host(name) {
                    Some(found) => hosts.extend(found),
                    None => unsaid.push((names, name.clone())),
                }
            }
        }
        for (port, is_default) in listens(directive) {
            listened.push((port, servers.len(), is_default));
        }
        servers.push(Server {
            directive,
            hosts,
            is_default: false,
            locations,
        });
    }
    // Of each port the server that says so, else the first one.
    let ports: Vec<String> = listened.iter().map(|(port, ..)| port.clone()).collect();
    for port in ports {
        let of_port = || listened.iter().filter(|(own, ..)| *own == port);
        let chosen = of_port()
            .find(|(.., is_default)| *is_default)
            .or_else(|| of_port().next());
        if let Some(server) = chosen.and_then(|(_, at, _)| servers.get_mut(*at)) {
            server.is_default = true;
        }
    }
    (servers, unsaid)
}

/// The addresses that a server listens at, and whether it is their default one.
fn listens(server: &Directive) -> Vec<(String, bool)> {
    let mut found: Vec<(String, bool)> = Vec::new();
    for listen in server.children().iter().filter(|item| item.name == "listen") {
        let is_default = listen
            .args
            .iter()
            .any(|arg| arg == "default_server" || arg == "default");
        let port = listen.first().rsplit(':').next().unwrap_or("80");
        found.push((port.to_owned(), is_default));
    }
    if found.is_empty() {
        found.push(("80".to_owned(), false));
    }
    found
}

/// Hosts of a `server_name`; `None`: no host pattern of the settings says it.
fn host(name: &str) -> Option<Vec<String>> {
    if name.is_empty() || name == "_" {
        return Some(Vec::new());
    }
    let sound = |host: &str| {
        let part = |part: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !part.is_empty() && part.bytes().all(fits)
        };
        host.split('.').all(part)
    };
    let name = name.to_ascii_lowercase();
    if let Some(domain) = name.strip_prefix('.') {
        return sound(domain).then(|| vec![domain.to_owned(), format!("*.{domain}")]);
    }
    let rest = name.strip_prefix("*.").unwrap_or(&name);
    sound(rest).then(|| vec![name.clone()])
}

/// All locations of a block, those within others as well.
fn collect<'a>(items: &'a [Directive], outer: &Scope<'a>, found: &mut Vec<Location<'a>>) {
    for directive in items.iter().filter(|item| item.name == "location") {
        let (kind, pattern) = kind(&directive.args);
        let scope = outer.within(directive.children());
        collect(directive.children(), &scope, found);
        found.push(Location {
            kind,
            pattern,
            directive,
            scope,
        });
    }
}

fn kind(args: &[String]) -> (Kind, &str) {
    match args {
        [modifier, pattern, ..] => match modifier.as_str() {
            "=" => (Kind::Exact, pattern),
            "^~" => (Kind::FirmPrefix, pattern),
            _ => (Kind::Expression, pattern),
        },
        [only] => {
            for (modifier, kind) in [
                ("=", Kind::Exact),
                ("^~", Kind::FirmPrefix),
                ("~*", Kind::Expression),
                ("~", Kind::Expression),
            ] {
                if let Some(pattern) = only.strip_prefix(modifier) {
                    return (kind, pattern);
                }
            }
            let kind = if only.starts_with('@') {
                Kind::Named
            } else {
                Kind::Prefix
            };
            (kind, only)
        }
        [] => (Kind::Named, ""),
    }
}

/// What an expression says beyond the beginning of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing.
    Nothing,
    /// That anything may follow, or a segment ends there.
    Anything,
    /// More.
    More,
}

/// Ends of expressions behind which anything may follow.
const ANYTHING: [&str; 10] = [
    ".*",
    "(.*)",
    "/.*",
    "/(.*)",
    "/?(.*)",
    "(/|$)",
    "(/|$)(.*)",
    "(/.*)?",
    "(/.*|$)",
    "(.*)$",
];

/// The beginning that every path has which an expression fits, and what it says beyond.
pub(crate) fn head_of_expression(expression: &str) -> (String, Rest) {
    let Some(rest) = expression.strip_prefix('^') else {
        return ("/".to_owned(), Rest::More);
    };
    // With alternatives on the outermost level anything may begin otherwise.
    if rest.contains('|') && !alternatives_are_within(rest) {
        return ("/".to_owned(), Rest::More);
    }
    let mut head = String::new();
    let mut left = rest;
    loop {
        let mut characters = left.chars();
        let literal = match characters.next() {
            None => break,
            Some('\\') => match characters.next() {
                Some(escaped) if !escaped.is_ascii_alphanumeric() => escaped,
                _ => break,
            },
            Some('.' | '(' | '[' | '{' | '$' | '^' | '|' | ')' | '*' | '+' | '?') => break,
            Some(plain) => plain,
        };
        // What may be left out, or be repeated, is no part of the beginning.
        if matches!(characters.clone().next(), Some('*' | '?' | '{')) {
            break;
        }
        head.push(literal);
        left = characters.as_str();
    }
    if !head.starts_with('/') {
        return ("/".to_owned(), Rest::More);
    }
    // A slash before what may follow is a part of the head, and of the shapes that are known.
    let known = ANYTHING.contains(&left) || head.ends_with('/') && ANYTHING.contains(&format!("/{left}").as_str());
    let says = match left {
        "" => Rest::Nothing,
        _ if known => Rest::Anything,
        _ => Rest::More,
    };
    (head, says)
}

fn alternatives_are_within(expression: &str) -> bool {
    let mut depth = 0_i64;
    for character in expression.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            '|' if depth <= 0 => return false,
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_those_of_the_settings() {
        for (name, hosts) in [
            ("A.Example", Some(vec!["a.example"])),
            ("*.example", Some(vec!["*.example"])),
            (".example", Some(vec!["example", "*.example"])),
            ("_", Some(vec![])),
            ("www.example.*", None),
            ("~^www\\d", None),
        ] {
            let hosts = hosts.map(|hosts| hosts.iter().map(|host| (*host).to_owned()).collect());
            assert_eq!(host(name), hosts, "{name}");
        }
    }

    #[test]
    fn heads_of_expressions_are_no_longer_than_what_they_fit() {
        use Rest::{Anything, More, Nothing};
        for (expression, head, rest) in [
            ("^/api/", "/api/", Nothing),
            ("^/api/v(1|2)/", "/api/v", More),
            ("^/a\\.b", "/a.b", Nothing),
            ("^/ab?", "/a", More),
            ("^/a|^/b", "/", More),
            ("^(/a|/b)", "/", More),
            ("\\.php$", "/", More),
            ("^/a\\d+", "/a", More),
            ("^/exact$", "/exact", More),
            ("^/a{2}", "/", More),
            ("^/a+", "/a", More),
            ("^/api(/|$)(.*)", "/api", Anything),
            ("^/api/(.*)", "/api/", Anything),
            ("^/(.*)", "/", Anything),
            ("^/api/(.*)\\.json", "/api/", More),
        ] {
            assert_eq!(head_of_expression(expression), (head.to_owned(), rest), "{expression}");
        }
    }
}
