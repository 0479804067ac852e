//! Every row against the reader.

use serde_json::{Value, json};

use super::reader::Findings;
use super::rows::{Inner, Presence, Row, Rows};
use super::{Settings, ViolationCode};

/// Gives a document in which a value stands at the place of a setting.
type Place<'a> = &'a dyn Fn(Value) -> Value;
/// Takes the path of a setting, its row and its place.
type Visit<'a> = &'a mut dyn FnMut(&str, &Row, Place<'_>);

/// Visits every setting.
fn each_row(visit: Visit<'_>) {
    let whole = Inner {
        about: Settings::about(),
        rows: Settings::rows(),
        item: None,
    };
    descend("", &whole, &|value| value, visit);
}

fn descend(path: &str, object: &Inner, document: Place<'_>, visit: Visit<'_>) {
    // An item must have what is required of it.
    let required = |except: &str| -> Value {
        let rows = object
            .rows
            .iter()
            .filter(|row| object.item.is_some() && row.key != except);
        let rows = rows.filter(|row| row.kind.presence() == Presence::Required);
        rows.map(|row| (row.key.to_owned(), row.example.clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    for row in &object.rows {
        let path = format!("{path}/{}", row.key);
        let at = |value: Value| {
            let mut object = required(row.key);
            object[row.key] = value;
            document(object)
        };
        visit(&path, row, &at);
        if let Some(inner) = row.kind.inner() {
            let (path, within): (String, Box<dyn Fn(Value) -> Value>) = match inner.item {
                Some(_) => (format!("{path}/0"), Box::new(|value| at(json!([value])))),
                None => (path.clone(), Box::new(at)),
            };
            descend(&path, &inner, &within, visit);
        }
    }
}

/// What the reader says about a value at a place, apart from rules across fields.
fn said(document: &Value) -> Findings {
    let mut findings = Findings::default();
    Settings::read(document, &mut findings);
    findings
}

#[test]
fn every_example_is_read_and_is_spelled_in_the_canonical_way() {
    let mut rows = 0;
    each_row(&mut |path, row, document| {
        rows += 1;
        let document = document(row.example.clone());
        let mut findings = Findings::default();
        let settings = Settings::read(&document, &mut findings);
        // Two of them belong together.
        let found = findings
            .violations
            .iter()
            .filter(|found| found.code != ViolationCode::Conflict);
        let found: Vec<_> = found.collect();
        assert!(found.is_empty() && findings.notices.is_empty(), "{path}: {found:?}");
        let canonical = settings.to_json();
        if row.kind.inner().is_none() && findings.violations.is_empty() {
            assert_eq!(canonical.pointer(path), Some(&row.example), "{path}");
        }
    });
    assert!(rows > 150, "{rows}");
}

#[test]
fn no_example_is_the_default() {
    each_row(&mut |path, row, document| {
        let of = |document: &Value| Settings::read(document, &mut Findings::default()).to_json();
        let empty = of(&json!({}));
        if row.kind.presence() == Presence::Defaulted {
            assert_ne!(
                of(&document(row.example.clone())).pointer(path),
                empty.pointer(path),
                "{path}"
            );
        }
    });
}

#[test]
fn what_no_setting_takes_is_refused_at_its_place() {
    for wrong in [
        json!(-1),
        json!("\u{1}"),
        json!(1e300),
        json!([[]]),
        json!({"\u{1}": 1}),
    ] {
        each_row(&mut |path, row, document| {
            let findings = said(&document(wrong.clone()));
            let told = findings.violations.iter().any(|found| found.path.starts_with(path));
            assert!(told, "{path} ({}) takes {wrong}", row.meaning);
        });
    }
}

#[test]
fn numbers_are_taken_from_the_first_of_the_range_to_the_last() {
    let mut numbers = 0;
    each_row(&mut |path, row, document| {
        let view = super::forms::View::canonical();
        let schema = row.kind.schema(view, None);
        let bounds = (schema["minimum"].as_u64(), schema["maximum"].as_u64());
        let (Some(least), Some(most)) = bounds else { return };
        numbers += 1;
        let refused = |value: Value| {
            let found = said(&document(value)).violations;
            found
                .iter()
                .any(|found| found.path == path && found.code == ViolationCode::OutOfRange)
        };
        assert!(!refused(json!(least)) && !refused(json!(most)), "{path}");
        assert!(
            refused(json!(most + 1)) && (least == 0 || refused(json!(least - 1))),
            "{path}"
        );
    });
    assert!(numbers > 30, "{numbers}");
}

#[test]
fn every_meaning_is_a_sentence_and_stands_in_the_reference() {
    let reference = super::reference();
    each_row(&mut |path, row, _| {
        let meaning = &row.meaning;
        assert!(meaning.ends_with('.') && meaning.len() > 5, "{path}: {meaning}");
        assert!(reference.contains(meaning.as_str()), "{path}");
        let name = path.replace("/0/", "[].").trim_start_matches('/').replace('/', ".");
        assert!(reference.contains(&format!("| `{name}` |")), "{name}");
    });
}
