//! The JSON Schema of the settings against their reader.

mod documents;

use documents::{arbitrary, sound, spoiled};
use jsonschema::Validator;
use optimizer_proto::settings::{Settings, Violation, ViolationCode, api_schemas, schema};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

static WRITTEN: LazyLock<Validator> = LazyLock::new(|| jsonschema::draft202012::new(&schema()).unwrap());
static ANSWERED: LazyLock<Validator> = LazyLock::new(|| of_api("Settings"));
static PATCH: LazyLock<Validator> = LazyLock::new(|| of_api("SettingsPatch"));

fn of_api(name: &str) -> Validator {
    let whole = json!({"$ref": format!("#/components/schemas/{name}"), "components": {"schemas": api_schemas()}});
    jsonschema::draft202012::new(&whole).unwrap()
}

/// What the schema says about a document.
fn faults(validator: &Validator, document: &Value) -> Vec<String> {
    let faults = validator.iter_errors(document);
    faults
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect()
}

/// What the schema says of itself that it cannot say.
fn is_beyond_the_schema(violation: &Violation) -> bool {
    match violation.code {
        ViolationCode::OutOfRange | ViolationCode::Conflict | ViolationCode::Duplicate => true,
        // Texts with the form of an address or of a certificate.
        ViolationCode::Malformed => {
            violation.path.contains("trusted_ca") || violation.path.starts_with("/purge_sources/")
        }
        _ => false,
    }
}

fn judge(document: &Value) -> Result<(), TestCaseError> {
    let faults = faults(&WRITTEN, document);
    match Settings::parse(document) {
        Ok((settings, _)) => {
            prop_assert!(
                faults.is_empty(),
                "the reader takes {document}, the schema does not: {faults:?}"
            );
            let canonical = settings.to_json();
            let faults = self::faults(&ANSWERED, &canonical);
            prop_assert!(faults.is_empty(), "{canonical} is not as described: {faults:?}");
        }
        Err(violations) if faults.is_empty() => {
            let untold = violations.iter().find(|violation| !is_beyond_the_schema(violation));
            prop_assert!(
                untold.is_none(),
                "the schema takes {document}, the reader does not: {untold:?}"
            );
        }
        Err(_) => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_the_reader_takes_the_schema_takes(document in arbitrary()) {
        judge(&document)?;
    }

    #[test]
    fn what_the_schema_refuses_the_reader_refuses(document in spoiled()) {
        judge(&document)?;
    }

    #[test]
    fn sound_documents_are_sound_by_the_schema_and_as_patches(document in sound()) {
        prop_assert!(Settings::parse(&document).is_ok());
        judge(&document)?;
        prop_assert_eq!(faults(&PATCH, &document), Vec::<String>::new());
    }
}

#[test]
fn the_schema_is_one_and_tells_units_ranges_defaults_and_examples() {
    let schema = schema();
    assert!(jsonschema::meta::is_valid(&schema));
    let window = &schema["properties"]["breaker"]["properties"]["window"];
    assert_eq!(window["default"], "10s");
    assert_eq!(window["examples"], json!(["30s"]));
    assert_eq!(window["description"], "Span of the sliding window. (1s to 10m)");
    let memory = &schema["properties"]["cache_memory_mb"];
    assert_eq!(
        memory["anyOf"][0],
        json!({"type": "number", "minimum": 1, "exclusiveMaximum": 16_385})
    );
    assert!(
        memory["description"].as_str().unwrap().ends_with("(MB, 1 to 16384)"),
        "{memory}"
    );
    let policy = &schema["properties"]["eviction_policy"]["anyOf"][0]["enum"];
    assert_eq!(policy, &json!(["s3_fifo", "sieve", "lru", "lfu", "fifo", "gdsf"]));
    assert_eq!(schema["properties"]["routes"]["items"]["required"], json!(["name"]));
}

#[test]
fn the_reference_in_the_documents_is_current() {
    let kept = include_str!("../../deploy/SETTINGS.md");
    let how = "write it anew: api-optimizer-control-plane --print-settings-reference > deploy/SETTINGS.md";
    assert!(optimizer_proto::settings::reference() == kept, "{how}");
}

#[test]
fn the_schema_that_the_chart_is_made_from_is_current() {
    let kept: Value = serde_json::from_str(include_str!("../../deploy/base/settings.schema.json")).unwrap();
    let how = "write it anew: api-optimizer-control-plane --print-settings-schema > deploy/base/settings.schema.json; deploy/generate.py";
    assert!(schema() == kept, "{how}");
}

#[test]
fn examples_of_the_api_are_as_described() {
    for name in ["Settings", "SettingsDocument", "SettingsPatch"] {
        let example = &api_schemas()[name]["examples"][0];
        assert_eq!(faults(&of_api(name), example), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_patch_takes_null_for_every_setting_and_nothing_that_is_not_there() {
    for sound in [
        json!({"cache_size": null}),
        json!({"breaker": {"open_wait": null, "gone": null}}),
        json!({"routes": null}),
    ] {
        assert!(PATCH.is_valid(&sound), "{sound}");
    }
    for wrong in [
        json!({"gone": 1}),
        json!({"routes": [{"name": null}]}),
        json!({"breaker": {"probes": 0}}),
        json!([]),
    ] {
        assert!(!PATCH.is_valid(&wrong), "{wrong}");
    }
}
