//! Parts of answers that several resources share.

use control_domain::settings::history::difference;
use optimizer_proto::settings;
use optimizer_proto::v1::Violation;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The settings as they are answered. This and the next two are described by the rows of the settings: see `description.rs`.
#[derive(ToSchema)]
pub(crate) struct Settings;

/// A settings document as it may be written.
#[derive(ToSchema)]
pub(crate) struct SettingsDocument;

/// A merge patch of the settings.
#[derive(Deserialize, ToSchema)]
pub(crate) struct SettingsPatch;

/// Something that is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Finding {
    /// JSON Pointer of the field.
    pub(crate) path: String,
    /// Stable code of what is wrong.
    pub(crate) code: String,
    /// What was given and what is allowed.
    pub(crate) message: String,
}

impl From<settings::Violation> for Finding {
    fn from(found: settings::Violation) -> Self {
        Self {
            code: found.code.as_str().to_owned(),
            path: found.path,
            message: found.message,
        }
    }
}

/// What an Envoy finds wrong.
pub(super) fn violations(found: &[Violation]) -> Vec<Finding> {
    let one = |found: &Violation| Finding {
        path: found.path.clone(),
        code: found.code.clone(),
        message: found.message.clone(),
    };
    found.iter().map(one).collect()
}

/// A field in which two settings documents differ.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Difference {
    /// JSON Pointer of the field.
    path: String,
    /// Null where there was none.
    before: Value,
    /// Null where there is none.
    after: Value,
}

pub(super) fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    difference(before, after)
        .into_iter()
        .map(|(path, before, after)| Difference { path, before, after })
        .collect()
}

/// How far a change of settings has come.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reached {
    /// The revision it made.
    pub(crate) revision: u64,
    /// Envoys that do not run on it yet; only with `wait=all`.
    pub(crate) stragglers: Vec<String>,
    /// Envoys that refuse it; only with `wait=all`.
    pub(crate) refused: Vec<RefusedBy>,
}

/// An Envoy that refuses a revision.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefusedBy {
    /// Instance id of the Envoy.
    pub(crate) envoy: String,
    /// What it found wrong.
    pub(crate) violations: Vec<Finding>,
}
