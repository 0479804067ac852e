//! `optimizer`, the operators' command line, on the real product.

use e2e::artefacts;
use e2e::certificates::Certificates;
use e2e::control_plane::{ControlPlane, Options};
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const OPERATOR: &str = "operator-token-0123456789";
const VIEWER: &str = "viewer-token-0123456789";

/// The program, with a home of its own and one control plane.
struct Operator {
    home: TempDir,
    server: String,
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Operator {
    fn of(server: String) -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            server,
        }
    }

    fn of_stack(stack: &Stack) -> Self {
        Self::of(format!("http://{}", stack.rest().address()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(artefacts::command_line().unwrap());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .env("TERM", "xterm")
            .env("API_OPTIMIZER_URL", &self.server)
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command(arguments))
    }

    /// Runs it, expects this exit code, and gives what was printed.
    fn says(&self, code: i32, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, code, "{arguments:?}: {}{}", ended.out, ended.err);
        ended.out + &ended.err
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let ended = self.run(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{arguments:?}: {}{}", ended.out, ended.err))
    }
}

/// Ended with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn stack() -> Stack {
    let origin = Origin::start(|_| Reply::ok("content").max_age(600).header("surrogate-key", "pages")).unwrap();
    Stack::start(&Plan::default(), origin).unwrap()
}

/// Fetches these until each is a hit, and gives the URL of the first one.
fn fill(stack: &Stack, pages: usize) -> String {
    for page in 0..pages {
        wait::until("a hit", || {
            let answer = stack.envoy.get(&format!("/page/{page}")).ok()?;
            answer.header("cache-status")?.contains("hit").then_some(())
        })
        .unwrap();
    }
    "http://api.example/page/0".to_owned()
}

#[test]
fn check_and_explain_tell_how_it_is_and_why() {
    let stack = stack();
    let operator = Operator::of_stack(&stack);
    let url = fill(&stack, 3);
    // Alerts of a busy machine aside, everything is sound once the Envoy's own statistics have come.
    wait::until("nothing but sound findings", || {
        let document = operator.json(&["check"]);
        let checks = document["checks"].as_array().unwrap();
        let mut judged = checks
            .iter()
            .filter(|check| !check["name"].as_str().unwrap().starts_with("alert"));
        (checks.len() > 9 && judged.all(|check| check["verdict"] == "ok")).then_some(())
    })
    .unwrap();
    let text = operator.says(0, &["explain", &url]);
    assert!(text.contains("serve: fresh"), "{text}");
    let text = operator.says(0, &["explain", &format!("{url}-unknown"), "-H", "accept: text/html"]);
    assert!(text.contains("forward: uri-miss"), "{text}");
}

#[test]
fn a_purge_waits_for_the_receipt_of_every_envoy() {
    let stack = stack();
    let _beside = stack.envoy_beside("gateway-2").unwrap();
    let operator = Operator::of_stack(&stack);
    fill(&stack, 5);
    let would = operator.says(0, &["purge", "--tag", "pages", "--dry-run"]);
    assert!(would.contains("2 Envoys. Nothing was done."), "{would}");
    let receipt = operator.json(&["purge", "--tag", "pages", "--wait", "--reason", "a new edition"]);
    assert_eq!(
        (&receipt["complete"], &receipt["matched"]),
        (&json!(true), &json!(5)),
        "{receipt}"
    );
    assert_eq!(receipt["applied"].as_array().unwrap().len(), 2);
    let before = stack.origin.total();
    stack.envoy.get("/page/0").unwrap();
    assert_eq!(stack.origin.total(), before + 1);
    let text = operator.says(0, &["purge", "--receipt", receipt["id"].as_str().unwrap()]);
    assert!(text.contains("gateway-2"), "{text}");
    // The same key purges once.
    let first = operator.json(&["purge", "--all", "--yes", "--wait", "--idempotency-key", "k"]);
    assert_eq!(
        operator.json(&["purge", "--all", "--yes", "--idempotency-key", "k"])["id"],
        first["id"]
    );
    let text = operator.says(5, &["purge", "--prefix", "/img/*"]);
    assert!(text.contains('*'), "{text}");
}

#[test]
fn settings_are_set_edited_and_rolled_back() {
    let stack = stack();
    let operator = Operator::of_stack(&stack);
    let text = operator.says(
        0,
        &["settings", "set", "breaker.probes=4", "--wait", "--reason", "more care"],
    );
    assert!(
        text.contains("+ /breaker/probes: 4") && text.contains("in force on every connected Envoy"),
        "{text}"
    );
    let text = operator.says(5, &["settings", "set", "breaker.probes=0", "ttl=5m"]);
    assert!(
        text.contains("/breaker/probes: given 0") && text.contains("/ttl: there is no setting"),
        "{text}"
    );
    assert_eq!(operator.says(0, &["settings", "get", "breaker.probes"]), "4\n");
    // In an editor: a bad value is kept, with all that is wrong with it; put right, it is written.
    let bad = ended(operator.command(&["settings", "edit", "--yes"]).env(
        "EDITOR",
        "sed -i -e 's/probes: 4/probes: 0/' -e 's/^default_ttl: .*/default_ttl: 5m/'",
    ));
    assert_eq!(bad.code, 5, "{}", bad.err);
    assert!(bad.err.contains("/breaker/probes: given 0"), "{}", bad.err);
    let (_, kept) = bad.err.trim_end().rsplit_once("--from ").unwrap();
    let good = ended(
        operator
            .command(&["settings", "edit", "--yes", "--wait", "--from", kept])
            .env("EDITOR", "sed -i 's/probes: 0/probes: 5/'"),
    );
    assert_eq!(good.code, 0, "{}", good.err);
    assert!(
        good.out.contains("+ /breaker/probes: 5") && good.out.contains("+ /default_ttl: 5m"),
        "{}",
        good.out
    );
    let text = operator.says(1, &["settings", "diff"]);
    assert!(text.contains("- /breaker/probes: 4\n+ /breaker/probes: 5"), "{text}");
    operator.says(0, &["settings", "rollback", "--wait"]);
    assert_eq!(operator.says(0, &["settings", "get", "breaker.probes"]), "4\n");
    let text = operator.says(0, &["settings", "history"]);
    assert!(text.contains("more care") && text.contains("rollback"), "{text}");
    let file = operator.home.path().join("whole.yaml");
    std::fs::write(&file, "cache_size: 0\n").unwrap();
    operator.says(5, &["settings", "dry-run", &file.display().to_string()]);
    let text = operator.says(0, &["settings", "schema", "breaker.probes"]);
    assert!(text.contains("half-open"), "{text}");
}

#[test]
fn breakers_and_alerts_are_overridden_and_given_back() {
    let stack = stack();
    let operator = Operator::of_stack(&stack);
    fill(&stack, 1);
    let status = || stack.rest().document("/circuit-breaker/status").unwrap();
    wait::until("a breaker", || status()["upstreams"]["origin"].is_array().then_some(())).unwrap();
    operator.says(
        0,
        &[
            "breaker",
            "open",
            "origin",
            "--for",
            "1h 30m",
            "--reason",
            "maintenance",
        ],
    );
    assert_eq!(stack.envoy.get("/other").unwrap().status, 503);
    let text = operator.says(0, &["breaker", "list"]);
    assert!(text.contains("forced_open") && text.contains("maintenance"), "{text}");
    operator.says(0, &["breaker", "auto", "origin"]);
    assert_eq!(stack.envoy.get("/other").unwrap().status, 200);
    let text = operator.says(5, &["breaker", "open", "nowhere"]);
    assert!(text.contains("known are: origin"), "{text}");
    operator.says(
        0,
        &[
            "alerts",
            "silence",
            "p95_latency",
            "--for",
            "1h",
            "--reason",
            "load test",
        ],
    );
    let text = operator.says(0, &["alerts", "silences"]);
    assert!(text.contains("load test"), "{text}");
    operator.says(0, &["alerts", "unsilence", "p95_latency"]);
    assert!(operator.says(0, &["alerts", "silences"]).contains("No silence"));
    operator.says(0, &["rollout", "status"]);
    // Too little traffic to go by.
    let text = operator.says(1, &["what-if", "--cache-size", "500"]);
    assert!(text.contains("too few to go by"), "{text}");
}

#[test]
fn a_snapshot_comes_back_packed_or_not_and_half_of_one_does_not() {
    let stack = stack();
    let operator = Operator::of_stack(&stack);
    fill(&stack, 8);
    // One that has gone is missed by the next snapshot.
    let mut stay = Vec::new();
    for (name, more) in [("plain", &[][..]), ("packed", &["--gzip"])] {
        let file = operator.home.path().join(name);
        let path = file.display().to_string();
        let taken = operator.json(&[&["snapshot", &path, "--force"], more].concat());
        assert_eq!(
            (&taken["snapshot"]["complete"], &taken["snapshot"]["count"]),
            (&json!(true), &json!(8)),
            "{taken}"
        );
        let fresh = stack.envoy_beside(&format!("fresh-{name}")).unwrap();
        let report = operator.json(&["restore", &path, "--envoy", &format!("fresh-{name}")]);
        assert_eq!(
            (&report["restored"], &report["refused"]),
            (&json!(8), &json!(0)),
            "{report}"
        );
        let before = stack.origin.total();
        assert_eq!(fresh.get("/page/3").unwrap().status, 200);
        assert_eq!(stack.origin.total(), before);
        let half = std::fs::read(&file).unwrap();
        std::fs::write(&file, &half[..half.len() / 2]).unwrap();
        assert!(operator.says(5, &["restore", &path]).contains("half a snapshot"));
        stay.push(fresh);
    }
}

/// Ctrl-C, as a terminal sends it.
fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
}

fn operations(stack: &Stack, kind: &str) -> Vec<Value> {
    let all = stack.rest().document("/operations").unwrap();
    let all = all.as_array().unwrap().iter();
    all.filter(|one| one["kind"] == kind).cloned().collect()
}

/// Waits until an operation has done more than this, and is under way.
fn begun(stack: &Stack, kind: &str, done: u64) {
    wait::until("an operation under way", || {
        let all = operations(stack, kind);
        let one = all.iter().find(|one| one["receipt"].is_null())?;
        (one["done"].as_u64()? > done && one["stage"] == "working").then_some(())
    })
    .unwrap();
}

/// A stack with more stored than fits into one part of a restore, and than goes at once.
fn full_stack() -> Stack {
    let origin = Origin::start(|request| {
        let content: Vec<u8> = request.path.bytes().cycle().take(900_000).collect();
        Reply::ok(content).max_age(600)
    })
    .unwrap();
    let stack = Stack::start(&Plan::default(), origin).unwrap();
    (0..40).for_each(|page| assert_eq!(stack.envoy.get(&format!("/page/{page}")).unwrap().status, 200));
    stack
}

#[test]
fn ctrl_c_cancels_and_a_restore_that_was_cut_sends_what_is_missing() {
    let mut stack = full_stack();
    let operator = Operator::of_stack(&stack);
    let file = operator.home.path().join("file");
    let path = file.display().to_string();
    let start = |arguments: &[&str]| {
        let mut command = operator.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ending(command.spawn().unwrap())
    };
    let end = |mut child: Ending| {
        let mut err = String::new();
        child.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (child.0.wait().unwrap().code(), err)
    };
    let child = start(&["snapshot", &path]);
    begun(&stack, "snapshot", 0);
    interrupt(&child.0);
    let (code, err) = end(child);
    assert!(code == Some(130) && err.contains("was not written"), "{code:?} {err}");
    assert!(!file.exists());
    assert_eq!(operations(&stack, "snapshot")[0]["state"], "cancelled");

    operator.says(0, &["snapshot", &path]);
    let fresh = stack.envoy_beside("fresh").unwrap();
    let child = start(&["restore", &path, "--envoy", "fresh"]);
    begun(&stack, "restore", 5_000_000);
    interrupt(&child.0);
    let (code, err) = end(child);
    assert!(code == Some(130) && err.contains("goes on at"), "{code:?} {err}");
    let first = operations(&stack, "restore")[0].clone();
    assert_eq!(first["state"], "cancelled", "{first}");
    // The control plane itself goes away in the middle of the second attempt, which waits for it.
    let child = start(&["restore", &path, "--envoy", "fresh", "-o", "json"]);
    let done = first["done"].as_u64().unwrap();
    begun(&stack, "restore", done + 5_000_000);
    stack.control().restart().unwrap();
    let (code, err) = end(child);
    assert!(err.contains("Going on at"), "{err}");
    // Where the waiting was not enough the next attempt goes on.
    if code != Some(0) {
        operator.says(0, &["restore", &path, "--envoy", "fresh"]);
    }
    let last = operations(&stack, "restore")[0].clone();
    assert_eq!(last["state"], "done", "{last}");
    let sent = last["receipt"]["counts"]["read"].as_u64().unwrap();
    assert!(sent < 40, "only what was missing: {last} {code:?} {err}");
    (0..40).for_each(|page| assert!(fresh.get(&format!("/page/{page}")).unwrap().is_hit(), "{page}"));
    assert!(!operator.home.path().join("file.restore").exists());
    let text = operator.says(0, &["warm", "fresh"]);
    assert!(text.contains("kept 40"), "{text}");
    let text = operator.says(0, &["optimize"]);
    assert!(text.contains("expired_removed"), "{text}");
}

#[test]
fn tokens_certificates_and_a_dead_control_plane_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(&folder.path().join("certificates")).unwrap();
    let tokens = folder.path().join("tokens.json");
    let list = json!([
        {"name": "ops", "role": "operator", "token": OPERATOR},
        {"name": "watcher", "role": "viewer", "token": VIEWER},
    ]);
    std::fs::write(&tokens, list.to_string()).unwrap();
    let options = Options {
        rest_port: free_port().unwrap(),
        grpc_port: free_port().unwrap(),
        state_dir: folder.path().join("state"),
        config_dir: None,
        environment: vec![
            ("AUTH_TOKENS_FILE".to_owned(), tokens.display().to_string()),
            ("REST_TLS_CERT_FILE".to_owned(), certificates.file("server.pem")),
            ("REST_TLS_KEY_FILE".to_owned(), certificates.file("server.key")),
            ("REST_TLS_CLIENT_CA_FILE".to_owned(), certificates.file("ca.pem")),
        ],
    };
    let port = options.rest_port;
    let mut control = ControlPlane::start(options, folder.path()).unwrap();
    let operator = Operator::of(format!("https://127.0.0.1:{port}"));
    let file = |name: &str, token: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, token).unwrap();
        file.display().to_string()
    };
    let (ops, watcher, wrong) = (
        file("ops", OPERATOR),
        file("watcher", VIEWER),
        file("wrong", "expired-token-0123456789"),
    );
    let (ca, cert, key) = (
        certificates.file("ca.pem"),
        certificates.file("client.pem"),
        certificates.file("client.key"),
    );
    let with = |token: &str| {
        let all = [
            "--ca-file",
            &ca,
            "--client-cert-file",
            &cert,
            "--client-key-file",
            &key,
            "--token-file",
            token,
        ];
        all.map(str::to_owned).to_vec()
    };
    let says = |code: i32, options: &[String], arguments: &[&str]| {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        operator.says(code, &[arguments, &options].concat())
    };
    let get = ["settings", "get", "cache_size"];
    wait::until("the control plane", || {
        let options = with(&ops);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        (operator.run(&[&get[..], &options].concat()).code == 0).then_some(())
    })
    .unwrap();
    assert_eq!(says(0, &with(&ops), &get), "10000\n");
    let text = says(4, &with(&wrong), &get);
    assert!(
        text.contains("The token is not known") && text.contains("--token-file"),
        "{text}"
    );
    let text = says(4, &with(&watcher), &["settings", "set", "cache_size=500"]);
    assert!(text.contains("The role operator is needed"), "{text}");
    let text = says(2, &with(&watcher), &["check"]);
    assert!(text.contains("is accepted: watcher has the role viewer"), "{text}");
    // Whose certificate is not trusted, and who has none.
    let text = operator.says(3, &get);
    assert!(text.contains("is not trusted") && text.contains("--ca-file"), "{text}");
    let text = operator.says(3, &[&get[..], &["--ca-file", &ca]].concat());
    assert!(text.contains("client certificate"), "{text}");
    let text = operator.says(
        3,
        &[&get[..], &["--server", &format!("http://127.0.0.1:{port}")]].concat(),
    );
    assert!(text.contains("http or https"), "{text}");
    control.kill();
    let text = says(3, &with(&ops), &get);
    assert!(
        text.contains("cannot be reached") && text.contains("Envoys go on serving"),
        "{text}"
    );
    let text = says(2, &with(&ops), &["check"]);
    assert!(text.contains("fail  control plane"), "{text}");
}

#[test]
fn the_board_lives_on_a_terminal_and_ends_with_q() {
    let stack = stack();
    let operator = Operator::of_stack(&stack);
    fill(&stack, 2);
    let text = operator.says(0, &["top"]);
    assert!(
        text.contains("Fleet: 1") && text.contains("No alert is on.") || text.contains("Alerts"),
        "{text}"
    );
    let program = artefacts::command_line().unwrap();
    let line = format!("stty rows 40 cols 120; exec {} top --interval 200ms", program.display());
    let mut terminal = Command::new("script");
    for (name, value) in operator.command(&[]).get_envs() {
        if let Some(value) = value {
            terminal.env(name, value);
        }
    }
    terminal.args(["-qefc", &line, "/dev/null"]);
    let mut script = Ending(terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut screen = script.0.stdout.take().unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = screen.read(&mut bytes) {
            if send.send(String::from_utf8_lossy(&bytes[..read]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut seen = String::new();
    wait::until("the board on the terminal", || {
        seen.extend(receive.try_iter());
        // Each time it is drawn the cursor is hidden.
        let drawn = seen.matches("\u{1b}[?25l").count();
        (seen.contains("Fleet: 1") && drawn > 3).then_some(())
    })
    .unwrap_or_else(|failure| panic!("{failure}: {seen}"));
    script.0.stdin.take().unwrap().write_all(b"q").unwrap();
    let ended = wait::until("the end of the board", || script.0.try_wait().unwrap()).unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn tail_reads_what_envoy_logs() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let plan = Plan {
        access_log: Some(log.clone()),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, Origin::start(|_| Reply::ok("content").max_age(600)).unwrap()).unwrap();
    let operator = Operator::of_stack(&stack);
    fill(&stack, 1);
    let tail = |decision: &str, file: &Path| {
        operator.says(
            0,
            &[
                "tail",
                &file.display().to_string(),
                "--decision",
                decision,
                "--path",
                "/page",
            ],
        )
    };
    wait::until("both requests in the log", || {
        let (hits, misses) = (tail("hit", &log), tail("miss", &log));
        (hits.contains("200 hit") && misses.contains("uri-miss stored")).then_some(())
    })
    .unwrap();
}
