//! What differs between two documents of settings.

use super::change::{Base, How, differences, read, send};
use super::{Session, revision};
use crate::failure::{Failure, NO, Outcome};
use clap::Args;
use json_patch::PatchOperation;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Which two.
#[derive(Args, Debug)]
pub struct Arguments {
    /// A revision; the one before the one in force when absent
    from: Option<u64>,
    /// Another one; the settings in force when absent
    to: Option<u64>,
    /// The settings in force and this whole document, in JSON or YAML
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["from", "to"])]
    file: Option<PathBuf>,
}

/// Shows the differences.
pub(super) fn run(session: &Session, arguments: &Arguments) -> Result<Outcome, Failure> {
    let changes = match &arguments.file {
        Some(file) => {
            let how = How {
                dry_run: true,
                ..How::default()
            };
            let written = send(
                session,
                Method::PUT,
                "/settings",
                &read(file)?,
                &Base::read(session)?,
                &how,
            )?;
            written["changes"].clone()
        }
        None => {
            let from = match arguments.from {
                Some(from) => from,
                None => before(session)?,
            };
            let from = revision(session, from)?;
            let to = match arguments.to {
                Some(to) => revision(session, to)?["settings"].clone(),
                None => Base::read(session)?.document,
            };
            Value::Array(between(&from["settings"], &to))
        }
    };
    let list = changes.as_array().cloned().unwrap_or_default();
    session.output.show(&changes, |paint| {
        if list.is_empty() {
            "No difference.".to_owned()
        } else {
            differences(&list, paint)
        }
    })?;
    Ok(if list.is_empty() { Outcome::Yes } else { Outcome::No(NO) })
}

/// The revision before the newest one.
fn before(session: &Session) -> Result<u64, Failure> {
    let ask = session
        .client
        .ask(Method::GET, "/settings/history")
        .query(&[("limit", Some("2".to_owned()))]);
    let history = ask.send()?.document;
    match history.as_array().map(Vec::as_slice) {
        Some([before, _]) => Ok(before["revision"].as_u64().unwrap_or_default()),
        _ => Err(Failure::usage("There is only one revision: nothing to compare it with")),
    }
}

/// As the control plane tells differences: path, before, after.
pub(super) fn between(from: &Value, to: &Value) -> Vec<Value> {
    let of = |operation: &PatchOperation| {
        let path = operation.path().to_string();
        let after = match operation {
            PatchOperation::Add(add) => add.value.clone(),
            PatchOperation::Replace(replace) => replace.value.clone(),
            _ => Value::Null,
        };
        let before = match operation {
            // An added element moves the others, it replaces none.
            PatchOperation::Add(_) => Value::Null,
            _ => from.pointer(&path).cloned().unwrap_or_default(),
        };
        json!({"path": path, "before": before, "after": after})
    };
    json_patch::diff(from, to).0.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_by_path() {
        let from = json!({"a": 1, "b": {"c": "5s"}, "gone": true});
        let to = json!({"a": 1, "b": {"c": "9s", "d": 2}});
        let mut lines: Vec<_> = between(&from, &to).iter().map(ToString::to_string).collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                r#"{"after":"9s","before":"5s","path":"/b/c"}"#,
                r#"{"after":2,"before":null,"path":"/b/d"}"#,
                r#"{"after":null,"before":true,"path":"/gone"}"#,
            ]
        );
    }
}
