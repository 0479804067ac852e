//! What an Envoy says about itself in its bootstrap: the things that are its machine's, not the settings'.

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::core::v3::node::UserAgentVersionType;
use envoy_types::pb::google::protobuf::{Struct, value};

/// Key of the node's metadata in `envoy/dynamic.yaml`.
const KEY: &str = "api_optimizer";
/// Longest node id and longest text of the metadata.
pub(crate) const MAX_TEXT: usize = 1_024;

/// The properties of an Envoy's machine that its resources depend on. Envoys with equal places get the same resources.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Address that clients connect to.
    pub(crate) listen_host: String,
    /// Port that clients connect to.
    pub(crate) listen_port: u16,
    /// File of the certificate authorities it trusts.
    pub(crate) trusted_ca: String,
    /// File of its access log; empty = none.
    pub(crate) access_log: String,
    /// File of the filter; empty = none but what the control plane serves.
    pub(crate) wasm: String,
    /// Of requests for which nobody in front has decided, hundredths of a percent that are traced; `None` = none is.
    pub(crate) traced: Option<u16>,
    /// Whether it knows `weaken_etag_on_compress`: since 1.38. An older one warns of the field, or refuses the listener for it
    /// (`--reject-unknown-dynamic-fields`).
    pub(crate) weakens_tags: bool,
}

/// Where the filter's code comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A file of the Envoy's machine.
    File(String),
    /// The control plane's module with this SHA-256.
    Module(String),
}

impl Default for Place {
    fn default() -> Self {
        Self {
            listen_host: "0.0.0.0".to_owned(),
            listen_port: 10_000,
            trusted_ca: "/etc/ssl/certs/ca-certificates.crt".to_owned(),
            access_log: "/dev/stdout".to_owned(),
            wasm: String::new(),
            traced: None,
            weakens_tags: true,
        }
    }
}

impl Place {
    /// Where the filter comes from, given the module that the control plane has for this Envoy; `None` = there is no filter.
    pub(crate) fn source(&self, module: Option<String>) -> Option<Source> {
        let file = || (!self.wasm.is_empty()).then(|| Source::File(self.wasm.clone()));
        module.map(Source::Module).or_else(file)
    }

    /// Reads the node's metadata; what it does not say takes its default.
    ///
    /// # Errors
    /// A sentence about a value that cannot be.
    pub(crate) fn of(node: &Node) -> Result<Self, String> {
        if node.id.is_empty() || node.id.len() > MAX_TEXT {
            return Err(format!("node.id: allowed are 1 to {MAX_TEXT} bytes"));
        }
        let mut place = Self {
            weakens_tags: is_at_least(node, (1, 38)),
            ..Self::default()
        };
        let field = node.metadata.as_ref().and_then(|metadata| metadata.fields.get(KEY));
        let Some(value::Kind::StructValue(metadata)) = field.and_then(|value| value.kind.as_ref()) else {
            return Ok(place);
        };
        for (name, text) in [
            ("listen_host", &mut place.listen_host),
            ("trusted_ca", &mut place.trusted_ca),
            ("access_log", &mut place.access_log),
            ("wasm", &mut place.wasm),
        ] {
            if let Some(given) = text_of(metadata, name)? {
                *text = given;
            }
        }
        if let Some(port) = text_of(metadata, "listen_port")? {
            let sound = port.parse().ok().filter(|port| *port > 0);
            place.listen_port = sound.ok_or_else(|| refused("listen_port", "1 to 65535"))?;
        }
        if let Some(percent) = text_of(metadata, "trace_percent")? {
            let sound = percent.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
            place.traced = Some(hundredths(sound.ok_or_else(|| refused("trace_percent", "0 to 100"))?));
        }
        Ok(place)
    }
}

fn hundredths(percent: f64) -> u16 {
    (percent * 100.0).round() as u16
}

/// Whether an Envoy is of this version or a newer one; one that does not tell is.
fn is_at_least(node: &Node, version: (u32, u32)) -> bool {
    let Some(UserAgentVersionType::UserAgentBuildVersion(build)) = &node.user_agent_version_type else {
        return true;
    };
    let own = build.version.as_ref();
    own.is_none_or(|own| (own.major_number, own.minor_number) >= version)
}

/// A text, or a whole number as `envsubst` may have left it.
fn text_of(metadata: &Struct, name: &str) -> Result<Option<String>, String> {
    match metadata.fields.get(name).and_then(|value| value.kind.as_ref()) {
        None | Some(value::Kind::NullValue(_)) => Ok(None),
        Some(value::Kind::StringValue(text)) if text.len() <= MAX_TEXT => Ok(Some(text.clone())),
        Some(value::Kind::NumberValue(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(refused(name, "a text of at most 1024 bytes")),
    }
}

fn refused(name: &str, allowed: &str) -> String {
    format!("node.metadata.{KEY}.{name}: allowed is {allowed}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::config::core::v3::BuildVersion;
    use envoy_types::pb::envoy::r#type::v3::SemanticVersion;
    use envoy_types::pb::google::protobuf::Value;
    use std::collections::HashMap;

    fn node(fields: &[(&str, value::Kind)]) -> Node {
        let wrap = |kind: value::Kind| Value { kind: Some(kind) };
        let fields = fields
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), wrap(kind.clone())));
        let metadata = value::Kind::StructValue(Struct {
            fields: fields.collect(),
        });
        Node {
            id: "a".to_owned(),
            metadata: Some(Struct {
                fields: HashMap::from([(KEY.to_owned(), wrap(metadata))]),
            }),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_not_said_takes_its_default() {
        assert_eq!(Place::of(&node(&[])), Ok(Place::default()));
        let place = Place::of(&node(&[
            ("listen_port", value::Kind::NumberValue(8_443.0)),
            ("wasm", value::Kind::StringValue("/filter.wasm".to_owned())),
        ]));
        let place = place.unwrap();
        assert_eq!((place.listen_port, place.wasm.as_str()), (8_443, "/filter.wasm"));
        assert_eq!(place.trusted_ca, Place::default().trusted_ca);
    }

    #[test]
    fn an_envoy_is_traced_that_says_how_much() {
        let of = |percent: value::Kind| Place::of(&node(&[("trace_percent", percent)])).map(|place| place.traced);
        assert_eq!(of(value::Kind::NumberValue(0.25)), Ok(Some(25)));
        assert_eq!(of(value::Kind::StringValue("100".to_owned())), Ok(Some(10_000)));
        for wrong in [
            value::Kind::NumberValue(100.5),
            value::Kind::StringValue("NaN".to_owned()),
        ] {
            assert!(of(wrong).unwrap_err().contains("trace_percent"));
        }
        assert_eq!(Place::of(&node(&[])).unwrap().traced, None);
    }

    #[test]
    fn an_older_envoy_is_not_sent_what_it_does_not_know() {
        let of = |major_number, minor_number| {
            let version = SemanticVersion {
                major_number,
                minor_number,
                patch: 4,
            };
            let build = BuildVersion {
                version: Some(version),
                metadata: None,
            };
            let mut node = node(&[]);
            node.user_agent_version_type = Some(UserAgentVersionType::UserAgentBuildVersion(build));
            Place::of(&node).unwrap().weakens_tags
        };
        assert_eq!([of(1, 36), of(1, 37), of(1, 38), of(2, 0)], [false, false, true, true]);
        assert!(Place::of(&node(&[])).unwrap().weakens_tags, "who does not tell is new");
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_name() {
        for kind in [
            value::Kind::NumberValue(65_536.0),
            value::Kind::NumberValue(0.0),
            value::Kind::NumberValue(80.5),
            value::Kind::StringValue("http".to_owned()),
            value::Kind::BoolValue(true),
        ] {
            let fault = Place::of(&node(&[("listen_port", kind)])).unwrap_err();
            assert!(fault.contains("listen_port"), "{fault}");
        }
        assert!(Place::of(&Node::default()).is_err());
    }
}
