//! Kinds of single values: flags, numbers, durations, sizes, words, texts.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::duration::{duration as read_duration, format_duration};
use super::forms::{Shared, View, either, with, with_default};
use super::kinds::Scalar;
use super::number;
use super::reader::{Outcome, boolean, word, word_of};
use super::rows::Describe;
use super::size::{format_size, size as read_size};

/// True or false.
pub(super) struct Flag;

impl Describe for Flag {
    fn schema(&self, view: View, default: Option<&Value>) -> Value {
        with_default(either(view, json!({"type": "boolean"}), Shared::Flag), default)
    }

    fn allowed(&self) -> String {
        "true, false".to_owned()
    }
}

impl Scalar for Flag {
    type Value = bool;

    fn read(&self, value: &Value) -> Outcome<bool> {
        boolean(value)
    }

    fn spell(&self, value: &bool) -> Value {
        json!(value)
    }
}

/// A whole number.
pub(super) struct Integer {
    range: RangeInclusive<u32>,
    unit: &'static str,
    /// Words that stand for numbers.
    classes: &'static [(&'static str, u64)],
}

/// A number of something.
pub(super) const fn count(range: RangeInclusive<u32>, unit: &'static str) -> Integer {
    Integer {
        range,
        unit,
        classes: &[],
    }
}

/// A part of a hundred.
pub(super) const fn percent(range: RangeInclusive<u32>) -> Integer {
    count(range, "%")
}

impl Integer {
    /// Words that may stand in place of numbers.
    pub(super) fn or(self, classes: &'static [(&'static str, u64)]) -> Self {
        Self { classes, ..self }
    }

    fn wide(&self) -> RangeInclusive<u64> {
        u64::from(*self.range.start())..=u64::from(*self.range.end())
    }
}

impl Describe for Integer {
    fn schema(&self, view: View, default: Option<&Value>) -> Value {
        let (least, most) = (*self.range.start(), *self.range.end());
        let schema = either(view, view.whole_number(&self.wide()), Shared::Number);
        let mut schema = with(schema, "description", format!("{}, {least} to {most}", self.unit));
        let classes: Vec<&str> = self.classes.iter().map(|(word, _)| *word).collect();
        if let Some(spellings) = schema
            .get_mut("anyOf")
            .and_then(Value::as_array_mut)
            .filter(|_| !classes.is_empty())
        {
            spellings.push(view.words(&classes));
        }
        with_default(schema, default)
    }

    fn allowed(&self) -> String {
        let range = format!("{} to {}", self.range.start(), self.range.end());
        let classes = self.classes.iter().map(|(word, meant)| format!(", {word} = {meant}"));
        classes.fold(range, |range, class| range + &class)
    }

    fn unit(&self) -> Option<&'static str> {
        Some(self.unit)
    }
}

impl Scalar for Integer {
    type Value = u32;

    fn read(&self, value: &Value) -> Outcome<u32> {
        let reading = if self.classes.is_empty() {
            number::integer(value, &self.wide())
        } else {
            number::classed_integer(value, &self.wide(), self.classes)
        }?;
        Ok(reading.map(|number| u32::try_from(number).unwrap_or(u32::MAX)))
    }

    fn spell(&self, value: &u32) -> Value {
        json!(value)
    }
}

/// A span of time, kept as milliseconds.
pub(super) struct Duration(RangeInclusive<u64>);

/// A span of time, range in milliseconds.
pub(super) const fn duration(range: RangeInclusive<u64>) -> Duration {
    Duration(range)
}

impl Describe for Duration {
    fn schema(&self, view: View, default: Option<&Value>) -> Value {
        with_default(
            with(view.shared(Shared::Duration), "description", self.allowed()),
            default,
        )
    }

    fn allowed(&self) -> String {
        format!(
            "{} to {}",
            format_duration(*self.0.start()),
            format_duration(*self.0.end())
        )
    }

    fn unit(&self) -> Option<&'static str> {
        Some("duration")
    }
}

impl Scalar for Duration {
    type Value = u64;

    fn read(&self, value: &Value) -> Outcome<u64> {
        read_duration(value, &self.0)
    }

    fn spell(&self, ms: &u64) -> Value {
        json!(format_duration(*ms))
    }
}

/// A number of bytes.
pub(super) struct Size(RangeInclusive<u64>);

/// A number of bytes in a range.
pub(super) const fn size(range: RangeInclusive<u64>) -> Size {
    Size(range)
}

impl Describe for Size {
    fn schema(&self, view: View, default: Option<&Value>) -> Value {
        with_default(with(view.size(&self.0), "description", self.allowed()), default)
    }

    fn allowed(&self) -> String {
        format!("{} to {}", format_size(*self.0.start()), format_size(*self.0.end()))
    }

    fn unit(&self) -> Option<&'static str> {
        Some("size")
    }
}

impl Scalar for Size {
    type Value = u64;

    fn read(&self, value: &Value) -> Outcome<u64> {
        read_size(value, &self.0)
    }

    fn spell(&self, bytes: &u64) -> Value {
        json!(format_size(*bytes))
    }
}

/// One of the words of a table.
pub(super) struct Words<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T> Words<T> {
    fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(word, _)| *word).collect()
    }
}

impl<T> Describe for Words<T> {
    fn schema(&self, view: View, default: Option<&Value>) -> Value {
        with_default(view.words(&self.names()), default)
    }

    fn allowed(&self) -> String {
        self.names().join(", ")
    }
}

impl<T: Copy + PartialEq> Scalar for Words<T> {
    type Value = T;

    fn read(&self, value: &Value) -> Outcome<T> {
        word(value, self.0)
    }

    fn spell(&self, value: &T) -> Value {
        json!(word_of(self.0, *value))
    }
}

/// A text in a form of its own.
pub(super) struct Text<T: 'static = String> {
    /// Reads it.
    pub(super) read: fn(&Value) -> Outcome<T>,
    /// Its canonical spelling.
    pub(super) spell: fn(&T) -> String,
    /// What every text that is taken matches, as a regular expression (ECMA-262).
    pub(super) pattern: &'static str,
    /// Most bytes; `usize::MAX` = any number.
    pub(super) max: usize,
    /// What is taken, for people.
    pub(super) allowed: &'static str,
}

impl<T> Describe for Text<T> {
    fn schema(&self, _view: View, default: Option<&Value>) -> Value {
        let schema = json!({"type": "string", "pattern": self.pattern, "description": self.allowed});
        let schema = match self.max {
            usize::MAX => schema,
            max => with(schema, "maxLength", max),
        };
        with_default(schema, default)
    }

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }
}

impl<T> Scalar for Text<T> {
    type Value = T;

    fn read(&self, value: &Value) -> Outcome<T> {
        (self.read)(value)
    }

    fn spell(&self, value: &T) -> Value {
        json!((self.spell)(value))
    }
}
