//! Forms of a JSON Schema (2020-12) that kinds of settings share.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::duration::{DURATION_CLASSES, format_duration};

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
    pub(super) references: &'static str,
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
    pub(super) const ALL: [Self; 4] = [Self::Flag, Self::Number, Self::Duration, Self::Size];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Flag => "FlagAsText",
            Self::Number => "NumberAsText",
            Self::Duration => "Duration",
            Self::Size => "SizeAsText",
        }
    }

    pub(super) fn schema(self) -> Value {
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
                let words = DURATION_CLASSES.map(|(word, ms)| format!("{word} is {}", format_duration(ms)));
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
