//! The end of a stream, however it came about: counted once, its permit resolved once.

use super::exchange::{Exchange, Forwarded, Phase, SharedExchange};
use super::host::Host;
use super::vm::Vm;
use crate::breaker::OutcomeClass;
use crate::collapse::Landing;
use crate::telemetry::Sample;
use optimizer_proto::v1::Outcome;

impl Vm {
    /// The stream is over; Envoy calls this exactly once.
    pub fn on_end(&mut self, host: &impl Host, shared: &SharedExchange, context: u32) {
        let Ok(mut exchange) = shared.try_borrow_mut() else {
            return;
        };
        let exchange = &mut *exchange;
        let now_ns = host.now_ns();
        self.stop_waiting(exchange, context);
        self.leave_queue(host, exchange, context, now_ns / 1_000_000);
        if let Phase::Forwarded(mut forwarded) = std::mem::replace(&mut exchange.phase, Phase::Passing) {
            self.abandon(&mut forwarded);
            self.land(host, &mut forwarded.flight, Landing::Failed, now_ns / 1_000_000);
            let flags = host
                .property(b"response\0flags")
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u64::from_le_bytes);
            let details = host.property(b"response\0code_details").unwrap_or_default();
            self.settle_forwarded(host, exchange, &mut forwarded, Some((flags, &details)));
        }
        if exchange.started_ns == 0 {
            return;
        }
        let route = exchange
            .route
            .as_ref()
            .map_or(crate::policy::DEFAULT_ROUTE, |route| route.name.as_str());
        let sample = Sample {
            route: self.recorder.name(route),
            upstream: self.recorder.name(&exchange.upstream),
            outcome: exchange.outcome,
            protocol: 0,
            latency_us: now_ns.saturating_sub(exchange.started_ns) / 1_000,
            bytes: exchange.bytes,
            upstream_requests: exchange.upstream_requests,
            upstream_reused: 0,
        };
        self.recorder.request(&sample);
        self.recorder.overhead(exchange.inside_ns);
    }

    /// Resolves the permits of a forwarded request. `ended`: response flags and details where the stream is over; without them
    /// the filter has answered in the upstream's place and goes by the response head.
    pub(super) fn settle_forwarded(
        &mut self,
        host: &impl Host,
        exchange: &mut Exchange,
        forwarded: &mut Forwarded,
        ended: Option<(u64, &[u8])>,
    ) {
        let (flags, details) = match ended {
            Some((flags, details)) => (flags, details.to_vec()),
            None => {
                let flags = host
                    .property(b"response\0flags")
                    .and_then(|bytes| bytes.try_into().ok());
                (
                    flags.map_or(0, u64::from_le_bytes),
                    host.property(b"response\0code_details").unwrap_or_default(),
                )
            }
        };
        let class = crate::breaker::classify(flags, &details, forwarded.status);
        let upstream = self.recorder.name(&exchange.upstream);
        if let Some(kind) = super::guard::error_kind(class) {
            self.recorder.error(kind, upstream);
            if matches!(exchange.outcome, Outcome::Miss | Outcome::Bypass) {
                exchange.outcome = Outcome::Error;
            }
        }
        let now_ms = host.now_ns() / 1_000_000;
        let took_ms = forwarded
            .answered_after_ms
            .unwrap_or_else(|| now_ms.saturating_sub(forwarded.sent_ms));
        if std::mem::take(&mut forwarded.placed) {
            // What never reached the upstream says nothing about how fast it is.
            let called = !matches!(
                class,
                OutcomeClass::Local | OutcomeClass::ClientGone | OutcomeClass::Overflow
            );
            self.give_place(host, &exchange.upstream, called.then_some(took_ms));
        }
        let permits = std::mem::take(&mut forwarded.permits);
        self.settle(host, permits, class, took_ms, now_ms);
    }
}
