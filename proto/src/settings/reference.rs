//! The reference of all settings in Markdown, from their rows.

use serde_json::Value;

use super::Settings;
use super::rows::{Inner, Presence, Row, Rows};

const HEAD: &str = "# Settings

This file is generated. Write it anew with `api-optimizer-control-plane --print-settings-reference > deploy/SETTINGS.md`.

Settings are changed over `PUT` and `PATCH /settings`, or by keys of a ConfigMap. `GET /settings` shows those in force, `GET /settings/schema` what a
document may hold. Whatever a document leaves out takes its default.

- A **duration** is numbers with units, the largest first: `90s`, `15m`, `1h30m`, `500ms`; units are `d`, `h`, `m`, `s`, `ms`. `short` is 60 s, `medium`
  5 min, `long` 1 h.
- A **size** is a number of bytes, or a whole number of a unit: `64KiB`, `1MB`, `4Mi`.
- Numbers may be written as text. A fraction is dropped, and the answer says so.
- A **ConfigMap key** holds the value as text; lists and objects are written as JSON. Settings within a list have no key of their own: the list is
  written as a whole under its key.
";

/// Everything about every setting: what it means, its unit, range, default, an example, its key in a ConfigMap.
#[must_use]
pub fn reference() -> String {
    let whole = Inner {
        about: Settings::about(),
        rows: Settings::rows(),
        item: None,
    };
    let mut text = HEAD.to_owned();
    section(&mut text, "", None, &whole, &Settings::default().to_json());
    text
}

/// One object with its settings, then the objects within it. `list`: the ConfigMap key of the list that it stands in.
fn section(text: &mut String, path: &str, list: Option<&str>, object: &Inner, defaults: &Value) {
    let title = if path.is_empty() {
        "The document".to_owned()
    } else {
        format!("`{path}`")
    };
    text.push_str(&format!("\n## {title}\n\n{}\n\n", object.about));
    text.push_str(
        "| Setting | ConfigMap key | Meaning | Unit | Range | Default | Example |\n|---|---|---|---|---|---|---|\n",
    );
    for row in &object.rows {
        let default = defaults.get(row.key);
        text.push_str(&line(row, path, list, default));
    }
    for row in &object.rows {
        let Some(inner) = row.kind.inner() else { continue };
        let own = joined(path, row.key);
        match &inner.item {
            Some(item) => {
                let list = list.map_or_else(|| own.clone(), str::to_owned);
                section(text, &format!("{own}[]"), Some(&list), &inner, &item.clone());
            }
            None => section(text, &own, list, &inner, defaults.get(row.key).unwrap_or(&Value::Null)),
        }
    }
}

fn line(row: &Row, path: &str, list: Option<&str>, default: Option<&Value>) -> String {
    let name = joined(path, row.key);
    let key = match list {
        Some(list) => format!("in `{list}`"),
        None => format!("`{name}`"),
    };
    let is_object = row.kind.inner().is_some_and(|inner| inner.item.is_none());
    let default = match (row.kind.presence(), default) {
        (Presence::Required, _) => "must be given".to_owned(),
        (Presence::Optional, _) => "none".to_owned(),
        _ if is_object => "see below".to_owned(),
        (Presence::Defaulted, Some(default)) => code(default),
        (Presence::Defaulted, None) => String::new(),
    };
    let cells = [
        format!("`{name}`"),
        key,
        row.meaning.clone(),
        row.kind.unit().unwrap_or_default().to_owned(),
        row.kind.allowed(),
        default,
        code(&row.example),
    ];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn code(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{}`", text.replace('\n', "\\n")),
        other => format!("`{other}`"),
    }
}
