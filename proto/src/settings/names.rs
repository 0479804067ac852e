//! Names and patterns: of routes, hosts, paths, request fields and query parameters.

use std::fmt;

use serde_json::Value;

use super::ViolationCode;
use super::reader::{Outcome, Problem, Reading};
use super::scalars::Text;

/// The greatest number that is a port, and every way to write one.
macro_rules! port {
    () => {
        "0*(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
    };
}

/// A DNS name or an IPv4 address, or a bracketed IPv6 address.
macro_rules! place {
    () => {
        r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)"
    };
}

/// A route's name. `other` is the label of requests without a route.
pub(super) const ROUTE_NAME: Text = Text {
    read: route_name,
    spell: String::clone,
    pattern: "^[a-z0-9_-]+$",
    max: 64,
    allowed: "1 to 64 of a-z, 0-9, _ and -",
};

fn route_name(value: &Value) -> Outcome<String> {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    let name = text(value, &ROUTE_NAME, |name| name.bytes().all(sound))?;
    if name == crate::telemetry::delta::OTHER {
        return Err(Problem::of(
            ViolationCode::Conflict,
            value,
            "any other name; this one is taken",
        ));
    }
    Ok(Reading::exact(name.to_owned()))
}

/// A host, its port if any, `*.suffix` or `*`; case does not matter (RFC 9110 section 4.2.3).
pub(super) const HOST: Text = Text {
    read: host,
    spell: String::clone,
    pattern: concat!(r"^(?:\*|(?:\*\.)?", place!(), "(?::", port!(), ")?)$"),
    max: 255,
    allowed: "a host such as \"api.example.com\" or \"localhost:8443\", \"*.example.com\" or \"*\"",
};

fn host(value: &Value) -> Outcome<String> {
    let pattern = text(value, &HOST, |pattern| pattern == "*" || sound_host(pattern))?;
    Ok(Reading::exact(pattern.to_ascii_lowercase()))
}

/// `host:port` of an upstream: a DNS name, an IPv4 address or a bracketed IPv6 address.
pub(super) const ADDRESS: Text<Address> = Text {
    read: address,
    spell: Address::to_string,
    pattern: concat!("^", place!(), ":", port!(), "$"),
    max: 263,
    allowed: "\"host:port\" such as \"api.example.com:443\" or \"[::1]:8080\"",
};

/// Where something listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// DNS name or IP address, without brackets.
    pub host: String,
    /// Port, 1..=65,535.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn address(value: &Value) -> Outcome<Address> {
    let address = text(value, &ADDRESS, |address| {
        !address.contains('*')
            && sound_host(address)
            && address.rsplit_once(':').is_some_and(|(_, port)| sound_port(port))
    })?;
    let (host, port) = address.rsplit_once(':').unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    match port.parse::<u16>() {
        Ok(port) if !host.is_empty() => Ok(Reading::exact(Address { host, port })),
        _ => Err(Problem::of(ViolationCode::Malformed, value, ADDRESS.allowed)),
    }
}

/// The host of a request, its port if any, without a wildcard.
pub(super) const AUTHORITY: Text = Text {
    read: authority,
    spell: String::clone,
    pattern: concat!("^", place!(), "(?::", port!(), ")?$"),
    max: 255,
    allowed: "a host such as \"api.example.com\" or \"localhost:8443\"",
};

fn authority(value: &Value) -> Outcome<String> {
    let host = text(value, &AUTHORITY, |host| !host.contains('*') && sound_host(host))?;
    Ok(Reading::exact(host.to_ascii_lowercase()))
}

/// The name of a breaker, as its status shows it, or `*`: Envoy allows all kinds of names.
pub(super) const BREAKER_NAME: Text = Text {
    read: breaker_name,
    spell: String::clone,
    pattern: "^[!-~]+$",
    max: 255,
    allowed: "the name of a cluster, \"cluster/route\" or \"*\"",
};

fn breaker_name(value: &Value) -> Outcome<String> {
    let name = text(value, &BREAKER_NAME, |name| {
        name.bytes().all(|byte| byte.is_ascii_graphic())
    })?;
    Ok(Reading::exact(name.to_owned()))
}

/// A path with its query, if any (RFC 9112 section 3.2.1).
pub(super) const REQUEST_PATH: Text = Text {
    read: request_path,
    spell: String::clone,
    pattern: r#"^/[!"$-~]*$"#,
    max: 1_024,
    allowed: "a path such as \"/health\", with its query if any",
};

fn request_path(value: &Value) -> Outcome<String> {
    let path = text(value, &REQUEST_PATH, |path| {
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
    })?;
    Ok(Reading::exact(path.to_owned()))
}

/// The beginning of a path (RFC 3986 section 3.3), without query.
pub(super) const PATH_PREFIX: Text = Text {
    read: path_prefix,
    spell: String::clone,
    pattern: r#"^/[!"$->@-~]*$"#,
    max: 1_024,
    allowed: "the beginning of a path, from \"/\" on, without query",
};

fn path_prefix(value: &Value) -> Outcome<String> {
    let sound = |byte: u8| byte.is_ascii_graphic() && byte != b'?' && byte != b'#';
    let prefix = text(value, &PATH_PREFIX, |path| {
        path.starts_with('/') && path.bytes().all(sound)
    })?;
    Ok(Reading::exact(prefix.to_owned()))
}

/// A field name (RFC 9110 section 5.1), lower-cased.
pub(super) const FIELD_NAME: Text = Text {
    read: field_name,
    spell: String::clone,
    pattern: TOKEN,
    max: 64,
    allowed: "the name of a request field",
};

pub(super) fn field_name(value: &Value) -> Outcome<String> {
    let name = text(value, &FIELD_NAME, |name| name.bytes().all(in_token))?;
    Ok(Reading::exact(name.to_ascii_lowercase()))
}

/// The name of a cookie (RFC 6265 section 4.1.1), case-sensitive.
pub(super) const COOKIE_NAME: Text = Text {
    read: cookie_name,
    spell: String::clone,
    pattern: TOKEN,
    max: 128,
    allowed: "the name of a cookie",
};

fn cookie_name(value: &Value) -> Outcome<String> {
    let name = text(value, &COOKIE_NAME, |name| name.bytes().all(in_token))?;
    Ok(Reading::exact(name.to_owned()))
}

/// The name of a query parameter as it stands in the URL.
pub(super) const QUERY_NAME: Text = Text {
    read: query_name,
    spell: String::clone,
    pattern: r#"^[!"$%'-<>@-~]+$"#,
    max: 128,
    allowed: "the name of a query parameter",
};

fn query_name(value: &Value) -> Outcome<String> {
    let sound = |byte: u8| byte.is_ascii_graphic() && !b"&=#?".contains(&byte);
    let name = text(value, &QUERY_NAME, |name| name.bytes().all(sound))?;
    Ok(Reading::exact(name.to_owned()))
}

/// A marker within content.
pub(super) const MARKER: Text = Text {
    read: marker,
    spell: String::clone,
    pattern: "^[ -~]+$",
    max: 128,
    allowed: "printable ASCII",
};

/// A short text for people.
pub(super) const LABEL: Text = Text {
    read: label,
    spell: String::clone,
    pattern: "^[ -~]+$",
    max: 255,
    allowed: "printable ASCII",
};

fn marker(value: &Value) -> Outcome<String> {
    Ok(Reading::exact(text(value, &MARKER, is_printable)?.to_owned()))
}

fn label(value: &Value) -> Outcome<String> {
    Ok(Reading::exact(text(value, &LABEL, is_printable)?.to_owned()))
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// A token (RFC 9110 section 5.6.2).
pub(super) const TOKEN: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";

fn in_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A text of the kind that is sound, from one byte to its greatest length.
pub(super) fn text<'v, T>(value: &'v Value, kind: &Text<T>, sound: impl Fn(&str) -> bool) -> Result<&'v str, Problem> {
    let allowed = kind.allowed;
    let text = value
        .as_str()
        .ok_or_else(|| Problem::of(ViolationCode::WrongType, value, allowed))?;
    if text.len() > kind.max {
        return Err(Problem::of(
            ViolationCode::TooLong,
            value,
            &format!("{allowed}, at most {} bytes", kind.max),
        ));
    }
    if text.is_empty() || !sound(text) {
        return Err(Problem::of(ViolationCode::Malformed, value, allowed));
    }
    Ok(text)
}

/// Whether settings can name this one host.
#[must_use]
pub fn is_host(text: &str) -> bool {
    text.len() <= HOST.max && !text.starts_with('*') && sound_host(text)
}

fn sound_host(pattern: &str) -> bool {
    let host = pattern.strip_prefix("*.").unwrap_or(pattern);
    if let Some(literal) = host.strip_prefix('[') {
        let sound = |address: &str| {
            address
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte))
        };
        return literal.split_once(']').is_some_and(|(address, port)| {
            !address.is_empty() && sound(address) && (port.is_empty() || port.strip_prefix(':').is_some_and(sound_port))
        });
    }
    let (name, port) = host
        .split_once(':')
        .map_or((host, None), |(name, port)| (name, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.split('.').all(label) && port.is_none_or(sound_port)
}

fn sound_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}
