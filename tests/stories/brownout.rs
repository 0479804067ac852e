//! The origin dies and returns under load: the cache answers meanwhile, and the origin gets no second spike.

use e2e::client::{Connection, Request, Response};
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Pages with lifetimes of one to three seconds.
const PAGES: u64 = 90;
const CLIENTS: u64 = 3;
/// What a rate is measured over: a machine that stands still for a moment moves requests into the next one.
const SPAN: Duration = Duration::from_secs(2);
/// As long before the outage as after it.
const WATCHED: Duration = Duration::from_secs(8);
/// Between two requests of a client.
const PACE: Duration = Duration::from_millis(15);

fn origin() -> Origin {
    Origin::start(|request| {
        let page = request.path.trim_start_matches("/page/").parse().unwrap_or(0_u64);
        match request.path.as_str() {
            "/strict" => Reply::ok("strict").header("cache-control", "max-age=1, must-revalidate"),
            "/unstored" => Reply::ok("unstored").header("cache-control", "no-store"),
            _ => Reply::ok("page").max_age(1 + page % 3),
        }
    })
    .unwrap()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    /// Pages asked for so far. They grow in number, so that they do not all expire together.
    pages: AtomicU64,
    asked: AtomicU64,
    bad: AtomicU64,
    /// When a client first got something stale for a call that failed.
    first_failure_ms: AtomicU64,
    unlike: Mutex<Vec<String>>,
}

fn client(address: SocketAddr, seen: &Seen, number: u64) {
    let mut connection = Connection::open(address).unwrap();
    let mut page = number * 31;
    let mut next = Instant::now();
    while !seen.stop.load(Ordering::SeqCst) {
        // Steps that visit every page in no simple order.
        page = (page + 37) % PAGES;
        let known = page % seen.pages.load(Ordering::SeqCst).max(1);
        let answer = connection.exchange(&Request::get(&format!("/page/{known}")));
        seen.asked.fetch_add(1, Ordering::SeqCst);
        match answer {
            Ok(answer) if answer.status == 200 => note_stale(seen, &answer),
            other => {
                seen.bad.fetch_add(1, Ordering::SeqCst);
                seen.unlike.lock().unwrap().push(format!("{other:?}"));
                connection = Connection::open(address).unwrap();
            }
        }
        next += PACE;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

fn note_stale(seen: &Seen, answer: &Response) {
    if answer.header("proxy-status").is_some() {
        let _ = seen
            .first_failure_ms
            .compare_exchange(0, now_ms(), Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// The most requests within any [`SPAN`] that the origin got between two moments.
fn peak(stack: &Stack, from: Instant, to: Instant) -> usize {
    let at: Vec<Instant> = stack
        .origin
        .received()
        .iter()
        .map(|request| request.at)
        .filter(|at| (from..to).contains(at))
        .collect();
    let within = |start: Instant| at.iter().filter(|at| (start..start + SPAN).contains(at)).count();
    at.iter().map(|start| within(*start)).max().unwrap_or(0)
}

fn event(stack: &Stack, to: &str) -> u64 {
    wait::until(&format!("the breaker {to}"), || {
        let events = stack.rest().document("/circuit-breaker/events").unwrap();
        let found = events
            .as_array()?
            .iter()
            .rev()
            .find(|event| event["to"] == to)
            .cloned()?;
        found["at"].as_u64()
    })
    .unwrap()
}

#[test]
fn an_outage_under_load_is_bridged_and_followed_by_no_second_spike() {
    let mut stack = Stack::start(&Plan::default(), origin()).unwrap();
    stack
        .change_settings(&json!({
            "breaker": {"window": "5s", "minimum_calls": 10, "open_wait": "400ms", "open_wait_max": "800ms", "probes": 2, "recovery_ramp": "20s"},
            "freshness": {"max_stale_on_outage": "1h"},
        }))
        .unwrap();
    let seen = Seen::default();
    let shared = &seen;
    let mut figures = Vec::new();
    // The clients only need its address.
    let address = stack.envoy.address();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || client(address, shared, number));
        }
        let _stop = StopOnDrop(&seen.stop);
        for pages in 1..=PAGES {
            seen.pages.store(pages, Ordering::SeqCst);
            std::thread::sleep(Duration::from_secs(4) / u32::try_from(PAGES).unwrap());
        }
        std::thread::sleep(Duration::from_secs(2));
        let steady_from = Instant::now();
        std::thread::sleep(WATCHED);
        let steady = peak(&stack, steady_from, Instant::now());

        let (asked, bad) = (seen.asked.load(Ordering::SeqCst), seen.bad.load(Ordering::SeqCst));
        assert_eq!(bad, 0, "{:?}", seen.unlike.lock().unwrap());
        stack.origin.die();
        let opened_ms = event(&stack, "open");
        check_what_clients_see(&stack);
        // All pages are stale by then.
        std::thread::sleep(Duration::from_secs(4));
        let asked = seen.asked.load(Ordering::SeqCst) - asked;
        let bad = seen.bad.load(Ordering::SeqCst);
        assert!(
            bad * 100 <= asked,
            "{bad} of {asked}: {:?}",
            seen.unlike.lock().unwrap().first()
        );

        let revived_ms = now_ms();
        let revived = Instant::now();
        stack.origin.revive().unwrap();
        let closed_ms = event(&stack, "closed");
        std::thread::sleep(WATCHED);
        let after = peak(&stack, revived, Instant::now());
        figures.push(format!(
            "outage: {asked} requests, {bad} not answered well; origin in its busiest two seconds {steady} before, {after} after; \
             {} ms from the first failing call to open, {} ms from recovery to closed",
            opened_ms.saturating_sub(seen.first_failure_ms.load(Ordering::SeqCst)),
            closed_ms.saturating_sub(revived_ms),
        ));
        // Busiest time against busiest time: in steady state pages expire in waves too. Without a ramp all pages would come at once.
        assert!(after * 10 <= steady * 15, "{figures:?}");
        let status = stack.rest().document("/circuit-breaker/status").unwrap();
        assert!(
            status["upstreams"]["origin"][0]["deferred_calls"].as_u64().unwrap() > 0,
            "the ramp was needed: {status}"
        );
    });
    println!("{}", figures.join("\n"));
}

/// While the breaker is open.
fn check_what_clients_see(stack: &Stack) {
    let stale = wait::until("a page from the cache", || {
        let answer = stack.envoy.get("/page/0").unwrap();
        answer.cache_status().contains("detail=breaker-").then_some(answer)
    })
    .unwrap();
    assert_eq!(stale.status, 200);
    assert!(stale.cache_status().contains("hit; ttl=-"), "{}", stale.cache_status());
    assert!(stale.number("age").is_some());
    assert!(
        stale
            .header("proxy-status")
            .unwrap()
            .starts_with("api-optimizer; error=")
    );
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn staleness_has_a_ceiling_and_some_responses_have_none() {
    let mut stack = Stack::start(&Plan::default(), origin()).unwrap();
    stack
        .change_settings(&json!({
            "breaker": {"minimum_calls": 5, "open_wait": "10m", "open_wait_max": "10m"},
            "freshness": {"max_stale_on_outage": "1h"},
            "routes": [{"name": "short", "path_prefix": "/page/7", "max_stale_on_outage": "2s"}],
        }))
        .unwrap();
    for path in ["/page/0", "/page/7", "/strict", "/unstored"] {
        assert_eq!(stack.envoy.get(path).unwrap().status, 200);
    }
    stack.origin.die();
    // Before the breaker opens, what Envoy says of a failed call is put into the same words.
    let failed = stack.envoy.get("/unstored").unwrap();
    assert_eq!(
        (failed.status, failed.json().unwrap()["code"].clone()),
        (503, json!("upstream_unreachable"))
    );
    assert!(failed.header("proxy-status").unwrap().contains("error="), "{failed:?}");
    assert!(failed.header("retry-after").is_some());
    let refused = |path: &str| {
        wait::until("a refusal", || {
            let answer = stack.envoy.get(path).unwrap();
            let code = answer.json().ok()?["code"].clone();
            (code == "circuit_breaker_open").then_some(answer)
        })
        .unwrap()
    };
    refused("/unstored");
    let strict = wait::until("the strict one stale", || {
        let answer = stack.envoy.get("/strict").unwrap();
        (answer.status != 200).then_some(answer)
    })
    .unwrap();
    assert_eq!(strict.status, 503, "must-revalidate");
    wait::until("the short one beyond its ceiling", || {
        (stack.envoy.get("/page/7").unwrap().status == 503).then_some(())
    })
    .unwrap();
    let stale = stack.envoy.get("/page/0").unwrap();
    assert_eq!(stale.status, 200);
    assert!(stale.cache_status().contains("ttl=-"), "{}", stale.cache_status());
    let no_cache = Request::get("/page/0").header("cache-control", "no-cache");
    assert_eq!(
        stack.envoy.fetch(&no_cache).unwrap().status,
        503,
        "the client wants none of it"
    );
}

#[test]
fn windows_of_staleness_hold_while_the_breaker_is_open() {
    let origin = Origin::start(|request| match request.path.as_str() {
        "/while" => Reply::ok("while").header("cache-control", "max-age=1, stale-while-revalidate=4"),
        "/if" => Reply::ok("if").header("cache-control", "max-age=1, stale-if-error=5"),
        "/strict" => Reply::ok("strict").header("cache-control", "max-age=1, stale-if-error=60, must-revalidate"),
        _ => Reply::ok("neither").max_age(1),
    })
    .unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    stack
        .change_settings(&json!({"freshness": {"max_stale_on_outage": "0s"}}))
        .unwrap();
    let windows = [("/while", 4), ("/if", 5), ("/strict", 0), ("/neither", 0)];
    for (path, _) in windows {
        assert_eq!(stack.envoy.get(path).unwrap().status, 200);
    }
    let asked = stack.origin.total();
    let word = Request::new("POST", "/circuit-breaker/origin/force-open");
    wait::until("the upstream known, and its breaker open", || {
        (stack.rest().send(&word).ok()?.status == 200).then_some(())
    })
    .unwrap();
    for (path, window_s) in windows {
        let mut stale = 0;
        wait::until("the end of the window", || {
            let answer = stack.envoy.get(path).unwrap();
            if answer.status == 503 {
                return Some(());
            }
            let age = answer.number("age").unwrap_or_default();
            assert!(age <= 1 + window_s, "{path} at {age} s");
            stale += usize::from(answer.cache_status().contains("ttl=-"));
            None
        })
        .unwrap();
        // Those looked at later may have passed their windows already.
        assert!(path != "/while" || stale > 0, "{path} within its window");
        assert!(window_s > 0 || stale == 0, "{path} is never stale");
    }
    assert_eq!(stack.origin.total(), asked, "nor was the origin asked");
}
