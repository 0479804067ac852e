//! GraphQL requests: whatever the bytes are, what is admitted is a query of that name for every other reader too.
#![no_main]

use filter_core::graphql::{Allowed, Unread};
use graphql_parser::query::{Definition, OperationDefinition, parse_query};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const HASH: &str = "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38";

fn allowed(operation: &str) -> Allowed {
    Allowed { operations: vec![operation.to_owned()], persisted: vec![HASH.to_owned()] }
}

/// Which operations another parser finds, where it can read the document: whether each is a query, and its name.
fn operations(document: &str) -> Option<Vec<(bool, Option<String>)>> {
    let read = parse_query::<String>(document).ok()?;
    let found = read.definitions.into_iter().filter_map(|definition| match definition {
        Definition::Operation(OperationDefinition::SelectionSet(_)) => Some((true, None)),
        Definition::Operation(OperationDefinition::Query(query)) => Some((true, query.name)),
        Definition::Operation(OperationDefinition::Mutation(other)) => Some((false, other.name)),
        Definition::Operation(OperationDefinition::Subscription(other)) => Some((false, other.name)),
        Definition::Fragment(_) => None,
    });
    Some(found.collect())
}

fn content(document: &str, operation: Option<&str>) -> String {
    json!({ "query": document, "operationName": operation }).to_string()
}

fuzz_target!(|data: &[u8]| {
    let (named, any) = (allowed("A"), allowed("*"));
    // As the content of a request.
    if any.admits(data).is_ok() {
        let message: Value = serde_json::from_slice(data).expect("JSON for everybody");
        let persisted = &message["extensions"]["persistedQuery"]["sha256Hash"];
        let is_persisted = persisted.as_str().is_some_and(|hash| hash.eq_ignore_ascii_case(HASH));
        assert!(message["query"].is_string() || is_persisted);
    }
    // As the document of a sound one.
    let Ok(document) = std::str::from_utf8(data) else { return };
    for (operation, allowed) in [(Some("A"), &named), (None, &named), (None, &any)] {
        if allowed.admits(content(document, operation).as_bytes()).is_err() {
            continue;
        }
        assert!(any.admits(content(document, operation).as_bytes()).is_ok());
        if let Some(found) = operations(document) {
            let of_name = |name: &Option<String>| operation.is_none() || name.as_deref() == operation;
            let selected: Vec<_> = found.iter().filter(|(_, name)| of_name(name)).collect();
            assert!(matches!(selected[..], [(true, _)]), "{found:?}");
        }
        // With a mutation behind it, it depends on the server which one is meant, unless a name says it.
        let more = format!("{document}\nmutation A {{ a }}");
        assert_eq!(allowed.admits(content(&more, operation).as_bytes()), Err(Unread::Unclear));
        let more = format!("{document}\nmutation M_ {{ a }}");
        assert!(allowed.admits(content(&more, Some("M_")).as_bytes()).is_err());
    }
});
