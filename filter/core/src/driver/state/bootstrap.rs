//! The plugin configuration: what a filter needs before, and without, a control plane.

use crate::cache::KeySecret;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use optimizer_proto::settings::{Settings, Violation, ViolationCode};
use serde_json::Value;

/// The checked plugin configuration.
#[derive(Debug, Clone, Default)]
pub struct Bootstrap {
    /// Envoy cluster of the control plane; empty = there is none, the settings below stay in force.
    pub control_cluster: String,
    /// Envoy cluster of the shared cache tier, where that is not the control plane.
    pub tier_cluster: String,
    /// Name of this Envoy for the control plane, where Envoy's own `node.id` is not wanted.
    pub node_id: String,
    /// The secret under which credentials enter the cache key, where it is not the control plane's to give.
    pub key_secret: Option<KeySecret>,
    /// Settings until the control plane sends others.
    pub settings: Settings,
}

impl Bootstrap {
    /// Reads a plugin configuration: `{"control_cluster": "…", "node_id": "…", "key_secret": "…", "settings": {…}}`, everything
    /// optional.
    ///
    /// # Errors
    /// All violations, with JSON Pointers into the document.
    pub fn parse(document: &[u8]) -> Result<Self, Vec<Violation>> {
        if document.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let whole = serde_json::from_slice::<Value>(document)
            .map_err(|error| vec![violation("", ViolationCode::Malformed, &error.to_string())])?;
        let Value::Object(fields) = whole else {
            return Err(vec![violation(
                "",
                ViolationCode::WrongType,
                "the plugin configuration must be a JSON object",
            )]);
        };
        let mut read = Self::default();
        let mut violations = Vec::new();
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("control_cluster", Value::String(text)) => read.control_cluster = text,
                ("tier_cluster", Value::String(text)) => read.tier_cluster = text,
                ("node_id", Value::String(text)) => read.node_id = text,
                ("key_secret", Value::String(text)) => match key_secret(&text) {
                    Some(secret) => read.key_secret = Some(secret),
                    None => violations.push(violation("/key_secret", ViolationCode::OutOfRange, SECRET_WANTED)),
                },
                ("settings", value) => match Settings::parse(&value) {
                    Ok((settings, _)) => read.settings = settings,
                    Err(found) => violations.extend(found.into_iter().map(below_settings)),
                },
                ("control_cluster" | "tier_cluster" | "node_id" | "key_secret", _) => {
                    violations.push(violation(
                        &format!("/{name}"),
                        ViolationCode::WrongType,
                        "must be a string",
                    ));
                }
                _ => violations.push(violation(
                    &format!("/{name}"),
                    ViolationCode::UnknownField,
                    "known are control_cluster, tier_cluster, node_id, key_secret and settings",
                )),
            }
        }
        if violations.is_empty() {
            Ok(read)
        } else {
            Err(violations)
        }
    }

    /// The target of the control stream as a serialized `envoy.config.core.v3.GrpcService { envoy_grpc { cluster_name } }`.
    /// `None` without a control plane, or with a name too long to be one.
    #[must_use]
    pub fn control_target(&self) -> Option<String> {
        target(&self.control_cluster)
    }

    /// The same for the shared cache tier.
    #[must_use]
    pub fn tier_target(&self) -> Option<String> {
        if self.tier_cluster.is_empty() {
            self.control_target()
        } else {
            target(&self.tier_cluster)
        }
    }
}

fn target(cluster: &str) -> Option<String> {
    let size = u8::try_from(cluster.len())
        .ok()
        .filter(|size| (1..=100).contains(size))?;
    Some(format!(
        "\u{a}{}\u{a}{}{cluster}",
        char::from(size + 2),
        char::from(size)
    ))
}

const SECRET_WANTED: &str = "must be 16 bytes or more, as hexadecimal digits or in base64";

/// What consists of hexadecimal digits alone is read as such.
fn key_secret(text: &str) -> Option<KeySecret> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return KeySecret::derived(&from_hex(text)?);
    }
    let text = text.trim_end_matches('=');
    let bytes = STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text));
    KeySecret::derived(&bytes.ok()?)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

fn violation(path: &str, code: ViolationCode, message: &str) -> Violation {
    Violation {
        path: path.to_owned(),
        code,
        message: message.to_owned(),
    }
}

fn below_settings(violation: Violation) -> Violation {
    Violation {
        path: format!("/settings{}", violation.path),
        ..violation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_configuration_is_the_built_in_one() {
        for document in [&b""[..], b" \n", b"{}"] {
            let read = Bootstrap::parse(document).unwrap();
            assert_eq!(read.control_target(), None);
        }
    }

    #[test]
    fn the_target_is_a_serialized_grpc_service() {
        let read = Bootstrap::parse(br#"{"control_cluster":"empty","settings":{"cache_size":"50"}}"#).unwrap();
        assert_eq!(read.control_target().unwrap().as_bytes(), b"\x0a\x07\x0a\x05empty");
        assert_eq!(read.settings.cache_size, 50);
    }

    #[test]
    fn a_secret_is_read_in_either_form_and_never_shown() {
        let parse = |text: &str| Bootstrap::parse(format!(r#"{{"key_secret":"{text}"}}"#).as_bytes());
        let expected = KeySecret::derived(&[0xab; 16]);
        for text in [
            "abababababababababababababababab",
            "q6urq6urq6urq6urq6urqw==",
            "q6urq6urq6urq6urq6urqw",
        ] {
            let read = parse(text).unwrap();
            assert_eq!(read.key_secret, expected, "{text}");
            assert!(!format!("{read:?}").contains("171"));
        }
        for text in [
            "",
            "ababababababababababababababab",
            "aba",
            "q6urq6urq6urq6urq6ur",
            "not base64!",
        ] {
            let found = parse(text).unwrap_err();
            assert_eq!(found[0].path, "/key_secret", "{text}");
            assert!(text.is_empty() || !found[0].message.contains(text));
        }
        assert_eq!(
            Bootstrap::parse(br#"{"key_secret":7}"#).unwrap_err()[0].code,
            ViolationCode::WrongType
        );
    }

    #[test]
    fn every_violation_is_told() {
        let found = Bootstrap::parse(br#"{"nod_id":"x","control_cluster":7,"settings":{"cache_size":0}}"#).unwrap_err();
        let mut paths: Vec<&str> = found.iter().map(|violation| violation.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["/control_cluster", "/nod_id", "/settings/cache_size"]);
        assert_eq!(Bootstrap::parse(b"{").unwrap_err()[0].code, ViolationCode::Malformed);
        assert_eq!(Bootstrap::parse(b"[]").unwrap_err()[0].code, ViolationCode::WrongType);
    }
}
