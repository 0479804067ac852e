//! Reads fields of a JSON object and collects everything that is wrong with them.

use serde_json::{Map, Value};

use super::nearest::nearest;
use super::{MAX_VIOLATIONS, Notice, Violation, ViolationCode};

/// A value read, and what had to be adjusted for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading<T> {
    pub(super) value: T,
    pub(super) notice: Option<String>,
}

impl<T> Reading<T> {
    pub(super) fn exact(value: T) -> Self {
        Self { value, notice: None }
    }

    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Reading<U> {
        Reading {
            value: convert(self.value),
            notice: self.notice,
        }
    }
}

/// Why a value could not be read; the path is the caller's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) code: ViolationCode,
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(code: ViolationCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The usual sentence: what was given, what is allowed.
    pub(super) fn of(code: ViolationCode, value: &Value, allowed: &str) -> Self {
        Self::new(code, format!("given {}, allowed is {allowed}", given(value)))
    }
}

/// The outcome of reading one value.
pub(super) type Outcome<T> = Result<Reading<T>, Problem>;

/// All findings about one document.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) violations: Vec<Violation>,
    pub(super) notices: Vec<Notice>,
    /// Set: fields nobody knows are noted here and do no harm.
    pub(super) ignored: Option<Vec<Violation>>,
}

impl Findings {
    /// Notes what is unknown instead of refusing it.
    pub(super) fn tolerant() -> Self {
        Self {
            ignored: Some(Vec::new()),
            ..Self::default()
        }
    }

    fn unknown(&mut self, path: String, name: &str, known: &[&str]) {
        // A document may have many thousands of such names, and the nearest known one takes long to find.
        let findings = self.ignored.as_ref().unwrap_or(&self.violations);
        if findings.len() >= MAX_VIOLATIONS {
            return;
        }
        let problem = unknown_field(name, known);
        match &mut self.ignored {
            Some(ignored) => ignored.push(Violation {
                path,
                code: problem.code,
                message: problem.message,
            }),
            None => self.refuse(path, problem),
        }
    }

    pub(super) fn refuse(&mut self, path: impl Into<String>, problem: Problem) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation {
                path: path.into(),
                code: problem.code,
                message: problem.message,
            });
        }
    }

    /// Unwraps a reading into its value, or notes why there is none.
    pub(super) fn settle<T>(&mut self, path: &str, outcome: Outcome<T>) -> Option<T> {
        match outcome {
            Ok(reading) => {
                let notice = reading.notice.map(|message| Notice {
                    path: path.to_owned(),
                    message,
                });
                self.notices.extend(notice);
                Some(reading.value)
            }
            Err(problem) => {
                self.refuse(path, problem);
                None
            }
        }
    }

    /// True if nothing at or below the path was refused, so that rules across fields may judge it.
    pub(super) fn sound(&self, path: &str) -> bool {
        !self.violations.iter().any(|violation| {
            violation
                .path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// One object of the document. Every field asked for becomes a known one; [`ObjectReader::finish`] refuses the others.
pub(super) struct ObjectReader<'d, 'f> {
    path: String,
    object: &'d Map<String, Value>,
    known: Vec<&'static str>,
    pub(super) findings: &'f mut Findings,
}

impl<'d, 'f> ObjectReader<'d, 'f> {
    /// `None` (and a violation) if the value is not an object.
    pub(super) fn open(path: String, value: &'d Value, findings: &'f mut Findings) -> Option<Self> {
        match value.as_object() {
            Some(object) => Some(Self {
                path,
                object,
                known: Vec::new(),
                findings,
            }),
            None => {
                findings.refuse(path, Problem::of(ViolationCode::WrongType, value, "an object"));
                None
            }
        }
    }

    /// The path and value of a field, if it is there.
    pub(super) fn field(&mut self, name: &'static str) -> Option<(String, &'d Value)> {
        self.known.push(name);
        let value = self.object.get(name)?;
        Some((format!("{}/{name}", self.path), value))
    }

    /// Whether the field is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// The path of a field, whether or not it is there.
    pub(super) fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Reads a field with `read`; absent or refused gives `None`.
    pub(super) fn read<T>(&mut self, name: &'static str, read: impl FnOnce(&Value) -> Outcome<T>) -> Option<T> {
        let (path, value) = self.field(name)?;
        self.findings.settle(&path, read(value))
    }

    /// Reads a field that must be there; absent is refused as well, with what there is to say about it.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        why: &str,
        read: impl FnOnce(&Value) -> Outcome<T>,
    ) -> Option<T> {
        if let Some((path, value)) = self.field(name) {
            return self.findings.settle(&path, read(value));
        }
        let problem = Problem::new(ViolationCode::Missing, format!("given no {name}; {why}"));
        self.findings.refuse(self.place(name), problem);
        None
    }

    /// Paths and values of a list's items; `None` if the field is absent or refused.
    pub(super) fn list(&mut self, name: &'static str, max: usize) -> Option<Vec<(String, &'d Value)>> {
        let (path, value) = self.field(name)?;
        let Some(items) = value.as_array() else {
            self.findings
                .refuse(path, Problem::of(ViolationCode::WrongType, value, "a list"));
            return None;
        };
        if items.len() > max {
            let message = format!("given {} items, allowed are at most {max}", items.len());
            self.findings
                .refuse(path, Problem::new(ViolationCode::TooLong, message));
            return None;
        }
        Some(
            items
                .iter()
                .enumerate()
                .map(|(index, item)| (format!("{path}/{index}"), item))
                .collect(),
        )
    }

    /// A list whose items are read one by one, each allowed once.
    pub(super) fn set<T: PartialEq>(
        &mut self,
        name: &'static str,
        max: usize,
        read: impl Fn(&Value) -> Outcome<T>,
    ) -> Option<Vec<T>> {
        let mut found: Vec<T> = Vec::new();
        for (path, item) in self.list(name, max)? {
            let Some(value) = self.findings.settle(&path, read(item)) else {
                continue;
            };
            if found.contains(&value) {
                let message = format!("given {} twice, allowed is once", given(item));
                self.findings
                    .refuse(path, Problem::new(ViolationCode::Duplicate, message));
            } else {
                found.push(value);
            }
        }
        Some(found)
    }

    /// Refuses every field nobody asked for.
    pub(super) fn finish(self) {
        for name in self.object.keys().filter(|name| !self.known.contains(&name.as_str())) {
            let path = format!("{}/{}", self.path, escaped(&shortened(name)));
            self.findings.unknown(path, name, &self.known);
        }
    }
}

/// The refusal of a field or key that does not exist.
pub(super) fn unknown_field(name: &str, known: &[&str]) -> Problem {
    let hint = match nearest(name, known.iter().copied()) {
        Some(candidate) => format!("did you mean \"{candidate}\"?"),
        None => format!("allowed are {}", known.join(", ")),
    };
    Problem::new(
        ViolationCode::UnknownField,
        format!("there is no setting \"{}\"; {hint}", shortened(name)),
    )
}

/// The word of a value in a table of words.
pub(super) fn word_of<T: PartialEq + Copy>(words: &[(&'static str, T)], value: T) -> &'static str {
    words
        .iter()
        .find(|(_, candidate)| *candidate == value)
        .map_or("", |(word, _)| word)
}

/// Reads one of the words of a table.
pub(super) fn word<T: Copy>(value: &Value, words: &[(&'static str, T)]) -> Outcome<T> {
    let names = || words.iter().map(|(word, _)| *word);
    let allowed = format!("one of {}", names().collect::<Vec<_>>().join(", "));
    let Some(text) = value.as_str() else {
        return Err(Problem::of(ViolationCode::WrongType, value, &allowed));
    };
    if let Some((_, found)) = words.iter().find(|(word, _)| *word == text.trim()) {
        return Ok(Reading::exact(*found));
    }
    let hint = nearest(text, names()).map_or(String::new(), |word| format!("; did you mean \"{word}\"?"));
    Err(Problem::of(
        ViolationCode::UnknownValue,
        value,
        &format!("{allowed}{hint}"),
    ))
}

/// Reads true or false, as such or as text.
pub(super) fn boolean(value: &Value) -> Outcome<bool> {
    match (value, value.as_str().map(str::trim)) {
        (Value::Bool(flag), _) => Ok(Reading::exact(*flag)),
        (_, Some("true")) => Ok(Reading::exact(true)),
        (_, Some("false")) => Ok(Reading::exact(false)),
        (_, Some(_)) => Err(Problem::of(ViolationCode::Malformed, value, "true or false")),
        _ => Err(Problem::of(ViolationCode::WrongType, value, "true or false")),
    }
}

/// A given value for a message, short whatever it is.
pub(super) fn given(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("\"{}\"", shortened(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// At most 64 characters, without control characters: it goes into logs.
fn shortened(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(64)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(64).is_some() {
        short.push('\u{2026}');
    }
    short
}

/// A name as a JSON Pointer token (RFC 6901 section 3).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
