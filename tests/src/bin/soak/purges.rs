//! Purges: something new is published, what was before is purged, and once the receipt says that this is done nobody may see it again.

use crate::content::{KINDS, Random, Resource, tag};
use crate::fleet::EACH;
use crate::run::Run;
use e2e::client::Request;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two purges of one operator.
const PAUSE: Duration = Duration::from_secs(3);
/// Longest wait for a receipt.
const PATIENCE: Duration = Duration::from_secs(20);

/// One operator, until the run ends.
pub(crate) fn operate(run: &Run, number: u64) {
    let mut random = Random::new(run.seed, 50 + number);
    let mut known = BTreeMap::new();
    while !run.stop.load(Ordering::SeqCst) {
        run.pause(PAUSE);
        let target = match random.below(100) {
            0..70 => {
                let (_, kind, count) = *random.pick(&KINDS);
                let number = random.below(count);
                Target::Url(Resource { kind, number })
            }
            70..95 => Target::Tag(random.below(100)),
            _ => Target::All,
        };
        let outcome = purge(run, &mut random, &mut known, target);
        run.purges.count(target.name(), outcome);
    }
}

/// What is purged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Url(Resource),
    Tag(u64),
    All,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            Self::Tag(_) => "tag",
            Self::All => "all",
        }
    }

    fn resources(self) -> Vec<Resource> {
        let meant = |resource: &Resource| match self {
            Self::Url(one) => *resource == one,
            Self::Tag(number) => resource.tag() == tag(number),
            Self::All => true,
        };
        Resource::all().filter(meant).collect()
    }

    fn body(self) -> Value {
        match self {
            Self::Url(resource) => json!({"url": format!("http://api.example{}", resource.path())}),
            Self::Tag(number) => json!({"tag": tag(number)}),
            Self::All => json!({"all": true}),
        }
    }
}

/// Publishes, purges and waits for the receipt.
pub(crate) fn purge(
    run: &Run,
    random: &mut Random,
    known: &mut BTreeMap<String, String>,
    target: Target,
) -> &'static str {
    let published = run.log.publish(&target.resources());
    let rest = run.fleet.rest(usize::try_from(random.below(EACH as u64)).unwrap_or(0));
    let request = Request::new("POST", "/cache/purge?wait=all&timeout=5s")
        .header("content-type", "application/json")
        .body(target.body().to_string());
    let receipt = rest.send(&request).ok().filter(|answer| answer.status < 300);
    let Some(mut receipt) = receipt.and_then(|answer| answer.json().ok()) else {
        return "refused";
    };
    let id = receipt["id"].as_str().unwrap_or_default().to_owned();
    let begin = Instant::now();
    loop {
        if is_done(run, known, &receipt) {
            run.log.purged(&published);
            return if receipt["complete"] == true {
                "complete"
            } else {
                "complete but for Envoys that are dead"
            };
        }
        if begin.elapsed() > PATIENCE || run.stop.load(Ordering::SeqCst) {
            return "not complete in time";
        }
        std::thread::sleep(Duration::from_millis(200));
        if let Ok(next) = rest.document(&format!("/cache/purges/{id}")) {
            receipt = next;
        }
    }
}

/// Complete, or it waits for nobody but Envoys of which the run knows that they have ended: the control plane does not, and
/// goes on waiting for them for an hour.
fn is_done(run: &Run, known: &mut BTreeMap<String, String>, receipt: &Value) -> bool {
    let list = |name: &str| receipt[name].as_array().cloned().unwrap_or_default();
    let named = ["applied", "late", "away"].into_iter().flat_map(list);
    for envoy in named {
        let text = |name: &str| envoy[name].as_str().unwrap_or_default().to_owned();
        known.insert(text("envoy"), text("node_id"));
    }
    if receipt["complete"] == true {
        return true;
    }
    let alive = run.fleet.node_ids();
    let is_dead = |node: &str| !node.is_empty() && alive.iter().all(|name| name != node);
    let away = list("away")
        .iter()
        .all(|envoy| is_dead(envoy["node_id"].as_str().unwrap_or_default()));
    let unknown = list("unknown").iter().all(|envoy| {
        let node = envoy.as_str().and_then(|envoy| known.get(envoy));
        node.is_some_and(|node| is_dead(node))
    });
    let told = receipt["shared_tier"] == "applied" && receipt["replicas"] == "told";
    away && unknown && told && list("late").is_empty()
}
