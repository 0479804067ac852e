//! What an unsafe method makes untrue (RFC 9111 section 4.4, RFC 9875 section 3).

use super::host::Host;
use super::tier_offer;
use super::vm::Vm;
use super::wake::Wake;
use crate::Millis;
use crate::cache::{self, groups, invalidation};
use crate::engine::Asked;
use crate::http::fields::Fields;
use crate::policy::RoutePolicy;

impl Vm {
    /// Removes what an unsafe method, or an invalidated cache group, has made untrue.
    pub(super) fn invalidate(
        &mut self,
        host: &impl Host,
        asked: &Asked<'_>,
        route: &RoutePolicy,
        status: u16,
        response: &Fields<'_>,
        now_ms: Millis,
    ) {
        if !asked.method.is_unsafe() {
            return;
        }
        let mut stamped = false;
        for target in invalidation::targets(asked.method, &asked.target, status, response) {
            let key = cache::CacheKey::new(&route.key, &target.as_target(), &asked.fields, &self.key_secret.secret);
            // A stamp and not a removal: it reaches every variant and identity of the URL, and a fetch still in flight.
            if self
                .stamps
                .purge(host, crate::store::Purge::Url(key.url()), false, now_ms)
                .is_ok()
            {
                self.recorder.invalidated("unsafe-method");
                // Under the key itself nothing is left; under keys with other fields something may be.
                stamped |= key.as_bytes() != key.url();
            }
            self.store.remove(host, key.as_bytes());
            self.invalidate_in_tier(host, tier_offer::url_subject(&key), now_ms);
        }
        if (200..400).contains(&status) {
            let host_name = crate::http::target::normalize_authority(asked.target.scheme, asked.target.authority);
            for group in groups::invalidated(response) {
                let tag = groups::group_tag(&group);
                let purge = crate::store::Purge::Tag {
                    host: &host_name,
                    tag: &tag,
                };
                if self.stamps.purge(host, purge, false, now_ms).is_ok() {
                    self.recorder.invalidated("cache-group");
                    stamped = true;
                }
                self.invalidate_in_tier(host, tier_offer::tag_subject(&host_name, &tag), now_ms);
            }
        }
        if stamped {
            self.tell_others(host, Wake::Stamps, now_ms);
        }
    }
}
