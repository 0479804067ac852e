//! What the machines of the Envoys can keep. A module cannot ask Envoy how much memory there is, so that the control plane has to know.

use optimizer_proto::settings::{Violation, ViolationCode};
use serde_json::Value;

/// The machine of an Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Machine {
    /// Its memory, MB of 2^20 bytes; `None` where that is not known.
    pub memory_mb: Option<u64>,
}

impl Machine {
    /// Whether it can keep what a document wants it to. What `present`, the settings in force, wants already is no reason against a
    /// change of something else.
    ///
    /// # Errors
    /// What it cannot keep.
    pub fn judge(&self, document: &Value, present: &Value) -> Result<(), Vec<Violation>> {
        let wanted = |document: &Value| document.get("cache_memory_mb").and_then(Value::as_u64);
        let (Some(memory_mb), Some(wanted_mb)) = (self.memory_mb, wanted(document)) else {
            return Ok(());
        };
        if wanted_mb <= memory_mb || wanted(present) == Some(wanted_mb) {
            return Ok(());
        }
        Err(vec![Violation {
            path: "/cache_memory_mb".to_owned(),
            code: ViolationCode::OutOfRange,
            message: format!(
                "given {wanted_mb}, allowed is what the machine of an Envoy has, {memory_mb} MB; for machines with more start the control plane with ENVOY_MEMORY_MB"
            ),
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn more_than_there_is_cannot_be_kept() {
        let machine = Machine { memory_mb: Some(512) };
        let document = |mb: u64| json!({ "cache_memory_mb": mb });
        assert_eq!(machine.judge(&document(512), &document(64)), Ok(()));
        let refused = machine.judge(&document(513), &document(64)).unwrap_err();
        assert_eq!(
            (refused[0].path.as_str(), refused[0].code),
            ("/cache_memory_mb", ViolationCode::OutOfRange)
        );
        assert_eq!(
            machine.judge(&document(513), &document(513)),
            Ok(()),
            "in force already"
        );
        assert_eq!(Machine::default().judge(&document(16_384), &document(64)), Ok(()));
    }
}
