//! One row per setting: everything that is said about it follows from its row.

use serde_json::{Map, Value};

use super::forms::View;
use super::reader::{Findings, ObjectReader};

/// Whether a setting is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It takes its default where a document leaves it out.
    Defaulted,
    /// A document may leave it out, and then it has no value.
    Optional,
    /// A document must have it.
    Required,
}

/// What is said about a setting besides its value.
pub(super) trait Describe {
    /// Its JSON Schema (2020-12), with `default` where that has a value.
    fn schema(&self, view: View, default: Option<&Value>) -> Value;

    /// Which values it takes, for people.
    fn allowed(&self) -> String;

    /// Unit of its numbers.
    fn unit(&self) -> Option<&'static str> {
        None
    }

    /// Whether it is there.
    fn presence(&self) -> Presence {
        Presence::Defaulted
    }

    /// The settings within it.
    fn inner(&self) -> Option<Inner> {
        None
    }
}

/// The settings within another one.
pub(super) struct Inner {
    /// What the object is about.
    pub(super) about: String,
    /// Its settings.
    pub(super) rows: Vec<Row>,
    /// Where it stands in a list: the item whose settings all have their defaults.
    pub(super) item: Option<Value>,
}

/// How a setting is read from its object, and written.
pub(super) trait Kind: Describe {
    type Value;

    /// Reads the setting; absent or refused gives `base`.
    fn take(&self, object: &mut ObjectReader<'_, '_>, key: &'static str, base: Self::Value) -> Self::Value;

    /// The canonical spelling; `None` = it has no value.
    fn to_json(&self, value: &Self::Value) -> Option<Value>;
}

/// One setting, as it is described.
pub(super) struct Row {
    /// Its name in the document.
    pub(super) key: &'static str,
    /// What it means: plain sentences.
    pub(super) meaning: String,
    /// Which values it takes.
    pub(super) kind: Box<dyn Describe>,
    /// A value in its canonical spelling.
    pub(super) example: Value,
}

/// An object of the document that is made of rows.
pub(super) trait Rows: Sized + Default {
    /// What the object is about: plain sentences.
    fn about() -> String;
    /// Every setting of the object, in the order in which they are read.
    fn rows() -> Vec<Row>;
    /// Reads every setting; what is absent or refused keeps its value of `base`.
    fn read_rows(object: &mut ObjectReader<'_, '_>, base: Self) -> Self;
    /// The object with every setting in its canonical spelling.
    fn to_json(&self) -> Value;
}

/// An object that stands once in the document, under a name.
pub(super) trait Topic: Rows {
    /// Reads the object; settings that are absent or refused keep their value of `base`.
    fn read(path: String, value: &Value, base: Self, findings: &mut Findings) -> Self {
        let Some(mut object) = ObjectReader::open(path, value, findings) else {
            return base;
        };
        let topic = Self::read_rows(&mut object, base);
        object.finish();
        topic
    }
}

/// An object that stands in a list.
pub(super) trait Item: Rows {
    /// `None` if it lacks what it is known by; then that is among the findings.
    fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self>;
}

/// Joins the lines of a doc comment.
pub(super) fn sentences(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// Adds a setting to an object, unless it has no value.
pub(super) fn insert(object: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    object.extend(value.map(|value| (key.to_owned(), value)));
}

/// Declares an object of the document, one row per setting:
///
/// ```text
/// /// What the setting means.
/// "key in the document" => field: type = default, kind, example value;
/// ```
///
/// The kind says which values are taken, in which unit and range. From the rows come the struct, its `Default`, reading,
/// the canonical spelling, the schema and the reference.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $(
                $(#[doc = $meaning:literal])+
                $key:literal => $field:ident: $type:ty = $default:expr, $kind:expr, example $example:tt;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $(
                $(#[doc = $meaning])+
                #[doc = ""]
                #[doc = concat!("`", $key, "` in the document: `", stringify!($kind), "`; default: `", stringify!($default), "`.")]
                pub $field: $type,
            )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $crate::settings::rows::Rows for $name {
            fn about() -> String {
                $crate::settings::rows::sentences(&[$($about),+])
            }

            fn rows() -> Vec<$crate::settings::rows::Row> {
                vec![$(
                    $crate::settings::rows::Row {
                        key: $key,
                        meaning: $crate::settings::rows::sentences(&[$($meaning),+]),
                        kind: Box::new($kind),
                        example: serde_json::json!($example),
                    },
                )+]
            }

            fn read_rows(object: &mut $crate::settings::reader::ObjectReader<'_, '_>, base: Self) -> Self {
                use $crate::settings::rows::Kind;
                Self { $( $field: $kind.take(object, $key, base.$field), )+ }
            }

            fn to_json(&self) -> serde_json::Value {
                use $crate::settings::rows::Kind;
                let mut object = serde_json::Map::new();
                $( $crate::settings::rows::insert(&mut object, $key, $kind.to_json(&self.$field)); )+
                serde_json::Value::Object(object)
            }
        }
    };
}

pub(super) use settings;
