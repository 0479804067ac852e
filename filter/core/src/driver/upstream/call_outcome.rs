//! Counting how forwarded requests end: by the response head, and afterwards only if the upstream then fails.

use super::origin::response_flags;
use crate::Millis;
use crate::breaker::{OutcomeClass, classify};
use crate::driver::exchange::Forwarded;
use crate::driver::exchange::client_limits;
use crate::driver::exchange::verdict::Kind;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::host::{Host, MapKind};
use crate::driver::vm::Vm;
use crate::http::fields::Fields;
use std::rc::Rc;

impl Vm {
    /// The response head came: if it is the upstream's, the call is decided, however long its content takes.
    pub(crate) fn count_head(&mut self, ctx: Ctx<'_, impl Host>, forwarded: &mut Forwarded) {
        if let Some(class) = forwarded.verdict.reported.filter(|_| forwarded.is_answered()) {
            self.count_answer(ctx, forwarded, class);
        }
    }

    /// Content came: of a gRPC call it is the answer.
    pub(crate) fn count_message(&mut self, host: &impl Host, forwarded: &mut Forwarded) {
        if forwarded.is_answered() && forwarded.verdict.awaits_message(forwarded.permits.len()) {
            self.count_answer(
                Ctx::new(host, host.now_ns() / 1_000_000),
                forwarded,
                OutcomeClass::Status(200),
            );
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
    pub(crate) fn count_end(&mut self, ctx: Ctx<'_, impl Host>, forwarded: &mut Forwarded, class: OutcomeClass) {
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
                self.upstreams
                    .breakers
                    .fail_late(ctx.host, &counted, &policies.breaker, ctx.now_ms, ctx.host.random());
            self.report_transition(ctx.host, transition);
        }
    }
}

/// Trailers came: of a gRPC call they say how it ended.
pub(crate) fn note_trailers(host: &impl Host, forwarded: &mut Forwarded) {
    if matches!(forwarded.verdict.kind, Kind::Grpc { .. })
        && let Ok(map) = host.header_map(MapKind::ResponseTrailers)
    {
        forwarded.verdict.note_grpc(&Fields::from(header_map::parse(&map)));
    }
}

impl Forwarded {
    /// The upstream's own response head has come.
    pub(crate) fn is_answered(&self) -> bool {
        self.from_origin && self.status > 0
    }

    /// Until the response head, or until now.
    pub(crate) fn took_ms(&self, now_ms: Millis) -> Millis {
        self.answered_after_ms
            .unwrap_or_else(|| now_ms.saturating_sub(self.sent_ms))
    }

    /// How the call has ended.
    pub(crate) fn end(&self, host: &impl Host, bytes: u64, now_ms: Millis) -> OutcomeClass {
        let answered = self.is_answered();
        // Of the upstream's own response that came to its end nothing is amiss, and flags and details, which cost as much as a lookup,
        // add nothing; nor do the details where there are no flags.
        let flags = if answered && self.ended {
            0
        } else {
            response_flags(host)
        };
        if flags == 0 && answered {
            return self.verdict.reported.unwrap_or(OutcomeClass::Status(self.status));
        }
        let details = host.property(b"response\0code_details").unwrap_or_default();
        let class = classify(flags, &details, self.status);
        let class = self.own_deadline(class, now_ms);
        if class == OutcomeClass::Reset && !answered && self.is_unfinished(host) {
            // Whoever waits for content in vain may hang up.
            return OutcomeClass::ClientGone;
        }
        if answered {
            self.verdict.cut(class, bytes, self.pace.is_held_up(now_ms))
        } else {
            class
        }
    }

    /// Whether the client has not sent the content that its request promises. Of content without a length Envoy does not tell.
    fn is_unfinished(&self, host: &impl Host) -> bool {
        let request = Fields::from(header_map::parse(&self.request));
        let promised = request.get(b"content-length").and_then(|text| {
            let text = std::str::from_utf8(text).ok()?;
            text.parse::<u64>().ok()
        });
        let received = host.property(b"request\0size").and_then(|bytes| bytes.try_into().ok());
        matches!((promised, received.map(u64::from_le_bytes)), (Some(promised), Some(received)) if received < promised)
    }

    /// A time-out at the deadline of the client's own is the client's.
    fn own_deadline(&self, class: OutcomeClass, now_ms: Millis) -> OutcomeClass {
        if class != OutcomeClass::Timeout {
            return class;
        }
        let called = match self.verdict.kind {
            Kind::Grpc { deadline_ms } => deadline_ms,
            _ => None,
        };
        let routed = client_limits::deadline_ms(&Fields::from(header_map::parse(&self.request)));
        let waited_ms = now_ms.saturating_sub(self.sent_ms);
        let is_over = |deadline_ms| waited_ms >= deadline_ms;
        if called.is_some_and(is_over) || routed.is_some_and(is_over) {
            return OutcomeClass::ClientGone;
        }
        class
    }
}
