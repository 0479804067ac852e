//! What responses of a route say of the queries of their URLs (`No-Vary-Search`), as all workers have lately seen it.

use crate::Millis;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::vm::Vm;
use crate::policy::RoutePolicy;

/// Different sayings of one route that a miss is looked up by.
const MAX_TRIED: usize = 4;

impl Vm {
    /// What responses of this route said lately.
    pub(crate) fn searches_of(&self, route: &RoutePolicy, now_ms: Millis) -> Vec<Vec<u8>> {
        let texts = self.learned.searches.of(hash(route), now_ms);
        texts.take(MAX_TRIED).map(<[u8]>::to_vec).collect()
    }

    /// A response of this route says so.
    pub(crate) fn learn_search(&mut self, ctx: Ctx<'_, impl Host>, route: &RoutePolicy, text: Vec<u8>) {
        self.learned.searches.learn(ctx.host, hash(route), &[text], ctx.now_ms);
    }
}

fn hash(route: &RoutePolicy) -> u64 {
    xxhash_rust::xxh3::xxh3_64(route.name.as_bytes())
}
