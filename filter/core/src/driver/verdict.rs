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
pub(super) enum Kind {
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

/// How a forwarded request stands with the breaker.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) kind: Kind,
    /// What the upstream itself has said; absent until it has.
    pub(super) said: Option<OutcomeClass>,
    /// The response names a length, and it is not 0.
    promised: bool,
    /// Calls counted as successes, which may fail yet.
    pub(super) counted: Vec<Counted>,
}

impl Verdict {
    /// Of a response head.
    pub(super) fn of(request: &Fields<'_>, response: &Fields<'_>, status: u16) -> Self {
        let mut verdict = Self {
            kind: Kind::of(request, response, status),
            said: Some(OutcomeClass::Status(status)),
            promised: response.get(b"content-length").is_some_and(|length| length != b"0"),
            counted: Vec::new(),
        };
        if status == 200 && matches!(verdict.kind, Kind::Grpc { .. }) {
            verdict.said = None;
            verdict.note_grpc(response);
        }
        verdict
    }

    /// Whether the response ends only when somebody has had enough.
    pub(super) fn is_endless(&self) -> bool {
        matches!(self.kind, Kind::Endless | Kind::Tunnel)
    }

    /// Takes in the status of a gRPC call, from its trailers or from a head that stands for them.
    pub(super) fn note_grpc(&mut self, fields: &Fields<'_>) {
        let Kind::Grpc { deadline_ms } = self.kind else { return };
        let Some(status) = grpc::status(fields) else { return };
        self.said = Some(if grpc::is_deadline(status) && deadline_ms.is_some() {
            // The client set the time, and it is the client that gave up.
            OutcomeClass::ClientGone
        } else {
            OutcomeClass::Status(grpc::http_status(status))
        });
    }

    /// Whether a message would be the first that a gRPC call is answered with.
    pub(super) fn awaits_message(&self, forwarded_permits: usize) -> bool {
        forwarded_permits > 0 && self.said.is_none() && matches!(self.kind, Kind::Grpc { .. })
    }

    /// What an end means that did not come as it should, with a response head of the upstream's before it.
    pub(super) fn cut(&self, class: OutcomeClass, bytes: u64) -> OutcomeClass {
        let silent = bytes == 0;
        match (class, self.kind) {
            (
                OutcomeClass::Reset | OutcomeClass::Refused | OutcomeClass::ProtocolError,
                Kind::Whole | Kind::Grpc { .. },
            ) => OutcomeClass::Reset,
            // A head, and then nothing of what it promised.
            (OutcomeClass::Timeout, Kind::Whole) if silent && self.promised => class,
            (_, Kind::Grpc { .. }) if silent => self.said.unwrap_or(class),
            _ => self.said.unwrap_or(OutcomeClass::Status(200)),
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
