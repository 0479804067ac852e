//! Experiments: what is asked of the control plane, and how its answer is read.

use crate::played::{Played, Said, Seen};
use crate::program::Program;
use serde_json::{Value, json};

fn experiment() -> Value {
    let arm = json!({"envoys": 1, "requests": 1200, "error_rate": 0.5, "p95_latency": 3.25, "cache_hit_ratio": 61});
    let difference = json!({"seen": 12.5, "low": 9.5, "high": null});
    json!({
        "id": "e/1", "by": "me", "state": "measuring", "started_at": 1, "settings": {"cache_size": 7},
        "summary": "Measuring: \u{1b}[31m1200 requests.", "predicted": {"cache_hit_ratio": 13.1, "samples": 9000},
        "figures": {"experiment": arm, "control": arm, "error_rate": difference, "p95_latency": difference, "cache_hit_ratio": difference},
    })
}

#[test]
fn an_experiment_is_started_shown_and_stopped() {
    let home = tempfile::tempdir().unwrap();
    let played = Played::new(|seen: &Seen| {
        let answer = match seen.line.as_str() {
            "GET /tuning/experiments" => json!([experiment()]),
            _ => experiment(),
        };
        Said::new(200, answer.to_string())
    });
    let server = played.url();
    let run = |arguments: &[&str]| {
        let all = [&["experiment"], arguments, &["--server", &server]].concat();
        Program::new(home.path(), &all).run()
    };
    let out = run(&["list"]).code(0).out;
    assert!(out.contains("measuring") && !out.contains('\u{1b}'), "{out}");
    for arguments in [
        vec!["show"],
        vec!["show", "e/1"],
        vec!["start", "cache_size=7"],
        vec!["stop", "e/1"],
    ] {
        let out = run(&arguments).code(0).out;
        for part in ["{\"cache_size\":7}", "control", "13.1", "12.5", "61"] {
            assert!(out.contains(part), "{arguments:?}: {part} in {out}");
        }
        assert!(!out.contains('\u{1b}'), "{out}");
    }
    run(&["start", "--from", "ttl-advice", "--warm-up", "90s"]).code(0);
    run(&["start"]).code(2);
    run(&["start", "cache_size=7", "--share", "60"]).code(2);
    let seen: Vec<(String, String)> = played
        .seen()
        .iter()
        .map(|seen| (seen.line.clone(), seen.body.clone()))
        .collect();
    let lines: Vec<&str> = seen.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /tuning/experiments",
            "GET /tuning/experiments",
            "GET /tuning/experiments/e%2F1",
            "POST /tuning/experiments",
            "DELETE /tuning/experiments/e%2F1",
            "POST /tuning/experiments",
        ]
    );
    let bodies = [3, 5].map(|at: usize| serde_json::from_str::<Value>(&seen[at].1).unwrap());
    assert_eq!(
        bodies,
        [
            json!({"settings": {"cache_size": 7}}),
            json!({"from": "ttl_advice", "warm_up": "1m30s"})
        ]
    );
}
