//! How large a JSON document is: its values and how deep they are nested. Counted before anything is allocated for it.

use serde_json::Value;

/// Values of a document: objects, lists, strings, numbers, words, and the names of fields.
pub const MAX_VALUES: usize = 50_000;
/// Levels of objects and lists within each other.
pub const MAX_DEPTH: usize = 64;
/// Blanks outside of texts: pages of them are no document that anybody laid out.
pub const MAX_BLANKS: usize = 1 << 20;
/// Bytes of all texts, names included.
pub const MAX_TEXT: usize = 1 << 20;

/// Why a document is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// Too many values.
    #[error("it has more than {MAX_VALUES} values")]
    Values,
    /// Nested too deep.
    #[error("it is nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// Too many blanks.
    #[error("it has more than {MAX_BLANKS} blanks outside of its texts")]
    Blanks,
    /// Too much text.
    #[error("its texts have more than {MAX_TEXT} bytes")]
    Text,
}

/// Counts the parts of a JSON document while its bytes arrive. What is not JSON may pass here; the parser rejects it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counter {
    values: usize,
    blanks: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Counter {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// The document is too large.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        bytes.iter().try_for_each(|byte| self.take_byte(*byte))
    }

    fn take_byte(&mut self, byte: u8) -> Result<(), TooLarge> {
        if self.quoted {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.quoted = false,
                _ => {}
            }
            return Ok(());
        }
        match byte {
            b'"' => self.quoted = true,
            b'[' | b'{' => {
                self.values += 1;
                self.depth += 1;
            }
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            // A value before each comma, a name before each colon.
            b',' | b':' => self.values += 1,
            b' ' | b'\t' | b'\n' | b'\r' => self.blanks += 1,
            _ => {}
        }
        match self {
            Self { depth, .. } if *depth > MAX_DEPTH => Err(TooLarge::Depth),
            Self { values, .. } if *values > MAX_VALUES => Err(TooLarge::Values),
            Self { blanks, .. } if *blanks > MAX_BLANKS => Err(TooLarge::Blanks),
            _ => Ok(()),
        }
    }

    /// Counts the values that follow by themselves: the part before is done with.
    pub fn part(&mut self) {
        self.values = 0;
        self.blanks = 0;
    }
}

/// Checks the bytes of a JSON document.
///
/// # Errors
/// It is too large.
pub fn check_bytes(bytes: &[u8]) -> Result<(), TooLarge> {
    Counter::default().take(bytes)
}

/// The size of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) values: usize,
    pub(crate) text: usize,
    pub(crate) depth: usize,
}

impl Size {
    /// Measures a value whose depth is bounded.
    pub(crate) fn of(value: &Value) -> Self {
        let mut size = Self::default();
        size.count(value, 0);
        size
    }

    fn count(&mut self, value: &Value, depth: usize) {
        self.values += 1;
        self.depth = self.depth.max(depth);
        match value {
            Value::String(text) => self.text += text.len(),
            Value::Array(list) => list.iter().for_each(|value| self.count(value, depth + 1)),
            Value::Object(map) => {
                for (name, value) in map {
                    self.values += 1;
                    self.text += name.len();
                    self.count(value, depth + 1);
                }
            }
            _ => {}
        }
    }

    /// Adds another value beside this one.
    pub(crate) fn add(&mut self, other: Self) {
        self.values += other.values;
        self.text += other.text;
    }

    /// Whether it stays within the bounds.
    pub(crate) fn check(self) -> Result<(), TooLarge> {
        match self {
            Self { values, .. } if values > MAX_VALUES => Err(TooLarge::Values),
            Self { text, .. } if text > MAX_TEXT => Err(TooLarge::Text),
            Self { depth, .. } if depth > MAX_DEPTH => Err(TooLarge::Depth),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_outside_of_texts() {
        let of = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert_eq!(check_bytes(of(50_000).as_bytes()), Ok(()));
        assert_eq!(check_bytes(of(50_001).as_bytes()), Err(TooLarge::Values));
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert_eq!(check_bytes(nested(64).as_bytes()), Ok(()));
        assert_eq!(check_bytes(nested(65).as_bytes()), Err(TooLarge::Depth));
        assert_eq!(check_bytes(" ".repeat(1 << 20).as_bytes()), Ok(()));
        assert_eq!(
            check_bytes("\n".repeat((1 << 20) + 1).as_bytes()),
            Err(TooLarge::Blanks)
        );
        let text = format!(r#""\"{}""#, "[,".repeat(MAX_VALUES));
        assert_eq!(check_bytes(text.as_bytes()), Ok(()));
    }
}
