//! The request's head, and its content where that is waited for: the beginning of its life.

use crate::driver::exchange::SharedExchange;
use crate::driver::exchange::collected::Collected;
use crate::driver::exchange::lifecycle::{self, Event, Flow, Reason as Wait, Stage};
use crate::driver::exchange::plan::Pending;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::host::{Host, MapKind};
use crate::driver::state::parked::Stream;
use crate::driver::vm::Vm;
use crate::http::fields::Fields;
use crate::reason::Reason;
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

    /// A piece of the request's content. It goes on as soon as it is known whether all of it makes a key.
    pub fn on_request_body(
        &mut self,
        host: &impl Host,
        shared: &SharedExchange,
        context: u32,
        size: usize,
        end: bool,
    ) -> Flow {
        let Ok(mut exchange) = shared.try_borrow_mut() else {
            return Flow::Continue;
        };
        let id = match (exchange.phase.stage(), exchange.phase.ticket()) {
            (Stage::Parked(Wait::Content), Some(ticket)) => ticket,
            (other, _) => return of_other(other),
        };
        let most = exchange.route.as_ref().map_or(0, |route| route.content.max_size);
        let Some(collected) = self.parked.collected(id) else {
            return Flow::Pause;
        };
        let mut refusal = None;
        if collected.bytes().len().saturating_add(size) > most {
            refusal = Some(Reason::ContentTooLarge);
        } else if size > 0 {
            refusal = match host.request_body(size) {
                Ok(piece) if piece.len() == size => (!collected.append(&piece)).then_some(Reason::NoSpace),
                _ => Some(Reason::ContentUnseen),
            };
        }
        if refusal.is_none() && !end {
            return Flow::Pause;
        }
        let Some((ticket, _)) = self.parked.leave(id) else {
            return Flow::Pause;
        };
        match refusal {
            Some(reason) => self.refuse_content(&mut exchange, reason),
            None => {
                let request = Fields::from(header_map::parse(&ticket.pending.request));
                let content = ticket.pending.content.as_ref().map_or(&[][..], Collected::bytes);
                self.judge_content(&mut exchange, &request, content);
            }
        }
        self.go_on(host, (shared, context), &mut exchange, ticket)
    }

    /// Fields after the request's content: they belong to no key.
    pub fn on_request_trailers(&mut self, host: &impl Host, shared: &SharedExchange, context: u32) -> Flow {
        let Ok(mut exchange) = shared.try_borrow_mut() else {
            return Flow::Continue;
        };
        let id = match (exchange.phase.stage(), exchange.phase.ticket()) {
            (Stage::Parked(Wait::Content), Some(ticket)) => ticket,
            (other, _) => return of_other(other),
        };
        let Some((ticket, _)) = self.parked.leave(id) else {
            return Flow::Pause;
        };
        self.refuse_content(&mut exchange, Reason::ContentTrailers);
        self.go_on(host, (shared, context), &mut exchange, ticket)
    }
}

/// Content of a request that does not wait for it. What has been answered, or waits for something else, does not go on by its content.
fn of_other(stage: Stage) -> Flow {
    match stage {
        Stage::Parked(_) | Stage::Answered => Flow::Pause,
        _ => Flow::Continue,
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
