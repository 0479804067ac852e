//! What goes wrong on the way: one sentence, what to do, and the documented exit code.

use crate::played::{Played, Said};
use crate::program::Program;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

fn problem(status: u16, title: &str) -> Said {
    Said::new(status, format!(r#"{{"title":"{title}","status":{status},"code":"x"}}"#))
}

fn run(url: &str, arguments: &[&str]) -> crate::program::Ended {
    let home = tempfile::tempdir().unwrap();
    Program::new(home.path(), arguments).env("API_OPTIMIZER_URL", url).run()
}

#[test]
fn nobody_there_is_exit_code_3_and_says_that_envoys_go_on() {
    let port = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let ended = run(&format!("http://127.0.0.1:{port}"), &["settings", "get"]).code(3);
    assert!(ended.err.contains("cannot be reached"), "{}", ended.err);
    assert!(ended.err.contains("Envoys go on serving"), "{}", ended.err);
    assert_eq!(ended.out, "");
}

/// Answers only who is still there after a while.
fn slow() -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        // Until the peer is gone, or says nothing more.
        while let Ok(1..) = peer.read(&mut [0; 4096]) {}
        let _ = peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    });
    (url, serving)
}

#[test]
fn who_takes_the_connection_and_says_nothing_is_given_up() {
    let (url, serving) = slow();
    let ended = run(&url, &["settings", "get", "--request-timeout", "200ms"]).code(3);
    assert!(ended.err.contains("did not answer in time"), "{}", ended.err);
    serving.join().unwrap();
    let (url, serving) = slow();
    run(&url, &["settings", "get", "--request-timeout", "1h"]).code(0);
    serving.join().unwrap();
}

#[test]
fn each_refusal_has_its_code_and_the_control_plane_s_words() {
    for (status, code) in [
        (401, 4),
        (403, 4),
        (404, 5),
        (409, 6),
        (412, 6),
        (422, 5),
        (429, 3),
        (503, 3),
    ] {
        let played = Played::new(move |_| problem(status, "These are the words"));
        let ended = run(&played.url(), &["alerts", "list"]).code(code);
        assert!(ended.err.starts_with("error: These are the words\n"), "{}", ended.err);
    }
}

#[test]
fn a_server_that_is_no_control_plane_is_told() {
    let played = Played::new(|_| Said::new(200, "<html>"));
    let ended = run(&played.url(), &["settings", "get"]).code(3);
    assert!(ended.err.contains("no JSON"), "{}", ended.err);
    let ended = run(&played.url().replace("http:", "https:"), &["settings", "get"]).code(3);
    assert!(ended.err.contains("does not speak TLS"), "{}", ended.err);
}

#[test]
fn a_redirect_does_not_get_the_token() {
    let elsewhere = Played::new(|_| Said::new(200, "{}"));
    let to = elsewhere.url();
    let played = Played::new(move |_| Said::new(307, "").location(to.clone()));
    let home = tempfile::tempdir().unwrap();
    let ended = Program::new(home.path(), &["settings", "get", "--server", &played.url()])
        .env("API_OPTIMIZER_TOKEN", "secret-token-0123456789")
        .run()
        .code(3);
    assert!(ended.err.contains("redirect"), "{}", ended.err);
    assert_eq!(played.seen()[0].token, "Bearer secret-token-0123456789");
    assert!(elsewhere.seen().is_empty());
    assert!(!ended.err.contains("secret"), "{}", ended.err);
}

#[test]
fn words_of_a_stranger_do_not_steer_the_terminal() {
    let played = Played::new(|_| {
        Said::new(
            422,
            r#"{"title":"a\u001b[2Jb","violations":[{"path":"/\u001b[1m","message":"\u009b1m"}]}"#,
        )
    });
    let ended = run(&played.url(), &["alerts", "list"]).code(5);
    assert!(
        !ended.err.contains(|c: char| c.is_control() && c != '\n'),
        "{:?}",
        ended.err
    );
    let played = Played::new(|_| Said::new(200, r#"[{"name":"\u001b[2J","id":"x"}]"#));
    for form in ["table", "json", "yaml"] {
        let ended = run(&played.url(), &["alerts", "list", "-o", form]).code(0);
        assert!(
            !ended.out.contains(|c: char| c.is_control() && c != '\n'),
            "{:?}",
            ended.out
        );
    }
}

#[test]
fn check_ends_like_a_monitoring_plugin() {
    let port = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let ended = run(&format!("http://127.0.0.1:{port}"), &["check"]).code(2);
    assert!(ended.out.starts_with("fail  control plane: "), "{}", ended.out);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let sound = move |version: &'static str| {
        move |seen: &crate::played::Seen| {
            let path = seen.line.split(' ').nth(1).unwrap().to_owned();
            Said::new(
                200,
                match path.as_str() {
                    "/health" => format!(
                        r#"{{"components":{{"fleet":{{"status":"healthy","reason":""}}}},"as_of":{}}}"#,
                        std::time::SystemTime::now()
                            .duration_since(std::time::UNIX_EPOCH)
                            .unwrap()
                            .as_millis()
                            .max(now)
                    ),
                    "/openapi.json" => format!(r#"{{"info":{{"version":"{version}"}}}}"#),
                    "/fleet" => r#"[{"node_id":"a","connected":true,"version":"1"}]"#.to_owned(),
                    "/fleet/health" => r#"[{"node_id":"a","filter":true,"statistics_at":1}]"#.to_owned(),
                    "/settings/rollout" => r#"{"revision":1,"complete":true}"#.to_owned(),
                    "/alerts/active" => "[]".to_owned(),
                    _ => "{}".to_owned(),
                },
            )
        }
    };
    let played = Played::new(sound(env!("CARGO_PKG_VERSION")));
    let ended = run(&played.url(), &["check"]).code(0);
    assert!(ended.out.ends_with("Sound.\n"), "{}", ended.out);
    let played = Played::new(sound("99.0.0"));
    let ended = run(&played.url(), &["check", "-o", "json"]).code(1);
    assert!(ended.out.contains("\"verdict\": \"warn\""), "{}", ended.out);
}

#[test]
fn colours_are_for_terminals() {
    let played = Played::new(|_| problem(422, "no"));
    let ended = run(&played.url(), &["alerts", "list"]).code(5);
    assert!(!ended.err.contains('\u{1b}'), "{:?}", ended.err);
}
