//! What each Envoy would do with a request now, and why.

use super::Session;
use crate::failure::{Failure, Outcome};
use crate::output::{Paint, clean, name_of, text_of};
use clap::Args;
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

/// How long the control plane waits for Envoys where nothing is said.
const WAIT: Duration = Duration::from_secs(2);
/// What stands in every answer, in the order in which it is read; the rest is in the JSON.
const SHOWN: [(&str, &str); 9] = [
    ("key", "key"),
    ("route", "route"),
    ("cluster", "cluster"),
    ("status", "status"),
    ("age_s", "age, s"),
    ("ttl_s", "fresh for, s"),
    ("shared_by", "shared by"),
    ("refreshed_by", "refreshed by"),
    ("refreshed_by_reason", "because"),
];

/// Which request.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Absolute URL, as a client writes it
    url: String,
    /// A field of the request, `Name: value`; may be given several times
    #[arg(long, short = 'H', value_name = "FIELD", value_parser = field)]
    header: Vec<String>,
    /// The method
    #[arg(long, short = 'X', default_value = "GET")]
    method: String,
    /// How long to wait for Envoys [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = crate::options::duration)]
    timeout: Option<Duration>,
}

fn field(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((name, _)) if !name.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("write Name: value".to_owned()),
    }
}

/// Asks all Envoys.
///
/// # Errors
/// No answer, or a refusal.
pub fn run(session: &Session, arguments: &Arguments) -> Result<Outcome, Failure> {
    let timeout = arguments
        .timeout
        .map(|time| humantime::format_duration(time).to_string());
    let mut parameters = vec![
        ("url", Some(arguments.url.clone())),
        ("method", Some(arguments.method.clone())),
        ("timeout", timeout),
    ];
    parameters.extend(arguments.header.iter().map(|field| ("header", Some(field.clone()))));
    let ask = session.client.ask(Method::GET, "/cache/explain").query(&parameters);
    let document = ask.patience(arguments.timeout.unwrap_or(WAIT)).send()?.document;
    let mut envoys = document["envoys"].as_array().cloned().unwrap_or_default();
    if session.output.is_for_people() {
        name(session, &mut envoys);
    }
    session.output.show(&document, |paint| text(&envoys, paint))?;
    Ok(Outcome::of(envoys.iter().any(|envoy| envoy["answered"] == true)))
}

/// Answers name instances; people know Envoys by their node id. Where the fleet cannot be asked, the instance has to do.
fn name(session: &Session, envoys: &mut [Value]) {
    let fleet = session.client.get("/fleet").unwrap_or_default();
    for envoy in envoys {
        let known = fleet
            .as_array()
            .into_iter()
            .flatten()
            .find(|known| known["envoy"] == envoy["envoy"]);
        if let (Some(known), Some(envoy)) = (known, envoy.as_object_mut()) {
            envoy.insert("node_id".to_owned(), known["node_id"].clone());
        }
    }
}

/// Envoys that say the same stand together.
fn text(envoys: &[Value], paint: Paint) -> String {
    let mut groups: Vec<(&Value, Vec<String>)> = Vec::new();
    let mut silent = Vec::new();
    for envoy in envoys {
        let name = clean(&name_of(envoy));
        if envoy["answered"] != true {
            silent.push(name);
            continue;
        }
        let explanation = &envoy["explanation"];
        match groups.iter_mut().find(|(same, _)| same == &explanation) {
            Some((_, names)) => names.push(name),
            None => groups.push((explanation, vec![name])),
        }
    }
    let mut text = String::new();
    for (explanation, names) in groups {
        text += &format!("{}\n{}", paint.strong(&names.join(", ")), one(explanation, paint));
    }
    if !silent.is_empty() {
        text += &format!("{} {}\n", paint.warning("No answer from"), silent.join(", "));
    }
    text
}

fn one(explanation: &Value, paint: Paint) -> String {
    let decision = explanation["decision"].as_str().unwrap_or("(no decision)");
    let coloured = match decision {
        "serve" => paint.good(decision),
        _ => paint.warning(&clean(decision)),
    };
    let mut text = format!("  {coloured}: {}\n", clean(&text_of(&explanation["reason"])));
    for (field, name) in SHOWN {
        if !explanation[field].is_null() {
            text += &format!("    {name:<14} {}\n", clean(&text_of(&explanation[field])));
        }
    }
    let variants = explanation["variants"].as_array().map_or(0, Vec::len);
    if variants > 0 {
        text += &format!("    {:<14} {variants} stored under this key\n", "variants");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn envoys_that_say_the_same_stand_together() {
        let hit = json!({"decision": "serve", "reason": "fresh", "key": "http://a/", "age_s": 3});
        let miss = json!({"decision": "forward", "reason": "uri-miss", "key": "http://a/"});
        let envoys = [
            json!({"envoy": "a", "answered": true, "explanation": hit}),
            json!({"envoy": "b", "answered": true, "explanation": miss}),
            json!({"envoy": "c", "answered": true, "explanation": hit}),
            json!({"envoy": "d", "answered": false}),
        ];
        let text = text(&envoys, Paint::new(false));
        assert!(text.starts_with("a, c\n  serve: fresh\n"), "{text}");
        assert!(text.contains("b\n  forward: uri-miss\n"), "{text}");
        assert!(text.ends_with("No answer from d\n"), "{text}");
    }

    #[test]
    fn a_field_has_a_name() {
        assert!(field("Accept: text/html").is_ok());
        assert!(field("Accept").is_err());
        assert!(field(": x").is_err());
    }
}
