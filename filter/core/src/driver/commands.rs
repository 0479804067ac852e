//! What the control plane may ask of a running Envoy.

use super::header_map::{self, MapWriter};
use super::host::Host;
use super::on_request::Lookup;
use super::registry;
use super::vm::{Vm, wake};
use crate::Millis;
use crate::cache::{CacheKey, StoredView};
use crate::engine::{Asked, Decision, decide};
use crate::http::fields::Fields;
use crate::store::Purge;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::purge_command::Kind;
use optimizer_proto::v1::{Command, ExplainCommand, PurgeCommand};
use serde_json::json;

impl Vm {
    /// Carries a command out; whether it succeeded, and its result as JSON.
    pub(super) fn execute(&mut self, host: &impl Host, command: &Command, now_ms: Millis) -> (bool, String) {
        let done = match &command.body {
            Some(Body::Explain(explain)) => self.explain(host, explain, now_ms),
            Some(Body::Purge(purge)) => self.purge(host, purge, now_ms),
            Some(Body::Breaker(steer)) => self.steer_breaker(host, steer, now_ms),
            None => Err("this filter does not know the command".to_owned()),
        };
        match done {
            Ok(detail) => (true, detail.to_string()),
            Err(reason) => (false, json!({ "reason": reason }).to_string()),
        }
    }

    fn purge(&mut self, host: &impl Host, purge: &PurgeCommand, now_ms: Millis) -> Result<serde_json::Value, String> {
        let value = purge.value.as_bytes();
        let what = match purge.kind() {
            Kind::All => Purge::All,
            Kind::Host => Purge::Host(value),
            Kind::Prefix => {
                let slash = value
                    .iter()
                    .position(|byte| *byte == b'/')
                    .ok_or("a prefix is host/path")?;
                let (host_name, path) = value.split_at(slash);
                Purge::Prefix { host: host_name, path }
            }
            Kind::Tag => Purge::Tag { host: b"", tag: value },
            Kind::Url => Purge::Url(value),
            Kind::Unspecified => return Err("what to purge is not said".to_owned()),
        };
        let birth = self
            .stamps
            .purge(host, what, purge.soft, now_ms)
            .map_err(|error| format!("the purge could not be recorded: {error:?}"))?;
        for vm in registry::vms(host, now_ms).iter().filter(|vm| vm.uid != self.uid) {
            let _ = host.enqueue(vm.queue, &[wake::STAMPS]);
        }
        Ok(json!({ "stamp": birth.number() }))
    }

    /// What the filter would do with this request now, and why, by the code that does it.
    fn explain(&mut self, host: &impl Host, ask: &ExplainCommand, now_ms: Millis) -> Result<serde_json::Value, String> {
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
        let map = map.finish();
        let asked =
            Asked::read(Fields::from(header_map::parse(&map))).ok_or("method, authority and path are needed")?;
        let route = std::rc::Rc::clone(self.policies.route(asked.target.authority, asked.target.path));
        let base =
            |decision: &str, reason: &str| json!({ "decision": decision, "reason": reason, "route": route.name });
        if !route.cache {
            return Ok(base("forward", "bypass"));
        }
        if !asked.method.is_cacheable() {
            return Ok(base("forward", "method"));
        }
        let key = CacheKey::new(&route.key, &asked.target, &asked.fields);
        let directives = asked.directives(&route.freshness);
        let counted = self.recorder.cache;
        let looked_up = self.find(host, &key, &asked.fields, now_ms);
        // A question is no traffic.
        self.recorder.cache = counted;
        let shown_key = String::from_utf8_lossy(key.as_bytes()).into_owned();
        let (found, soft) = match looked_up {
            Lookup::Usable { found, soft } => (found, soft),
            Lookup::Missing(missing) => {
                let decision = if directives.only_if_cached {
                    "gateway-timeout"
                } else {
                    "forward"
                };
                return Ok(merged(
                    base(decision, missing.cause().code()),
                    json!({ "key": shown_key }),
                ));
            }
        };
        let view = StoredView::decode(found.value(), true).map_err(|corrupt| corrupt.code().to_owned())?;
        let stored = json!({
            "key": shown_key,
            "stored": {
                "status": view.status(),
                "age_ms": view.age_ms(now_ms),
                "freshness_lifetime_ms": view.lifetime_ms(),
                "usable_until_ms": view.usable_until_ms(),
                "body_bytes": view.body().len(),
                "soft_purged": soft,
                "selecting": view.selecting().map(|(name, value)| json!({
                    "name": String::from_utf8_lossy(name),
                    "value": value.map(String::from_utf8_lossy),
                })).collect::<Vec<_>>(),
            },
        });
        let head = match decide(&view, &asked, &directives, &route.freshness, soft, 0, now_ms) {
            Decision::Reply { reply, reuse, refresh } => merged(
                base("serve", reuse.reason.code()),
                json!({ "status": reply.status, "age_s": reuse.age_s, "ttl_s": reuse.ttl_s, "refresh": refresh }),
            ),
            Decision::Forward { reason, validate, .. } => {
                merged(base("forward", reason.code()), json!({ "validate": validate }))
            }
            Decision::Timeout => base("gateway-timeout", "only-if-cached"),
        };
        Ok(merged(head, stored))
    }
}

fn merged(mut into: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    if let (Some(into), serde_json::Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
    into
}
