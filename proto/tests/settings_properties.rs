//! What holds for every settings document.

mod documents;

use documents::{arbitrary, sound, spoiled};
use optimizer_proto::settings::{Settings, check_key};
use proptest::prelude::*;
use serde_json::json;

proptest! {
    #[test]
    fn parsing_never_panics(document in prop_oneof![arbitrary(), spoiled()]) {
        match Settings::parse(&document) {
            Ok((settings, _)) => prop_assert_eq!(Settings::parse(&settings.to_json()), Ok((settings, Vec::new()))),
            Err(violations) => prop_assert!(!violations.is_empty()),
        }
    }

    #[test]
    fn keys_never_panic(key in "[a-z_.]{0,24}|cache_size|breaker\\.window|routes|.{0,10}", text in ".{0,30}") {
        if let Err(violations) = check_key(&key, &text) {
            prop_assert!(!violations.is_empty());
        }
    }

    #[test]
    fn the_canonical_form_says_the_same(document in sound()) {
        let (settings, notices) = Settings::parse(&document).map_err(|found| TestCaseError::fail(format!("{found:?}")))?;
        prop_assert!(notices.is_empty());
        prop_assert_eq!(Settings::parse(&settings.to_json()), Ok((settings, Vec::new())));
    }
}

#[test]
fn a_document_of_a_newer_version_is_understood_without_what_is_unknown() {
    let mut newer = Settings::default().to_json();
    newer["cache_size"] = json!(77);
    newer["prefetch"] = json!({"depth": 3});
    newer["breaker"]["hedge"] = json!("5ms");
    newer["routes"] = json!([{"name": "a", "mirror": "b"}]);
    assert!(Settings::parse(&newer).is_err(), "an operator's mistake is told");
    let (settings, ignored) = Settings::parse_tolerant(&newer).unwrap();
    assert_eq!(settings.cache_size, 77);
    let mut paths: Vec<&str> = ignored.iter().map(|unknown| unknown.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/breaker/hedge", "/prefetch", "/routes/0/mirror"]);
    newer["eviction_policy"] = json!("clairvoyant");
    assert!(
        Settings::parse_tolerant(&newer).is_err(),
        "an unknown value cannot be guessed"
    );
}
