//! What an unsafe method makes untrue (RFC 9111 section 4.4, RFC 9875 section 3).

use crate::cache::{self, groups, invalidation};
use crate::driver::exchange::Exchange;
use crate::driver::fetches::tier_offer;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::shared::wake::Wake;
use crate::driver::vm::Vm;
use crate::engine::CacheRequest;
use crate::http::fields::Fields;
use crate::policy::RoutePolicy;
use optimizer_proto::codes::InvalidationCause;
use optimizer_proto::purge::PurgeTarget;

impl Vm {
    /// Removes what an unsafe method, or an invalidated cache group, has made untrue.
    pub(crate) fn invalidate(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        request: &CacheRequest<'_>,
        route: &RoutePolicy,
        status: u16,
        response: &Fields<'_>,
    ) {
        let is_read = route.content.reads_all() && exchange.content.is_unseen();
        if !request.method.is_unsafe() || is_read {
            return;
        }
        let mut stamped = false;
        for target in invalidation::targets(request.method, &request.target, status, response) {
            let key = cache::CacheKey::new(
                &route.key,
                &target.as_target(),
                &request.fields,
                &self.key_secret.secret,
            );
            // A stamp and not a removal: it reaches every variant and identity of the URL, and a fetch still in flight.
            if self
                .invalidation_log
                .purge(ctx.host, &PurgeTarget::url(key.host(), key.path()), false, ctx.now_ms)
                .is_ok()
            {
                self.recorder.invalidated(InvalidationCause::UnsafeMethod);
                // Under the key itself nothing is left; under keys of other spellings, schemes or fields something may be.
                stamped = true;
            }
            self.invalidate_in_tier(ctx, tier_offer::url_subject(&key));
        }
        if stamped {
            // Other workers hear of a stamp in a moment; of what was sent where this request was, they find nothing from now on.
            self.learned.ask_route(ctx.host, exchange, request.target.authority);
            if let Some(routed) = &exchange.routed {
                let key = self.key_under(routed, request, route);
                self.store.remove(ctx.host, key.as_bytes());
            }
        }
        if (200..400).contains(&status) {
            let host_name = crate::http::target::normalize_authority(request.target.scheme, request.target.authority);
            for group in groups::invalidated(response) {
                let tag = groups::group_tag(&group);
                let purge = PurgeTarget::tag(&host_name, &tag);
                if self.invalidation_log.purge(ctx.host, &purge, false, ctx.now_ms).is_ok() {
                    self.recorder.invalidated(InvalidationCause::CacheGroup);
                    stamped = true;
                }
                self.invalidate_in_tier(ctx, tier_offer::tag_subject(&host_name, &tag));
            }
        }
        if stamped {
            self.wake_others(ctx, Wake::InvalidationLog);
        }
    }
}
