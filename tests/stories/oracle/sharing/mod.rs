//! The sharing gate: does the second client get what the origin made for the first? Where both nginx and Varnish say no, the filter
//! must not say yes.

mod case;
mod cases;
mod more_cases;
mod peers;

use crate::oracle::configuration::Configuration;
use crate::oracle::say;
use case::Case;
use e2e::client::{Connection, Response};
use e2e::origin::{Origin, Received, Reply};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Whom the first answer is for.
const FIRST: &str = "alice";

#[test]
fn nothing_is_shared_that_both_nginx_and_varnish_keep_apart() {
    let cases = Arc::new(cases::all());
    let origin = origin(&cases);
    let folder = tempfile::tempdir().unwrap();
    let ours = ours(&cases, &origin).start(&folder.path().join("ours")).unwrap();
    let nginx = peers::nginx(folder.path(), origin.address()).unwrap();
    let varnish = peers::varnish(folder.path(), origin.address()).unwrap();
    for (name, peer) in [("nginx", &nginx), ("Varnish", &varnish)] {
        if peer.is_none() {
            assert!(std::env::var_os("CI").is_none(), "{name} is not installed");
            say(&format!(
                "SHARING GATE NOT WHOLE: {name} is not installed; skipped: what it shares"
            ));
        }
    }
    let asked = |address: SocketAddr| shared(&cases, address);
    let ours = asked(ours.address());
    let (nginx, varnish) = (
        nginx.map(|peer| asked(peer.address)),
        varnish.map(|peer| asked(peer.address)),
    );
    let mut wrong = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let of = |peer: &Option<Vec<bool>>| peer.as_ref().map(|shared| shared[at]);
        let (nginx, varnish) = (of(&nginx), of(&varnish));
        let word = |shared: Option<bool>| match shared {
            Some(true) => "shares",
            Some(false) => "-",
            None => "not asked",
        };
        let row = format!(
            "{:60} {:9} {:9} {:9}",
            case.name,
            word(Some(ours[at])),
            word(nginx),
            word(varnish)
        );
        println!("{row}{}", case.standard.unwrap_or_default());
        let alone = nginx == Some(false) && varnish == Some(false);
        if ours[at] && (case.never || alone && case.standard.is_none()) {
            wrong.push(row + if case.never { " never to be shared" } else { "" });
        }
    }
    let count = |shared: &[bool]| shared.iter().filter(|shared| **shared).count();
    let peer = |shared: &Option<Vec<bool>>| {
        shared
            .as_deref()
            .map_or("none".to_owned(), |shared| count(shared).to_string())
    };
    say(&format!(
        "sharing gate: cases {}, shared by the filter {}, nginx {}, Varnish {}, wrong {}",
        cases.len(),
        count(&ours),
        peer(&nginx),
        peer(&varnish),
        wrong.len()
    ));
    let heading = format!("{:60} {:9} {:9} {:9}", "", "filter", "nginx", "Varnish");
    assert!(wrong.is_empty(), "\n{heading}\n{}", wrong.join("\n"));
    assert!(
        count(&ours) * 8 > cases.len(),
        "a filter that shares nothing proves nothing"
    );
}

fn origin(cases: &Arc<Vec<Case>>) -> Origin {
    let cases = Arc::clone(cases);
    Origin::start(move |request: &Received| {
        let who = request.header("x-who").unwrap_or("nobody");
        let case = number(&request.path).and_then(|number| cases.get(number));
        case.map_or_else(|| Reply::new(404), |case| (case.answer)(request, who))
    })
    .unwrap()
}

/// The case that a path is of.
fn number(path: &str) -> Option<usize> {
    path.strip_prefix("/c")?.split('/').next()?.parse().ok()
}

fn ours(cases: &[Case], origin: &Origin) -> Configuration {
    let routes = cases.iter().enumerate().filter(|(_, case)| case.route != json!({}));
    let routes = routes.map(|(at, case)| {
        let mut route = case.route.clone();
        route["name"] = json!(format!("c{at}"));
        route["path_prefix"] = json!(format!("/c{at}/"));
        route
    });
    let settings = json!({"routes": routes.collect::<Vec<_>>(), "breaker": {"enabled": false}});
    Configuration::new(Some(&settings), origin.address().port()).unwrap()
}

/// For each case, whether the last client got what was made for the first.
fn shared(cases: &[Case], address: SocketAddr) -> Vec<bool> {
    let longest = cases.iter().map(|case| case.steps.len()).max().unwrap_or(0);
    let mut answers: Vec<Option<Response>> = vec![None; cases.len()];
    // Step by step over all cases, so that each pause is made once.
    for step in (0..longest).rev() {
        let due = |case: &Case| case.steps.len().checked_sub(step + 1).map(|at| case.steps[at].clone());
        let pause = cases.iter().filter_map(due).map(|step| step.pause).max().unwrap_or(0);
        std::thread::sleep(Duration::from_secs(pause));
        for (at, case) in cases.iter().enumerate() {
            if let Some(step) = due(case) {
                let request = step.request(&format!("/c{at}/page"));
                let connection = Connection::open(address);
                answers[at] = connection.and_then(|mut connection| connection.exchange(&request)).ok();
            }
        }
    }
    answers
        .into_iter()
        .map(|answer| answer.is_some_and(|answer| tells(&answer)))
        .collect()
}

fn tells(answer: &Response) -> bool {
    let values = answer.fields.iter().map(|(_, value)| value.as_slice());
    let mut all = values.chain(std::iter::once(answer.body.as_slice()));
    all.any(|bytes| String::from_utf8_lossy(bytes).contains(FIRST))
}
