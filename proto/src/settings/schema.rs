//! The settings document as JSON Schema (2020-12), from its rows.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::Settings;
use super::duration::DURATION_CLASSES;
use super::kinds::Presence;
use super::rows::{Row, Rows};

/// What a schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The document as it is answered: every setting, in its canonical spelling.
    Canonical,
    /// A document as it may be written: settings may be left out, and spelled in several ways.
    Accepted,
    /// A merge patch of the document (RFC 7396): null takes a setting back to its default.
    Patch,
}

/// What is described, and where the shared parts of the description are.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) form: Form,
    /// What comes before the name of a shared part in a reference to it.
    references: &'static str,
}

/// Spellings that many settings share.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shared {
    /// True or false as text.
    Flag,
    /// A number as text.
    Number,
    /// A duration.
    Duration,
    /// A size as text.
    Size,
}

/// White space around a value of these does not matter: Unicode's.
macro_rules! padded {
    ($($pattern:expr),+) => { concat!(r"^[\s\u0085]*(?:", $($pattern,)+ r")[\s\u0085]*$") };
}

/// Digits with at most one point among them.
macro_rules! decimal {
    () => {
        r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
    };
}

impl Shared {
    const ALL: [Self; 4] = [Self::Flag, Self::Number, Self::Duration, Self::Size];

    fn name(self) -> &'static str {
        match self {
            Self::Flag => "FlagAsText",
            Self::Number => "NumberAsText",
            Self::Duration => "Duration",
            Self::Size => "SizeAsText",
        }
    }

    fn schema(self) -> Value {
        let (pattern, description) = match self {
            Self::Flag => (padded!("true|false"), "True or false as text"),
            Self::Number => (
                padded!(decimal!()),
                "A number as text; what follows the point is dropped. It must be in the range of the setting.",
            ),
            Self::Duration => (
                padded!(
                    "short|medium|long|(?=[0-9])",
                    r"(?:[0-9]+(?:\.[0-9]{1,9})?d)?(?:[0-9]+(?:\.[0-9]{1,9})?h)?(?:[0-9]+(?:\.[0-9]{1,9})?m)?",
                    r"(?:[0-9]+(?:\.[0-9]{1,9})?s)?(?:[0-9]+(?:\.[0-9]{1,9})?ms)?"
                ),
                "A duration: numbers with the units d, h, m, s and ms, the largest first, such as 90s or 1h30m",
            ),
            Self::Size => (
                padded!(
                    decimal!(),
                    r"(?:[\s\u0085]*B)?|[+-]?(?:[0-9]+\.?0*|\.0+)[\s\u0085]*(?:[GMK]iB?|[GMKk]B|[GMk])"
                ),
                "A size as text: a number of bytes, or a whole number of a unit such as 64KiB, 1MB or 4Mi. It must be in the range of the setting.",
            ),
        };
        let description = match self {
            Self::Duration => {
                let words = DURATION_CLASSES.map(|(word, ms)| format!("{word} is {}", super::format_duration(ms)));
                format!("{description}; {}", words.join(", "))
            }
            _ => description.to_owned(),
        };
        json!({"type": "string", "pattern": pattern, "description": description})
    }
}

impl View {
    /// The document as it is answered.
    #[cfg(test)]
    pub(super) fn canonical() -> Self {
        Self {
            form: Form::Canonical,
            references: "",
        }
    }

    /// The same, for an item of a list: a patch replaces lists as a whole.
    pub(super) fn within_list(self) -> Self {
        match self.form {
            Form::Patch => Self {
                form: Form::Accepted,
                ..self
            },
            _ => self,
        }
    }

    /// A reference to a shared spelling; durations are answered in one way alone.
    pub(super) fn shared(self, shared: Shared) -> Value {
        match (self.form, shared) {
            (Form::Canonical, Shared::Duration) => json!({"type": "string", "pattern": "^[0-9]+(?:h|m|s|ms)$"}),
            _ => json!({"$ref": format!("{}{}", self.references, shared.name())}),
        }
    }

    /// A whole number in the range; where it is written, a fraction is dropped.
    pub(super) fn whole_number(self, range: &RangeInclusive<u64>) -> Value {
        if self.form == Form::Canonical {
            return json!({"type": "integer", "minimum": range.start(), "maximum": range.end()});
        }
        json!({"type": "number", "minimum": range.start(), "exclusiveMaximum": range.end() + 1})
    }

    /// A size in bytes.
    pub(super) fn size(self, range: &RangeInclusive<u64>) -> Value {
        if self.form == Form::Canonical {
            json!({"type": "string", "pattern": "^[0-9]+(?:[GMK]i)?B$"})
        } else {
            either(self, self.whole_number(range), Shared::Size)
        }
    }

    /// One of a few words.
    pub(super) fn words(self, words: &[&str]) -> Value {
        if self.form == Form::Canonical {
            return json!({"type": "string", "enum": words});
        }
        let padded = format!(r"^[\s\u0085]*(?:{})[\s\u0085]*$", words.join("|"));
        json!({"type": "string", "anyOf": [{"enum": words}, {"pattern": padded}]})
    }
}

/// A value, or where it is written also its spelling as text.
pub(super) fn either(view: View, value: Value, text: Shared) -> Value {
    if view.form == Form::Canonical {
        value
    } else {
        json!({"anyOf": [value, view.shared(text)]})
    }
}

/// With a keyword more.
pub(super) fn with(mut schema: Value, keyword: &str, value: impl Into<Value>) -> Value {
    if let Value::Object(keywords) = &mut schema {
        keywords.insert(keyword.to_owned(), value.into());
    }
    schema
}

/// With the default, if there is one.
pub(super) fn with_default(schema: Value, default: Option<&Value>) -> Value {
    match default {
        Some(default) => with(schema, "default", default.clone()),
        None => schema,
    }
}

/// Or null.
pub(super) fn nullable(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

/// A list of at most `max` items.
pub(super) fn list_of(item: Value, max: usize, default: Option<&Value>) -> Value {
    with_default(json!({"type": "array", "maxItems": max, "items": item}), default)
}

/// An object with the settings of the rows and no others. `default`: the object whose settings all have their defaults.
pub(super) fn object_of(rows: &[Row], view: View, default: Option<&Value>) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for row in rows {
        let presence = row.kind.presence();
        let default = default
            .and_then(|default| default.get(row.key))
            .filter(|_| presence == Presence::Defaulted);
        let schema = row.kind.schema(view, default);
        let facts = schema
            .get("description")
            .and_then(Value::as_str)
            .map(|facts| format!(" ({facts})"));
        let meaning = format!("{}{}", row.meaning, facts.unwrap_or_default());
        let mut schema = with(schema, "description", meaning);
        if row.kind.inner().is_none() {
            schema = with(schema, "examples", vec![row.example.clone()]);
        }
        if view.form == Form::Patch {
            schema = nullable(schema);
        }
        properties.insert(row.key.to_owned(), schema);
        let always = match view.form {
            Form::Canonical => presence != Presence::Optional,
            Form::Accepted => presence == Presence::Required,
            Form::Patch => false,
        };
        if always {
            required.push(row.key);
        }
    }
    let others = match view.form {
        // Taking away what is not there changes nothing.
        Form::Patch => json!({"type": "null"}),
        _ => json!(false),
    };
    let schema = json!({"type": "object", "properties": properties, "additionalProperties": others});
    if required.is_empty() {
        schema
    } else {
        with(schema, "required", required)
    }
}

fn document(view: View, description: &str) -> Value {
    let defaults = Settings::default().to_json();
    with(
        object_of(&Settings::rows(), view, Some(&defaults)),
        "description",
        description,
    )
}

/// What a schema cannot say.
const BEYOND: &str = "The control plane refuses more than this schema: durations, sizes and numbers as text that are out of range; settings that contradict each other; two items of a list that mean the same; texts that have the form of an address or a certificate but are none.";

/// The JSON Schema (2020-12) of a settings document as it may be written.
#[must_use]
pub fn schema() -> Value {
    let view = View {
        form: Form::Accepted,
        references: "#/$defs/",
    };
    let about = format!(
        "{} Whatever a document leaves out takes its default. {BEYOND}",
        Settings::about()
    );
    let shared = Shared::ALL.map(|shared| (shared.name().to_owned(), shared.schema()));
    let schema = document(view, &about);
    let schema = with(schema, "$schema", "https://json-schema.org/draft/2020-12/schema");
    let schema = with(schema, "title", "Settings of the API Latency Optimizer");
    with(schema, "$defs", Map::from_iter(shared))
}

/// Schemas for the description of an API, by name: `Settings` as it is answered, `SettingsDocument` as it may be written,
/// `SettingsPatch` as a merge patch, and the parts that these refer to.
#[must_use]
pub fn api_schemas() -> Map<String, Value> {
    let view = |form| View {
        form,
        references: "#/components/schemas/Settings",
    };
    let forms = [
        (
            "Settings",
            Form::Canonical,
            "The settings, each in its canonical spelling.".to_owned(),
            Settings::default().to_json(),
        ),
        (
            "SettingsDocument",
            Form::Accepted,
            format!("A settings document. Whatever it leaves out takes its default. {BEYOND}"),
            json!({"cache_size": 1_200, "default_ttl": "15m", "breaker": {"open_wait": "2s"}}),
        ),
        (
            "SettingsPatch",
            Form::Patch,
            format!("A merge patch (RFC 7396) of the settings: null takes a setting back to its default. {BEYOND}"),
            json!({"breaker": {"open_wait": "2s", "probes": null}}),
        ),
    ];
    let forms = forms.map(|(name, form, about, example)| {
        let schema = document(view(form), &about);
        (name.to_owned(), with(schema, "examples", vec![example]))
    });
    let shared = Shared::ALL.map(|shared| (format!("Settings{}", shared.name()), shared.schema()));
    forms.into_iter().chain(shared).collect()
}
