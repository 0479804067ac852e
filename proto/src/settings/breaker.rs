//! The circuit breaker's settings.

/// What can count as a failure of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// No connection could be made.
    ConnectFailure,
    /// The connection broke before the response was complete.
    Reset,
    /// No response in time.
    Timeout,
    /// The upstream refused the request before processing it.
    Refused,
    /// The response broke the protocol.
    ProtocolError,
    /// A response with one of [`Breaker::failure_statuses`].
    Status,
}

impl FailureClass {
    /// Every class with its word in the document, in canonical order.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("connect_failure", Self::ConnectFailure),
        ("reset", Self::Reset),
        ("timeout", Self::Timeout),
        ("refused", Self::Refused),
        ("protocol_error", Self::ProtocolError),
        ("status", Self::Status),
    ];

    /// The word in the document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        super::reader::word_of(&Self::WORDS, self)
    }
}

/// When calls to an upstream stop, and how they resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// False: every call passes and nothing is counted.
    pub enabled: bool,
    /// Share of failed calls in the window that opens, percent, 1..=100.
    pub failure_rate_percent: u32,
    /// Share of slow calls in the window that opens, percent, 1..=100.
    pub slow_call_rate_percent: u32,
    /// From which duration a call is slow, ms, 1 ms..=1 h.
    pub slow_call_duration_ms: u64,
    /// Span of the sliding window, ms, 1 s..=10 min.
    pub window_ms: u64,
    /// Calls in the window below which no rate is judged, 1..=1,000,000.
    pub minimum_calls: u32,
    /// Connect failures in a row that open at once, 0..=1,000,000; 0 = off.
    pub consecutive_connect_failures: u32,
    /// First wait in the open state, ms, 100 ms..=10 min.
    pub open_wait_ms: u64,
    /// Greatest wait, to which repeated failures of the probes grow, ms, `open_wait`..=1 h.
    pub open_wait_max_ms: u64,
    /// Greatest random lengthening of a wait, percent, 0..=100.
    pub jitter_percent: u32,
    /// Calls let through in the half-open state, 1..=1,000.
    pub probes: u32,
    /// Statuses that are failures: ascending, each once, 400..=599, at most 64.
    pub failure_statuses: Vec<u16>,
    /// What counts as a failure: in the order of [`FailureClass::WORDS`], each once.
    pub failure_classes: Vec<FailureClass>,
    /// True: judge and report, but let every call pass.
    pub dry_run: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_rate_percent: 50,
            slow_call_rate_percent: 100,
            slow_call_duration_ms: 10_000,
            window_ms: 10_000,
            minimum_calls: 20,
            consecutive_connect_failures: 5,
            open_wait_ms: 5_000,
            open_wait_max_ms: 60_000,
            jitter_percent: 20,
            probes: 3,
            failure_statuses: vec![500, 502, 503, 504],
            failure_classes: FailureClass::WORDS.map(|(_, class)| class).to_vec(),
            dry_run: false,
        }
    }
}
