//! Long work shows how far it is, can be cancelled from anywhere, and leaves a receipt that says what it has done.

use e2e::client::{Connection, Request, Response};
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::rest::Rest;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// So many of them are more than a connection holds that nobody reads.
const LARGE: usize = 24;
const SMALL: usize = 20;

fn origin() -> Origin {
    Origin::start(|request| {
        let size = if request.path.starts_with("/large") {
            600_000
        } else {
            500
        };
        let content = request.path.bytes().cycle().take(size).collect::<Vec<_>>();
        Reply::ok(content).max_age(600)
    })
    .unwrap()
}

fn large(at: usize) -> String {
    format!("/large/{at}")
}

fn small(at: usize) -> String {
    format!("/small/{at}")
}

/// A stack with everything stored, each large response with a hit, so that these go out first.
fn filled() -> Stack {
    let stack = Stack::start(&Plan::default(), origin()).unwrap();
    for path in (0..LARGE).map(large).chain((0..SMALL).map(small)) {
        assert_eq!(stack.envoy.get(&path).unwrap().status, 200);
    }
    for path in (0..LARGE).map(large) {
        assert!(stack.envoy.get(&path).unwrap().is_hit());
    }
    with_hits(&stack, 1, LARGE);
    stack
}

/// Waits until so many responses had so many hits, as the Envoy's directory says.
fn with_hits(stack: &Stack, hits: u32, count: usize) {
    wait::until("the hits in the directory", || {
        let path = format!("/cache/snapshot?min_hits={hits}");
        let snapshot = stack.rest().send(&Request::new("POST", &path)).ok()?.json().ok()?;
        (snapshot["count"] == count).then_some(())
    })
    .unwrap();
}

/// The answer to a request; one that comes too fast is sent again.
fn asked(rest: &Rest, request: &Request) -> Response {
    wait::until("an answer", || {
        let answer = rest.send(request).unwrap();
        (answer.status != 429).then_some(answer)
    })
    .unwrap()
}

fn operation(rest: &Rest, id: &str) -> Value {
    rest.document(&format!("/operations/{id}")).unwrap()
}

fn state(rest: &Rest, id: &str) -> Value {
    operation(rest, id)["state"].clone()
}

fn cancelled(rest: &Rest, id: &str) -> Response {
    let request = Request::new("DELETE", &format!("/operations/{id}"));
    asked(rest, &request.header("x-author", "the-night-shift"))
}

/// A snapshot whose reader stops after its beginning, and its operation.
struct Slow {
    connection: Connection,
    read: Vec<u8>,
    id: String,
}

impl Slow {
    fn begin(address: SocketAddr) -> Self {
        let (connection, read) = wait::until("a snapshot that begins", || {
            let mut connection = Connection::open(address).ok()?;
            let head = b"POST /cache/snapshot HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            connection.send(head).ok()?;
            // An answer to what comes too fast is shorter.
            let read = connection.read_at_least(2_000).ok()?;
            Some((connection, read))
        })
        .unwrap();
        let head = String::from_utf8_lossy(&read).into_owned();
        let (_, rest) = head.split_once("operation-location: /operations/").unwrap();
        let id = rest.split("\r\n").next().unwrap().to_owned();
        Self { connection, read, id }
    }

    /// Until its Envoy is asked no further, as nobody reads.
    fn stands_still(&self, rest: &Rest) -> Value {
        let mut before = Value::Null;
        let mut same = 0;
        wait::until("a snapshot that stands still", || {
            let now = operation(rest, &self.id);
            let is_same = now["stage"] == "working" && now["done"].as_u64()? > 0 && now["done"] == before["done"];
            same = if is_same { same + 1 } else { 0 };
            before = now;
            (same > 10).then(|| before.clone())
        })
        .unwrap()
    }

    /// Reads on to the end.
    fn document(mut self) -> Value {
        while let Ok(more) = self.connection.read_at_least(1) {
            if more.is_empty() {
                break;
            }
            self.read.extend(more);
        }
        let at = self.read.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let body = unchunked(&self.read[at + 4..]);
        serde_json::from_slice(&body).unwrap()
    }
}

fn unchunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 4 + size..];
    }
}

#[test]
fn a_snapshot_lacks_nothing_that_was_stored_when_it_began_whatever_is_hit_meanwhile() {
    let stack = filled();
    let slow = Slow::begin(stack.rest().address());
    let seen = slow.stands_still(&stack.rest());
    let total = seen["total"].as_u64().unwrap();
    assert!(
        total > 600_000 * LARGE as u64 && seen["done"].as_u64().unwrap() < total,
        "{seen}"
    );
    assert_eq!(
        (&seen["kind"], &seen["unit"], &seen["receipt"]),
        (&json!("snapshot"), &json!("bytes"), &Value::Null)
    );
    // Into a class of hits that has been gone through already.
    for path in (0..SMALL).map(small) {
        (0..5).for_each(|_| assert!(stack.envoy.get(&path).unwrap().is_hit()));
    }
    with_hits(&stack, 4, SMALL);
    let id = slow.id.clone();
    let document = slow.document();
    assert_eq!(document["complete"], true, "{}", document["incomplete_because"]);
    assert_eq!(document["count"], LARGE + SMALL);
    let done = wait::until("the receipt", || {
        let now = operation(&stack.rest(), &id);
        (now["state"] == "done").then_some(now)
    })
    .unwrap();
    assert_eq!(done["receipt"]["complete"], true, "{done}");
    assert_eq!(done["receipt"]["counts"]["responses"], LARGE + SMALL, "{done}");
    assert_eq!(
        (&done["done"], &done["total"]),
        (&json!(total), &json!(total)),
        "{done}"
    );
}

#[test]
fn a_cancelled_snapshot_ends_sound_and_says_so_and_one_that_nobody_reads_has_failed() {
    let stack = filled();
    let rest = stack.rest();
    let slow = Slow::begin(rest.address());
    slow.stands_still(&rest);
    let told = cancelled(&rest, &slow.id);
    assert_eq!(told.status, 202, "{}", told.text());
    assert_eq!(told.json().unwrap()["cancelled_by"], "the-night-shift");
    assert_eq!(cancelled(&rest, &slow.id).status, 409);
    let id = slow.id.clone();
    let document = slow.document();
    assert_eq!(document["complete"], false);
    assert_eq!(document["incomplete_because"], "cancelled by the-night-shift");
    let count = document["entries"].as_array().unwrap().len();
    assert!(document["count"] == count && count > 0 && count < LARGE, "{count}");
    let ended = wait::until("the receipt", || {
        let now = operation(&rest, &id);
        (now["state"] == "cancelled").then_some(now)
    })
    .unwrap();
    assert_eq!(ended["receipt"]["complete"], false, "{ended}");
    assert_eq!(ended["receipt"]["counts"]["responses"], count, "{ended}");
    // What it has can be restored.
    let request = Request::new("POST", "/cache/restore").body(document.to_string());
    let restored = asked(&rest, &request);
    assert_eq!(
        (restored.status, restored.json().unwrap()["intact"].clone()),
        (200, json!(true))
    );

    let left = Slow::begin(rest.address());
    left.stands_still(&rest);
    let id = left.id.clone();
    drop(left);
    wait::until("a failed snapshot", || (state(&rest, &id) == "failed").then_some(())).unwrap();
    assert_eq!(rest.document("/operations?active=true").unwrap(), json!([]));
    assert_eq!(cancelled(&rest, &id).status, 409);
}

/// Sends what can be sent of a restore, and leaves it open.
fn begin_restore(address: SocketAddr, key: &str, query: &str, body: &[u8], length: usize) -> Connection {
    let mut connection = Connection::open(address).unwrap();
    let head = format!(
        "POST /cache/restore{query} HTTP/1.1\r\nhost: a\r\noperation-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    connection.send(head.as_bytes()).unwrap();
    connection.send(body).unwrap();
    connection
}

fn of_key(rest: &Rest, key: &str) -> Value {
    rest.document(&format!("/operations?key={key}")).unwrap()[0].clone()
}

#[test]
fn a_restore_shows_its_stages_and_parts_of_one_are_one_operation() {
    let stack = filled();
    let rest = stack.rest();
    let whole = asked(&rest, &Request::new("POST", "/cache/snapshot?prefix=api.example/small"));
    let fresh = stack.envoy_beside("fresh").unwrap();
    // While it comes in nobody can know when it will be done.
    let half = whole.body.len() / 2;
    let mut open = begin_restore(rest.address(), "k1", "", &whole.body[..half], whole.body.len());
    let seen = wait::until("what has come in", || {
        let seen = of_key(&rest, "k1");
        (seen["done"] == half).then_some(seen)
    })
    .unwrap();
    assert_eq!(
        (&seen["stage"], &seen["total"], &seen["eta_seconds"]),
        (&json!("receiving"), &json!(whole.body.len()), &Value::Null)
    );
    let id = seen["id"].as_str().unwrap().to_owned();
    assert_eq!(cancelled(&rest, &id).status, 202);
    let refused = open.response("POST").unwrap();
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(refused.json().unwrap()["code"], "operation_cancelled");
    assert_eq!(state(&rest, &id), "cancelled");
    assert!(!fresh.get(&small(1)).unwrap().is_hit());
    drop(open);

    // In two parts, the second one broken off and sent again.
    let document = whole.json().unwrap();
    let entries = document["entries"].as_array().unwrap();
    let part = |some: &[Value]| {
        let mut part = document.clone();
        part["entries"] = json!(some);
        part.to_string().into_bytes()
    };
    let (first, second) = (part(&entries[..8]), part(&entries[8..]));
    let send = |query: &str, body: &[u8]| {
        let request = Request::new("POST", &format!("/cache/restore?envoy=fresh&{query}"));
        asked(&rest, &request.header("operation-key", "k2").body(body))
    };
    assert_eq!(send("part_from=0&part_to=400&part_of=1000", &first).status, 200);
    let seen = of_key(&rest, "k2");
    assert_eq!(
        (&seen["state"], &seen["done"], &seen["total"]),
        (&json!("awaiting_part"), &json!(400), &json!(1000)),
        "{seen}"
    );
    let query = "?envoy=fresh&part_from=400&part_to=1000&part_of=1000";
    let broken = begin_restore(rest.address(), "k2", query, &second[..100], second.len());
    wait::until("the second part", || {
        (of_key(&rest, "k2")["state"] == "running").then_some(())
    })
    .unwrap();
    drop(broken);
    wait::until("its end", || {
        (of_key(&rest, "k2")["state"] == "awaiting_part").then_some(())
    })
    .unwrap();
    assert_eq!(send("part_from=400&part_to=1000&part_of=1000", &second).status, 200);
    let done = of_key(&rest, "k2");
    assert_eq!(done["id"], seen["id"]);
    let counts = &done["receipt"]["counts"];
    assert_eq!(
        (&done["state"], &done["done"], &counts["read"]),
        (&json!("done"), &json!(1000), &json!(SMALL)),
        "{done}"
    );
    assert_eq!(
        counts["restored"].as_u64().unwrap() + counts["kept"].as_u64().unwrap(),
        SMALL as u64
    );
    (0..SMALL).for_each(|at| assert!(fresh.get(&small(at)).unwrap().is_hit(), "{at}"));
    for wrong in [
        "part_from=1",
        "part_from=5&part_to=5&part_of=9",
        "part_from=0&part_to=9&part_of=8",
    ] {
        assert_eq!(send(wrong, &first).status, 400, "{wrong}");
    }
}

#[test]
fn optimising_and_warming_leave_receipts() {
    let stack = filled();
    let rest = stack.rest();
    let optimised = asked(
        &rest,
        &Request::new("POST", "/cache/optimize").header("operation-key", "weekly"),
    );
    assert_eq!(optimised.status, 200);
    let seen = of_key(&rest, "weekly");
    assert_eq!(
        optimised.header("operation-location").unwrap(),
        format!("/operations/{}", seen["id"].as_str().unwrap())
    );
    assert_eq!(
        (
            &seen["kind"],
            &seen["state"],
            &seen["unit"],
            &seen["done"],
            &seen["total"]
        ),
        (
            &json!("optimize"),
            &json!("done"),
            &json!("envoys"),
            &json!(1),
            &json!(1)
        ),
        "{seen}"
    );
    assert_eq!(
        seen["receipt"]["counts"],
        optimised.json().unwrap()["actions"],
        "{seen}"
    );
    let _fresh = stack.envoy_beside("fresh").unwrap();
    let warm = Request::new("POST", "/cache/warm?envoy=fresh").header("operation-key", "warm");
    let begun = asked(&rest, &warm);
    assert_eq!(begun.status, 202, "{}", begun.text());
    let done = wait::until("a warm Envoy", || {
        let seen = of_key(&rest, "warm");
        (seen["state"] == "done").then_some(seen)
    })
    .unwrap();
    assert_eq!(
        (&done["kind"], &done["receipt"]["complete"]),
        (&json!("warm"), &json!(true)),
        "{done}"
    );
    assert_eq!(done["receipt"]["counts"]["restored"], LARGE + SMALL, "{done}");
    assert_eq!(done["done"], done["total"], "{done}");
    for key in ["", "a b", &"k".repeat(65)] {
        let request = Request::new("POST", "/cache/optimize").header("operation-key", key);
        assert_eq!(asked(&rest, &request).status, 400, "{key:?}");
    }
}

#[test]
fn any_replica_shows_and_cancels_what_another_does_and_what_died_with_one_is_lost() {
    let mut fleet = Fleet::replicated(2, json!({}), origin()).unwrap();
    fleet.add_envoy(0).unwrap();
    for path in (0..LARGE).map(large) {
        assert_eq!(fleet.envoys[0].get(&path).unwrap().status, 200);
    }
    let (here, there) = (fleet.rest(0), fleet.rest(1));
    let known = |id: &str| {
        let all = there.document("/operations").unwrap();
        all.as_array().unwrap().iter().find(|one| one["id"] == id).cloned()
    };
    let slow = Slow::begin(here.address());
    wait::until("word at the other replica", || known(&slow.id)).unwrap();
    slow.stands_still(&here);
    assert_eq!(cancelled(&there, &slow.id).status, 202);
    let id = slow.id.clone();
    assert_eq!(slow.document()["incomplete_because"], "cancelled by the-night-shift");
    wait::until("word of its end", || {
        (known(&id)?["state"] == "cancelled").then_some(())
    })
    .unwrap();
    let slow = Slow::begin(here.address());
    wait::until("word at the other replica", || known(&slow.id)).unwrap();
    fleet.controls[0].kill();
    let lost = wait::until_within(Duration::from_secs(90), "what is lost", || {
        let known = known(&slow.id)?;
        (known["state"] == "lost").then_some(known)
    })
    .unwrap();
    assert_eq!(lost["receipt"]["complete"], false, "{lost}");
    assert_eq!(
        (&lost["eta_seconds"], &lost["ended_at"]),
        (&Value::Null, &Value::Null),
        "{lost}"
    );
    fleet.controls[0].restart().unwrap();
    let again = wait::until("the restarted replica", || fleet.rest(0).document("/operations").ok()).unwrap();
    assert!(
        again.as_array().unwrap().iter().all(|one| one["state"] != "running"),
        "{again}"
    );
}
