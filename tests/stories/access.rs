//! Who may do what: each route asks for its role, and what one user sent is shown to nobody.

use e2e::client::{Request, Response};
use e2e::control_plane::{ControlPlane, Options};
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::rest::Rest;
use e2e::stack::{Plan, Stack};
use e2e::wait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const VIEWER: &str = "viewer-token-0123456789";
const OPERATOR: &str = "operator-token-0123456789";
const ADMIN: &str = "admin-token-0123456789";

fn tokens(folder: &Path) -> (String, String) {
    let file = folder.join("tokens.json");
    let tokens = json!([
        {"name": "root", "role": "admin", "token": ADMIN},
        {"name": "ops", "role": "operator", "token": OPERATOR},
        {"name": "watcher", "role": "viewer", "token": VIEWER},
    ]);
    std::fs::write(&file, tokens.to_string()).unwrap();
    ("AUTH_TOKENS_FILE".to_owned(), file.display().to_string())
}

fn control_plane(folder: &Path, environment: Vec<(String, String)>) -> ControlPlane {
    let options = Options {
        rest_port: free_port().unwrap(),
        grpc_port: free_port().unwrap(),
        state_dir: folder.join("state"),
        config_dir: None,
        environment,
    };
    let mut control = ControlPlane::start(options, folder).unwrap();
    control.wait_live().unwrap();
    control
}

fn code(answer: &Response) -> (u16, String) {
    let code = answer
        .json()
        .map(|problem| problem["code"].as_str().unwrap_or_default().to_owned());
    (answer.status, code.unwrap_or_default())
}

/// What each operation of the description needs: nothing, or a role.
fn needed(method: &str, path: &str) -> Option<&'static str> {
    match (method, path) {
        (_, "/health/live" | "/health/ready" | "/metrics") | ("get", "/filter/modules/{sha256}") => None,
        (_, "/cache/restore" | "/filter/modules") => Some("admin"),
        ("get", _) => Some("viewer"),
        _ => Some("operator"),
    }
}

fn rank(role: &str) -> usize {
    ["viewer", "operator", "admin"]
        .iter()
        .position(|known| *known == role)
        .unwrap()
}

#[test]
fn every_operation_asks_for_its_role() {
    let folder = tempfile::tempdir().unwrap();
    let control = control_plane(folder.path(), vec![tokens(folder.path())]);
    let stranger = control.stranger();
    let description = stranger.document("/openapi.json").unwrap();
    let mut tried = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let target = path
                .replace("{id}", "x")
                .replace("{name}", "x")
                .replace("{revision}", "1");
            let target = target
                .replace("{upstream}", "x")
                .replace("{action}", "reset")
                .replace("{sha256}", "x");
            assert!(!target.contains('{'), "{target}");
            let ask = |rest: Rest| {
                // Not a body that any of them takes: nothing is done.
                let request = Request::new(&method.to_uppercase(), &target)
                    .header("content-type", "application/json")
                    .body("?");
                rest.send(&request)
            };
            let streams = path == "/events" || path == "/metrics/stream";
            let Some(role) = needed(method, path) else {
                let answer = ask(stranger).unwrap();
                assert!(
                    ![401, 403].contains(&answer.status),
                    "{method} {path}: {}",
                    answer.status
                );
                continue;
            };
            let answer = ask(stranger).unwrap();
            assert_eq!(code(&answer), (401, "unauthorized".to_owned()), "{method} {path}");
            let answer = ask(stranger.with_token("unknown-token-0123456789")).unwrap();
            assert_eq!(answer.status, 401, "{method} {path}");
            for (given, token) in [("viewer", VIEWER), ("operator", OPERATOR), ("admin", ADMIN)] {
                if streams {
                    continue;
                }
                let answer = ask(stranger.with_token(token)).unwrap();
                let enough = rank(given) >= rank(role);
                assert_eq!(
                    answer.status == 403,
                    !enough,
                    "{method} {path} as {given}: {}",
                    answer.text()
                );
                assert_ne!(answer.status, 401, "{method} {path} as {given}");
            }
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
    assert!(stranger.document("/health").is_err());
    let health = control.rest().document("/health").unwrap();
    assert_eq!(health["settings_writes"], "guarded");
}

#[test]
fn who_writes_is_known_by_the_token_also_as_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let control = control_plane(folder.path(), vec![tokens(folder.path())]);
    let netrc = folder.path().join("netrc");
    std::fs::write(&netrc, format!("machine 127.0.0.1 login ops password {OPERATOR}\n")).unwrap();
    let url = format!("http://{}/settings", control.rest().address());
    let netrc = netrc.display().to_string();
    let curl = |arguments: &[&str]| {
        let done = Command::new("curl")
            .args(["-s", "-w", "%{http_code}", "-o", "/dev/null"])
            .args(arguments)
            .output();
        String::from_utf8(done.unwrap().stdout).unwrap()
    };
    let patch = ["-X", "PATCH", "-H", "Content-Type: application/json-patch+json", "-d"];
    let body = r#"[{"op":"replace","path":"/data/cache_size","value":"78"}]"#;
    assert_eq!(curl(&[&patch[..], &[body, &url]].concat()), "401");
    assert_eq!(
        curl(&[&["--netrc-file", &netrc], &patch[..], &[body, &url]].concat()),
        "200"
    );
    let history = control.rest().document("/settings/history").unwrap();
    assert_eq!(history.as_array().unwrap().last().unwrap()["who"], "ops");
}

#[test]
fn probes_can_be_closed_too() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        rest_port: free_port().unwrap(),
        grpc_port: free_port().unwrap(),
        state_dir: folder.path().join("state"),
        config_dir: None,
        environment: vec![tokens(folder.path()), ("CLOSE_PROBES".to_owned(), "true".to_owned())],
    };
    let mut control = ControlPlane::start(options, folder.path()).unwrap();
    control.wait_live().unwrap();
    for path in ["/health/live", "/health/ready", "/metrics"] {
        assert_eq!(control.stranger().get(path).unwrap().status, 401, "{path}");
        let viewer = control.stranger().with_token(VIEWER);
        assert_eq!(viewer.get(path).unwrap().status, 200, "{path}");
    }
}

#[test]
fn what_users_sent_is_shown_to_nobody() {
    let origin = Origin::start(|request| match request.path.as_str() {
        "/varies" => Reply::ok("content")
            .max_age(600)
            .header("vary", "x-user, accept-encoding"),
        _ => Reply::ok("content").max_age(600),
    })
    .unwrap();
    let plan = Plan {
        settings: json!({"routes": [{"name": "keyed", "path_prefix": "/keyed", "key_headers": ["x-user"]}]}),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin).unwrap();
    stack.change_settings(&plan.settings).unwrap();
    for user in ["alice-secret", "bob-secret"] {
        for path in ["/varies", "/keyed"] {
            let request = Request::get(path)
                .header("cookie", format!("session={user}"))
                .header("x-user", user)
                .header("accept-encoding", "gzip");
            let answer = stack.envoy.fetch(&request).unwrap();
            assert_eq!(answer.status, 200);
        }
    }
    let explain = |path: &str, more: &str| {
        let url = format!("/cache/explain?url=http://api.example{path}{more}");
        wait::until("an explanation", || {
            let told = stack.rest().document(&url).ok()?;
            let envoy = told["envoys"][0].clone();
            (envoy["answered"] == true).then_some(envoy["explanation"].clone())
        })
        .unwrap()
    };
    let varies = explain("/varies", "");
    let variants = varies["variants"].as_array().unwrap();
    assert_eq!(variants.len(), 2, "{varies}");
    {
        let mut shown: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for field in variants
            .iter()
            .flat_map(|variant| variant["selecting"].as_array().unwrap())
        {
            shown
                .entry(field["name"].as_str().unwrap())
                .or_default()
                .push(&field["value"]);
        }
        assert!(
            shown["x-user"]
                .iter()
                .all(|value| value.as_str().unwrap().starts_with("digest:")),
            "{shown:?}"
        );
        assert!(
            shown["accept-encoding"].iter().all(|value| **value == "gzip"),
            "{shown:?}"
        );
    }
    let keyed = explain("/keyed", "&header=x-user:%20alice-secret");
    assert_eq!(keyed["decision"], "serve", "{keyed}");
    for told in [&varies, &keyed] {
        assert!(!told.to_string().contains("secret"), "{told}");
    }
    let text = |path: &str| stack.rest().get(path).unwrap().text();
    for path in ["/cache/stats", "/metrics", "/fleet", "/health"] {
        assert!(!text(path).contains("secret"), "{path}");
    }
}

#[test]
fn no_web_page_writes_or_reads() {
    let folder = tempfile::tempdir().unwrap();
    let control = control_plane(folder.path(), Vec::new());
    let rest = control.rest();
    let before = rest.document("/settings").unwrap();
    let send = |method: &str, path: &str, fields: &[(&str, &str)], body: &str| {
        let request = Request::new(method, path).body(body);
        let request = fields
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value));
        code(&rest.send(&request).unwrap())
    };
    let purge = r#"{"all": true}"#;
    let json = ("content-type", "application/json");
    let foreign = (403, "foreign_origin".to_owned());
    for field in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        assert_eq!(
            send("POST", "/cache/purge", &[json, field], purge),
            foreign,
            "{field:?}"
        );
        assert_eq!(
            send("POST", "/settings/profile/low_latency", &[field], ""),
            foreign,
            "{field:?}"
        );
        assert_eq!(send("PUT", "/filter/modules", &[field], "x"), foreign, "{field:?}");
    }
    let kind = (415, "unsupported_media_type".to_owned());
    for field in [
        ("content-type", "text/plain"),
        ("content-type", "multipart/form-data; boundary=x"),
    ] {
        assert_eq!(send("POST", "/cache/purge", &[field], purge), kind, "{field:?}");
    }
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(
        send("POST", "/cache/purge", &[form, ("sec-fetch-mode", "no-cors")], purge),
        kind
    );
    // What curl -d sends, and a page of its own.
    assert_eq!(send("POST", "/cache/purge", &[form], purge).0, 202);
    let own = [json, ("origin", "http://localhost"), ("sec-fetch-site", "same-origin")];
    assert_eq!(send("POST", "/cache/purge", &own, purge).0, 202);
    let unknown = (421, "unknown_host".to_owned());
    for host in ["evil.example", "evil.example:8080"] {
        assert_eq!(send("GET", "/settings", &[("host", host)], ""), unknown, "{host}");
        assert_eq!(
            send("PUT", "/settings", &[("host", host), json], "{}"),
            unknown,
            "{host}"
        );
    }
    for host in [
        "127.0.0.1:8080",
        "api-optimizer:8080",
        "api-optimizer.production.svc.cluster.local:8080",
    ] {
        assert_eq!(send("GET", "/settings", &[("host", host)], "").0, 200, "{host}");
    }
    assert_eq!(rest.document("/settings").unwrap(), before);
}
