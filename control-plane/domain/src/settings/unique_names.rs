//! Finds objects in which a name occurs twice. JSON leaves open which of the two counts (RFC 8259 section 4), and
//! parsers silently drop one of them: of two `routes`, say, half of what an operator meant.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;

/// Checks that no object of a JSON document has a name twice.
///
/// # Errors
/// The reason, with the name and its place; or why the bytes are no JSON.
pub fn check(document: &[u8]) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(document);
    Unique.deserialize(&mut reader)?;
    reader.end()
}

/// Whether a text is JSON and has an object with a name twice: the reason.
#[must_use]
pub fn repeated(text: &str) -> Option<String> {
    check(text.as_bytes())
        .err()
        .filter(serde_json::Error::is_data)
        .map(|reason| reason.to_string())
}

/// Reads a value and keeps nothing of it.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Unique)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = object.next_key::<String>()? {
            if names.contains(&name) {
                object.next_value::<IgnoredAny>()?;
                let shown: String = name.chars().take(64).collect();
                return Err(A::Error::custom(format_args!(
                    "the name \"{shown}\" stands twice in one object"
                )));
            }
            names.insert(name);
            object.next_value_seed(Unique)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_once_in_each_object() {
        for (document, repeats) in [
            (r#"{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}"#, false),
            (r#"{"a":1,"a":1}"#, true),
            (r#"{"a":1,"\u0061":2}"#, true),
            (r#"{"a":{"b":null,"b":true}}"#, true),
            (r#"[[{"x":1.5,"y":"t","x":-1}]]"#, true),
            (r#"{"a":1,"A":2,"":3}"#, false),
            ("[1, \"a\", null, false, -2, 1e3]", false),
            ("5m", false),
            (r#"{"a":1"#, false),
            ("", false),
        ] {
            assert_eq!(repeated(document).is_some(), repeats, "{document}");
        }
        assert!(check(b"{} {}").is_err() && check(b" {} ").is_ok());
        let found = repeated(r#"{"routes":[],"routes":[]}"#).unwrap();
        assert!(found.contains("\"routes\""), "{found}");
    }
}
