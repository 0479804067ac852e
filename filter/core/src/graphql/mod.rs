//! GraphQL requests in JSON (GraphQL over HTTP, section 5.4): which operation one asks for, where that is beyond doubt.
//!
//! Servers disagree about whatever is not quite well-formed. So only what every one of them reads alike is read here, and all else is
//! [`Unread::Unclear`]: it is forwarded, and nothing of it is stored.

mod document;
mod message;

use document::Kind;

/// The GraphQL operations of a route that are reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Names of operations; `*` stands for every query.
    pub operations: Vec<String>,
    /// SHA-256 of persisted queries, lower-case hexadecimal digits.
    pub persisted: Vec<String>,
}

/// Why a request is not taken for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// It cannot be read with certainty.
    Unclear,
    /// It asks for several operations at once.
    Batch,
    /// The operation is a mutation or a subscription.
    NoQuery,
    /// The query is none that the operator has named.
    NotAllowed,
}

impl Allowed {
    /// Whether a content is a query that is allowed.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, content: &[u8]) -> Result<(), Unread> {
        if content.trim_ascii_start().first() == Some(&b'[') {
            return Err(Unread::Batch);
        }
        let message = message::read(content).ok_or(Unread::Unclear)?;
        let wanted = message.operation.as_deref();
        let Some(text) = message.query.as_deref() else {
            return self.admits_persisted(message.sha256.as_deref(), wanted);
        };
        let operations = document::operations(text).ok_or(Unread::Unclear)?;
        let selected = document::selected(&operations, wanted).ok_or(Unread::Unclear)?;
        if selected.kind != Kind::Query {
            return Err(Unread::NoQuery);
        }
        // A hash beside the text registers it with the server, which compares the two; the text is what is asked.
        self.names(selected.name).then_some(()).ok_or(Unread::NotAllowed)
    }

    /// Of a persisted query the text is not known: the operator says that it is a query. Where it has several operations, the name
    /// chooses one, so a name must be allowed as well.
    fn admits_persisted(&self, sha256: Option<&str>, wanted: Option<&str>) -> Result<(), Unread> {
        let hash = sha256.ok_or(Unread::Unclear)?.to_ascii_lowercase();
        let allowed = self.persisted.contains(&hash) && (wanted.is_none() || self.names(wanted));
        allowed.then_some(()).ok_or(Unread::NotAllowed)
    }

    fn names(&self, wanted: Option<&str>) -> bool {
        let is = |name: &String| name == "*" || wanted.is_some_and(|wanted| wanted == name);
        self.operations.iter().any(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const HASH: &str = "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38";

    fn allowed() -> Allowed {
        Allowed {
            operations: vec!["A".to_owned(), "B".to_owned()],
            persisted: vec![HASH.to_owned()],
        }
    }

    fn judged(content: &str) -> Result<(), Unread> {
        allowed().admits(content.as_bytes())
    }

    fn read_operation(query: &str, operation: Option<&str>) -> Result<(), Unread> {
        judged(&json!({ "query": query, "operationName": operation }).to_string())
    }

    #[test]
    fn the_selected_operation_decides() {
        const TWO: &str = "query A { a } mutation M { m } query C { c } fragment F on T { f }";
        for (query, operation, expected) in [
            ("query A { a }", None, Ok(())),
            ("query A { a }", Some("A"), Ok(())),
            ("query C { c }", None, Err(Unread::NotAllowed)),
            ("{ a }", None, Err(Unread::NotAllowed)),
            ("mutation A { a }", None, Err(Unread::NoQuery)),
            ("subscription A { a }", Some("A"), Err(Unread::NoQuery)),
            (TWO, Some("A"), Ok(())),
            (TWO, Some("M"), Err(Unread::NoQuery)),
            (TWO, Some("C"), Err(Unread::NotAllowed)),
            (TWO, Some("F"), Err(Unread::Unclear)),
            (TWO, Some("Z"), Err(Unread::Unclear)),
            (TWO, Some(""), Err(Unread::Unclear)),
            (TWO, None, Err(Unread::Unclear)),
            ("query A { a } query A { b }", Some("A"), Err(Unread::Unclear)),
            ("query A { a } mutation A { b }", Some("A"), Err(Unread::Unclear)),
            ("{ a } query A { b }", Some("A"), Err(Unread::Unclear)),
            ("fragment F on T { f }", None, Err(Unread::Unclear)),
            ("", None, Err(Unread::Unclear)),
        ] {
            assert_eq!(read_operation(query, operation), expected, "{query} {operation:?}");
        }
    }

    #[test]
    fn a_star_stands_for_every_query_and_for_no_mutation() {
        let any = Allowed {
            operations: vec!["*".to_owned()],
            persisted: Vec::new(),
        };
        let of = |query: &str| any.admits(json!({ "query": query }).to_string().as_bytes());
        assert_eq!((of("{ a }"), of("query X { a }")), (Ok(()), Ok(())));
        assert_eq!(of("mutation X { a }"), Err(Unread::NoQuery));
    }

    #[test]
    fn a_persisted_query_is_known_by_its_hash_alone() {
        let of = |more: serde_json::Value| {
            let mut message = json!({ "extensions": { "persistedQuery": { "version": 1, "sha256Hash": HASH } } });
            message
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            judged(&message.to_string())
        };
        assert_eq!(of(json!({})), Ok(()));
        assert_eq!(
            of(json!({ "variables": { "id": [1, 2.5, { "a": null }] }, "operationName": "A" })),
            Ok(())
        );
        assert_eq!(of(json!({ "operationName": "M" })), Err(Unread::NotAllowed));
        // What is asked is the text.
        assert_eq!(of(json!({ "query": "query C { c }" })), Err(Unread::NotAllowed));
        assert_eq!(of(json!({ "query": "mutation M { m }" })), Err(Unread::NoQuery));
        let other = format!(
            r#"{{"extensions":{{"persistedQuery":{{"version":1,"sha256Hash":"{}"}}}}}}"#,
            "0".repeat(64)
        );
        assert_eq!(judged(&other), Err(Unread::NotAllowed));
    }

    #[test]
    fn what_servers_may_read_otherwise_is_unclear() {
        for content in [
            "",
            "{",
            "null",
            r#""query""#,
            "{}",
            r#"{"query":"query A { a }"} "#.trim_end().strip_suffix('}').unwrap(),
            r#"{"query":"query A { a }"}x"#,
            r#"{"query":"query A { a }","query":"mutation M { m }"}"#,
            r#"{"query":"query A { a }","qu\u0065ry":"mutation M { m }"}"#,
            r#"{"query":"query A { a }","Query":"mutation M { m }"}"#,
            r#"{"query":"query A { a }","id":"7"}"#,
            r#"{"query":"query A { a }","operationName":"A","operationName":"M"}"#,
            r#"{"query":"query A { a }","operationName":7}"#,
            r#"{"query":["query A { a }"]}"#,
            r#"{"query":"query A { a }","variables":{"a":1,"a":2}}"#,
            r#"{"query":"query A { a }","variables":[1]}"#,
            r#"{"query":"query A { a }","extensions":{"persistedQuery":{},"persistedQuery":{}}}"#,
            r#"{"query":"query A { a }","extensions":{"PersistedQuery":{}}}"#,
            r#"{"query":"query A { a }","extensions":{"persistedQuery":{"sha256hash":"x"}}}"#,
            "\u{feff}{\"query\":\"query A { a }\"}",
            "{\"query\":\"query A { a } \\ud800\"}",
        ] {
            assert_eq!(judged(content), Err(Unread::Unclear), "{content}");
        }
        assert_eq!(judged(r#" [{"query":"query A { a }"}]"#), Err(Unread::Batch));
        let deep = format!(
            r#"{{"query":"query A {{ a }}","variables":{{"a":{}}}}}"#,
            "[".repeat(60_000)
        );
        assert_eq!(judged(&deep), Err(Unread::Unclear));
        assert_eq!(
            judged(r#"{"query":"query A { a }","variables":null,"extensions":null,"operationName":null}"#),
            Ok(())
        );
        assert_eq!(
            allowed().admits(b"{\"query\":\"query A { a } # \xff\"}"),
            Err(Unread::Unclear)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(content in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = allowed().admits(&content);
        }

        #[test]
        fn no_text_of_these_words_hides_a_mutation(
            words in prop::collection::vec(prop::sample::select(vec![
                "query", "mutation", "A", "M", "{", "}", "(", ")", "\"", "\"\"\"", "\\\"\"\"", "\\", "#", "\n", "\r", "a", "$a: [T!] = 1",
                "@d", "fragment", "on", ",", "...", "{ a }",
            ]), 0..24),
        ) {
            let query = words.join(" ");
            // Whoever is admitted has read a query of that name, and every operation stands in the open.
            if read_operation(&query, Some("A")).is_ok() {
                let bare = plainly_read(&query);
                prop_assert!(bare.contains("query A"), "{query:?} {bare:?}");
                prop_assert!(!bare.contains("mutation A"), "{query:?} {bare:?}");
            }
        }
    }

    /// The document without comments, strings and what stands in brackets, read by another way than the scanner's.
    fn plainly_read(query: &str) -> String {
        let mut bare = String::new();
        let mut rest = query;
        let mut depth = 0;
        while let Some(first) = rest.chars().next() {
            let mut skip = first.len_utf8();
            if rest.starts_with("\"\"\"") {
                let inner = rest.get(3..).unwrap().replace("\\\"\"\"", "\u{1}\u{1}\u{1}\u{1}");
                skip = inner.find("\"\"\"").map_or(rest.len(), |end| 3 + end + 3);
            } else if first == '"' {
                let inner = rest
                    .get(1..)
                    .unwrap()
                    .replace("\\\\", "\u{1}\u{1}")
                    .replace("\\\"", "\u{1}\u{1}");
                skip = inner.find('"').map_or(rest.len(), |end| 1 + end + 1);
            } else if first == '#' {
                skip = rest.find(['\n', '\r']).unwrap_or(rest.len());
            } else if "{([".contains(first) {
                depth += 1;
            } else if "})]".contains(first) {
                depth -= 1;
            } else if depth == 0 {
                bare.push(if first == ',' || first.is_whitespace() {
                    ' '
                } else {
                    first
                });
            }
            rest = rest.get(skip..).unwrap();
        }
        bare.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
