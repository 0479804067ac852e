//! Names and patterns: of routes, hosts, paths, request fields and query parameters.

use serde_json::Value;

use super::ViolationCode;
use super::reader::{Outcome, Problem, Reading};

const MAX_ROUTE_NAME: usize = 64;
const MAX_HOST: usize = 255;
const MAX_PATH: usize = 1_024;
const MAX_FIELD_NAME: usize = 64;
const MAX_QUERY_NAME: usize = 128;
const MAX_BREAKER_NAME: usize = 255;

/// A route's name. `other` is the label of requests without a route.
pub(super) fn route_name(value: &Value) -> Outcome<String> {
    let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    let name = text(value, MAX_ROUTE_NAME, "1 to 64 of a-z, 0-9, _ and -", |name| {
        name.bytes().all(sound)
    })?;
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
pub(super) fn host(value: &Value) -> Outcome<String> {
    let allowed = "a host such as \"api.example.com\" or \"localhost:8443\", \"*.example.com\" or \"*\"";
    let pattern = text(value, MAX_HOST, allowed, |pattern| {
        pattern == "*" || sound_host(pattern)
    })?;
    Ok(Reading::exact(pattern.to_ascii_lowercase()))
}

/// `host:port` of an upstream: a DNS name, an IPv4 address or a bracketed IPv6 address.
pub(super) fn address(value: &Value) -> Outcome<(String, u16)> {
    let allowed = "\"host:port\" such as \"api.example.com:443\" or \"[::1]:8080\"";
    let address = text(value, MAX_HOST + 8, allowed, |address| {
        !address.contains('*')
            && sound_host(address)
            && address.rsplit_once(':').is_some_and(|(_, port)| sound_port(port))
    })?;
    let (host, port) = address.rsplit_once(':').unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    match port.parse::<u16>() {
        Ok(port) if !host.is_empty() => Ok(Reading::exact((host, port))),
        _ => Err(Problem::of(ViolationCode::Malformed, value, allowed)),
    }
}

/// The host of a request, its port if any, without a wildcard.
pub(super) fn authority(value: &Value) -> Outcome<String> {
    let allowed = "a host such as \"api.example.com\" or \"localhost:8443\"";
    let host = text(value, MAX_HOST, allowed, |host| !host.contains('*') && sound_host(host))?;
    Ok(Reading::exact(host.to_ascii_lowercase()))
}

/// The name of a breaker, as its status shows it, or `*`: Envoy allows all kinds of names.
pub(super) fn breaker_name(value: &Value) -> Outcome<String> {
    let allowed = "the name of a cluster, \"cluster/route\" or \"*\"";
    let name = text(value, MAX_BREAKER_NAME, allowed, |name| {
        name.bytes().all(|byte| byte.is_ascii_graphic())
    })?;
    Ok(Reading::exact(name.to_owned()))
}

/// A path with its query, if any (RFC 9112 section 3.2.1).
pub(super) fn request_path(value: &Value) -> Outcome<String> {
    let allowed = "a path such as \"/health\", with its query if any";
    let path = text(value, MAX_PATH, allowed, |path| {
        path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
    })?;
    Ok(Reading::exact(path.to_owned()))
}

/// The beginning of a path (RFC 3986 section 3.3), without query.
pub(super) fn path_prefix(value: &Value) -> Outcome<String> {
    let allowed = "the beginning of a path, from \"/\" on, without query";
    let sound = |byte: u8| byte.is_ascii_graphic() && byte != b'?' && byte != b'#';
    let prefix = text(value, MAX_PATH, allowed, |path| {
        path.starts_with('/') && path.bytes().all(sound)
    })?;
    Ok(Reading::exact(prefix.to_owned()))
}

/// A field name (RFC 9110 section 5.1), lower-cased.
pub(super) fn field_name(value: &Value) -> Outcome<String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let name = text(value, MAX_FIELD_NAME, "the name of a request field", |name| {
        name.bytes().all(token)
    })?;
    Ok(Reading::exact(name.to_ascii_lowercase()))
}

/// The name of a cookie (RFC 6265 section 4.1.1), case-sensitive.
pub(super) fn cookie_name(value: &Value) -> Outcome<String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let name = text(value, MAX_QUERY_NAME, "the name of a cookie", |name| {
        name.bytes().all(token)
    })?;
    Ok(Reading::exact(name.to_owned()))
}

/// The name of a query parameter as it stands in the URL.
pub(super) fn query_name(value: &Value) -> Outcome<String> {
    let sound = |byte: u8| byte.is_ascii_graphic() && !b"&=#?".contains(&byte);
    let name = text(value, MAX_QUERY_NAME, "the name of a query parameter", |name| {
        name.bytes().all(sound)
    })?;
    Ok(Reading::exact(name.to_owned()))
}

/// A text of 1 to `max` bytes that is sound.
fn text<'v>(value: &'v Value, max: usize, allowed: &str, sound: impl Fn(&str) -> bool) -> Result<&'v str, Problem> {
    let text = value
        .as_str()
        .ok_or_else(|| Problem::of(ViolationCode::WrongType, value, allowed))?;
    if text.len() > max {
        return Err(Problem::of(
            ViolationCode::TooLong,
            value,
            &format!("{allowed}, at most {max} bytes"),
        ));
    }
    if text.is_empty() || !sound(text) {
        return Err(Problem::of(ViolationCode::Malformed, value, allowed));
    }
    Ok(text)
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
