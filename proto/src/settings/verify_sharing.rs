//! Verified sharing: a sample of hits is compared with the origin, and what was found not to be shareable is not shared.

use std::fmt::Write as _;

use serde_json::Value;

use super::Route;
use super::kinds::{List, Optional, Required, Set, list, object};
use super::names;
use super::reader::{Findings, ObjectReader};
use super::routes::KeyQuery;
use super::rows::{Item, Kind, Rows, Topic, settings};
use super::scalars::{Flag, count, percent};

/// Most masks.
const MAX_MASKS: usize = 8;
/// Most entries of the quarantine.
pub const MAX_QUARANTINED: usize = 256;
/// Most names that one of them tells.
pub const MAX_DEPENDS_ON: usize = 32;

const EVERY_MASK: &str = "every mask needs both";
const EVERY_ENTRY: &str = "every entry of the quarantine needs one";

settings! {
    /// What legitimately differs between two responses that are the same otherwise. Markers are literal; they are looked for in the content
    /// as it is sent, so not in one that is compressed.
    Mask {
        /// What stands before it.
        "start" => start: String = String::new(), Required { kind: names::MARKER, why: Some(EVERY_MASK) }, example "\"generated_at\":\"";
        /// What stands after it, 4,096 bytes further on at most.
        "end" => end: String = String::new(), Required { kind: names::MARKER, why: Some(EVERY_MASK) }, example "\"";
    }
}

settings! {
    /// A sample of hits is also fetched from the origin as that client asked, and compared with what was served. The client does not wait
    /// for it.
    VerifySharing {
        /// True: hits are verified.
        "enabled" => enabled: bool = false, Flag, example true;
        /// Share of the hits that are verified. A route may say its own (verify_hits_percent).
        "hits_percent" => hits_percent: u32 = 1, percent(1..=100), example 5;
        /// Most requests for it, as a share of the requests that go to the upstream anyway. Each worker may make 40 more.
        "origin_percent" => origin_percent: u32 = 1, percent(1..=10), example 2;
        /// What is left out of the comparison.
        "mask" => mask: Vec<Mask> = Vec::new(), masks(), example [{"start": "\"generated_at\":\"", "end": "\""}];
    }
}

settings! {
    /// Requests that the cache has no part in, because their responses were found to depend on something that is not in the key. The control
    /// plane adds entries; DELETE /cache/findings/{id} takes one out. An entry ends by itself where the key's rule is no longer the one that it
    /// was found under.
    Quarantined {
        /// Its name in /cache/findings.
        "id" => id: String = String::new(), Required { kind: names::ROUTE_NAME, why: Some(EVERY_ENTRY) }, example "0123456789abcdef";
        /// Name of the route of the settings. None: requests of no route, of this host and path_prefix.
        "route" => route: Option<String> = None, Optional { kind: names::ROUTE_NAME, null: false }, example "catalogue";
        /// Host of the requests, where there is no route.
        "host" => host: String = "*".to_owned(), names::HOST, example "api.example.com";
        /// Beginning of their path, where there is no route.
        "path_prefix" => path_prefix: String = "/".to_owned(), names::PATH_PREFIX, example "/prices/";
        /// The key's rule that it was found under.
        "rule" => rule: String = String::new(), Required { kind: names::ROUTE_NAME, why: Some(EVERY_ENTRY) }, example "0123456789abcdef";
        /// What the responses depend on: cookie, header or query, and its name. Several: one of them, or all together.
        "depends_on" => depends_on: Vec<String> = Vec::new(),
            Set { item: names::LABEL, max: MAX_DEPENDS_ON, sorted: false }, example ["cookie plan"];
        /// The upstream's name in telemetry.
        "upstream" => upstream: Option<String> = None, Optional { kind: names::LABEL, null: false }, example "api";
        /// Keyed digest of what was served.
        "served" => served: Option<String> = None, Optional { kind: names::LABEL, null: false }, example "00112233445566778899aabbccddeeff";
        /// Keyed digest of another answer of the origin under the same key.
        "fetched" => fetched: Option<String> = None, Optional { kind: names::LABEL, null: false }, example "ffeeddccbbaa99887766554433221100";
        /// When it was found.
        "since" => since_s: u32 = 0, count(0..=u32::MAX, "s since 1970"), example 1_767_225_600;
    }
}

/// What is left out.
fn masks() -> List<Mask> {
    list(MAX_MASKS)
}

impl Topic for VerifySharing {}

impl Item for Mask {
    fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self> {
        let mut object = ObjectReader::open(path, value, findings)?;
        let mask = Self::read_rows(&mut object, Self::default());
        object.finish();
        Some(mask).filter(|mask| !mask.start.is_empty() && !mask.end.is_empty())
    }
}

impl Item for Quarantined {
    fn read(path: String, value: &Value, findings: &mut Findings) -> Option<Self> {
        let mut object = ObjectReader::open(path, value, findings)?;
        let entry = Self::read_rows(&mut object, Self::default());
        object.finish();
        Some(entry).filter(|entry| !entry.id.is_empty() && !entry.rule.is_empty())
    }
}

impl Route {
    /// The rule that makes the key, as a digest (FNV-1a): another one as soon as the key is made of something else.
    #[must_use]
    pub fn key_rule(&self) -> String {
        let mut text = String::new();
        let query = object::<KeyQuery>().to_json(&self.key_query).unwrap_or_default();
        let lists = (&self.key_headers, &self.key_cookies);
        // A text cannot refuse to be written to.
        let _ = write!(text, "{query} {lists:?} {}", self.isolate_authorization);
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

impl Quarantined {
    /// The route whose key it is about: the named one, or what holds for requests of no route.
    #[must_use]
    pub fn is_under<'r>(&self, routes: &'r [Route]) -> Option<&'r Route> {
        let name = self.route.as_deref()?;
        routes.iter().find(|route| route.name == name)
    }

    /// Whether it still holds: the key is made as it was when this was found, and where it was found under no route, none has taken these
    /// requests since.
    #[must_use]
    pub fn holds(&self, routes: &[Route]) -> bool {
        if self.route.is_some() {
            return self.is_under(routes).is_some_and(|route| route.key_rule() == self.rule);
        }
        let takes_all = |route: &Route| {
            (route.host == "*" || route.host == self.host) && self.path_prefix.starts_with(&route.path_prefix)
        };
        Route::default().key_rule() == self.rule && !routes.iter().any(takes_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;
    use serde_json::json;

    #[test]
    fn an_entry_holds_until_the_key_is_made_otherwise() {
        let held = |routes: Value, entry: &Value| {
            let document = json!({"routes": routes, "quarantine": [entry]});
            let settings = Settings::parse(&document).unwrap().0;
            settings.quarantine[0].holds(&settings.routes)
        };
        let route = Route::named("a");
        let entry = json!({"id": "f1", "route": "a", "rule": route.key_rule(), "depends_on": ["cookie plan"]});
        for (routes, holds) in [
            (json!([{"name": "a"}]), true),
            (json!([{"name": "a", "ttl_floor": "1s", "path_prefix": "/a"}]), true),
            (json!([{"name": "a", "key_cookies": ["plan"]}]), false),
            (json!([{"name": "a", "key_headers": ["x"]}]), false),
            (json!([{"name": "a", "key_query": {"mode": "none"}}]), false),
            (json!([{"name": "a", "isolate_authorization": true}]), false),
            (json!([{"name": "b"}]), false),
        ] {
            assert_eq!(held(routes.clone(), &entry), holds, "{routes}");
        }
        let unrouted = json!({"id": "f1", "path_prefix": "/p/", "rule": Route::default().key_rule()});
        assert!(held(json!([]), &unrouted) && held(json!([{"name": "a", "path_prefix": "/p/q"}]), &unrouted));
        assert!(
            !held(json!([{"name": "a", "path_prefix": "/p"}]), &unrouted),
            "a route has taken them"
        );
    }
}
