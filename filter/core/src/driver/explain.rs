//! What the filter would do with a request now, and why, by the code that does it: for `GET /cache/explain`.

use super::from_cache::Lookup;
use super::header_map::{self, MapWriter};
use super::host::Host;
use super::on_request::AMBIGUOUS;
use super::vm::Vm;
use crate::Millis;
use crate::cache::{CacheKey, StoredView, selecting};
use crate::engine::{Asked, Decision, decide};
use crate::http::fields::Fields;
use crate::http::target::Target;
use crate::policy::{Policies, RoutePolicy};
use crate::store::{KeyParts, Verdict};
use optimizer_proto::v1::ExplainCommand;
use serde_json::{Value, json};
use std::rc::Rc;

/// Variants shown of one key.
const MAX_VARIANTS: usize = 16;

impl Vm {
    /// Decides as for a client, and does nothing.
    pub(super) fn explain(&mut self, host: &impl Host, ask: &ExplainCommand, now_ms: Millis) -> Result<Value, String> {
        let map = header_map(ask);
        let asked =
            Asked::read(Fields::from(header_map::parse(&map))).ok_or("method, authority and path are needed")?;
        let route = Rc::clone(self.policies.route(asked.target.authority, asked.target.path));
        if !route.cache {
            return Ok(verdict(&route, "forward", "bypass"));
        }
        let target = &asked.target;
        if self.policies.is_ambiguous(target.authority, target.path) {
            let readings = readings(&self.policies, target);
            return Ok(merged(
                verdict(&route, "forward", AMBIGUOUS),
                json!({ "readings": readings }),
            ));
        }
        if !asked.method.is_cacheable() {
            return Ok(verdict(&route, "forward", "method"));
        }
        let key = CacheKey::new(&route.key, &asked.target, &asked.fields, &self.key_secret.secret);
        let directives = asked.directives(&route.freshness);
        // Before the lookup, which removes what is purged.
        let variants = self.variants(host, &key, &asked.fields, now_ms);
        let counted = self.recorder.cache;
        let looked_up = self.find(host, &key, &asked.fields, now_ms);
        // A question is no traffic.
        self.recorder.cache = counted;
        let shown = json!({ "key": String::from_utf8_lossy(key.as_bytes()), "variants": variants });
        let (found, soft) = match looked_up {
            Lookup::Usable { found, soft } => (found, soft),
            Lookup::Missing(missing) => {
                let decision = if directives.only_if_cached {
                    "gateway-timeout"
                } else {
                    "forward"
                };
                return Ok(merged(verdict(&route, decision, missing.cause().code()), shown));
            }
        };
        let view = StoredView::decode(found.value(), true).map_err(|corrupt| corrupt.code().to_owned())?;
        let head = match decide(&view, &asked, &directives, soft, 0, now_ms) {
            Decision::Reply { reply, reuse, refresh } => merged(
                verdict(&route, "serve", reuse.reason.code()),
                json!({ "status": reply.status, "age_s": reuse.age_s, "ttl_s": reuse.ttl_s, "refresh": refresh }),
            ),
            Decision::Forward { reason, validate, .. } => merged(
                verdict(&route, "forward", reason.code()),
                json!({ "validate": validate }),
            ),
            Decision::Timeout => verdict(&route, "gateway-timeout", "only-if-cached"),
        };
        let stored = merged(response(&view, now_ms), json!({ "soft_purged": soft }));
        Ok(merged(merged(head, shown), json!({ "stored": stored })))
    }

    /// Every response stored under the key, whatever it was selected by.
    fn variants(&self, host: &impl Host, key: &CacheKey, request: &Fields<'_>, now_ms: Millis) -> Vec<Value> {
        let parts = KeyParts {
            host: key.host(),
            path: key.path(),
            url: key.url(),
        };
        self.store
            .variants(host, key.as_bytes(), MAX_VARIANTS, now_ms)
            .iter()
            .filter_map(|stored| {
                let view = StoredView::decode(&stored.value, false).ok()?;
                let purged = match self.stamps.verdict(stored.birth, &parts, view.tags()) {
                    Verdict::Live => "no",
                    Verdict::Soft => "soft",
                    Verdict::Purged => "yes",
                };
                let selected = selecting::matches(&view, request);
                let more = json!({ "purged": purged, "selected": selected, "hits": stored.hits });
                (view.key() == key.as_bytes()).then(|| merged(response(&view, now_ms), more))
            })
            .collect()
    }
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
