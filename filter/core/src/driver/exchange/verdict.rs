//! What the breaker learns of a forwarded request, and when: by the response head, and afterwards only if the upstream then fails.
//!
//! A response may flow for hours: an event stream, a WebSocket, a download. The upstream has answered all the same. gRPC says in its
//! trailers how a call ended; there the first message counts as the answer.

use crate::Millis;
use crate::breaker::{Counted, OutcomeClass};
use crate::http::fields::Fields;
use crate::http::grpc;

/// What kind of exchange it is, which decides what its end may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// A response that comes to its end.
    #[default]
    Whole,
    /// Events, frames of a camera: it ends when somebody has had enough.
    Endless,
    /// The connection has changed hands (RFC 9110 section 15.2.2): what goes through it is no HTTP.
    Tunnel,
    /// A call whose end the trailers tell.
    Grpc {
        /// How long the client waits.
        deadline_ms: Option<Millis>,
    },
}

/// More content than this has to have come before its reader can hold it up: Envoy, and both systems, take in as much.
const TAKEN_IN: u64 = 32 << 10;
/// Content that does not go on for so long is held up by somebody.
const HELD_UP_MS: Millis = 1_000;

/// How content flows from the upstream to the client. A client that reads slowly holds it up, and an upstream may lose patience: whose
/// doing it is then nobody can tell.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last_ms: Millis,
    held_up: bool,
}

impl Pace {
    /// A piece of content came, so many bytes in all until now. The clock is read only where it matters.
    pub(crate) fn note(&mut self, bytes: u64, clock: impl FnOnce() -> Millis) {
        if bytes > TAKEN_IN && !self.held_up {
            let now_ms = clock();
            self.held_up = self.is_held_up(now_ms);
            self.last_ms = now_ms;
        }
    }

    /// Whether the content was held up, or is now.
    pub(crate) fn is_held_up(&self, now_ms: Millis) -> bool {
        self.held_up || self.last_ms > 0 && now_ms >= self.last_ms.saturating_add(HELD_UP_MS)
    }
}

/// What the breaker is to learn of a forwarded request.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) kind: Kind,
    /// The outcome that the upstream itself has reported; absent until it has.
    pub(crate) reported: Option<OutcomeClass>,
    /// The response names a length, and it is not 0.
    promised: bool,
    /// Calls counted as successes, which may fail yet.
    pub(crate) counted: Vec<Counted>,
}

impl Verdict {
    /// Of a response head.
    pub(crate) fn of(request: &Fields<'_>, response: &Fields<'_>, status: u16) -> Self {
        let mut verdict = Self {
            kind: Kind::of(request, response, status),
            reported: Some(OutcomeClass::Status(status)),
            promised: response.get(b"content-length").is_some_and(|length| length != b"0"),
            counted: Vec::new(),
        };
        if status == 200 && matches!(verdict.kind, Kind::Grpc { .. }) {
            verdict.reported = None;
            verdict.note_grpc(response);
        }
        verdict
    }

    /// Whether the response ends only when somebody has had enough.
    pub(crate) fn is_endless(&self) -> bool {
        matches!(self.kind, Kind::Endless | Kind::Tunnel)
    }

    /// Takes in the status of a gRPC call, from its trailers or from a head that stands for them.
    pub(crate) fn note_grpc(&mut self, fields: &Fields<'_>) {
        let Kind::Grpc { deadline_ms } = self.kind else { return };
        let Some(status) = grpc::status(fields) else { return };
        self.reported = Some(if grpc::is_deadline(status) && deadline_ms.is_some() {
            // The client set the time, and it is the client that gave up.
            OutcomeClass::ClientGone
        } else {
            OutcomeClass::Status(grpc::http_status(status))
        });
    }

    /// Whether a message would be the first that a gRPC call is answered with.
    pub(crate) fn awaits_message(&self, forwarded_permits: usize) -> bool {
        forwarded_permits > 0 && self.reported.is_none() && matches!(self.kind, Kind::Grpc { .. })
    }

    /// What an end means that did not come as it should, with a response head of the upstream's before it.
    pub(crate) fn cut(&self, class: OutcomeClass, bytes: u64, held_up: bool) -> OutcomeClass {
        let silent = bytes == 0;
        match (class, self.kind) {
            (_, Kind::Whole) if held_up => self.reported.unwrap_or(OutcomeClass::Status(200)),
            (
                OutcomeClass::Reset | OutcomeClass::Refused | OutcomeClass::ProtocolError,
                Kind::Whole | Kind::Grpc { .. },
            ) => OutcomeClass::Reset,
            // A head, and then nothing of what it promised.
            (OutcomeClass::Timeout, Kind::Whole) if silent && self.promised => class,
            (_, Kind::Grpc { .. }) if silent => self.reported.unwrap_or(class),
            _ => self.reported.unwrap_or(OutcomeClass::Status(200)),
        }
    }
}

impl Kind {
    fn of(request: &Fields<'_>, response: &Fields<'_>, status: u16) -> Self {
        let connected = request.get(b":method") == Some(b"CONNECT") && (200..300).contains(&status);
        if status == 101 || connected {
            return Self::Tunnel;
        }
        if grpc::is_grpc(request) {
            let deadline_ms = grpc::deadline_ms(request);
            return Self::Grpc { deadline_ms };
        }
        let media = response.get(b"content-type").unwrap_or_default();
        let media = media
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let endless = [&b"text/event-stream"[..], b"multipart/x-mixed-replace"];
        if endless.iter().any(|kind| media.eq_ignore_ascii_case(kind)) {
            return Self::Endless;
        }
        Self::Whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_was_held_up_may_be_cut_by_anybody() {
        let reset = OutcomeClass::Reset;
        let verdict = |status| Verdict {
            reported: Some(OutcomeClass::Status(status)),
            ..Verdict::default()
        };
        // Bytes in all and times of pieces, when it was cut, and whether that is the upstream's failure.
        type Case = (&'static [(u64, Millis)], Millis, bool);
        let cases: [Case; 6] = [
            (&[], 5_000, true),
            (&[(10_000, 1_000), (20_000, 9_000)], 20_000, true),
            (&[(40_000, 1_000), (80_000, 1_900), (90_000, 2_500)], 2_600, true),
            (&[(40_000, 1_000), (80_000, 2_000), (90_000, 2_100)], 2_200, false),
            (&[(40_000, 1_000)], 2_000, false),
            (&[(40_000, 1_000)], 500, true),
        ];
        for (pieces, cut_ms, fails) in cases {
            let mut pace = Pace::default();
            for (bytes, at_ms) in pieces {
                pace.note(*bytes, || *at_ms);
            }
            let class = verdict(200).cut(reset, 90_000, pace.is_held_up(cut_ms));
            assert_eq!(class == reset, fails, "{pieces:?} {cut_ms}");
        }
        assert_eq!(verdict(500).cut(reset, 90_000, true), OutcomeClass::Status(500));
    }
}
