//! The plugin configuration: what a filter needs before, and without, a control plane.

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
    /// Settings until the control plane sends others.
    pub settings: Settings,
}

impl Bootstrap {
    /// Reads a plugin configuration: `{"control_cluster": "…", "node_id": "…", "settings": {…}}`, everything optional.
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
                ("settings", value) => match Settings::parse(&value) {
                    Ok((settings, _)) => read.settings = settings,
                    Err(found) => violations.extend(found.into_iter().map(below_settings)),
                },
                ("control_cluster" | "tier_cluster" | "node_id", _) => {
                    violations.push(violation(
                        &format!("/{name}"),
                        ViolationCode::WrongType,
                        "must be a string",
                    ));
                }
                _ => violations.push(violation(
                    &format!("/{name}"),
                    ViolationCode::UnknownField,
                    "known are control_cluster, tier_cluster, node_id and settings",
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
    fn every_violation_is_told() {
        let found = Bootstrap::parse(br#"{"nod_id":"x","control_cluster":7,"settings":{"cache_size":0}}"#).unwrap_err();
        let mut paths: Vec<&str> = found.iter().map(|violation| violation.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["/control_cluster", "/nod_id", "/settings/cache_size"]);
        assert_eq!(Bootstrap::parse(b"{").unwrap_err()[0].code, ViolationCode::Malformed);
        assert_eq!(Bootstrap::parse(b"[]").unwrap_err()[0].code, ViolationCode::WrongType);
    }
}
