//! A reply of ours on its way out. Envoy applies a route's header rules, and the filters behind this one, to it a second time: to a
//! stored response that went through them when it was a miss.
//!
//! To a reply in the upstream's place, as after a 304, it applies the rules too, but shows it to no filter. What the rules of a route add
//! is known from replies that were shown; such lines are left to them.

use crate::Millis;
use crate::cache::StoredView;
use crate::driver::exchange::Exchange;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::host::{Host, MapKind};
use crate::driver::state::learned_routes::LearnedRoutes;
use crate::driver::vm::Vm;
use crate::http::fields::Fields;

/// Fields that origins send of themselves, and rules of routes seldom add.
const USUAL: [&[u8]; 20] = [
    b"accept-ranges",
    b"age",
    b"allow",
    b"cache-control",
    b"cdn-cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-location",
    b"content-type",
    b"date",
    b"etag",
    b"expires",
    b"last-modified",
    b"link",
    b"location",
    b"pragma",
    b"server",
    b"surrogate-control",
    b"vary",
];

impl LearnedRoutes {
    /// Remembers what the rules of a stream's route add to a reply that was shown, and that it is known.
    pub(crate) fn learn_added(&mut self, host: &impl Host, exchange: &Exchange, added: Vec<Vec<u8>>) {
        if let Some(rules) = exchange.rules() {
            self.added.learn(host, rules, added, || host.now_ns() / 1_000_000);
        }
    }

    /// Whether a 304 may be answered with this stored response as the upstream's whole response would have been. Where a reply was shown
    /// it is known what rules add to it; else none of its fields may be a rule's, or the route says that it has none.
    pub(crate) fn may_be_validated(&self, ctx: Ctx<'_, impl Host>, exchange: &Exchange, view: &StoredView<'_>) -> bool {
        // Envoy gives content without a type one.
        if view.get(b"content-type").is_none() && !view.body().is_empty() {
            return false;
        }
        let known = exchange
            .rules()
            .is_some_and(|rules| self.added.knows(rules, ctx.now_ms));
        known || view.fields().all(|(name, _)| USUAL.contains(&name)) || has_no_rules(ctx.host)
    }

    /// What the rules of a stream's route add to a reply, as far as known.
    pub(super) fn added_to(&self, exchange: &Exchange, now_ms: Millis) -> Vec<Vec<u8>> {
        exchange
            .rules()
            .map_or_else(Vec::new, |rules| self.added.of(rules, now_ms))
    }
}

impl Vm {
    /// The content of a reply of ours comes by with another size than it was sent with. Envoy may have put its own in place of it; a
    /// compressor behind this filter does it too, but does not say the size in advance. The head tells, which Envoy shows again when
    /// the stream is over.
    pub(crate) fn judge_resized(&mut self, ctx: Ctx<'_, impl Host>, sent: usize) {
        let map = ctx.host.header_map(MapKind::Response).unwrap_or_default();
        let length = Fields::from(header_map::parse(&map))
            .get(b"content-length")
            .and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length != sent) {
            self.reply_was_rewritten(ctx);
        }
    }
}

/// Whether the route says so by its metadata: `api_optimizer: { response_header_rules: false }`.
fn has_no_rules(host: &impl Host) -> bool {
    let declared = host.property(b"xds\0route_metadata\0filter_metadata\0api_optimizer\0response_header_rules");
    declared.is_some_and(|value| value.first() == Some(&0))
}
