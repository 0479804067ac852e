//! The settings document as JSON Schema (2020-12), from its rows.

use serde_json::{Map, Value, json};

use super::Settings;
use super::forms::{Form, Shared, View, with};
use super::kinds::object_of;
use super::rows::Rows;

fn document(view: View, description: &str) -> Value {
    let defaults = Settings::default().to_json();
    with(
        object_of(&Settings::rows(), view, Some(&defaults)),
        "description",
        description,
    )
}

/// What a schema cannot say.
const BEYOND: &str = "The control plane refuses more than this schema: durations, sizes and numbers as text that are out of range; settings that contradict each other; two items of a list that mean the same; texts that have the form of an address or a certificate but are none.";

/// The JSON Schema (2020-12) of a settings document as it may be written.
#[must_use]
pub fn schema() -> Value {
    let view = View {
        form: Form::Accepted,
        references: "#/$defs/",
    };
    let about = format!(
        "{} Whatever a document leaves out takes its default. {BEYOND}",
        Settings::about()
    );
    let shared = Shared::ALL.map(|shared| (shared.name().to_owned(), shared.schema()));
    let schema = document(view, &about);
    let schema = with(schema, "$schema", "https://json-schema.org/draft/2020-12/schema");
    let schema = with(schema, "title", "Settings of the API Latency Optimizer");
    with(schema, "$defs", Map::from_iter(shared))
}

/// Schemas for the description of an API, by name: `Settings` as it is answered, `SettingsDocument` as it may be written,
/// `SettingsPatch` as a merge patch, and the parts that these refer to.
#[must_use]
pub fn api_schemas() -> Map<String, Value> {
    let view = |form| View {
        form,
        references: "#/components/schemas/Settings",
    };
    let forms = [
        (
            "Settings",
            Form::Canonical,
            "The settings, each in its canonical spelling.".to_owned(),
            Settings::default().to_json(),
        ),
        (
            "SettingsDocument",
            Form::Accepted,
            format!("A settings document. Whatever it leaves out takes its default. {BEYOND}"),
            json!({"cache_size": 1_200, "default_ttl": "15m", "breaker": {"open_wait": "2s"}}),
        ),
        (
            "SettingsPatch",
            Form::Patch,
            format!("A merge patch (RFC 7396) of the settings: null takes a setting back to its default. {BEYOND}"),
            json!({"breaker": {"open_wait": "2s", "probes": null}}),
        ),
    ];
    let forms = forms.map(|(name, form, about, example)| {
        let schema = document(view(form), &about);
        (name.to_owned(), with(schema, "examples", vec![example]))
    });
    let shared = Shared::ALL.map(|shared| (format!("Settings{}", shared.name()), shared.schema()));
    forms.into_iter().chain(shared).collect()
}
