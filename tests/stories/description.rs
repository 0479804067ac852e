//! The description of the API as what answers are judged by.

use e2e::client::Response;
use jsonschema::Validator;
use serde_json::{Value, json};

/// `/openapi.json`.
pub struct Description(pub Value);

impl Description {
    /// The described response to an operation with this status.
    fn response(&self, method: &str, path: &str, status: u16) -> &Value {
        let response = &self.0["paths"][path][method]["responses"][status.to_string()];
        let response = match response["$ref"].as_str() {
            Some(reference) => self.0.pointer(reference.trim_start_matches('#')).unwrap(),
            None => response,
        };
        assert!(response.is_object(), "{method} {path} does not describe {status}");
        response
    }

    /// The schema of an answer.
    fn schema(&self, method: &str, path: &str, status: u16, kind: &str) -> Validator {
        let response = self.response(method, path, status);
        let content = &response["content"][kind];
        assert!(
            content.is_object(),
            "{method} {path} {status} does not describe {kind}: {response}"
        );
        let schema = json!({ "allOf": [content["schema"]], "components": self.0["components"] });
        jsonschema::draft202012::new(&schema).unwrap()
    }

    /// What about a document is not as described.
    pub fn faults(&self, method: &str, path: &str, status: u16, kind: &str, document: &Value) -> Vec<String> {
        let schema = self.schema(method, path, status, kind);
        let faults = schema.iter_errors(document);
        faults
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect()
    }

    /// Fails where an answer is not as described: in its status, its kind of content, or a field.
    pub fn judge(&self, method: &str, path: &str, answer: &Response) {
        let kind = answer.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        let text = answer.text();
        let documents: Vec<&str> = match kind {
            "" => return self.judge_empty(method, path, answer.status),
            "application/x-ndjson" => text.lines().collect(),
            json if json.ends_with("json") => vec![&text],
            _ => return drop(self.schema(method, path, answer.status, kind)),
        };
        for document in documents {
            let document: Value = serde_json::from_str(document).unwrap();
            let faults = self.faults(method, path, answer.status, kind, &document);
            assert!(
                faults.is_empty(),
                "{method} {path} {}: {faults:#?}\n{document:#}",
                answer.status
            );
        }
    }

    fn judge_empty(&self, method: &str, path: &str, status: u16) {
        let response = self.response(method, path, status);
        assert!(
            response.get("content").is_none(),
            "{method} {path} {status}: {response}"
        );
    }
}
