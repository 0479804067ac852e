//! What is wrong, or was adjusted, in a settings document.

use std::fmt;

use crate::v1;

/// Why a field was refused. Closed: log lines, metric labels and the API use [`ViolationCode::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ViolationCode {
    /// No setting has this name.
    UnknownField,
    /// A required field is absent.
    Missing,
    /// Another JSON type than the field takes.
    WrongType,
    /// The right type, but not readable as a number, duration, size, name...
    Malformed,
    /// Readable, but below or above what is allowed.
    OutOfRange,
    /// Not one of the words the field takes.
    UnknownValue,
    /// Stands twice where it may stand once.
    Duplicate,
    /// A list or text longer than allowed.
    TooLong,
    /// Sound alone, but contradicts another field.
    Conflict,
}

impl ViolationCode {
    /// The code as written in answers and labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownField => "unknown_field",
            Self::Missing => "missing",
            Self::WrongType => "wrong_type",
            Self::Malformed => "malformed",
            Self::OutOfRange => "out_of_range",
            Self::UnknownValue => "unknown_value",
            Self::Duplicate => "duplicate",
            Self::TooLong => "too_long",
            Self::Conflict => "conflict",
        }
    }
}

/// One reason why a document was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer (RFC 6901) of the field; empty for the document itself.
    pub path: String,
    /// The kind of violation.
    pub code: ViolationCode,
    /// What was given and what is allowed, for people.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl From<Violation> for v1::Violation {
    fn from(violation: Violation) -> Self {
        Self {
            path: violation.path,
            code: violation.code.as_str().to_owned(),
            message: violation.message,
        }
    }
}

/// An accepted value that is not exactly what was written, for example "rounded down 1201.2 to 1201".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// JSON Pointer (RFC 6901) of the field.
    pub path: String,
    /// What was made of it, for people.
    pub message: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}
