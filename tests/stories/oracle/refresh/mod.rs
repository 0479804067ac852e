//! The refresh oracle: what the origin sees of a refresh is what it saw of the client's own request, and what is served after it is what
//! a plain fetch would have stored; over every way in which Envoy changes a request head on its way.

mod page;
mod routes;

use crate::oracle::configuration::Configuration;
use crate::oracle::{more_time, say};
use e2e::client::Response;
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Received};
use e2e::wait;
use page::{Asked, LIVES, Page};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The validators, what Envoy writes for each hop, and tracing.
const OWN: [&str; 10] = [
    "if-none-match",
    "if-modified-since",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-internal",
    "x-envoy-attempt-count",
    "x-request-id",
    "x-client-trace-id",
    "traceparent",
    "tracestate",
    "b3",
];

/// Of the response: times, and what the cache says of itself.
const OF_TIME: [&str; 4] = ["date", "age", "cache-status", "x-envoy-upstream-service-time"];

/// Who ask at once.
const CLIENTS: usize = 24;

/// How often a page is asked for before it counts as one that is not stored.
const TRIES: usize = 6;

/// Everything that runs.
struct Setting {
    asked: Arc<Asked>,
    /// Pages that are refreshed, each with one that has the refreshed content from the start.
    pages: Vec<(Page, Page)>,
    _envoy: Envoy,
    _origin: Origin,
}

fn setting() -> Setting {
    let asked = Arc::new(Asked::default());
    let memory = Arc::clone(&asked);
    let origin = Origin::start(move |request: &Received| memory.answer(request)).unwrap();
    let settings = json!({"breaker": {"enabled": false}});
    let mut configuration = Configuration::new(Some(&settings), origin.address().port()).unwrap();
    let first = configuration.port();
    let listeners = routes::configure(&mut configuration, first).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let envoy = configuration.start(folder.path()).unwrap();
    let mut pages = Vec::new();
    for listener in &listeners {
        for segment in &listener.segments {
            for (life, _) in LIVES {
                for (changes, number) in [(false, 0), (true, 0), (false, 1), (true, 1)] {
                    let number = pages.len() * 2 + number;
                    let page = |settled| Page::new(listener.port, segment, life, changes, settled, number);
                    pages.push((page(false), page(true)));
                }
            }
        }
    }
    Setting {
        asked,
        pages,
        _envoy: envoy,
        _origin: origin,
    }
}

/// What was found in all rounds.
#[derive(Default)]
struct Tally {
    pages: usize,
    stored: usize,
    unseen: usize,
    compared: usize,
    /// Pages by how they went wrong.
    wrong: BTreeMap<String, BTreeSet<String>>,
}

#[test]
fn a_refresh_asks_as_the_client_did_and_stores_what_a_fetch_would() {
    let end = Instant::now() + more_time();
    let mut tally = Tally::default();
    round(&mut tally);
    while Instant::now() < end {
        round(&mut tally);
    }
    say(&format!(
        "refresh oracle: pages {}, stored {}, renewed behind a hit {}, served and compared {}, kinds of differences {}",
        tally.pages,
        tally.stored,
        tally.unseen,
        tally.compared,
        tally.wrong.len()
    ));
    let table = tally.wrong.iter().map(|(difference, pages)| {
        let example = pages.first().map_or("", |page| page.as_str());
        format!("{difference}\n    {} pages, such as {example}", pages.len())
    });
    let table: Vec<String> = table.collect();
    assert!(table.is_empty(), "\n{}", table.join("\n"));
    assert!(
        tally.compared * 3 > tally.pages,
        "too few to prove anything: {}",
        tally.compared
    );
}

/// All pages, with an Envoy that has seen none of them.
fn round(tally: &mut Tally) {
    let setting = setting();
    let refreshed = refresh(&setting);
    tally.pages += setting.pages.len();
    tally.stored += refreshed.stored.len();
    tally.unseen += refreshed.unseen;
    tally.compared += refreshed.compared;
    for (page, _) in &setting.pages {
        let asked = setting.asked.of(page);
        for difference in asked.iter().skip(1).flat_map(|again| asked_otherwise(&asked[0], again)) {
            tally.wrong.entry(difference).or_default().insert(page.name.clone());
        }
    }
    for (page, difference) in refreshed.served {
        if let Some(difference) = difference {
            tally.wrong.entry(difference).or_default().insert(page);
        }
    }
}

/// What became of the pages.
#[derive(Default)]
struct Refreshed {
    /// Pages that were served from store.
    stored: BTreeSet<String>,
    /// How many were renewed while their clients got what was stored.
    unseen: usize,
    /// How what is served of a page differs from what is served of its settled twin.
    served: Vec<(String, Option<String>)>,
    compared: usize,
}

/// Asks for every page until the origin was asked for it twice, by several clients at once.
fn refresh(setting: &Setting) -> Refreshed {
    let all = Mutex::new(Refreshed::default());
    let each = setting.pages.len().div_ceil(CLIENTS);
    std::thread::scope(|scope| {
        for pages in setting.pages.chunks(each) {
            let all = &all;
            scope.spawn(move || {
                let own = refresh_these(setting, pages);
                let mut all = all.lock().unwrap();
                all.stored.extend(own.stored);
                all.unseen += own.unseen;
                all.compared += own.compared;
                all.served.extend(own.served);
            });
        }
    });
    all.into_inner().unwrap()
}

fn refresh_these(setting: &Setting, pages: &[(Page, Page)]) -> Refreshed {
    let mut refreshed = Refreshed::default();
    let mut waiting: Vec<&Page> = pages.iter().map(|(page, _)| page).collect();
    for page in &waiting {
        page.ask().unwrap();
    }
    wait::until_within(Duration::from_secs(60), "every page asked for again", || {
        waiting.retain(|page| {
            let hit = page.ask().is_ok_and(|answer| answer.is_hit());
            if hit {
                refreshed.stored.insert(page.token.clone());
            }
            let again = setting.asked.of(page).len() >= 2;
            refreshed.unseen += usize::from(again && hit);
            !again
        });
        waiting.is_empty().then_some(())
    })
    .unwrap();
    for (page, settled) in pages {
        let difference = served_otherwise(page, settled, &mut refreshed.compared);
        refreshed.served.push((page.name.clone(), difference));
    }
    refreshed
}

/// How a request differs from the first one for the same page.
fn asked_otherwise(first: &Received, again: &Received) -> Vec<String> {
    let mut differences = Vec::new();
    if first.method != again.method {
        differences.push(format!("asked by {} in place of {}", again.method, first.method));
    }
    if first.path != again.path {
        let head = |path: &str| path.split('/').nth(1).unwrap_or_default().to_owned();
        differences.push(format!(
            "path: /{}/... in place of /{}/...",
            head(&again.path),
            head(&first.path)
        ));
    }
    let of = |request: &Received, name: &str| {
        let values = request.fields.iter().filter(|(given, _)| given == name);
        values.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let names = first.fields.iter().chain(&again.fields).map(|(name, _)| name.as_str());
    let names: BTreeSet<&str> = names
        .filter(|name| !OWN.contains(name) && !name.starts_with("x-b3-"))
        .collect();
    for name in names {
        let (one, other) = (of(first, name), of(again, name));
        if one != other {
            let generic = |values: Vec<String>| values.join(" | ").split('/').take(2).collect::<Vec<_>>().join("/");
            differences.push(format!(
                "field {name}: {:?} in place of {:?}",
                generic(other),
                generic(one)
            ));
        }
    }
    differences
}

/// How what is served after a refresh differs from what is served after a plain fetch of the same content.
fn served_otherwise(page: &Page, settled: &Page, compared: &mut usize) -> Option<String> {
    let renewed = served(page);
    let plain = served(settled);
    match (renewed, plain) {
        (Some(renewed), Some(plain)) => {
            *compared += 1;
            let lines = |answer: &Response| {
                let lines = answer
                    .fields
                    .iter()
                    .filter(|(name, _)| !OF_TIME.contains(&name.as_str()));
                let lines = lines.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)));
                let mut counts = BTreeMap::new();
                lines.for_each(|line| *counts.entry(line).or_insert(0) += 1);
                counts.into_iter().collect::<BTreeSet<(String, usize)>>()
            };
            let text = |answer: &Response, page: &Page| answer.text().replace(&page.token, "");
            if text(&renewed, page) != text(&plain, settled) {
                return Some("another content is stored by a refresh than by a fetch".to_owned());
            }
            let (one, other) = (lines(&renewed), lines(&plain));
            let more: Vec<_> = one.difference(&other).cloned().collect();
            let less: Vec<_> = other.difference(&one).cloned().collect();
            let same = renewed.status == plain.status && more.is_empty() && less.is_empty();
            (!same).then(|| {
                format!(
                    "stored by a refresh: {} {more:?}, by a fetch: {} {less:?}",
                    renewed.status, plain.status
                )
            })
        }
        (Some(_), None) => Some("stored by a refresh, not by a fetch".to_owned()),
        (None, _) => None,
    }
}

/// The page from store, with its new content.
fn served(page: &Page) -> Option<Response> {
    (0..TRIES).find_map(|_| {
        let answer = page.ask().ok()?;
        let new = answer.header("x-version").as_deref() == Some("new");
        (answer.is_hit() && new).then_some(answer)
    })
}
