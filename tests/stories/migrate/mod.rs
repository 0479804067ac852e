//! The way over from nginx: a real nginx, and Envoy with the filter on the settings that `optimizer-migrate` makes of its configuration,
//! answer the same requests. Where they decide otherwise, the report has said so, for that route.

mod cases;
mod nginx;

use cases::{Case, Differs, Step};
use e2e::bootstrap::Xds;
use e2e::client::{Connection, Request};
use e2e::origin::{Origin, Received, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use nginx::Nginx;
use optimizer_migrate::{NoFiles, Options, migrate};
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a client and the origin see of one request.
#[derive(Clone, Debug)]
struct Seen {
    status: u16,
    body: String,
    sets_cookie: bool,
    asked: bool,
    /// What the filter says of it.
    cache_status: String,
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        let decision = |seen: &Self| (seen.status, seen.body.clone(), seen.sets_cookie, seen.asked);
        decision(self) == decision(other)
    }
}

impl Seen {
    /// For who reads a failure.
    fn shown(&self) -> String {
        let asked = if self.asked { "asked" } else { "not asked" };
        let cookie = if self.sets_cookie { ", cookie" } else { "" };
        format!("{} {:?} {asked}{cookie} {}", self.status, self.body, self.cache_status)
    }
}

#[test]
fn migrated_settings_decide_as_nginx_did_but_where_the_report_says_so() {
    compare(cases::all(), &Options::default());
}

#[test]
fn what_is_assumed_of_the_origin_brings_back_what_nginx_did() {
    let options = Options {
        exact_names: true,
        one_ttl: true,
        silent_origin: true,
        missing_includes: false,
    };
    compare(cases::assumed(), &options);
}

fn compare(cases: Vec<Case>, options: &Options) {
    let cases = Arc::new(cases);
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = Nginx::program() else {
        assert!(std::env::var_os("CI").is_none(), "nginx is not installed");
        eprintln!("NOT RUN: nginx is not installed");
        return;
    };
    let (theirs, ours) = (origin(&cases), origin(&cases));
    let nowhere = free_port().unwrap();
    let configuration = |origin: &Origin| cases::configuration(origin.address(), nowhere);
    let text = format!("events {{}} http {{ {} }}", configuration(&ours));
    let migration = migrate("nginx.conf", &text, &NoFiles, options).unwrap();
    let report = serde_json::to_value(&migration.report).unwrap();

    let nginx = Nginx::start(&program, folder.path(), &configuration(&theirs)).unwrap();
    let plan = Plan {
        xds: Some(Xds::StateOfTheWorld),
        settings: migration.settings,
        ..Plan::default()
    };
    let stack = Stack::start(&plan, ours).unwrap();
    stack.wait_xds().unwrap();

    let by_nginx = run(&cases, nginx.address, &theirs);
    let by_ours = run(&cases, stack.envoy.address(), &stack.origin);
    judge(&cases, &by_nginx, &by_ours, &report);
}

/// Each case asks below a path of its own; the content counts how often the origin was asked for the path.
fn origin(cases: &Arc<Vec<Case>>) -> Origin {
    let cases = Arc::clone(cases);
    let counts: Mutex<HashMap<String, usize>> = Mutex::default();
    Origin::start(move |request: &Received| {
        let path = request.path.split('?').next().unwrap_or_default().to_owned();
        let count = {
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(path.clone()).or_default();
            *count += 1;
            *count
        };
        match cases.iter().find(|case| case.is_of(&path)) {
            Some(case) => {
                let reply = (case.answer)(request, count);
                // An error has the client's content as well, so that it can be told from one of a proxy.
                reply.body(format!("{} {count}", request.method))
            }
            None => Reply::new(404),
        }
    })
    .unwrap()
}

/// What comes of all steps of all cases. Step by step over all cases, so that each pause is made once.
fn run(cases: &[Case], address: SocketAddr, origin: &Origin) -> Vec<Vec<Seen>> {
    let mut seen: Vec<Vec<Seen>> = cases.iter().map(|_| Vec::new()).collect();
    let longest = cases.iter().map(|case| case.steps.len()).max().unwrap_or(0);
    for step in 0..longest {
        let due = cases.iter().filter_map(|case| case.steps.get(step));
        let pause = due.map(|step| step.pause).max().unwrap_or(0);
        std::thread::sleep(Duration::from_secs(pause));
        for (case, seen) in cases.iter().zip(&mut seen) {
            if let Some(step) = case.steps.get(step) {
                seen.push(ask(&case.request(step), step, address, origin));
            }
        }
    }
    seen
}

fn ask(request: &Request, step: &Step, address: SocketAddr, origin: &Origin) -> Seen {
    let before = origin.total();
    let response = Connection::open(address).unwrap().exchange(request).unwrap();
    if step.refreshes {
        wait::until("a refresh in the background", || {
            (origin.total() > before).then_some(())
        })
        .unwrap();
    }
    Seen {
        status: response.status,
        body: response.text(),
        sets_cookie: response.header("set-cookie").is_some(),
        asked: origin.total() > before,
        cache_status: response.header("cache-status").unwrap_or_default(),
    }
}

fn judge(cases: &[Case], nginx: &[Vec<Seen>], ours: &[Vec<Seen>], report: &Value) {
    let mut wrong = Vec::new();
    let mut differing = 0;
    for (case, (nginx, ours)) in cases.iter().zip(nginx.iter().zip(ours)) {
        let same = nginx == ours;
        differing += usize::from(!same);
        let shown = |seen: &[Seen]| seen.iter().map(Seen::shown).collect::<Vec<_>>().join(" | ");
        let row = || format!("{}\n  nginx {}\n  ours  {}", case.name, shown(nginx), shown(ours));
        match case.differs {
            Differs::No if !same => wrong.push(format!("{}\n  the report says nothing of it", row())),
            Differs::Says(code) if same => wrong.push(format!("{}\n  {code}: they do not differ", row())),
            Differs::Says(code) | Differs::May(code) if !says(report, code, case.location) => {
                wrong.push(format!(
                    "{}\n  {code} is not in the report for {}",
                    row(),
                    case.location
                ));
            }
            _ => {}
        }
        // Whatever the report says: nothing is shared that nginx asked its origin for.
        let shares_more = nginx.iter().zip(ours).any(|(nginx, ours)| nginx.asked && !ours.asked);
        if shares_more && !EARLIER.iter().any(|code| case.differs == Differs::Says(code)) {
            wrong.push(format!("{}\n  the filter answers where nginx asked", row()));
        }
    }
    println!(
        "{} cases, {differing} of them otherwise than in nginx, as reported",
        cases.len()
    );
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert!(
        differing * 2 < cases.len() + differing,
        "settings that do nothing prove nothing"
    );
}

/// No setting says these, and the report says so: when a response is stored first, a field of the origin's that only nginx reads, and what was
/// assumed against nginx's own words.
const EARLIER: [&str; 3] = ["min_uses", "x_accel_expires", "one_ttl"];

/// Whether the report says a code, for the route of a location or for all.
fn says(report: &Value, code: &str, location: &str) -> bool {
    let route = location.trim_matches('/').replace('/', "-");
    let entries = report["entries"].as_array().unwrap();
    entries.iter().filter(|entry| entry["code"] == code).any(|entry| {
        let routes = entry["routes"].as_array().unwrap();
        routes.is_empty() || routes.iter().any(|own| own.as_str() == Some(route.as_str()))
    })
}
