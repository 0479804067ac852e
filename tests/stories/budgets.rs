//! What a peer can cost the control plane: memory and processor time of each hostile input stay within a stated bound.

use e2e::client::{Request, Response};
use e2e::control_plane::ControlPlane;
use serde_json::{Value, json};

/// Most memory that one input may take, above what the idle process has.
const MEMORY_MB: f64 = 64.0;
/// Most processor time, in hundredths of a second.
const TICKS: u64 = 100;

/// A running control plane that is charged for what is done to it.
struct Charged {
    control: ControlPlane,
    _folder: tempfile::TempDir,
}

impl Charged {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = ControlPlane::quiet(folder.path()).unwrap();
        Self {
            control,
            _folder: folder,
        }
    }

    /// Does `input` and fails when it costs too much.
    fn charge<T>(&mut self, what: &str, input: impl FnOnce(&ControlPlane) -> T) -> T {
        let process = self.control.process().unwrap();
        let (memory, ticks) = (process.resident_mb().unwrap(), process.cpu_ticks());
        let out = input(&self.control);
        assert!(self.control.is_live(), "{what}: gone");
        let process = self.control.process().unwrap();
        let (memory, ticks) = (process.peak_mb().unwrap() - memory, process.cpu_ticks() - ticks);
        println!("{what}: {memory:.0} MB, {ticks} ticks");
        assert!(memory <= MEMORY_MB, "{what}: {memory} MB");
        assert!(ticks <= TICKS, "{what}: {ticks} hundredths of a second");
        out
    }
}

fn patch(control: &ControlPlane, query: &str, body: String) -> Response {
    let request = Request::new("PATCH", &format!("/settings{query}"))
        .header("content-type", "application/json-patch+json")
        .body(body);
    control.rest().send(&request).unwrap()
}

fn refused(answer: &Response, code: &str) {
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(answer.json().unwrap()["code"], code, "{}", answer.text());
}

#[test]
fn patches_that_grow_are_refused_before_they_do() {
    let mut charged = Charged::start();
    let copies = |count: usize| -> Value {
        let copy = |n| json!({"op": "copy", "from": "", "path": format!("/c{n}")});
        (0..count).map(copy).collect()
    };
    for query in ["", "?dry_run=true"] {
        for count in [20, 40, 1_000] {
            let answer = charged.charge(&format!("{count} doublings{query}"), |control| {
                patch(control, query, copies(count).to_string())
            });
            refused(&answer, "document_too_large");
        }
    }
    let tests = vec![r#"{"op":"test","path":"/cache_size","value":1}"#; 1_001].join(",");
    refused(
        &charged.charge("1,001 operations", |control| patch(control, "", format!("[{tests}]"))),
        "document_too_large",
    );
    // Many small objects take up hundreds of times what they have as text.
    for unit in [r#"{"":0}"#, "[]", "0", "{}", r#"{"a":{"b":[{}]}}"#] {
        let list = vec![unit; (1 << 20) / (unit.len() + 1) - 60].join(",");
        let bodies = [
            format!(r#"[{{"op":"add","path":"/x","value":[{list}]}}]"#),
            format!(r#"{{"x":[{list}]}}"#),
        ];
        for body in bodies {
            let answer = charged.charge(&format!("a list of {unit}"), |control| patch(control, "", body));
            assert_eq!(answer.status, 422, "{}", answer.text());
        }
    }
    let nested = format!("{}{}", r#"{"a":"#.repeat(100_000), "0");
    refused(
        &charged.charge("deep nesting", |control| patch(control, "", nested)),
        "document_too_large",
    );
    let settings = charged.control.rest().document("/settings").unwrap();
    assert!(settings.get("c0").is_none() && settings.get("x").is_none());
}

#[test]
fn documents_of_many_unknown_names_are_refused_in_time() {
    let mut charged = Charged::start();
    for width in [4, 60] {
        let fields: Vec<String> = (0..(1 << 20) / (width + 14))
            .map(|n| format!(r#""{n:0width$}":{{"#) + "}")
            .collect();
        let body = format!("{{{}}}", fields.join(","));
        for method in ["PUT", "PATCH"] {
            let answer = charged.charge(&format!("{method} of unknown names of {width}"), |control| {
                let request = Request::new(method, "/settings")
                    .header("content-type", "application/json")
                    .body(body.clone());
                control.rest().send(&request).unwrap()
            });
            assert_eq!(answer.status, 422, "{}", answer.text());
        }
    }
}
