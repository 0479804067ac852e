//! Learning what Envoy makes of requests and replies after the filter, at the end of streams.

use super::ctx::Ctx;
use super::exchange::Exchange;
use super::forwarding::Knowledge;
use super::header_map;
use super::host::{Host, LogLevel, MapKind};
use super::registry;
use super::vm::Vm;
use super::wake::Wake;
use crate::http::head;
use crate::reason::Reason;
use xxhash_rust::xxh3::xxh3_64;

impl Vm {
    /// The stream is over: learns how its request left Envoy, where that is not known or the stream stored something, and of some
    /// others.
    pub(super) fn learn_forwarding(&mut self, ctx: Ctx<'_, impl Host>, exchange: &mut Exchange) {
        let (Some(came), Some(routed)) = (exchange.came.take(), &exchange.routed) else {
            return;
        };
        let known = self.forwarding.of(&routed.pair);
        let look = known == Knowledge::Unknown || exchange.stores || is_looked_at(exchange);
        if known == Knowledge::Changed || !look || !exchange.reached {
            return;
        }
        let Ok(left) = ctx.host.header_map(MapKind::Request) else {
            return;
        };
        // A filter behind this one may have had the route chosen anew.
        let elsewhere = ctx
            .host
            .property(b"xds\0cluster_name")
            .is_some_and(|cluster| cluster != routed.cluster);
        let changed = elsewhere || !head::left_unchanged(&header_map::parse(&came), &header_map::parse(&left));
        if self.forwarding.learn(ctx.host, &routed.pair, changed) {
            self.tell_forwarding(ctx);
        }
    }

    /// The reply of a filter came back with another content than it was made with.
    pub(super) fn reply_was_rewritten(&mut self, ctx: Ctx<'_, impl Host>) {
        self.recorder.reason(Reason::ReplyRewritten);
        let news = self
            .forwarding
            .change(ctx.host, |record| !std::mem::replace(&mut record.rewritten, true));
        if news {
            ctx.host.log(
                LogLevel::Error,
                "this Envoy rewrites what the filter answers (local_reply_config or a filter): the cache is not used any more",
            );
            self.tell_forwarding(ctx);
        }
    }

    fn tell_forwarding(&self, ctx: Ctx<'_, impl Host>) {
        for vm in registry::vms(ctx.host, ctx.now_ms)
            .iter()
            .filter(|vm| vm.uid != self.uid)
        {
            // One that cannot be woken looks within a second.
            let _ = ctx.host.enqueue(vm.queue, &[Wake::Forwarding.byte()]);
        }
    }
}

/// One in eight of the sampled streams, one in 64 of all: two host calls that move a head each.
fn is_looked_at(exchange: &Exchange) -> bool {
    exchange.sampled && xxh3_64(&exchange.started_ns.to_le_bytes()) >> 61 == 0
}
