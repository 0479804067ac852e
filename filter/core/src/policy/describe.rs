//! A route's policy as operators read it.

use super::RoutePolicy;
use crate::cache::QueryPolicy;
use serde_json::{Value, json};

impl RoutePolicy {
    /// Everything that holds for its requests, inherited or its own.
    #[must_use]
    pub fn describe(&self) -> Value {
        let freshness = &self.freshness;
        let (mode, names) = match &self.key.query {
            QueryPolicy::All => ("all", &[][..]),
            QueryPolicy::None => ("none", &[][..]),
            QueryPolicy::Include(names) => ("include", names.as_slice()),
            QueryPolicy::Exclude(names) => ("exclude", names.as_slice()),
        };
        let methods: Vec<&str> = ["QUERY", "POST"]
            .into_iter()
            .filter(|method| self.content.covers(method.as_bytes()))
            .collect();
        json!({
            "host": self.host.to_string(),
            "path_prefix": String::from_utf8_lossy(&self.path_prefix),
            "cache": self.cache,
            "key": {
                "query": { "mode": mode, "names": texts(names) },
                "headers": texts(&self.key.headers),
                "cookies": texts(&self.key.cookies),
                "isolate_authorization": self.key.isolate_authorization,
            },
            "key_body": {
                "methods": methods,
                "max_bytes": self.content.max_size,
                "operations": self.content.graphql.as_ref().map(|allowed| &allowed.operations),
                "persisted": self.content.graphql.as_ref().map(|allowed| &allowed.persisted),
            },
            "default_ttl_ms": freshness.default_ttl_ms,
            "ttl_floor_ms": freshness.ttl_floor_ms,
            "ttl_ceiling_ms": freshness.ttl_ceiling_ms,
            "ttl_override_ms": freshness.ttl_override_ms,
            "heuristic_fraction_percent": freshness.heuristic_fraction_percent,
            "jitter_percent": freshness.jitter_percent,
            "stale_while_revalidate_ms": freshness.stale_while_revalidate_ms,
            "stale_if_error_ms": freshness.stale_if_error_ms,
            "max_stale_on_outage_ms": freshness.max_stale_on_outage_ms,
            "ignore_request_cache_control": freshness.ignore_request_cache_control,
            "max_object_bytes": self.max_object,
            "error_ttl_ceiling_ms": freshness.error_ttl_ceiling_ms,
            "set_cookie": freshness.sharing.client_state.code(),
            "share_with_credentials": freshness.sharing.with_credentials,
            "credential_headers": texts(&freshness.sharing.credential_headers),
            "shared_tier": self.tier,
            "breaker": self.own_breaker,
            "verify_hits_percent": self.verified_percent,
        })
    }
}

fn texts(names: &[Vec<u8>]) -> Vec<std::borrow::Cow<'_, str>> {
    names.iter().map(|name| String::from_utf8_lossy(name)).collect()
}
