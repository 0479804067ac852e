//! Snapshots out of the caches and back in: what is sound comes back with its age, what is not stays out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control_domain::cache::snapshot::Entry;
use e2e::client::{Request, Response};
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Reply};
use e2e::rest::Rest;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};

const PAGES: usize = 40;

fn path(page: usize) -> String {
    format!("/page/{page}")
}

/// Pages of different sizes, the last one too large for one message.
fn origin() -> Origin {
    Origin::start(|request| {
        let page: usize = request
            .path
            .rsplit('/')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        let size = if page == PAGES - 1 { 600_000 } else { page * 100 };
        let age = if page == 0 { "17" } else { "0" };
        let reply = Reply::ok(
            format!("page {page} ")
                .into_bytes()
                .into_iter()
                .cycle()
                .take(size + 8)
                .collect::<Vec<_>>(),
        );
        let reply = reply
            .max_age(600)
            .header("etag", format!("\"{page}\""))
            .header("age", age);
        match request.path.as_str() {
            "/private/1" => reply.header("vary", "cookie"),
            _ => reply.header("surrogate-key", "pages"),
        }
    })
    .unwrap()
}

fn snapshot(rest: &Rest, query: &str) -> Response {
    let answer = rest
        .send(&Request::new("POST", &format!("/cache/snapshot{query}")))
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

fn restore(rest: &Rest, query: &str, body: impl Into<Vec<u8>>) -> Response {
    let request = Request::new("POST", &format!("/cache/restore{query}"));
    rest.send(&request.header("content-type", "application/json").body(body))
        .unwrap()
}

fn restored(rest: &Rest, query: &str, body: impl Into<Vec<u8>>) -> Value {
    let answer = restore(rest, query, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap()
}

fn fill(envoy: &Envoy) -> Vec<Response> {
    let answers: Vec<Response> = (0..PAGES).map(|page| envoy.get(&path(page)).unwrap()).collect();
    envoy
        .fetch(&Request::get("/private/1").header("cookie", "me=1"))
        .unwrap();
    answers
}

/// A stack whose only Envoy has just begun, with the control plane's purges of `stack`: a fresh Envoy beside, the other one purged.
fn fresh(stack: &Stack) -> Envoy {
    stack.envoy_beside("fresh").unwrap()
}

#[test]
fn a_fresh_envoy_answers_every_restored_page_with_its_age_and_no_fetch() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    let rest = stack.rest();
    let first = fill(&stack.envoy);
    let document = snapshot(&rest, "");
    let view = document.json().unwrap();
    assert_eq!(
        (&view["format"], &view["complete"]),
        (&json!("api-optimizer-cache-snapshot"), &json!(true))
    );
    assert_eq!(view["count"], PAGES, "what is selected by a cookie is somebody's");
    let everything = snapshot(&rest, "?include_private=true").json().unwrap();
    assert_eq!(everything["count"], PAGES + 1);

    let fresh = fresh(&stack);
    // As curl sends a file with --data: without line ends.
    let body: Vec<u8> = document
        .body
        .into_iter()
        .filter(|byte| !b"\r\n\0".contains(byte))
        .collect();
    let dry = restored(&rest, "?dry_run=true&envoy=fresh", body.clone());
    assert_eq!((&dry["restored"], &dry["refused"]), (&json!(PAGES), &json!(0)), "{dry}");
    assert!(!fresh.get("/page/3").unwrap().is_hit(), "a dry run changes nothing");
    let done = restored(&rest, "?envoy=fresh", body.clone());
    assert_eq!(
        (&done["restored"], &done["kept"]),
        (&json!(PAGES - 1), &json!(1)),
        "{done}"
    );
    assert_eq!((&done["intact"], &done["read"]), (&json!(true), &json!(PAGES)));
    let asked = stack.origin.total();
    for (page, was) in first.iter().enumerate().filter(|(page, _)| *page != 3) {
        let hit = fresh.get(&path(page)).unwrap();
        assert!(hit.is_hit(), "{page}: {}", hit.cache_status());
        assert!(
            hit.body == was.body && hit.header("etag") == was.header("etag"),
            "{page}"
        );
        let least = if page == 0 { 17 } else { 0 };
        let age = hit.number("age").unwrap();
        assert!((least..least + 60).contains(&age), "{page}: {age}");
    }
    assert_eq!(stack.origin.total(), asked, "not one fetch");
    let again = restored(&rest, "", body);
    assert_eq!(
        (&again["restored"], &again["kept"]),
        (&json!(0), &json!(PAGES)),
        "{again}"
    );
}

#[test]
fn a_snapshot_is_compressed_capped_and_chosen_from() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    let rest = stack.rest();
    fill(&stack.envoy);
    (0..5).for_each(|_| drop(stack.envoy.get(&path(7)).unwrap()));
    let hot = wait::until("the hits in the directory", || {
        let hot = snapshot(&rest, "?min_hits=1").json().unwrap();
        (hot["count"].as_u64()? > 0).then_some(hot)
    })
    .unwrap();
    assert_eq!(
        (&hot["count"], &hot["entries"][0]["url"]),
        (&json!(1), &json!("http://api.example/page/7"))
    );
    // Its hits come into the directory a part at a time.
    wait::until("the most valuable first", || {
        let whole = snapshot(&rest, "").json().unwrap();
        (whole["entries"][0]["url"] == "http://api.example/page/7").then_some(())
    })
    .unwrap();
    let chosen = snapshot(&rest, "?prefix=api.example/page/1").json().unwrap();
    assert_eq!(chosen["count"], 11);
    let capped = snapshot(&rest, "?max_mb=0").json().unwrap();
    assert_eq!((&capped["complete"], &capped["count"]), (&json!(false), &json!(0)));
    let packed = snapshot(&rest, "?compress=gzip").body;
    assert!(
        packed.starts_with(&[0x1f, 0x8b]) && packed.len() < 300_000,
        "{}",
        packed.len()
    );
    let fresh = fresh(&stack);
    let done = restored(&rest, "?envoy=fresh", packed);
    assert_eq!(done["restored"], PAGES, "{done}");
    assert!(fresh.get(&path(PAGES - 1)).unwrap().is_hit());
}

#[test]
fn damage_of_every_kind_stays_out_and_the_rest_comes_back() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    let rest = stack.rest();
    fill(&stack.envoy);
    let text = snapshot(&rest, "").text();
    let document: Value = serde_json::from_str(&text).unwrap();
    stack.envoy_beside("fresh").map(drop).unwrap();

    for (what, body) in [
        ("truncated", text[..text.len() / 2].to_owned()),
        ("nothing", String::new()),
        ("an error page", "<html>502</html>".to_owned()),
        ("another document", r#"{"a":1}"#.to_owned()),
        ("another version", text.replacen("\"version\":1", "\"version\":9", 1)),
    ] {
        let answer = restore(&rest, "", body);
        assert_eq!(answer.status, 422, "{what}: {}", answer.text());
        assert_eq!(answer.json().unwrap()["code"], "not_a_snapshot", "{what}");
    }

    let fresh = stack.envoy_beside("fresh-too").unwrap();
    let mut damaged = document.clone();
    let entries = damaged["entries"].as_array_mut().unwrap();
    // A flipped bit in a record, in what says when it was received, and in its URL; and what is no entry at all.
    let record = entries[0]["record"].as_str().unwrap().to_owned();
    let flipped = if record.starts_with('A') { "B" } else { "A" };
    entries[0]["record"] = json!(format!("{flipped}{}", &record[1..]));
    let received = entries[1]["response_time_ms"].as_u64().unwrap();
    entries[1]["response_time_ms"] = json!(received ^ 1);
    entries[2]["url"] = json!("http://api.example/elsewhere");
    entries[3] = json!({"url": 7});
    let names: Vec<String> = entries[4..]
        .iter()
        .map(|entry| {
            entry["url"]
                .as_str()
                .unwrap()
                .trim_start_matches("http://api.example")
                .to_owned()
        })
        .collect();
    let done = restored(&rest, "?envoy=fresh-too", damaged.to_string());
    assert_eq!(
        (&done["restored"], &done["refused"]),
        (&json!(PAGES - 4), &json!(4)),
        "{done}"
    );
    assert_eq!(done["reasons"], json!({"checksum": 3, "malformed": 1}), "{done}");
    assert_eq!(done["intact"], false);
    for name in names {
        assert!(fresh.get(&name).unwrap().is_hit(), "{name}");
    }
}

/// An entry with sound checksums, made by somebody who knows them, from a sound one.
fn forged(entry: &Value, change: impl FnOnce(&mut Entry, &mut Vec<u8>)) -> Value {
    let mut entry: Entry = serde_json::from_value(entry.clone()).unwrap();
    let mut record = STANDARD.decode(&entry.record).unwrap();
    change(&mut entry, &mut record);
    let head = u32::from_le_bytes(record[20..24].try_into().unwrap()) as usize;
    let sum = xxhash_rust::xxh3::xxh3_64(&record[12..head]);
    record[4..12].copy_from_slice(&sum.to_le_bytes());
    entry.checksum = entry.sum(&record).text();
    entry.record = STANDARD.encode(&record);
    serde_json::to_value(entry).unwrap()
}

fn replace(record: &mut [u8], from: &[u8], to: &[u8]) {
    let at = record.windows(from.len()).position(|part| part == from).unwrap();
    record[at..at + to.len()].copy_from_slice(to);
}

#[test]
fn a_forger_who_knows_the_checksums_gets_no_header_in_and_no_entry_from_the_future() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    let rest = stack.rest();
    fill(&stack.envoy);
    let mut document = snapshot(&rest, "?prefix=api.example/page/1").json().unwrap();
    let _fresh = fresh(&stack);
    let sound = document["entries"].as_array().unwrap().clone();
    let hour = 3_600_000;
    document["entries"] = json!([
        forged(&sound[0], |_, record| replace(record, b"max-age=600", b"max\r\nx: y0")),
        forged(&sound[1], |_, record| replace(
            record,
            b"cache-control",
            b"cache control"
        )),
        forged(&sound[2], |entry, _| entry.response_time_ms += hour),
        forged(&sound[3], |_, record| replace(record, b"http://api", b"file://api")),
        forged(&sound[4], |_, _| ()),
    ]);
    for query in ["?dry_run=true&envoy=fresh", "?envoy=fresh"] {
        let done = restored(&rest, query, document.to_string());
        assert_eq!((&done["restored"], &done["refused"]), (&json!(1), &json!(4)), "{done}");
        assert_eq!(
            done["reasons"],
            json!({"header": 2, "from-the-future": 1, "key": 1}),
            "{done}"
        );
    }
}

#[test]
fn what_was_purged_since_a_snapshot_stays_purged() {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    let rest = stack.rest();
    fill(&stack.envoy);
    let document = snapshot(&rest, "").body;
    let purge = Request::new("POST", "/cache/purge?wait=all").body(r#"{"url": "http://api.example/page/5"}"#);
    assert_eq!(rest.send(&purge).unwrap().status, 200);
    // An unsafe request, of which the control plane knows nothing.
    stack.envoy.fetch(&Request::new("POST", "/page/6").body("{}")).unwrap();
    let fresh = fresh(&stack);
    let done = restored(&rest, "", document);
    assert_eq!(done["purged"], 1, "{done}");
    assert!(!stack.envoy.get("/page/5").unwrap().is_hit());
    assert!(!fresh.get("/page/5").unwrap().is_hit());
    assert!(
        !stack.envoy.get("/page/6").unwrap().is_hit(),
        "the Envoy itself remembers"
    );
    assert!(fresh.get("/page/7").unwrap().is_hit());
    let empty = snapshot(&rest, "?prefix=api.example/page/5").json().unwrap();
    assert!(empty["count"].as_u64() <= Some(2), "stored again since: {empty}");
}

#[test]
fn a_new_envoy_is_warm_before_it_is_ready() {
    let plan = Plan {
        environment: vec![("WARM_START_MB".to_owned(), "64".to_owned())],
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin()).unwrap();
    let rest = stack.rest();
    fill(&stack.envoy);
    let ready = |query: &str| rest.get(&format!("/health/ready?{query}")).unwrap();
    assert_eq!(ready("warm=80&envoy=new").status, 503, "it is not there yet");
    let new = stack.envoy_beside("new").unwrap();
    wait::until("the new Envoy warm", || {
        (ready("warm=80&envoy=new").status == 200).then_some(())
    })
    .unwrap();
    wait::until("all of it", || {
        (ready("warm=100&envoy=new").status == 200).then_some(())
    })
    .unwrap();
    let asked = stack.origin.total();
    for page in 0..PAGES {
        assert!(new.get(&path(page)).unwrap().is_hit(), "{page}");
    }
    assert_eq!(stack.origin.total(), asked);
    assert_eq!(ready("warm=lots").status, 400);

    let cold = rest.send(&Request::new("POST", "/cache/warm?envoy=nobody")).unwrap();
    assert_eq!(cold.status, 404);
    let again = rest
        .send(&Request::new("POST", "/cache/warm?envoy=new&max_mb=1"))
        .unwrap();
    assert_eq!(again.status, 202, "{}", again.text());
}

/// As in a pod with a read-only root: nothing can be written where temporary files go.
#[test]
fn a_restore_needs_no_folder_for_temporary_files() {
    let environment = [("TMPDIR", "/proc"), ("RESTORE_MAX_MB", "1")];
    let plan = Plan {
        environment: environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin()).unwrap();
    let rest = stack.rest();
    fill(&stack.envoy);
    let document = snapshot(&rest, "?prefix=api.example/page/1");
    assert!(document.body.len() < 1_000_000);
    let report = restored(&rest, "?dry_run=true", document.body.clone());
    assert!(report["read"] == 11 && report["kept"] == 11, "{report}");
    let too_large = restore(&rest, "", vec![b' '; 1_000_001]);
    assert_eq!(
        (too_large.status, too_large.json().unwrap()["code"].clone()),
        (413, json!("body_too_large"))
    );
}
