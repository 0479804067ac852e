//! The request's headers: the beginning of its life.

use super::ctx::Ctx;
use super::exchange::SharedExchange;
use super::host::{Host, MapKind};
use super::lifecycle::{self, Event, Flow, Stage};
use super::parked::Stream;
use super::plan::Pending;
use super::vm::Vm;
use std::rc::Rc;

impl Vm {
    /// The request's headers came.
    pub fn on_request_headers(&mut self, host: &impl Host, shared: &SharedExchange, context: u32) -> Flow {
        let Ok(mut exchange) = shared.try_borrow_mut() else {
            return Flow::Continue;
        };
        let started_ns = host.now_ns();
        let ctx = Ctx::new(host, started_ns / 1_000_000);
        exchange.started_ns = started_ns;
        exchange.sampled = is_sampled(started_ns);
        self.join(ctx);
        exchange.policies = Some(Rc::clone(&self.policies));
        let Ok(map) = host.header_map(MapKind::Request) else {
            return Flow::Continue;
        };
        let stream = Stream {
            context,
            exchange: shared,
        };
        let step = lifecycle::next(Stage::New, Event::Came(ctx.now_ms));
        let flow = self.run(ctx, stream, &mut exchange, Pending::new(map), step);
        exchange.note_inside(host, started_ns);
        flow
    }
}

/// One stream in eight, by chance as the clock has it, so that no pattern in the traffic decides.
fn is_sampled(started_ns: u64) -> bool {
    // The finaliser of SplitMix64 (Steele et al., OOPSLA 2014): one multiplication alone would keep an even rhythm even.
    let mixed = (started_ns ^ (started_ns >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) >> 61 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_in_eight_is_sampled() {
        let sampled = (0..80_000_u64)
            .filter(|at| is_sampled(1_764_000_000_000_000_000 + at * 1_000))
            .count();
        assert!((9_000..11_000).contains(&sampled), "{sampled}");
    }
}
