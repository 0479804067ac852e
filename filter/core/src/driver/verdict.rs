//! What the breaker learns of a forwarded request, and when: by the response head, and afterwards only if the upstream then fails.
//!
//! A response may flow for hours: an event stream, a WebSocket, a download. The upstream has answered all the same. gRPC says in its
//! trailers how a call ended; there the first message counts as the answer.

use super::ctx::Ctx;
use super::exchange::Forwarded;
use super::header_map;
use super::host::{Host, MapKind};
use super::vm::Vm;
use crate::Millis;
use crate::breaker::{Counted, OutcomeClass, classify};
use crate::http::fields::Fields;
use crate::http::grpc;
use std::rc::Rc;

/// What kind of exchange it is, which decides what its end may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
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
    kind: Kind,
    /// What the upstream itself has said; absent until it has.
    said: Option<OutcomeClass>,
    /// The response names a length, and it is not 0.
    promised: bool,
    /// Calls counted as successes, which may fail yet.
    counted: Vec<Counted>,
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
    fn note_grpc(&mut self, fields: &Fields<'_>) {
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
    fn awaits_message(&self, forwarded_permits: usize) -> bool {
        forwarded_permits > 0 && self.said.is_none() && matches!(self.kind, Kind::Grpc { .. })
    }

    /// What an end means that did not come as it should, with a response head of the upstream's before it.
    fn cut(&self, class: OutcomeClass, bytes: u64) -> OutcomeClass {
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

impl Vm {
    /// The response head came: if it is the upstream's, the call is decided, however long its content takes.
    pub(super) fn count_head(&mut self, ctx: Ctx<'_, impl Host>, forwarded: &mut Forwarded) {
        if let Some(class) = forwarded.verdict.said.filter(|_| forwarded.is_answered()) {
            self.count_answer(ctx, forwarded, class);
        }
    }

    /// Content came: of a gRPC call it is the answer.
    pub(super) fn count_message(&mut self, host: &impl Host, forwarded: &mut Forwarded) {
        if forwarded.is_answered() && forwarded.verdict.awaits_message(forwarded.permits.len()) {
            self.count_answer(
                Ctx::new(host, host.now_ns() / 1_000_000),
                forwarded,
                OutcomeClass::Status(200),
            );
        }
    }

    /// Trailers came: of a gRPC call they say how it ended.
    pub(super) fn note_trailers(&mut self, host: &impl Host, forwarded: &mut Forwarded) {
        if matches!(forwarded.verdict.kind, Kind::Grpc { .. })
            && let Ok(map) = host.header_map(MapKind::ResponseTrailers)
        {
            forwarded.verdict.note_grpc(&Fields::from(header_map::parse(&map)));
        }
    }

    fn count_answer(&mut self, ctx: Ctx<'_, impl Host>, forwarded: &mut Forwarded, class: OutcomeClass) {
        let permits = std::mem::take(&mut forwarded.permits);
        let may_fail = !forwarded.ended && !forwarded.verdict.is_endless();
        if may_fail && self.policies.breaker.failed(class) == Some(false) {
            forwarded.verdict.counted = permits.iter().map(|permit| permit.counted(ctx.now_ms)).collect();
        }
        let took_ms = forwarded.took_ms(ctx.now_ms);
        self.settle(ctx, permits, class, took_ms);
    }

    /// Resolves what is open at a stream's end, and takes in what has failed since the call was counted.
    pub(super) fn count_end(&mut self, ctx: Ctx<'_, impl Host>, forwarded: &mut Forwarded, class: OutcomeClass) {
        let permits = std::mem::take(&mut forwarded.permits);
        let took_ms = forwarded.took_ms(ctx.now_ms);
        self.settle(ctx, permits, class, took_ms);
        let counted = std::mem::take(&mut forwarded.verdict.counted);
        if self.policies.breaker.failed(class) != Some(true) {
            return;
        }
        for counted in counted {
            let policies = Rc::clone(&self.policies);
            let transition =
                self.breakers
                    .fail_late(ctx.host, &counted, &policies.breaker, ctx.now_ms, ctx.host.random());
            self.tell(ctx.host, transition);
        }
    }
}

impl Forwarded {
    /// The upstream's own response head has come.
    pub(super) fn is_answered(&self) -> bool {
        self.from_origin && self.status > 0
    }

    /// Until the response head, or until now.
    pub(super) fn took_ms(&self, now_ms: Millis) -> Millis {
        self.answered_after_ms
            .unwrap_or_else(|| now_ms.saturating_sub(self.sent_ms))
    }

    /// How the call has ended.
    pub(super) fn end(&self, host: &impl Host, bytes: u64, now_ms: Millis) -> OutcomeClass {
        let answered = self.is_answered();
        // Of the upstream's own response that came to its end nothing is amiss, and flags and details, which cost as much as a lookup,
        // add nothing; nor do the details where there are no flags.
        let flags = if answered && self.ended {
            0
        } else {
            super::on_end::response_flags(host)
        };
        if flags == 0 && answered {
            return self.verdict.said.unwrap_or(OutcomeClass::Status(self.status));
        }
        let details = host.property(b"response\0code_details").unwrap_or_default();
        let class = classify(flags, &details, self.status);
        let class = self.own_deadline(class, now_ms);
        if answered {
            self.verdict.cut(class, bytes)
        } else {
            class
        }
    }

    /// A time-out at the deadline of the client's own is the client's.
    fn own_deadline(&self, class: OutcomeClass, now_ms: Millis) -> OutcomeClass {
        let waited_ms = now_ms.saturating_sub(self.sent_ms);
        match self.verdict.kind {
            Kind::Grpc {
                deadline_ms: Some(deadline_ms),
            } if class == OutcomeClass::Timeout && waited_ms >= deadline_ms => OutcomeClass::ClientGone,
            _ => class,
        }
    }
}
