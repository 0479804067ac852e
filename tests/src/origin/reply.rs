//! What the origin answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Parts of a response that is sent slowly.
pub const PARTS: usize = 4;

/// How the content is delimited, or where the response breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`, in chunks of this many bytes.
    Chunked(usize),
    /// The end of the connection.
    UntilClose,
    /// `Content-Length`, but the connection closes after this many bytes.
    CutLength(usize),
    /// Chunked, but the connection closes after this many bytes, without a last chunk.
    CutChunked(usize),
    /// The connection closes without a response.
    Nothing,
    /// The content is all that is sent: no status line, no fields.
    Raw,
}

/// A response to give.
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: u16,
    pub(super) fields: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) framing: Framing,
    pub(super) delay: Duration,
    pub(super) pace: Duration,
    pub(super) gate: Option<Gate>,
}

/// Holds a response back until it is opened.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// Lets the response go on.
    pub fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Reply {
    /// A response with `status`, without content.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            fields: Vec::new(),
            body: Vec::new(),
            framing: Framing::Length,
            delay: Duration::ZERO,
            pace: Duration::ZERO,
            gate: None,
        }
    }

    /// 200 with content.
    #[must_use]
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200).body(body)
    }

    /// Sets the status.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Sets the content.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a field line.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Fresh for this many seconds.
    #[must_use]
    pub fn max_age(self, seconds: u64) -> Self {
        self.header("cache-control", format!("max-age={seconds}"))
    }

    /// Answers this much later.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends the response in [`PARTS`] parts, with this pause between two.
    #[must_use]
    pub fn paced(mut self, pause: Duration) -> Self {
        self.pace = pause;
        self
    }

    /// Sends head and first chunk, or with another framing nothing, and the rest once the gate is open.
    #[must_use]
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Delimits the content in another way.
    #[must_use]
    pub fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }
}
