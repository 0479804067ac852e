//! What a client saw of an answer.

use std::time::{Duration, Instant};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As its framing says.
    Whole,
    /// Broken off.
    Cut,
    /// The client left.
    Left,
    /// Nothing came for longer than anything takes.
    Silent,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) asked: Instant,
    pub(super) took: Duration,
    /// Interim responses: status and `Link`.
    pub(super) interim: Vec<(u16, Option<String>)>,
    /// 0 without a response.
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
    pub(super) end: End,
}

impl Seen {
    pub(super) fn new(asked: Instant) -> Self {
        Self {
            asked,
            took: Duration::ZERO,
            interim: Vec::new(),
            status: 0,
            fields: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
            end: End::Cut,
        }
    }

    /// A field's value, lines joined.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self.fields.iter().filter(|(given, _)| given == name).collect();
        let joined = values
            .iter()
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        (!values.is_empty()).then_some(joined)
    }

    /// The number of what the origin sent.
    pub(super) fn serial(&self) -> Option<usize> {
        self.header("x-serial")?.parse().ok()
    }

    /// What the filter says of it.
    pub(super) fn cache_status(&self) -> String {
        self.header("cache-status").unwrap_or_default()
    }

    pub(super) fn says(&self, parameter: &str) -> bool {
        self.cache_status().split("; ").any(|given| given == parameter)
    }

    /// In one line.
    pub(super) fn told(&self) -> String {
        let text = String::from_utf8_lossy(self.body.get(..self.body.len().min(60)).unwrap_or_default()).into_owned();
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        format!(
            "{} {:?} after {} ms, {} bytes {text:?}, interim {:?}, trailers {:?} [{}]",
            self.status,
            self.end,
            self.took.as_millis(),
            self.body.len(),
            self.interim,
            self.trailers,
            fields.join("; ")
        )
    }
}
