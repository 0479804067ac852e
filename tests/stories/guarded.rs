//! Who gets in, and how much of it.

use e2e::bootstrap::Part;
use e2e::certificates::Certificates;
use e2e::client::{Connection, Request};
use e2e::control_plane::{ControlPlane, Options};
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::json;
use std::path::Path;
use std::process::Command;

fn origin() -> Origin {
    Origin::start(|_| Reply::ok("content")).unwrap()
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// What `curl` says of a URL: its exit status, and the status of the answer.
fn curl(url: &str, arguments: &[&str]) -> (bool, String) {
    let done = Command::new("curl")
        .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-m", "10"])
        .args(arguments)
        .arg(url)
        .output()
        .unwrap();
    (
        done.status.success(),
        String::from_utf8_lossy(&done.stdout).into_owned(),
    )
}

#[test]
fn rest_over_tls_knows_its_clients_and_follows_new_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(&folder.path().join("tls")).unwrap();
    let options = Options {
        rest_port: free_port().unwrap(),
        grpc_port: free_port().unwrap(),
        state_dir: folder.path().join("state"),
        config_dir: None,
        environment: environment(&[
            ("REST_TLS_CERT_FILE", &certificates.file("server.pem")),
            ("REST_TLS_KEY_FILE", &certificates.file("server.key")),
            ("REST_TLS_CLIENT_CA_FILE", &certificates.file("ca.pem")),
        ]),
    };
    let url = format!("https://127.0.0.1:{}/health", options.rest_port);
    let plain = url.replace("https", "http");
    let _control = ControlPlane::start(options, folder.path()).unwrap();
    let with = |certificates: &Certificates| {
        let (ca, certificate, key) = (
            certificates.file("ca.pem"),
            certificates.file("client.pem"),
            certificates.file("client.key"),
        );
        curl(&url, &["--cacert", &ca, "--cert", &certificate, "--key", &key])
    };
    wait::until("an answer over TLS", || {
        (with(&certificates) == (true, "200".to_owned())).then_some(())
    })
    .unwrap();
    assert!(
        !curl(&url, &["--cacert", &certificates.file("ca.pem")]).0,
        "no certificate"
    );
    assert!(!curl(&plain, &[]).0, "no TLS");
    let strangers = Certificates::make(&folder.path().join("strangers")).unwrap();
    let (certificate, key) = (strangers.file("client.pem"), strangers.file("client.key"));
    assert!(
        !curl(
            &url,
            &[
                "--cacert",
                &certificates.file("ca.pem"),
                "--cert",
                &certificate,
                "--key",
                &key
            ]
        )
        .0,
        "another authority's"
    );

    let renewed = Certificates::make(&folder.path().join("tls")).unwrap();
    wait::until("the new certificates", || {
        (with(&renewed) == (true, "200".to_owned())).then_some(())
    })
    .unwrap();
}

/// Envoy's side of mutual TLS.

#[test]
fn envoys_connect_over_mutual_tls_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let grpc_port = free_port().unwrap();
    let plan = Plan {
        environment: environment(&[
            ("GRPC_PORT", &grpc_port.to_string()),
            ("GRPC_TLS_CERT_FILE", &certificates.file("server.pem")),
            ("GRPC_TLS_KEY_FILE", &certificates.file("server.key")),
            ("GRPC_TLS_CLIENT_CA_FILE", &certificates.file("ca.pem")),
        ]),
        grpc_port: Some(grpc_port),
        parts: [(Part::ControlTls, certificates.transport_socket())].into(),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin()).unwrap();
    stack.change_settings(&json!({"cache_size": 77})).unwrap();
    let url = format!("https://127.0.0.1:{grpc_port}/");
    let ca = certificates.file("ca.pem");
    assert!(!curl(&url, &["--http2", "--cacert", &ca]).0, "no certificate");
    let (certificate, key) = (certificates.file("client.pem"), certificates.file("client.key"));
    assert!(
        curl(
            &url,
            &["--http2", "--cacert", &ca, "--cert", &certificate, "--key", &key]
        )
        .0
    );
}

fn write_tokens(file: &Path, token: &str) {
    let tokens = json!([{"name": "ops", "role": "operator", "token": token}]);
    let new = file.with_extension("new");
    std::fs::write(&new, tokens.to_string()).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[test]
fn tokens_change_without_a_restart_and_a_broken_file_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    write_tokens(&file, "the-first-token-0123456789");
    let plan = Plan {
        environment: environment(&[("AUTH_TOKENS_FILE", &file.display().to_string())]),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin()).unwrap();
    let write = |token: &str| {
        let request = Request::new("PATCH", "/settings?dry_run=true")
            .header("authorization", format!("Bearer {token}"))
            .body(r#"{"cache_size": 77}"#);
        stack.rest().send(&request).unwrap().status
    };
    assert_eq!(write("the-first-token-0123456789"), 200);
    write_tokens(&file, "the-second-token-0123456789");
    wait::until("the second token", || {
        (write("the-second-token-0123456789") == 200).then_some(())
    })
    .unwrap();
    assert_eq!(write("the-first-token-0123456789"), 401);
    std::fs::write(&file, "[{").unwrap();
    wait::until("the complaint", || {
        let log = std::fs::read_to_string(stack.folder().join("control-plane.log")).unwrap();
        // The file is looked at when it is needed.
        assert_eq!(write("the-second-token-0123456789"), 200);
        log.contains("credentials cannot be read").then_some(())
    })
    .unwrap();
}

#[test]
fn what_is_too_much_too_large_or_too_slow_is_turned_away() {
    let plan = Plan {
        environment: environment(&[("WRITES_PER_SECOND", "5")]),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin()).unwrap();
    let rest = stack.rest();
    // Held back from the beginning, looked at in the end.
    let mut slow = Connection::open(rest.address()).unwrap();
    slow.send(b"GET /health HTTP/1.1\r\nhost: a\r\nx-slow").unwrap();

    let begun = std::time::Instant::now();
    let answers: Vec<_> = (1..=40)
        .map(|size| {
            rest.merge_patch("/settings?dry_run=true", &json!({"cache_size": size}))
                .unwrap()
        })
        .collect();
    let refused = answers
        .iter()
        .find(|answer| answer.status == 429)
        .expect("more than five writes in a second");
    // One caller has half of them: three at once, and three a second.
    let admitted = answers.iter().filter(|answer| answer.status == 200).count();
    let most = 3.0 + 3.0 * begun.elapsed().as_secs_f64();
    assert!(admitted as f64 <= most, "{admitted} in {:?}", begun.elapsed());
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    assert_eq!(
        refused.header("content-type").as_deref(),
        Some("application/problem+json")
    );
    assert_eq!(answers[0].status, 200);
    assert_eq!(rest.get("/settings").unwrap().status, 200, "reads are not counted");

    let large = Request::new("PUT", "/settings").body(vec![b' '; (1 << 20) + 1]);
    let answer = wait::until("a write that is admitted", || {
        // Refused before all of it was sent: the connection may break off before the answer is read.
        let answer = rest.send(&large).ok()?;
        (answer.status != 429).then_some(answer)
    })
    .unwrap();
    assert_eq!(
        (answer.status, answer.json().unwrap()["code"].clone()),
        (413, json!("body_too_large"))
    );
    let largest = Request::new("PUT", "/settings").body(vec![b' '; 1 << 20]);
    let answer = wait::until("a write that is admitted", || {
        rest.send(&largest).ok().filter(|answer| answer.status != 429)
    })
    .unwrap();
    assert_ne!(answer.status, 413, "{}", answer.text());

    // Either told so or cut off, but not waited for.
    if let Ok(answer) = slow.response("GET") {
        assert_eq!(answer.status, 408);
    }
    assert!(
        slow.exchange(&Request::get("/health")).is_err(),
        "a connection that is no more"
    );
}
