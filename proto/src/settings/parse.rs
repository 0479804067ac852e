//! A document on its way in: every setting by itself, then the rules that span several.

use serde_json::{Map, Value};

use super::reader::{Findings, Problem, escaped, unknown_field};
use super::{Notice, Settings, Violation, rules};

impl Settings {
    /// Checks a document. Absent fields take their defaults.
    ///
    /// # Errors
    /// Every violation in the document at once (at most [`super::MAX_VIOLATIONS`]).
    pub fn parse(document: &Value) -> Result<(Self, Vec<Notice>), Vec<Violation>> {
        let mut findings = Findings::default();
        let settings = Self::read(document, &mut findings);
        rules::check(&settings, &mut findings);
        concluded(settings, findings)
    }

    /// As [`Settings::parse`], for a document that a control plane of another version has checked: fields that this version does
    /// not know are left out and listed. Each has a default that keeps what was before it, so leaving it out is that default; an
    /// unknown *value* of a known field is refused as ever.
    ///
    /// # Errors
    /// Every violation in the known fields at once.
    pub fn parse_tolerant(document: &Value) -> Result<(Self, Vec<Violation>), Vec<Violation>> {
        let mut findings = Findings::tolerant();
        let settings = Self::read(document, &mut findings);
        rules::check(&settings, &mut findings);
        let ignored = findings.ignored.take().unwrap_or_default();
        concluded(settings, findings).map(|(settings, _)| (settings, ignored))
    }
}

fn concluded<T>(value: T, findings: Findings) -> Result<(T, Vec<Notice>), Vec<Violation>> {
    if findings.violations.is_empty() {
        Ok((value, findings.notices))
    } else {
        Err(findings.violations)
    }
}

/// Judges one key of a flat source (a ConfigMap) by itself and gives its canonical value.
///
/// `key` is a field of the document, dots leading inwards: `cache_size`, `breaker.open_wait`. `text` is the value as
/// text; lists and objects as JSON (an object is complete: what it leaves out takes its default). Rules that span
/// several fields are left to [`Settings::parse`] of the resulting document.
///
/// # Errors
/// Every violation in the value; one if there is no such key.
pub fn check_key(key: &str, text: &str) -> Result<(Value, Vec<Notice>), Vec<Violation>> {
    let mut findings = Findings::default();
    if let Err((path, problem)) = locate(key) {
        findings.refuse(path, problem);
        return Err(findings.violations);
    }
    let structured = text.trim_start().starts_with(['[', '{']);
    let parsed = structured.then(|| serde_json::from_str::<Value>(text).ok()).flatten();
    let value = parsed.unwrap_or_else(|| Value::from(text));
    let document = key.rsplit('.').fold(value, |inner, name| {
        let mut object = Map::new();
        object.insert(name.to_owned(), inner);
        Value::Object(object)
    });
    let canonical = Settings::read(&document, &mut findings).to_json();
    let judged = key.split('.').try_fold(&canonical, |value, name| value.get(name));
    concluded(judged.cloned().unwrap_or(Value::Null), findings)
}

/// The JSON Pointer of a flat key: `/breaker/open_wait` for `breaker.open_wait`; `None` if the document has no such
/// field.
#[must_use]
pub fn key_pointer(key: &str) -> Option<String> {
    locate(key).ok()
}

/// Walks the canonical default document, which has every field there is.
fn locate(key: &str) -> Result<String, (String, Problem)> {
    let defaults = Settings::default().to_json();
    let mut pointer = String::new();
    let mut value = &defaults;
    for name in key.split('.') {
        let short: String = name.chars().take(64).collect();
        pointer = format!("{pointer}/{}", escaped(&short));
        let fields = value.as_object();
        let Some(inner) = fields.and_then(|fields| fields.get(name)) else {
            let known: Vec<&str> = fields.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            return Err((pointer, unknown_field(name, &known)));
        };
        value = inner;
    }
    Ok(pointer)
}
