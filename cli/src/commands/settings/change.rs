//! One change of the settings: on which revision it is based, how it is made, and what became of it.

use super::Session;
use crate::failure::{Failure, Outcome};
use crate::output::{Paint, clean, text_of};
use clap::Args;
use reqwest::Method;
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Largest settings file that is read, bytes.
const LARGEST: u64 = 16 << 20;

/// How a change is made.
#[derive(Args, Clone, Debug, Default)]
pub struct How {
    /// Only say what would come of it
    #[arg(long)]
    pub dry_run: bool,
    /// Wait until every connected Envoy runs on it
    #[arg(long)]
    pub wait: bool,
    /// How long to wait at most [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = crate::options::duration)]
    pub timeout: Option<Duration>,
    /// Only so many percent of the Envoys get it, 1 to 99, until `settings canary promote` or `abort`
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
    pub canary: Option<u8>,
    /// Why, for the history
    #[arg(long)]
    pub reason: Option<String>,
    /// Write also where the Envoys run on settings that this control plane has lost: those are gone then
    #[arg(long)]
    pub confirm: bool,
}

/// The settings that a change is based on.
#[derive(Debug)]
pub(super) struct Base {
    /// The whole document.
    pub(super) document: Value,
    /// Their entity tag.
    pub(super) etag: Option<String>,
}

impl Base {
    /// Those in force.
    pub(super) fn read(session: &Session) -> Result<Self, Failure> {
        let answer = session.client.ask(Method::GET, "/settings").send()?;
        Ok(Self {
            document: answer.document,
            etag: answer.etag,
        })
    }
}

/// A document in JSON or YAML; JSON is YAML too.
pub(super) fn read(path: &Path) -> Result<Value, Failure> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| Failure::file(path, &error))?;
    file.take(LARGEST)
        .read_to_string(&mut text)
        .map_err(|error| Failure::file(path, &error))?;
    parse(&text).map_err(|reason| Failure::usage(format!("{}: {reason}", path.display())))
}

/// The same of text. What is wrong is told in one line.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let first = text.trim_start();
    let parsed = if first.starts_with('{') || first.starts_with('[') {
        serde_json::from_str(text).map_err(|error| error.to_string())
    } else {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    };
    match parsed {
        Ok(Value::Null) => Err("there is no document in it".to_owned()),
        Ok(document) => Ok(document),
        Err(reason) => Err(reason.lines().next().unwrap_or_default().to_owned()),
    }
}

/// Sends the change, and leaves the answer to the caller.
pub(super) fn send(
    session: &Session,
    method: Method,
    path: &str,
    document: &Value,
    base: &Base,
    how: &How,
) -> Result<Value, Failure> {
    let flag = |on: bool| on.then(|| "true".to_owned());
    let wait = how.timeout.unwrap_or(Duration::from_secs(10));
    let waits = how.wait && !how.dry_run;
    let ask = session
        .client
        .ask(method, path)
        .query(&[
            ("dry_run", flag(how.dry_run)),
            ("wait", waits.then(|| "all".to_owned())),
            (
                "timeout",
                waits.then(|| humantime::format_duration(wait).to_string().replace(' ', "")),
            ),
            ("canary", how.canary.map(|percent| percent.to_string())),
            ("reason", how.reason.clone()),
            ("confirm", flag(how.confirm)),
        ])
        .header("If-Match", base.etag.as_deref())
        .patience(if waits { wait } else { Duration::ZERO });
    let ask = match document {
        Value::Null => ask.body("application/json", ""),
        document => ask.document(document),
    };
    Ok(ask.send()?.document)
}

/// Sends the change, and shows what became of it.
pub(super) fn write(
    session: &Session,
    method: Method,
    path: &str,
    document: &Value,
    base: &Base,
    how: &How,
) -> Result<Outcome, Failure> {
    let written = send(session, method, path, document, base, how)?;
    session.output.show(&written, |paint| summary(&written, how, paint))?;
    Ok(Outcome::of(is_everywhere(&written)))
}

fn list<'v>(document: &'v Value, name: &str) -> &'v [Value] {
    document[name].as_array().map_or(&[], Vec::as_slice)
}

/// Nobody is late and nobody refuses it.
pub(super) fn is_everywhere(written: &Value) -> bool {
    list(written, "stragglers").is_empty() && list(written, "refused").is_empty()
}

/// What became of a change.
pub(super) fn summary(written: &Value, how: &How, paint: Paint) -> String {
    let mut text = differences(list(written, "changes"), paint);
    let revision = text_of(&written["revision"]);
    text += &match (written["dry_run"] == true, written["changed"] == false) {
        (true, true) => "Nothing would change.\n".to_owned(),
        (true, false) => "Nothing was written.\n".to_owned(),
        (false, true) => format!("Nothing changed: revision {revision} says so already.\n"),
        (false, false) => match how.canary {
            Some(percent) => {
                format!("Revision {revision} is on trial on {percent} % of the Envoys: optimizer settings canary\n")
            }
            None if how.wait && is_everywhere(written) => {
                format!("Revision {revision} is in force on every connected Envoy.\n")
            }
            None => format!("Revision {revision}.\n"),
        },
    };
    for notice in list(written, "notices") {
        let path = notice["path"].as_str().unwrap_or_default();
        let message = notice["message"].as_str().unwrap_or_default();
        text += &format!("{} {}\n", paint.warning(&format!("{}:", clean(path))), clean(message));
    }
    let late: Vec<_> = list(written, "stragglers")
        .iter()
        .map(|envoy| clean(&text_of(envoy)))
        .collect();
    if !late.is_empty() {
        text += &format!("{} {}\n", paint.warning("Not yet on:"), late.join(", "));
    }
    for refused in list(written, "refused") {
        let name = clean(&text_of(&refused["envoy"]));
        text += &format!("{}\n", paint.bad(&format!("{name} refuses it:")));
        for (path, message) in crate::failure::violations(refused) {
            text += &format!("  {}: {}\n", clean(&path), clean(&message));
        }
    }
    text
}

/// One line for what goes, one for what comes.
pub(super) fn differences(changes: &[Value], paint: Paint) -> String {
    let mut text = String::new();
    for change in changes {
        let path = clean(change["path"].as_str().unwrap_or_default());
        for (sign, value, colour) in [
            ('-', &change["before"], Paint::bad as fn(Paint, &str) -> String),
            ('+', &change["after"], Paint::good),
        ] {
            if !value.is_null() {
                text += &colour(paint, &format!("{sign} {path}: {}", clean(&text_of(value))));
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_and_yaml_are_read_and_what_is_wrong_is_one_line() {
        assert_eq!(parse("{\"a\": 1}"), Ok(json!({"a": 1})));
        assert_eq!(
            parse("# why\na: 1\nb:\n  c: 5s\n"),
            Ok(json!({"a": 1, "b": {"c": "5s"}}))
        );
        for wrong in ["", "# nothing\n", "{\"a\": }", "a: [1\nb: 2"] {
            let message = parse(wrong).unwrap_err();
            assert!(!message.is_empty() && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_change_is_shown_with_what_was_and_what_is() {
        let written = json!({"revision": 4, "dry_run": false, "changed": true, "stragglers": ["b"], "refused": [], "notices": [],
            "changes": [{"path": "/default_ttl", "before": "0s", "after": "5m"}, {"path": "/routes/0", "before": null, "after": {"name": "a"}}]});
        let text = summary(&written, &How::default(), Paint::new(false));
        let expected =
            "- /default_ttl: 0s\n+ /default_ttl: 5m\n+ /routes/0: {\"name\":\"a\"}\nRevision 4.\nNot yet on: b\n";
        assert_eq!(text, expected);
        assert!(!is_everywhere(&written));
    }
}
