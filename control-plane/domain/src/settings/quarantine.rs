//! What verified sharing has found, as it stands in the settings: so it is kept, agreed on and sent to all Envoys as they are.

use super::change::Change;
use optimizer_proto::settings::{KeyQuery, MAX_QUARANTINED, Quarantined, QueryMode, Route, Settings};
use optimizer_proto::v1::SharingFinding;
use serde_json::{Value, json};

/// Why a finding is not put into the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is there already.
    #[error("it is known")]
    Known,
    /// Nobody was to look for any, or the key is made otherwise by now.
    #[error("the settings have changed since")]
    Outdated,
    /// The quarantine is full.
    #[error("the quarantine is full")]
    Full,
}

/// The change that quarantines what was found.
///
/// # Errors
/// When nothing is to be changed.
pub fn adding(finding: &SharingFinding, present: &Value) -> Result<Change, NotTaken> {
    let (settings, _) = Settings::parse(present).map_err(|_| NotTaken::Outdated)?;
    let non_empty = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let new = Quarantined {
        id: finding.id.clone(),
        route: non_empty(&finding.route),
        host: finding.host.clone(),
        path_prefix: finding.path_prefix.clone(),
        rule: finding.rule.clone(),
        depends_on: finding.depends_on.clone(),
        upstream: non_empty(&finding.upstream),
        served: non_empty(&finding.served),
        fetched: non_empty(&finding.fetched),
        since_s: u32::try_from(finding.at_ms / 1_000).unwrap_or(u32::MAX),
    };
    if !settings.verify_sharing.enabled || !new.holds(&settings.routes) {
        return Err(NotTaken::Outdated);
    }
    if settings.quarantine.iter().any(|known| known.id == new.id) {
        return Err(NotTaken::Known);
    }
    // Entries that hold no longer make room.
    let mut entries = settings.quarantine.clone();
    entries.retain(|entry| entry.holds(&settings.routes));
    if entries.len() >= MAX_QUARANTINED {
        return Err(NotTaken::Full);
    }
    entries.push(new);
    Ok(replacing(&settings, entries))
}

/// The change that releases what was quarantined under this id; `None` where nothing was.
#[must_use]
pub fn releasing(id: &str, present: &Value) -> Option<Change> {
    let (settings, _) = Settings::parse(present).ok()?;
    let mut entries = settings.quarantine.clone();
    entries.retain(|entry| entry.id != id);
    (entries.len() < settings.quarantine.len()).then(|| replacing(&settings, entries))
}

fn replacing(settings: &Settings, quarantine: Vec<Quarantined>) -> Change {
    let document = Settings {
        quarantine,
        ..settings.clone()
    }
    .to_json();
    Change::Merge(json!({ "quarantine": document.get("quarantine") }))
}

/// A merge patch that makes what the responses depend on part of the key; `None` where no setting says it.
#[must_use]
pub fn proposal(entry: &Quarantined, settings: &Settings) -> Option<Value> {
    let mut routes = settings.routes.clone();
    let route = if entry.route.is_some() {
        let index = routes
            .iter()
            .position(|route| Some(&route.name) == entry.route.as_ref())?;
        routes.get_mut(index)?
    } else {
        // The most particular one, so that it is asked first.
        let route = Route {
            host: entry.host.clone(),
            path_prefix: entry.path_prefix.clone(),
            ..Route::named(&format!("keyed-{}", entry.id))
        };
        routes.insert(0, route);
        routes.first_mut()?
    };
    for depends_on in &entry.depends_on {
        match depends_on.split_once(' ')? {
            ("cookie", name) => add(&mut route.key_cookies, name),
            ("header", name) => add(&mut route.key_headers, name),
            ("query", name) => key_parameter(&mut route.key_query, name),
            _ => return None,
        }
    }
    let document = Settings {
        routes,
        ..settings.clone()
    }
    .to_json();
    Settings::parse(&document).ok()?;
    Some(json!({ "routes": document.get("routes") }))
}

fn add(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

fn key_parameter(query: &mut KeyQuery, name: &str) {
    match query.mode {
        QueryMode::All => {}
        QueryMode::None => {
            query.mode = QueryMode::Include;
            add(&mut query.names, name);
        }
        QueryMode::Include => add(&mut query.names, name),
        QueryMode::Exclude => {
            query.names.retain(|known| known != name);
            if query.names.is_empty() {
                query.mode = QueryMode::All;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(more: Value) -> Value {
        let mut document = json!({"verify_sharing": {"enabled": true}, "routes": [
            {"name": "a", "path_prefix": "/a", "key_query": {"mode": "exclude", "names": ["utm", "lang"]}},
            {"name": "b", "path_prefix": "/b", "key_query": {"mode": "none"}}]});
        json_patch::merge(&mut document, &more);
        Settings::parse(&document).unwrap().0.to_json()
    }

    fn finding(route: &str, depends_on: &[&str]) -> SharingFinding {
        let settings = Settings::parse(&document(json!({}))).unwrap().0;
        let of = settings.routes.iter().find(|known| known.name == route);
        SharingFinding {
            id: format!("id-{route}"),
            route: route.to_owned(),
            host: if route.is_empty() { "api.example" } else { "*" }.to_owned(),
            path_prefix: if route.is_empty() { "/c/" } else { "/" }.to_owned(),
            rule: of.cloned().unwrap_or_default().key_rule(),
            depends_on: depends_on.iter().map(|&text| text.to_owned()).collect(),
            at_ms: 5_000,
            ..SharingFinding::default()
        }
    }

    #[test]
    fn what_is_found_is_quarantined_once_and_released() {
        let base = document(json!({}));
        let found = finding("", &["cookie plan"]);
        let held = adding(&found, &base).unwrap().apply(&base).unwrap();
        assert_eq!(held["quarantine"][0]["since"], 5);
        assert_eq!(adding(&found, &held), Err(NotTaken::Known));
        let released = releasing("id-", &held).unwrap().apply(&held).unwrap();
        assert_eq!(released, base);
        assert!(releasing("other", &held).is_none());
        let off = document(json!({"verify_sharing": {"enabled": false}}));
        assert_eq!(adding(&found, &off), Err(NotTaken::Outdated), "nobody was to look");
        let old = SharingFinding {
            rule: "0".to_owned(),
            ..found
        };
        assert_eq!(adding(&old, &base), Err(NotTaken::Outdated), "the rule has changed");
    }

    #[test]
    fn the_quarantine_is_bounded_and_what_holds_no_longer_makes_room() {
        let mut full = document(json!({}));
        let entry = |number: usize, rule: &str| json!({"id": format!("f{number}"), "rule": rule});
        let rule = Route::default().key_rule();
        full["quarantine"] = (0..MAX_QUARANTINED).map(|number| entry(number, &rule)).collect();
        let found = finding("", &["cookie plan"]);
        assert_eq!(adding(&found, &full), Err(NotTaken::Full));
        full["quarantine"][7] = entry(7, "0");
        let held = adding(&found, &full).unwrap().apply(&full).unwrap();
        assert_eq!(held["quarantine"].as_array().unwrap().len(), MAX_QUARANTINED);
    }

    #[test]
    fn what_is_proposed_keys_by_what_was_found_and_ends_the_quarantine() {
        for (route, depends_on, at, expected) in [
            ("a", &["cookie plan"][..], "/routes/0/key_cookies", json!(["plan"])),
            ("a", &["header x-bucket"], "/routes/0/key_headers", json!(["x-bucket"])),
            ("a", &["query lang"], "/routes/0/key_query/names", json!(["utm"])),
            (
                "b",
                &["query lang"],
                "/routes/1/key_query",
                json!({"mode": "include", "names": ["lang"]}),
            ),
            ("", &["cookie plan", "header x"], "/routes/0/path_prefix", json!("/c/")),
        ] {
            let base = document(json!({}));
            let held = adding(&finding(route, depends_on), &base)
                .unwrap()
                .apply(&base)
                .unwrap();
            let settings = Settings::parse(&held).unwrap().0;
            let patch = proposal(&settings.quarantine[0], &settings).unwrap();
            assert_eq!(patch.pointer(at), Some(&expected), "{patch}");
            let keyed = Settings::parse(&Change::Merge(patch).apply(&held).unwrap()).unwrap().0;
            assert!(!keyed.quarantine[0].holds(&keyed.routes));
        }
        let settings = Settings::parse(&document(json!({}))).unwrap().0;
        for no_name in ["cookie a b", "cookie (without a name)", "and 29 more"] {
            let odd = Quarantined {
                depends_on: vec!["cookie plan".to_owned(), no_name.to_owned()],
                ..Quarantined::default()
            };
            assert!(proposal(&odd, &settings).is_none(), "{no_name}");
        }
    }
}
