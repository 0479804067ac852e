//! The content of a request, for which it waits where the content belongs to the cache key.
//!
//! Envoy keeps the content meanwhile, and the filter a copy within a bound; what is larger, or slower, goes on as if the filter were not
//! there. So no client is cut off, refused or held for longer than [`WAIT_MS`].

use crate::Millis;
use crate::driver::exchange::Exchange;
use crate::driver::exchange::collected::Content;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::vm::Vm;
use crate::engine::CacheRequest;
use crate::http::fields::Fields;
use crate::policy::RoutePolicy;
use crate::reason::Reason;
use std::rc::Rc;

/// How long a request waits for the rest of its content.
pub(crate) const WAIT_MS: Millis = 2_000;
impl Vm {
    /// Whether the request waits for its content before it is looked up. Where that is no matter of waiting, it is judged at once.
    pub(super) fn wants_content(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        exchange: &mut Exchange,
        cache_request: &CacheRequest<'_>,
        route: &RoutePolicy,
    ) -> bool {
        let method = cache_request.fields.get(b":method").unwrap_or_default();
        if !route.content.covers(method) || !route.cache || exchange.ambiguous || cache_request.is_upgrade() {
            exchange.content = Content::Unasked;
            return false;
        }
        if !matches!(exchange.content, Content::Unasked) {
            return false;
        }
        if !ctx.host.shows_request_body() {
            self.refuse_content(exchange, Reason::ContentUnseen);
        } else if let Err(reason) = route.content.admits_head(&cache_request.fields) {
            self.refuse_content(exchange, reason);
        } else if !exchange.content_follows {
            self.judge_content(exchange, &cache_request.fields, &[]);
        } else if !self.parked.has_space() {
            self.refuse_content(exchange, Reason::NoSpace);
        } else {
            return true;
        }
        false
    }

    pub(super) fn refuse_content(&mut self, exchange: &mut Exchange, reason: Reason) {
        self.recorder.reason(reason);
        exchange.content = Content::Refused(reason);
    }

    pub(super) fn judge_content(&mut self, exchange: &mut Exchange, request: &Fields<'_>, content: &[u8]) {
        let Some(route) = exchange.route.clone() else {
            return self.refuse_content(exchange, Reason::ContentUnseen);
        };
        match route.content.key(request, content, &self.key_secret.secret) {
            Ok(key) => exchange.content = Content::Keyed(Rc::new(key)),
            Err(reason) => self.refuse_content(exchange, reason),
        }
    }
}
