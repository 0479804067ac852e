//! What is printed: documents as JSON or YAML, tables and sentences for people, complaints on standard error.

mod progress;
mod style;
mod table;
mod words;

pub use progress::{bar, bytes_bar, operation_bar, show_operation};
pub use style::{Paint, errors_are_coloured, is_coloured};
pub use table::Table;
pub use words::{clean, envoys, figure, name_of, one_line, since, size, text_of, time};

use crate::failure::Failure;
use crate::options::Format;
use serde_json::Value;
use std::io::{ErrorKind, IsTerminal, Write};

/// Where answers go, and in which form.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
    /// Colours for standard output.
    pub paint: Paint,
}

impl Output {
    /// In this form.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            paint: Paint::new(is_coloured()),
        }
    }

    /// Whether people read it, and not a program.
    #[must_use]
    pub fn is_for_people(self) -> bool {
        self.format == Format::Table
    }

    /// Shows a document: for people what `table` makes of it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn show(self, document: &Value, table: impl FnOnce(Paint) -> String) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.say(&table(self.paint)),
            Format::Json => self.say(&json(document)),
            Format::Yaml => self.say(&yaml(document)),
        }
    }

    /// Text, with a line break at its end.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn say(self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.trim_end_matches('\n').as_bytes())
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
            .map_err(|error| unwritable(&error))
    }
}

fn unwritable(error: &std::io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        Failure::NobodyReads
    } else {
        Failure::usage(format!("Standard output: {error}"))
    }
}

/// JSON with line breaks. Control characters are escaped: a terminal acts on some that JSON lets stand.
#[must_use]
pub fn json(document: &Value) -> String {
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\u{7f}'..='\u{9f}' => escaped.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// YAML.
#[must_use]
pub fn yaml(document: &Value) -> String {
    let text = serde_saphyr::to_string(document).unwrap_or_default();
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// Says on standard error what went wrong and what to do. Where nobody reads that there is nothing to do.
pub fn complain(failure: &Failure) {
    let paint = Paint::new(errors_are_coloured());
    let mut text = format!("{} {}\n", paint.bad("error:"), one_line(&failure.to_string()));
    for (path, message) in failure.violations() {
        let path = if path.is_empty() { "(document)" } else { path };
        text += &format!("  {}: {}\n", paint.strong(&clean(path)), one_line(message));
    }
    for advice in failure.advice() {
        text += &format!("  {advice}\n");
    }
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Says something on standard error, beside the answer.
pub fn note(text: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Whether there is a terminal to ask at.
#[must_use]
pub fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks a question whose answer `y` or `yes` is yes. `None` where there is no terminal to ask at.
#[must_use]
pub fn confirmed(question: &str) -> Option<bool> {
    if !can_ask() {
        return None;
    }
    let _ = write!(std::io::stderr().lock(), "{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok()?;
    Some(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_form_lets_a_control_character_through() {
        let document = json!({"node": "a\u{1b}[2Jb\u{9b}2J"});
        for text in [super::json(&document), yaml(&document)] {
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        }
        let back: Value = serde_json::from_str(&super::json(&document)).unwrap();
        assert_eq!(back, document);
    }
}
