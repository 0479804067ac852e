//! The values of `No-Vary-Search` in the responses of a route, as all workers have lately seen them.

use crate::Millis;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::state::learned_routes::LearnedRoutes;
use crate::policy::RoutePolicy;

/// Values of one route by which a miss is looked up again, at most.
const MAX_TRIED: usize = 4;

impl LearnedRoutes {
    /// The values that responses of this route had lately.
    pub(crate) fn searches_of(&self, route: &RoutePolicy, now_ms: Millis) -> Vec<Vec<u8>> {
        let texts = self.searches.of(hash(route), now_ms);
        texts.take(MAX_TRIED).map(<[u8]>::to_vec).collect()
    }

    /// A response of this route has this value.
    pub(crate) fn learn_search(&mut self, ctx: Ctx<'_, impl Host>, route: &RoutePolicy, text: Vec<u8>) {
        self.searches.learn(ctx.host, hash(route), &[text], ctx.now_ms);
    }
}

fn hash(route: &RoutePolicy) -> u64 {
    xxhash_rust::xxh3::xxh3_64(route.name.as_bytes())
}
