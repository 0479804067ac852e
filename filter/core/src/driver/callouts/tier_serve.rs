//! Answering with a response of the shared tier.

use crate::Millis;
use crate::cache::{CacheStatus, StoredView, selecting};
use crate::driver::exchange::plan::ForwardPlan;
use crate::driver::exchange::tier_client::Question;
use crate::driver::exchange::{Exchange, Flow};
use crate::driver::fetches::tier_offer::Blocks;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map;
use crate::driver::reply::answer::Served;
use crate::driver::stored::transfer;
use crate::driver::vm::Vm;
use crate::engine::{CacheRequest, Decision, decide};
use crate::http::fields::Fields;
use crate::store::{KeyParts, Verdict};
use optimizer_proto::codes::TierResult;
use optimizer_proto::v1::{Outcome, TierFound};

/// Differences of clocks below this are of the network.
const SKEW_MS: u64 = 1_000;

impl Vm {
    /// Answers with what the tier gave, and keeps it. Nothing in it is believed before it is checked.
    pub(super) fn serve_from_tier(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        question: &Question,
        found: TierFound,
        request: &[u8],
        plan: &ForwardPlan,
    ) -> Result<Flow, TierResult> {
        const DAMAGED: TierResult = TierResult::Damaged;
        let Question {
            key, purge_generation, ..
        } = question;
        let mut value = found.value;
        correct_clock(&mut value, found.ahead_ms, found.now_ms, ctx.now_ms);
        let cache_request = CacheRequest::read(Fields::from(header_map::parse(request))).ok_or(DAMAGED)?;
        let route = exchange.route.clone().ok_or(DAMAGED)?;
        let view = StoredView::decode(&value, true).map_err(|_| DAMAGED)?;
        if view.key() != key.as_bytes() || transfer::sound(&view, ctx.now_ms).is_err() {
            return Err(DAMAGED);
        }
        if !selecting::matches(&view, &cache_request.fields) {
            return Err(TierResult::Miss);
        }
        if route
            .freshness
            .sharing
            .withholds(&view, &cache_request.fields)
            .is_some()
        {
            return Err(TierResult::Withheld);
        }
        let parts = KeyParts {
            host: key.host(),
            path: key.path(),
        };
        // What this Envoy purged while the answer was on its way, and what it has yet to tell the tier.
        let purged = self.invalidation_log.verdict(*purge_generation, &parts, view.tags()) != Verdict::Live
            || Blocks::block(ctx.host, key.host(), key.path(), view.tags(), ctx.now_ms);
        if purged {
            return Err(TierResult::Purged);
        }
        let directives = cache_request.directives(&route.freshness);
        let decision = decide(
            &view,
            &cache_request,
            &directives,
            false,
            exchange.started_ns,
            ctx.now_ms,
        );
        let Decision::Reply { reply, reuse, .. } = decision else {
            return Err(TierResult::Stale);
        };
        let status = CacheStatus {
            tier_hit: true,
            ttl_s: Some(reuse.ttl_s),
            forward: Some(plan.cause),
            stored: true,
            detail: plan.detail,
            ..CacheStatus::default()
        };
        let outcome = if reuse.ttl_s < 0 { Outcome::Stale } else { Outcome::Hit };
        let served = Served {
            view: &view,
            reply: &reply,
            status,
            outcome,
            more: &[],
            memory: None,
        };
        let flow = self.answer(ctx.host, exchange, &served);
        drop(reply);
        self.recorder.reason(TierResult::Hit);
        let vary: Vec<Vec<u8>> = view.selecting().map(|(name, _)| name.to_vec()).collect();
        let usable_until_ms = view.usable_until_ms();
        let key = key.as_bytes();
        self.insert(
            ctx,
            key,
            &cache_request.fields,
            *purge_generation,
            value,
            &vary,
            usable_until_ms,
        );
        Ok(flow)
    }
}

/// Brings a response's times into this Envoy's clock: the tier says how its own clock stands to both. Small differences are of
/// the network, and left alone.
fn correct_clock(value: &mut [u8], ahead_ms: i64, tier_now_ms: Millis, now_ms: Millis) {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let shift = ahead_ms
        .saturating_add(signed(now_ms))
        .saturating_sub(signed(tier_now_ms));
    if shift.unsigned_abs() >= SKEW_MS {
        crate::cache::shift_times(value, shift);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Encoder, FreshnessPolicy, storability};
    use crate::http::method::Method;

    #[test]
    fn times_follow_the_clock_of_the_reader() {
        let (request, response) = (
            Fields::from(Vec::new()),
            Fields::from(vec![(&b"cache-control"[..], &b"max-age=60"[..])]),
        );
        let seen = storability::Exchange {
            method: Method::Get,
            request: &request,
            status: 200,
            response: &response,
            request_time_ms: 1_000_000,
            response_time_ms: 1_000_000,
            framing: storability::Framing::Delimited,
            identity_in_key: false,
            stated_freshness_only: false,
            hidden_credentials: false,
        };
        let plan = storability::judge(&seen, &FreshnessPolicy::default(), 1_000_000).unwrap();
        let stored = Encoder::begin(b"http://a/", &seen, &plan, 0, 0)
            .unwrap()
            .seal()
            .unwrap();
        // The tier was 5 s ahead of the writer, and is 2 s ahead of the reader: the writer's clock is 3 s behind the reader's.
        let mut value = stored.clone();
        correct_clock(&mut value, 5_000, 1_015_000, 1_013_000);
        let view = StoredView::decode(&value, true).unwrap();
        assert_eq!(view.response_time_ms(), 1_003_000);
        assert_eq!(view.age_ms(1_013_000), 10_000);
        let mut value = stored.clone();
        correct_clock(&mut value, 5, 1_000_000, 1_000_003);
        assert_eq!(value, stored, "a difference of the network");
    }
}
