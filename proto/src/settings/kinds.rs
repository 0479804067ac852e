//! Kinds of settings: how one is read, written and described.

use std::marker::PhantomData;

use serde_json::{Map, Value, json};

use super::forms::{Form, View, list_of, nullable, with};
use super::reader::{ObjectReader, Outcome, Reading};
use super::rows::{Describe, Inner, Item, Kind, Presence, Row, Rows, Topic};

/// A kind whose values stand for themselves, wherever they are.
pub(super) trait Scalar: Describe {
    type Value;

    /// Reads one value.
    fn read(&self, value: &Value) -> Outcome<Self::Value>;

    /// Its canonical spelling.
    fn spell(&self, value: &Self::Value) -> Value;
}

impl<S: Scalar> Kind for S {
    type Value = S::Value;

    fn take(&self, object: &mut ObjectReader<'_, '_>, key: &'static str, base: S::Value) -> S::Value {
        object.read(key, |value| self.read(value)).unwrap_or(base)
    }

    fn to_json(&self, value: &S::Value) -> Option<Value> {
        Some(self.spell(value))
    }
}

/// A setting that may have no value.
pub(super) struct Optional<S> {
    pub(super) kind: S,
    /// True: null is no value. Else it is of the wrong type.
    pub(super) null: bool,
}

impl<S: Scalar> Describe for Optional<S> {
    fn schema(&self, view: View, _default: Option<&Value>) -> Value {
        let schema = self.kind.schema(view, None);
        // Null is only written, never answered.
        if self.null && view.form != Form::Canonical {
            nullable(schema)
        } else {
            schema
        }
    }

    fn allowed(&self) -> String {
        self.kind.allowed()
    }

    fn unit(&self) -> Option<&'static str> {
        self.kind.unit()
    }

    fn presence(&self) -> Presence {
        Presence::Optional
    }
}

impl<S: Scalar> Kind for Optional<S> {
    type Value = Option<S::Value>;

    fn take(&self, object: &mut ObjectReader<'_, '_>, key: &'static str, base: Self::Value) -> Self::Value {
        let read = |value: &Value| match value {
            Value::Null if self.null => Ok(Reading::exact(None)),
            value => self.kind.read(value).map(|reading| reading.map(Some)),
        };
        object.read(key, read).unwrap_or(base)
    }

    fn to_json(&self, value: &Self::Value) -> Option<Value> {
        value.as_ref().map(|value| self.kind.spell(value))
    }
}

/// A setting that must be there.
pub(super) struct Required<S> {
    pub(super) kind: S,
    /// What is said where it is absent; `None`: the item says so, after what else is wrong with it.
    pub(super) why: Option<&'static str>,
}

impl<S: Scalar> Describe for Required<S> {
    fn schema(&self, view: View, _default: Option<&Value>) -> Value {
        self.kind.schema(view, None)
    }

    fn allowed(&self) -> String {
        self.kind.allowed()
    }

    fn unit(&self) -> Option<&'static str> {
        self.kind.unit()
    }

    fn presence(&self) -> Presence {
        Presence::Required
    }
}

impl<S: Scalar> Kind for Required<S> {
    type Value = S::Value;

    fn take(&self, object: &mut ObjectReader<'_, '_>, key: &'static str, base: S::Value) -> S::Value {
        match self.why {
            Some(why) => object.required(key, why, |value| self.kind.read(value)),
            None => object.read(key, |value| self.kind.read(value)),
        }
        .unwrap_or(base)
    }

    fn to_json(&self, value: &S::Value) -> Option<Value> {
        Some(self.kind.spell(value))
    }
}

/// A list of different values.
pub(super) struct Set<S> {
    pub(super) item: S,
    /// Most items.
    pub(super) max: usize,
    /// True: kept in ascending order. Else in that of the document.
    pub(super) sorted: bool,
}

impl<S: Scalar> Describe for Set<S> {
    fn schema(&self, view: View, default: Option<&Value>) -> Value {
        let list = list_of(self.item.schema(view.within_list(), None), self.max, default);
        with(list, "uniqueItems", true)
    }

    fn allowed(&self) -> String {
        format!("at most {} of: {}", self.max, self.item.allowed())
    }

    fn unit(&self) -> Option<&'static str> {
        self.item.unit()
    }
}

impl<S: Scalar<Value: Ord>> Kind for Set<S> {
    type Value = Vec<S::Value>;

    fn take(&self, object: &mut ObjectReader<'_, '_>, key: &'static str, base: Self::Value) -> Self::Value {
        let found = object.set(key, self.max, |value| self.item.read(value));
        let mut found = found.unwrap_or(base);
        if self.sorted {
            found.sort_unstable();
        }
        found
    }

    fn to_json(&self, value: &Self::Value) -> Option<Value> {
        Some(value.iter().map(|item| self.item.spell(item)).collect())
    }
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

/// Settings of one topic.
pub(super) struct Object<T>(PhantomData<T>);

/// The settings of a topic.
pub(super) fn object<T: Topic>() -> Object<T> {
    Object(PhantomData)
}

impl<T: Rows> Describe for Object<T> {
    fn schema(&self, view: View, default: Option<&Value>) -> Value {
        object_of(&T::rows(), view, default)
    }

    fn allowed(&self) -> String {
        "an object".to_owned()
    }

    fn inner(&self) -> Option<Inner> {
        Some(Inner {
            about: T::about(),
            rows: T::rows(),
            item: None,
        })
    }
}

impl<T: Topic> Kind for Object<T> {
    type Value = T;

    fn take(&self, object: &mut ObjectReader<'_, '_>, key: &'static str, base: T) -> T {
        match object.field(key) {
            Some((path, value)) => T::read(path, value, base, object.findings),
            None => base,
        }
    }

    fn to_json(&self, value: &T) -> Option<Value> {
        Some(value.to_json())
    }
}

/// A list of objects.
pub(super) struct List<T> {
    max: usize,
    least: usize,
    presence: Presence,
    item: PhantomData<T>,
}

/// At most `max` objects.
pub(super) fn list<T: Item>(max: usize) -> List<T> {
    List {
        max,
        least: 0,
        presence: Presence::Defaulted,
        item: PhantomData,
    }
}

impl<T> List<T> {
    /// One object at least; [`Item::read`] of what holds the list sees to it.
    pub(super) fn not_empty(self) -> Self {
        Self { least: 1, ..self }
    }

    /// It must be there, for its default is none that is allowed.
    pub(super) fn required(self) -> Self {
        Self {
            presence: Presence::Required,
            ..self
        }
    }
}

impl<T: Rows> Describe for List<T> {
    fn schema(&self, view: View, default: Option<&Value>) -> Value {
        let item = object_of(&T::rows(), view.within_list(), Some(&T::default().to_json()));
        let default = default.filter(|_| self.presence == Presence::Defaulted);
        with(list_of(item, self.max, default), "minItems", self.least)
    }

    fn allowed(&self) -> String {
        match self.least {
            0 => format!("at most {}", self.max),
            least => format!("{least} to {}", self.max),
        }
    }

    fn presence(&self) -> Presence {
        self.presence
    }

    fn inner(&self) -> Option<Inner> {
        Some(Inner {
            about: T::about(),
            rows: T::rows(),
            item: Some(T::default().to_json()),
        })
    }
}

impl<T: Item> Kind for List<T> {
    type Value = Vec<T>;

    fn take(&self, object: &mut ObjectReader<'_, '_>, key: &'static str, base: Vec<T>) -> Vec<T> {
        let Some(items) = object.list(key, self.max) else {
            return base;
        };
        let items = items.into_iter();
        items
            .filter_map(|(path, value)| T::read(path, value, object.findings))
            .collect()
    }

    fn to_json(&self, value: &Vec<T>) -> Option<Value> {
        Some(value.iter().map(T::to_json).collect())
    }
}
