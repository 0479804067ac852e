//! Replicas of the control plane that act as one through Redis.

use e2e::bootstrap::Part;
use e2e::certificates::Certificates;
use e2e::client::{Request, Response};
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Received, Reply};
use e2e::wait;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Replicas with an Envoy at each.
fn fleet() -> Fleet {
    let origin = Origin::start(|request| Reply::ok(request.path.clone()).max_age(600)).unwrap();
    let mut fleet = Fleet::replicated(2, json!({}), origin).unwrap();
    for replica in [0, 1] {
        fleet.add_envoy(replica).unwrap();
    }
    fleet
}

fn document(fleet: &Fleet, replica: usize, path: &str) -> Value {
    fleet.rest(replica).document(path).unwrap()
}

/// Changes the size of the cache over a replica.
fn resize(fleet: &Fleet, replica: usize, size: u64) -> u64 {
    let answer = fleet
        .rest(replica)
        .merge_patch("/settings?wait=all&timeout=20s", &json!({ "cache_size": size }))
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().unwrap()["revision"].as_u64().unwrap()
}

/// Waits until a replica has a size in force, and all Envoys that it knows.
fn resized(fleet: &Fleet, replica: usize, size: u64) {
    wait::until(&format!("size {size} in force at replica {replica}"), || {
        let rest = fleet.rest(replica);
        let settings = rest.document("/settings").ok()?;
        let rollout = rest.document("/settings/rollout").ok()?;
        (settings["cache_size"] == size && rollout["complete"] == true).then_some(())
    })
    .unwrap();
}

#[test]
fn settings_are_one_for_all_replicas() {
    let mut fleet = fleet();
    let first = resize(&fleet, 0, 501);
    resized(&fleet, 1, 501);
    assert_eq!(
        document(&fleet, 0, "/settings/history"),
        document(&fleet, 1, "/settings/history")
    );

    // Of writers on one base at several replicas one wins.
    let tag = |replica: usize| {
        let answer = fleet.rest(replica).get("/settings").unwrap();
        answer.header("etag").unwrap().to_owned()
    };
    assert_eq!(tag(0), tag(1));
    let base = tag(0);
    let won = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|number| {
                let (fleet, base) = (&fleet, &base);
                scope.spawn(move || {
                    let change = Request::new("PATCH", "/settings")
                        .header("content-type", "application/merge-patch+json")
                        .header("if-match", base)
                        .body(json!({ "cache_size": 600 + number }).to_string());
                    fleet.rest(number % 2).send(&change).unwrap().status
                })
            })
            .collect();
        let answers: Vec<u16> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        assert!(answers.iter().all(|status| [200, 412].contains(status)), "{answers:?}");
        answers.iter().filter(|status| **status == 200).count()
    });
    assert_eq!(won, 1);

    // What was accepted survives its replica.
    let accepted = resize(&fleet, 0, 502);
    fleet.controls[0].kill();
    assert_eq!(accepted, first + 2);
    resized(&fleet, 1, 502);
    let more = resize(&fleet, 1, 503);
    assert_eq!(more, accepted + 1);
    fleet.controls[0].restart().unwrap();
    fleet.controls[0].wait_live().unwrap();
    resized(&fleet, 0, 503);

    // Without Redis nothing is written anywhere, and everything is served.
    fleet.redis.as_mut().unwrap().kill();
    for replica in [0, 1] {
        let refused = wait::until("a write refused", || {
            let answer = fleet
                .rest(replica)
                .merge_patch("/settings", &json!({"cache_size": 777}));
            answer.ok().filter(|answer| answer.status == 503)
        })
        .unwrap();
        assert_eq!(refused.json().unwrap()["code"], "replicas_unavailable");
        assert_eq!(document(&fleet, replica, "/settings")["cache_size"], 503);
        assert_eq!(fleet.rest(replica).get("/health/ready").unwrap().status, 200);
        let health = document(&fleet, replica, "/health");
        assert_eq!(health["components"]["replicas"]["status"], "degraded", "{health}");
        assert_eq!(fleet.envoys[replica].get("/served").unwrap().status, 200);
    }

    // It comes back with nothing in it: what was accepted is put back, and it goes on.
    fleet.redis.as_mut().unwrap().restart().unwrap();
    for (replica, size) in [(1, 504), (0, 505)] {
        wait::until("in touch again", || {
            let health = fleet.rest(replica).document("/health").ok()?;
            (health["components"]["replicas"]["status"] == "healthy").then_some(())
        })
        .unwrap();
        assert!(resize(&fleet, replica, size) > more);
        resized(&fleet, 1 - replica, size);
    }
}

/// The origin answers with its version, which `version` sets.
fn versioned() -> (Fleet, Arc<AtomicU64>) {
    let version = Arc::new(AtomicU64::new(1));
    let told = Arc::clone(&version);
    let origin = Origin::start(move |_| Reply::ok(format!("version {}", told.load(Ordering::SeqCst))).max_age(600));
    let mut fleet = Fleet::replicated(2, json!({}), origin.unwrap()).unwrap();
    for replica in [0, 1, 1] {
        fleet.add_envoy(replica).unwrap();
    }
    (fleet, version)
}

fn text(fleet: &Fleet, envoy: usize) -> String {
    fleet.envoys[envoy].get("/page").unwrap().text()
}

fn purge(fleet: &Fleet, replica: usize, query: &str, key: &str) -> Response {
    let purge = Request::new("POST", &format!("/cache/purge{query}"))
        .header("content-type", "application/json")
        .header("idempotency-key", key)
        .body(json!({"all": true}).to_string());
    fleet.rest(replica).send(&purge).unwrap()
}

fn receipt_complete(fleet: &Fleet, replica: usize, id: &str, by: usize) {
    wait::until(&format!("the receipt of {id} complete at replica {replica}"), || {
        let receipt = fleet.rest(replica).document(&format!("/cache/purges/{id}")).ok()?;
        let applied = receipt["applied"].as_array().map_or(0, Vec::len);
        (receipt["complete"] == true && applied == by).then_some(())
    })
    .unwrap();
}

#[test]
fn what_the_shared_journal_loses_while_it_is_read_is_put_back() {
    let fleet = fleet();
    let answer = purge(&fleet, 0, "?wait=all&timeout=20s", "kept");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = answer.json().unwrap()["id"].as_str().unwrap().to_owned();
    receipt_complete(&fleet, 1, &id, 2);
    let redis = fleet.redis.as_ref().unwrap();
    let ids = |entries: &str| -> Vec<String> {
        let is_id = |line: &&str| line.split_once('-').is_some_and(|(ms, _)| ms.parse::<u64>().is_ok());
        entries.lines().filter(is_id).map(str::to_owned).collect()
    };
    // As a server has it that took over and lacks the newest entries: no connection breaks.
    let journal = redis.keys("*journal*").unwrap().remove(0);
    let written = ids(&redis.ask(&["XRANGE", &journal, "-", "+"]).unwrap());
    assert!(!written.is_empty());
    for entry in &written {
        redis.ask(&["XDEL", &journal, entry]).unwrap();
    }
    wait::until("the purge in the journal again, with its receipts", || {
        let entries = redis.ask(&["XRANGE", &journal, "-", "+"]).ok()?;
        let envoys = document(&fleet, 1, &format!("/cache/purges/{id}"))["applied"].clone();
        let names = envoys.as_array()?.iter().filter_map(|one| one["envoy"].as_str());
        (entries.contains(&id) && names.clone().count() == 2 && names.clone().all(|name| entries.contains(name)))
            .then_some(())
    })
    .unwrap();
}

#[test]
fn a_purge_over_any_replica_reaches_every_envoy() {
    let (mut fleet, version) = versioned();
    let fill = |fleet: &Fleet| (0..3).for_each(|envoy| drop(text(fleet, envoy)));
    fill(&fleet);
    for replica in [0, 1] {
        wait::until("all Envoys known to all replicas", || {
            let envoys = fleet.rest(replica).document("/fleet").ok()?;
            let connected = |envoy: &&Value| envoy["connected"] == true;
            (envoys.as_array()?.iter().filter(connected).count() == 3).then_some(())
        })
        .unwrap();
    }
    version.store(2, Ordering::SeqCst);
    let answer = purge(&fleet, 0, "?wait=all&timeout=20s", "first");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let receipt = answer.json().unwrap();
    assert_eq!(receipt["applied"].as_array().unwrap().len(), 3, "{receipt}");
    (0..3).for_each(|envoy| assert_eq!(text(&fleet, envoy), "version 2"));
    let id = receipt["id"].as_str().unwrap();
    receipt_complete(&fleet, 1, id, 3);
    let again = purge(&fleet, 1, "?wait=all&timeout=20s", "first").json().unwrap();
    assert_eq!(again["id"], id, "done once");

    // Its replica dies as soon as it is accepted: the other one's Envoys do it, its own when it is back.
    version.store(3, Ordering::SeqCst);
    let accepted = purge(&fleet, 0, "", "second").json().unwrap();
    fleet.controls[0].kill();
    let id = accepted["id"].as_str().unwrap();
    for envoy in [1, 2] {
        wait::until("purged over the other replica", || {
            (text(&fleet, envoy) == "version 3").then_some(())
        })
        .unwrap();
    }
    fleet.controls[0].restart().unwrap();
    fleet.controls[0].wait_live().unwrap();
    receipt_complete(&fleet, 1, id, 3);
    assert_eq!(text(&fleet, 0), "version 3");

    // Without Redis it is done where it can be, and says so; the others do it when Redis is back, empty.
    fleet.redis.as_mut().unwrap().kill();
    version.store(4, Ordering::SeqCst);
    let late = purge(&fleet, 1, "", "third");
    assert_eq!(late.status, 202, "{}", late.text());
    let late = late.json().unwrap();
    assert_eq!((&late["replicas"], &late["complete"]), (&json!("late"), &json!(false)));
    for envoy in [1, 2] {
        wait::until("purged without Redis", || {
            (text(&fleet, envoy) == "version 4").then_some(())
        })
        .unwrap();
    }
    assert_eq!(text(&fleet, 0), "version 3");
    fleet.redis.as_mut().unwrap().restart().unwrap();
    for replica in [0, 1] {
        receipt_complete(&fleet, replica, late["id"].as_str().unwrap(), 3);
    }
    assert_eq!(text(&fleet, 0), "version 4");
}

#[test]
fn any_replica_answers_for_the_whole_fleet() {
    let webhook = Origin::start(|_| Reply::new(202)).unwrap();
    let url = format!("http://{}/hook", webhook.address());
    let origin = Origin::start(|request| {
        if request.path.starts_with("/bad") {
            Reply::new(500)
        } else {
            Reply::ok("well")
        }
    });
    let rules = json!({"alerts": {"minimum_samples": 10, "resolve_after": "30m", "error_rate": {"for": "1s"}}, "breaker": {"minimum_calls": 1000}});
    let environment = [("REPLICAS", "true"), ("ALERT_WEBHOOK_URL", url.as_str())];
    let mut fleet = Fleet::start_with(true, 2, rules, origin.unwrap(), &environment).unwrap();
    for replica in [0, 1, 1] {
        fleet.add_envoy(replica).unwrap();
    }
    for number in 0..30 {
        fleet.envoys[number % 3].get(&format!("/well/{number}")).unwrap();
    }
    for number in 0..30 {
        fleet.envoys[number % 3].get(&format!("/bad/{number}")).unwrap();
    }
    let counted = |replica: usize| {
        let performance = fleet.rest(replica).document("/metrics/performance").ok()?;
        performance["sample_count"].as_u64()
    };
    for replica in [0, 1] {
        wait::until("every request counted at each replica", || {
            (counted(replica)? >= 60).then_some(())
        })
        .unwrap();
        assert_eq!(counted(replica), Some(60), "once");
    }

    // An operator's override over one replica is in force on the Envoys of the other, and in both audits.
    let word = Request::new("POST", "/circuit-breaker/origin/force-open?expires_in=5m");
    let said = fleet.rest(0).send(&word).unwrap();
    assert_eq!(said.status, 200, "{}", said.text());
    for envoy in 0..3 {
        wait::until("the forced state in force", || {
            (fleet.envoys[envoy].get("/new").ok()?.status == 503).then_some(())
        })
        .unwrap();
    }
    assert_eq!(
        document(&fleet, 0, "/circuit-breaker/audit"),
        document(&fleet, 1, "/circuit-breaker/audit")
    );

    // The alert is on at both, seen over one it is seen at the other, and told once, also when who told it dies.
    let alert = |replica: usize| {
        let listed = fleet.rest(replica).document("/alerts/active").ok()?;
        listed
            .as_array()?
            .iter()
            .find(|alert| alert["name"] == "error_rate")
            .cloned()
    };
    let told = |webhook: &Origin| {
        let about = |request: &Received| String::from_utf8_lossy(&request.body).contains("error_rate");
        webhook.received().iter().filter(|request| about(request)).count()
    };
    let first = wait::until("the alert", || alert(0)).unwrap();
    let other = wait::until("the alert at the other replica", || alert(1)).unwrap();
    assert_eq!(first["id"], other["id"]);
    let path = format!("/alerts/{}/ack", first["id"].as_str().unwrap());
    assert_eq!(fleet.rest(1).send(&Request::new("POST", &path)).unwrap().status, 200);
    wait::until("seen at the other replica", || {
        (alert(0)?["acknowledged_by"] != "").then_some(())
    })
    .unwrap();
    wait::until("the alert told", || (told(&webhook) > 0).then_some(())).unwrap();
    let lease = fleet
        .redis
        .as_ref()
        .unwrap()
        .ask(&["GET", "api-optimizer:{replicas}:lease"])
        .unwrap();
    fleet.controls[0].kill();
    wait::until("the other replica leading", || {
        let redis = fleet.redis.as_ref()?;
        let alive = redis.ask(&["ZCARD", "api-optimizer:{replicas}:alive"]).ok()?;
        let holder = redis.ask(&["GET", "api-optimizer:{replicas}:lease"]).ok()?;
        (alive == "2" && !holder.is_empty() && holder != lease).then_some(())
    })
    .unwrap();
    wait::until("only its Envoys connected", || {
        let envoys = fleet.rest(1).document("/fleet").ok()?;
        let connected = |envoy: &&Value| envoy["connected"] == true;
        (envoys.as_array()?.iter().filter(connected).count() == 2).then_some(())
    })
    .unwrap();
    assert_eq!(told(&webhook), 1);
}

/// What one replica answers for the Envoys of both: a snapshot, an explanation, the maintenance.
fn asked_of_all(fleet: &Fleet, replica: usize) -> [Value; 3] {
    let post = |path: &str| {
        let answer = fleet.rest(replica).send(&Request::new("POST", path)).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json().unwrap()
    };
    [
        post("/cache/snapshot"),
        document(fleet, replica, "/cache/explain?url=http://api.example/of/1&timeout=5s"),
        post("/cache/optimize"),
    ]
}

#[test]
fn commands_over_any_replica_reach_every_envoy() {
    let mut fleet = fleet();
    // Each Envoy has something that the other one has not.
    for envoy in [0, 1] {
        for _ in 0..3 {
            fleet.envoys[envoy].get(&format!("/of/{envoy}")).unwrap();
        }
    }
    for replica in [0, 1] {
        wait::until("both Envoys counted in at each replica", || {
            let stats = fleet.rest(replica).document("/cache/stats").ok()?;
            (stats["size"] == 2 && stats["not_answered"] == json!([])).then_some(())
        })
        .unwrap();
        let [snapshot, explained, optimised] = asked_of_all(&fleet, replica);
        assert_eq!(snapshot["complete"], true, "{snapshot}");
        let urls: Vec<&str> = snapshot["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| entry["url"].as_str())
            .collect();
        assert!(
            urls.len() == 2 && urls.iter().any(|url| url.ends_with("/of/1")),
            "{urls:?}"
        );
        let envoys = explained["envoys"].as_array().unwrap();
        let decided = |decision: &str| {
            let of = |envoy: &&Value| envoy["explanation"]["decision"] == decision;
            envoys.iter().filter(of).count()
        };
        assert_eq!((decided("serve"), envoys.len()), (1, 2), "{explained}");
        assert_eq!(
            (&optimised["complete"], &optimised["not_answered"]),
            (&json!(true), &json!([]))
        );
    }

    // What the other replica's Envoy has warms the one of this replica, and a snapshot goes into both.
    let warm = fleet
        .rest(1)
        .send(&Request::new("POST", "/cache/warm?envoy=envoy-0"))
        .unwrap();
    assert_eq!(warm.status, 202, "{}", warm.text());
    wait::until("the warmed Envoy to hit", || {
        let [_, explained, _] = asked_of_all(&fleet, 0);
        let envoys = explained["envoys"].as_array()?;
        envoys
            .iter()
            .all(|envoy| envoy["explanation"]["decision"] == "serve")
            .then_some(())
    })
    .unwrap();
    let [snapshot, ..] = asked_of_all(&fleet, 1);
    let restore = Request::new("POST", "/cache/restore")
        .header("content-type", "application/json")
        .body(snapshot.to_string());
    let report = fleet.rest(0).send(&restore).unwrap().json().unwrap();
    assert_eq!(report["envoys"].as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!(report["not_answered"], json!([]), "{report}");

    // A replica dies: what is at it does not answer, and is named.
    let envoys = document(&fleet, 0, "/fleet");
    let lost = envoys
        .as_array()
        .unwrap()
        .iter()
        .find(|envoy| envoy["node_id"] == "envoy-1");
    let lost = lost.unwrap()["envoy"].clone();
    fleet.controls[1].kill();
    let [snapshot, explained, optimised] = asked_of_all(&fleet, 0);
    assert_eq!(snapshot["complete"], false, "{snapshot}");
    let why = snapshot["incomplete_because"].as_str().unwrap();
    assert!(why.contains(lost.as_str().unwrap()), "{why}");
    assert_eq!(optimised["complete"], false);
    assert_eq!(optimised["not_answered"], json!([lost]), "{optimised}");
    let silent = |envoy: &&Value| envoy["answered"] == false;
    let silent: Vec<&Value> = explained["envoys"].as_array().unwrap().iter().filter(silent).collect();
    assert_eq!(silent.len(), 1, "{explained}");
    assert_eq!(silent[0]["envoy"], lost);
    assert_eq!(document(&fleet, 0, "/cache/stats")["not_answered"], json!([lost]));
}

#[test]
fn replicas_command_over_mutual_tls_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let file = |name: &str| certificates.file(name);
    let (server, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let fleet_name = "client".to_owned();
    let environment = [
        ("REPLICAS", "true"),
        ("GRPC_TLS_CERT_FILE", &server),
        ("GRPC_TLS_KEY_FILE", &key),
        ("GRPC_TLS_CLIENT_CA_FILE", &ca),
        // The Envoys share a certificate.
        ("GRPC_FLEET_NAMES", &fleet_name),
    ];
    let origin = Origin::start(|request| Reply::ok(request.path.clone()).max_age(600)).unwrap();
    let mut fleet = Fleet::start_with(true, 2, json!({}), origin, &environment).unwrap();
    fleet.parts.insert(Part::ControlTls, certificates.transport_socket());
    for replica in [0, 1] {
        fleet.add_envoy(replica).unwrap();
    }
    wait::until("both Envoys to answer one replica", || {
        let answer = fleet.rest(0).send(&Request::new("POST", "/cache/optimize")).ok()?;
        let explained = document(&fleet, 0, "/cache/explain?url=http://api.example/&timeout=5s");
        let answered = |envoy: &&Value| envoy["answered"] == true;
        let answered = explained["envoys"].as_array()?.iter().filter(answered).count();
        (answer.json().ok()?["complete"] == true && answered == 2).then_some(())
    })
    .unwrap();

    // An Envoy's certificate opens the port, and yet commands nobody.
    let message = folder.path().join("message");
    std::fs::write(&message, [0; 5]).unwrap();
    let answer = Command::new("curl")
        .args(["--silent", "--include", "--http2", "--cacert", &ca])
        .args(["--cert", &file("client.pem"), "--key", &file("client.key")])
        .args(["--header", "content-type: application/grpc", "--header", "te: trailers"])
        .args(["--data-binary", &format!("@{}", message.display())])
        .arg(format!(
            "https://127.0.0.1:{}/optimizer.v1.ReplicaLink/Relay",
            fleet.grpc_ports[0]
        ))
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(answer.contains("grpc-status: 16"), "{answer}");
}

#[test]
fn a_new_envoy_is_warmed_from_the_others_and_every_replica_says_when() {
    let origin = Origin::start(|request| Reply::ok(request.path.clone()).max_age(600)).unwrap();
    let environment = [("REPLICAS", "true"), ("WARM_START_MB", "8")];
    let mut fleet = Fleet::start_with(true, 2, json!({}), origin, &environment).unwrap();
    fleet.add_envoy(0).unwrap();
    (0..50).for_each(|page| drop(fleet.envoys[0].get(&format!("/page/{page}")).unwrap()));
    wait::until("what is stored counted at the other replica", || {
        let stats = fleet.rest(1).document("/cache/stats").ok()?;
        (stats["size"] == 50).then_some(())
    })
    .unwrap();
    fleet.add_envoy(1).unwrap();
    for replica in [0, 1] {
        let ready = wait::until("the new Envoy warm", || {
            let ready = fleet.rest(replica).get("/health/ready?warm=100&envoy=envoy-1").ok()?;
            (ready.status == 200).then_some(ready)
        })
        .unwrap();
        let ready = ready.json().unwrap();
        assert_eq!(ready["envoys"][0]["state"], "warm", "{ready}");
    }
    assert!((0..50).all(|page| fleet.envoys[1].get(&format!("/page/{page}")).unwrap().is_hit()));
}
