//! A settings document as an Envoy tells it: in parts, since it may be longer than a message.

use super::shape;
use optimizer_proto::answers;
use optimizer_proto::v1::command_result::Answer;
use optimizer_proto::v1::{CommandResult, SettingsCommand, SettingsPart};
use serde::Deserialize;
use serde_json::Value;

/// Most bytes of a document that are asked for at a time.
const PART: u32 = 128 << 10;
/// Longest document that is taken. One that was accepted has texts of at most 1 MB, of which each byte may be escaped, and 50,000 values with a
/// few bytes around each.
pub const MAX_DOCUMENT: usize = 4 << 20;

/// Settings of an Envoy.
#[derive(Debug, PartialEq, Deserialize)]
pub struct ReportedSettings {
    /// Name of the history that it is of.
    pub epoch: String,
    /// Its number there.
    pub revision: u64,
    /// The whole document.
    pub document: Value,
}

/// What has been told so far.
#[derive(Debug, Default)]
pub struct ReportedParts {
    epoch: String,
    revision: u64,
    total: u64,
    document: Vec<u8>,
}

impl ReportedParts {
    /// What to ask next.
    #[must_use]
    pub fn next(&self) -> SettingsCommand {
        SettingsCommand {
            offset: self.document.len() as u64,
            max_bytes: PART,
        }
    }

    /// Takes an answer; the settings once they are whole.
    ///
    /// # Errors
    /// The Envoy cannot tell them, or what it tells is no document.
    pub fn take_part(&mut self, answer: CommandResult) -> Result<Option<ReportedSettings>, String> {
        if !answer.ok {
            return Err(format!("it cannot tell: {}", answers::refusal(answer)));
        }
        match answer.answer {
            Some(Answer::Settings(part)) => self.take(part),
            Some(_) => Err("an answer to another command".to_owned()),
            // An older filter tells them at once.
            None => parse(answer.detail.as_bytes()).map(Some),
        }
    }

    fn take(&mut self, part: SettingsPart) -> Result<Option<ReportedSettings>, String> {
        if part.total > MAX_DOCUMENT as u64 {
            return Err(format!(
                "a document of {} bytes, allowed are at most {MAX_DOCUMENT}",
                part.total
            ));
        }
        if self.document.is_empty() {
            (self.epoch, self.revision, self.total) = (part.epoch, part.revision, part.total);
        } else if (&self.epoch, self.revision, self.total) != (&part.epoch, part.revision, part.total) {
            return Err("its settings changed while it told them".to_owned());
        }
        let length = (self.document.len() + part.part.len()) as u64;
        if part.offset != self.document.len() as u64 || part.part.is_empty() || length > self.total {
            return Err("a part that does not follow the one before".to_owned());
        }
        self.document.extend_from_slice(&part.part);
        if length < self.total {
            return Ok(None);
        }
        Ok(Some(ReportedSettings {
            epoch: std::mem::take(&mut self.epoch),
            revision: self.revision,
            document: parse(&self.document)?,
        }))
    }
}

/// Reads a document that is no larger than any that was accepted: small values take up hundreds of times what they have as text.
fn parse<'t, T: Deserialize<'t>>(text: &'t [u8]) -> Result<T, String> {
    shape::check_bytes(text).map_err(|error| error.to_string())?;
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn part(offset: usize, part: &[u8], total: usize) -> CommandResult {
        CommandResult {
            ok: true,
            answer: Some(Answer::Settings(SettingsPart {
                epoch: "e".to_owned(),
                revision: 7,
                part: part.to_vec(),
                offset: offset as u64,
                total: total as u64,
            })),
            ..CommandResult::default()
        }
    }

    #[test]
    fn a_document_is_put_together_of_its_parts() {
        let mut parts = ReportedParts::default();
        assert_eq!(parts.next().offset, 0);
        assert_eq!(parts.take_part(part(0, br#"{"cache_"#, 16)), Ok(None));
        assert_eq!(parts.next().offset, 8);
        let whole = ReportedSettings {
            epoch: "e".to_owned(),
            revision: 7,
            document: json!({"cache_size": 1}),
        };
        let mut parts = ReportedParts::default();
        assert_eq!(parts.take_part(part(0, br#"{"cache_"#, 16)), Ok(None));
        assert_eq!(parts.take_part(part(8, br#"size":1}"#, 16)), Ok(Some(whole)));
    }

    #[test]
    fn an_older_filter_tells_all_at_once() {
        let answer = |ok: bool, detail: &str| CommandResult {
            ok,
            detail: detail.to_owned(),
            ..CommandResult::default()
        };
        let failure = ReportedParts::default().take_part(answer(true, r#"{"epoch":"e","revision":7,"document":{}}"#));
        assert_eq!(failure.unwrap().unwrap().document, json!({}));
        assert!(ReportedParts::default().take_part(answer(false, "none")).is_err());
    }

    #[test]
    fn no_more_is_taken_than_a_document_can_be() {
        let begin = |total: usize| ReportedParts::default().take_part(part(0, b"{", total));
        assert_eq!(begin(4 << 20), Ok(None));
        assert!(begin((4 << 20) + 1).is_err());
        let values = |count: usize| {
            let text = format!("[{}0]", "0,".repeat(count - 1));
            ReportedParts::default().take_part(part(0, text.as_bytes(), text.len()))
        };
        assert!(values(50_000).is_ok() && values(50_001).is_err());
    }

    #[test]
    fn a_part_that_does_not_fit_ends_it() {
        for wrong in [
            part(1, b" ", 3),
            part(0, b"{", 3),
            part(2, b"", 3),
            part(2, b"}}", 3),
            part(2, b"}", 4),
        ] {
            let mut parts = ReportedParts::default();
            assert_eq!(parts.take_part(part(0, b"{ ", 3)), Ok(None));
            assert!(parts.take_part(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}
