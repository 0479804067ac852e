//! What the filter would do with a request now, and why, by the code that does it: for `GET /cache/explain`.

use super::from_cache::Lookup;
use crate::Millis;
use crate::cache::{CacheKey, StoredView, selecting, sharing};
use crate::driver::exchange::destination::Routed;
use crate::driver::exchange::plan::AMBIGUOUS;
use crate::driver::host::Host;
use crate::driver::host::ctx::Ctx;
use crate::driver::host::header_map::{self, MapWriter};
use crate::driver::vm::Vm;
use crate::engine::{CacheRequest, Decision, decide};
use crate::http::fields::Fields;
use crate::http::target::Target;
use crate::policy::{Policies, RoutePolicy};
use crate::reason::Reason;
use crate::store::{KeyParts, Verdict};
use optimizer_proto::v1::ExplainCommand;
use serde_json::{Value, json};
use std::rc::Rc;

/// Variants shown of one key.
const MAX_VARIANTS: usize = 16;

impl Vm {
    /// Decides as for a client, and does nothing.
    pub(crate) fn explain(&mut self, ctx: Ctx<'_, impl Host>, ask: &ExplainCommand) -> Result<Value, String> {
        let map = header_map(ask);
        let cache_request =
            CacheRequest::read(Fields::from(header_map::parse(&map))).ok_or("method, authority and path are needed")?;
        let route = Rc::clone(
            self.policies
                .route(cache_request.target.authority, cache_request.target.path),
        );
        if !route.cache {
            return Ok(verdict(&route, "forward", "bypass"));
        }
        let target = &cache_request.target;
        if self.policies.is_ambiguous(target.authority, target.path) {
            let readings = readings(&self.policies, target);
            return Ok(merged(
                verdict(&route, "forward", AMBIGUOUS),
                json!({ "readings": readings }),
            ));
        }
        if !cache_request.method.is_cacheable() {
            return Ok(verdict(&route, "forward", by_content(ctx.host, &cache_request, &route)));
        }
        let unkeyed = sharing::bypass_with_content(&cache_request.fields, false);
        if let Some(detail) = sharing::bypass(&cache_request.fields)
            .or(unkeyed)
            .or(cache_request.odd.map(Reason::as_str))
        {
            return Ok(verdict(&route, "forward", detail));
        }
        if self.learned.forwarding.rewrites_replies() {
            return Ok(verdict(&route, "forward", "reply-rewritten"));
        }
        let Some((key, routed)) = self.explained_key(ctx, &cache_request, &route) else {
            return Ok(verdict(&route, "forward", "uri-miss"));
        };
        if let Some(unsound) = self.learned.forwarding.unsound(&routed.pair) {
            return Ok(verdict(&route, "forward", unsound.as_str()));
        }
        if self.is_quarantined(&route, target.authority, target.path) {
            return Ok(verdict(&route, "forward", Reason::Quarantined.as_str()));
        }
        let directives = cache_request.directives(&route.freshness);
        // Before the lookup, which removes what is purged.
        let variants = self.variants(ctx, &key, &cache_request.fields);
        let same_url = self.same_url(ctx, &key);
        let counted = self.recorder.cache;
        let (looked_up, searched) = self.look_up(ctx, &key, &cache_request.fields, &route);
        // A question is no traffic.
        self.recorder.cache = counted;
        let (same_url, whole) = same_url;
        let shown = merged(
            json!({
                "key": String::from_utf8_lossy(CacheKey::without_destination(key.as_bytes())),
                "variants": variants,
                "no_vary_search": searched.is_some(),
                "same_url": same_url,
                "same_url_complete": whole,
            }),
            self.explained_route(&routed, key.hash(), ctx.now_ms),
        );
        let (found, soft) = match looked_up {
            Lookup::Usable { found, soft } => (found, soft),
            Lookup::Missing(missing) => {
                let decision = if directives.only_if_cached {
                    "gateway-timeout"
                } else {
                    "forward"
                };
                return Ok(merged(
                    verdict(&route, decision, missing.detail().unwrap_or(missing.cause().code())),
                    shown,
                ));
            }
        };
        let view = StoredView::decode(found.value(), true).map_err(|corrupt| corrupt.as_str().to_owned())?;
        let head = match decide(&view, &cache_request, &directives, soft, 0, ctx.now_ms) {
            Decision::Reply { reply, reuse, refresh } => merged(
                verdict(&route, "serve", reuse.reason.as_str()),
                json!({ "status": reply.status, "age_s": reuse.age_s, "ttl_s": reuse.ttl_s, "refresh": refresh }),
            ),
            Decision::Forward { reason, validate, .. } => merged(
                verdict(&route, "forward", reason.as_str()),
                json!({ "validate": validate }),
            ),
            Decision::Timeout => verdict(&route, "gateway-timeout", "only-if-cached"),
        };
        let stored = merged(response(&view, ctx.now_ms), json!({ "soft_purged": soft }));
        Ok(merged(merged(head, shown), json!({ "stored": stored })))
    }

    /// The key under which something is stored for this URL. Where Envoy would send it nobody can ask here, so every cluster and route
    /// that is known is tried; without any such response, the first of them that may be meant. Nor is the whole head known that a route
    /// without a name shares by: there the response is explained that is stored for some head.
    fn explained_key(
        &mut self,
        ctx: Ctx<'_, impl Host>,
        cache_request: &CacheRequest<'_>,
        route: &RoutePolicy,
    ) -> Option<(CacheKey, Routed)> {
        self.learned.forwarding.refresh(ctx.host);
        let mut first = None;
        for (cluster, name, _) in self.learned.forwarding.known() {
            let routed = Routed::new(cluster, name, cache_request.target.authority);
            let key = self.key_under(&routed, cache_request, route);
            if !self.store.variants(ctx.host, key.as_bytes(), 1, ctx.now_ms).is_empty() {
                return Some((key, routed));
            }
            if routed.route.is_empty()
                && let Some(key) = self.stored_of_any_head(ctx, &self.headless_key(&routed, cache_request, route))
            {
                return Some((key, routed));
            }
            first = first.or(Some((key, routed)));
        }
        first
    }

    fn explained_route(&self, routed: &Routed, hash: u64, now_ms: Millis) -> Value {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let foreground = self.learned.forwarding.usual_foreground(&routed.pair, hash, now_ms);
        json!({
            "cluster": text(&routed.cluster),
            "envoy_route": text(&routed.route),
            "shared_by": if routed.route.is_empty() { "request-head" } else { "route-name" },
            "refreshed_by": if foreground.is_some() { "client-request" } else { "own-request" },
            "refreshed_by_reason": foreground.map_or("request-unchanged", Reason::as_str),
        })
    }

    /// Every response stored under the key, whatever it was selected by.
    fn variants(&self, ctx: Ctx<'_, impl Host>, key: &CacheKey, request: &Fields<'_>) -> Vec<Value> {
        let parts = KeyParts {
            host: key.host(),
            path: key.path(),
        };
        self.store
            .variants(ctx.host, key.as_bytes(), MAX_VARIANTS, ctx.now_ms)
            .iter()
            .filter_map(|stored| {
                let view = StoredView::decode(&stored.value, false).ok()?;
                let purged = match self
                    .invalidation_log
                    .verdict(stored.purge_generation, &parts, view.tags())
                {
                    Verdict::Live => "no",
                    Verdict::Soft => "soft",
                    Verdict::Purged => "yes",
                };
                let selected = selecting::matches(&view, request);
                let more = json!({ "purged": purged, "selected": selected, "hits": stored.hits });
                (view.key() == key.as_bytes()).then(|| merged(response(&view, ctx.now_ms), more))
            })
            .collect()
    }
}

/// Why a request of another method than GET and HEAD is forwarded. A question brings no content.
fn by_content(host: &impl Host, cache_request: &CacheRequest<'_>, route: &RoutePolicy) -> &'static str {
    let policy = &route.content;
    if !policy.covers(cache_request.fields.get(b":method").unwrap_or_default()) {
        return "method";
    }
    let judged = policy.admits_head(&cache_request.fields);
    let shown = host.shows_request_body().then_some(()).ok_or(Reason::ContentUnseen);
    let reason = shown.and(judged).err().unwrap_or(Reason::ContentUnknown);
    reason.as_str()
}

fn header_map(ask: &ExplainCommand) -> Vec<u8> {
    let mut map = MapWriter::default();
    for (name, value) in [
        (":method", &ask.method),
        (":scheme", &ask.scheme),
        (":authority", &ask.authority),
        (":path", &ask.path),
    ] {
        map.push(name.as_bytes(), value.as_bytes());
    }
    for field in &ask.fields {
        map.push(&field.name.to_ascii_lowercase(), &field.value);
    }
    map.finish()
}

/// What servers make of a request, and the routes that this leads to.
fn readings(policies: &Policies, target: &Target<'_>) -> Vec<Value> {
    let readings = policies.readings(target.authority, target.path);
    let shown = readings.iter().map(|reading| {
        json!({
            "host": String::from_utf8_lossy(&reading.host),
            "path": String::from_utf8_lossy(&reading.path),
            "any_case": reading.any_case,
            "route": reading.route,
        })
    });
    shown.collect()
}

fn verdict(route: &RoutePolicy, decision: &str, reason: &str) -> Value {
    json!({ "decision": decision, "reason": reason, "route": route.name, "policy": route.describe() })
}

fn response(view: &StoredView<'_>, now_ms: Millis) -> Value {
    json!({
        "status": view.status(),
        "age_ms": view.age_ms(now_ms),
        "freshness_lifetime_ms": view.lifetime_ms(),
        "usable_until_ms": view.usable_until_ms(),
        "body_bytes": view.body().len(),
        "selecting": view.selecting().map(|(name, value)| json!({
            "name": String::from_utf8_lossy(name),
            "value": value.map(String::from_utf8_lossy),
        })).collect::<Vec<_>>(),
    })
}

fn merged(mut into: Value, more: Value) -> Value {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
    into
}
