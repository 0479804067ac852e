//! The end of a stream, however it came about: counted once, its permit resolved once.

use crate::breaker::OutcomeClass;
use crate::driver::exchange::lifecycle::{self, Event, Step};
use crate::driver::exchange::{Exchange, Forwarded, SharedExchange};
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::vm::Vm;
use crate::telemetry::Sample;
use optimizer_proto::v1::Outcome;

impl Vm {
    /// The stream is over; Envoy calls this exactly once.
    pub fn on_end(&mut self, host: &impl Host, shared: &SharedExchange) {
        let Ok(mut exchange) = shared.try_borrow_mut() else {
            return;
        };
        let exchange = &mut *exchange;
        let now_ns = host.now_ns();
        let ctx = Ctx::new(host, now_ns / 1_000_000);
        match lifecycle::next(exchange.phase.stage(), Event::Ended) {
            Step::Leave => self.leave(ctx, exchange),
            Step::Settle => self.end_forwarded(ctx, exchange),
            _ => {}
        }
        exchange.phase.end();
        if let Some(sent) = exchange.resized.take() {
            self.judge_resized(ctx, sent);
        }
        self.learn_forwarding(ctx, exchange, &[]);
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
            protocol: if exchange.sampled { protocol(host) } else { 0 },
            latency_us: now_ns.saturating_sub(exchange.started_ns) / 1_000,
            bytes: exchange.bytes,
            upstream_requests: exchange.upstream_requests,
            upstream_reused: exchange.upstream_reused,
        };
        self.recorder.request(&sample);
        if exchange.sampled {
            self.recorder.overhead(exchange.inside_ns);
        }
        if self.membership.may_be_succeeded(ctx.now_ms) {
            self.hand_over_counts(host);
        }
    }

    fn end_forwarded(&mut self, ctx: Ctx<'_, impl Host>, exchange: &mut Exchange) {
        let Some(mut forwarded) = exchange.phase.end() else {
            return;
        };
        self.commit_at_end(ctx, exchange, &mut forwarded);
        self.abandon(&mut forwarded);
        self.complete_ended(ctx, &mut forwarded);
        self.settle_forwarded(ctx, exchange, &mut forwarded);
    }

    /// Whether the call went over a connection that was there before. One that never got a connection did not. While connections
    /// are long-lived a sample is asked about: asking costs as much as a lookup.
    fn reused(&mut self, host: &impl Host, connected: bool, sampled: bool) -> bool {
        if connected && !sampled && self.figures.connections.are_long_lived() {
            return true;
        }
        let address = host.property(b"upstream\0local_address").unwrap_or_default();
        !address.is_empty() && self.figures.connections.used(xxhash_rust::xxh3::xxh3_64(&address))
    }

    /// Resolves the permits of a forwarded request: its stream is over, or the filter has answered in the upstream's place.
    pub(super) fn settle_forwarded(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        forwarded: &mut Forwarded,
    ) {
        let class = forwarded.end(ctx.host, exchange.bytes, ctx.now_ms);
        exchange.upstream_reused = u8::from(self.reused(ctx.host, forwarded.is_answered(), exchange.sampled));
        let upstream = self.recorder.name(&exchange.upstream);
        if let Some(kind) = crate::driver::upstream::guard::error_kind(class) {
            self.recorder.error(kind, upstream);
            if matches!(exchange.outcome, Outcome::Miss | Outcome::Bypass) {
                exchange.outcome = Outcome::Error;
            }
        }
        let took_ms = forwarded.took_ms(ctx.now_ms);
        if std::mem::take(&mut forwarded.placed) {
            // What never reached the upstream says nothing about how fast it is.
            let called = !matches!(
                class,
                OutcomeClass::Local | OutcomeClass::ClientGone | OutcomeClass::Overflow
            );
            self.give_place(ctx.host, &exchange.upstream, called.then_some(took_ms));
        }
        self.count_end(ctx, forwarded, class);
    }
}

/// The client's protocol. Asking costs as much as a lookup in shared data.
fn protocol(host: &impl Host) -> u8 {
    match host.property(b"request\0protocol").as_deref() {
        Some(b"HTTP/1.0") => 10,
        Some(b"HTTP/1.1") => 11,
        Some(b"HTTP/2") => 20,
        Some(b"HTTP/3") => 30,
        _ => 0,
    }
}
