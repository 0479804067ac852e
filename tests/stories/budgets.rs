//! What a peer can cost the control plane: memory and processor time of each hostile input stay within a stated bound.

use e2e::client::{Connection, Request};
use e2e::control_plane::{ControlPlane, Options};
use e2e::hostile::{self, Input};
use e2e::ports::free_port;
use serde_json::json;

/// Most processor time, in hundredths of a second.
const TICKS: f64 = hostile::SECONDS * 100.0;

/// A running control plane that is charged for what is done to it.
struct Charged {
    control: ControlPlane,
    _folder: tempfile::TempDir,
}

impl Charged {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = ControlPlane::quiet(folder.path()).unwrap();
        Self {
            control,
            _folder: folder,
        }
    }

    /// Does `input` and fails when it costs too much.
    fn charge<T>(&mut self, what: &str, input: impl FnOnce(&ControlPlane) -> T) -> T {
        let process = self.control.process().unwrap();
        let (memory, ticks) = (process.resident_mb().unwrap(), process.cpu_ticks());
        let out = input(&self.control);
        assert!(self.control.is_live(), "{what}: gone");
        let process = self.control.process().unwrap();
        let (memory, ticks) = (process.peak_mb().unwrap() - memory, process.cpu_ticks() - ticks);
        println!("{what}: {memory:.0} MB, {ticks} ticks");
        assert!(memory <= hostile::MEMORY_MB, "{what}: {memory} MB");
        assert!(ticks as f64 <= TICKS, "{what}: {ticks} hundredths of a second");
        out
    }
}

/// Sends each of them and fails when it costs too much, or is not refused as it should be.
fn refuse(charged: &mut Charged, inputs: &[Input]) {
    for input in inputs {
        let answer = charged.charge(&input.what, |control| control.rest().send(&input.request));
        // Refused before all of it was sent, it may be cut off.
        let Ok(answer) = answer else { continue };
        let code = answer.json().unwrap()["code"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, 422, "{}: {}", input.what, answer.text());
        assert!(input.codes.contains(&code.as_str()), "{}: {code}", input.what);
    }
}

#[test]
fn patches_that_grow_are_refused_before_they_do() {
    let mut charged = Charged::start();
    refuse(&mut charged, &hostile::patches());
    // As large as may be, and a little more.
    let code = |body: String| {
        let request = Request::new("PATCH", "/settings").header("content-type", "application/json-patch+json");
        let answer = charged.control.rest().send(&request.body(body)).unwrap();
        answer.json().unwrap()["code"].as_str().unwrap_or_default().to_owned()
    };
    let text = |length: usize| {
        let add = json!({"op": "add", "path": "/x", "value": "x".repeat(length)});
        json!([add, {"op": "copy", "from": "/x", "path": "/y"}]).to_string()
    };
    assert_eq!(code(text(400_000)), "invalid_settings");
    assert_eq!(code(text(540_000)), "document_too_large");
    let tests = |count: usize| {
        let test = r#"{"op":"test","path":"/no","value":1}"#;
        format!("[{}]", vec![test; count].join(","))
    };
    assert_eq!(code(tests(1_000)), "patch_does_not_apply");
    assert_eq!(code(tests(1_001)), "document_too_large");
    let settings = charged.control.rest().document("/settings").unwrap();
    assert!(settings.get("c0").is_none() && settings.get("x").is_none());
}

#[test]
fn documents_of_many_unknown_names_are_refused_in_time() {
    refuse(&mut Charged::start(), &hostile::unknown_names());
}

#[test]
fn names_that_are_too_long_are_kept_nowhere() {
    let mut charged = Charged::start();
    charged.charge("60 Envoys with long texts", |control| {
        hostile::long_texts(control.grpc_address()).unwrap();
    });
    let fleet = charged.control.rest().get("/fleet").unwrap();
    assert!(fleet.body.len() < 10_000, "{} bytes", fleet.body.len());
}

#[test]
fn a_restore_costs_little_whatever_it_is() {
    refuse(&mut Charged::start(), &hostile::snapshots().unwrap());
}

#[test]
fn purges_are_taken_at_a_pace() {
    let charged = Charged::start();
    let purge = |targets: usize, length: usize| {
        let tags: Vec<String> = (0..targets).map(|n| format!("{n:0length$}")).collect();
        let request = Request::new("POST", "/cache/purge").body(json!({ "tags": tags }).to_string());
        let answer = charged.control.rest().send(&request).unwrap();
        (
            answer.status,
            answer.json().unwrap()["code"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let refused = (422, "invalid_body".to_owned());
    assert_eq!(purge(65, 1), refused);
    assert_eq!(purge(1, 8_193), refused);
    let begun = std::time::Instant::now();
    let answers: Vec<_> = (0..20).map(|_| purge(64, 10)).collect();
    let admitted = 64.0 * answers.iter().filter(|(status, _)| *status == 202).count() as f64;
    let most = 500.0 + 50.0 * begun.elapsed().as_secs_f64();
    assert!(admitted <= most, "{admitted} targets in {:?}", begun.elapsed());
    assert!(answers.contains(&(202, String::new())), "{answers:?}");
    assert!(answers.contains(&(429, "too_many_purges".to_owned())), "{answers:?}");
}

#[test]
fn a_listener_that_does_not_read_costs_little() {
    let mut charged = Charged::start();
    let listeners: Vec<Connection> = (0..40)
        .map(|number| {
            let mut listener = Connection::open(charged.control.rest().address()).unwrap();
            let path = ["/events", "/metrics/stream"][number % 2];
            let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            listener.send(head.as_bytes()).unwrap();
            listener.read_at_least(15).unwrap();
            listener
        })
        .collect();
    let memory = charged.control.process().unwrap().resident_mb().unwrap();
    // More events than wait for one that does not read.
    for size in 1..=400 {
        let answer = charged
            .control
            .rest()
            .merge_patch("/settings", &json!({"cache_size": size}))
            .unwrap();
        assert!([200, 429].contains(&answer.status), "{}", answer.text());
    }
    let peak = charged.control.process().unwrap().peak_mb().unwrap();
    println!(
        "{} listeners that do not read: {memory} MB before, {peak} MB at most",
        listeners.len()
    );
    assert!(peak - memory <= hostile::MEMORY_MB, "{memory} MB became {peak} MB");
}

#[test]
fn silent_connections_end_and_leave_the_probes_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        rest_port: free_port().unwrap(),
        grpc_port: free_port().unwrap(),
        state_dir: folder.path().join("state"),
        config_dir: None,
        environment: vec![("CONNECTIONS_PER_ADDRESS".to_owned(), "40".to_owned())],
    };
    let mut control = ControlPlane::start(options, folder.path()).unwrap();
    control.wait_live().unwrap();
    let beginnings: [&[u8]; 4] = [b"", b"P", b"PRI * HTTP/2.0\r\n", b"GET /health HTTP/1.1\r\n"];
    let mut silent = Vec::new();
    for address in [control.rest().address(), control.grpc_address()] {
        for beginning in beginnings.iter().cycle().take(12) {
            let mut connection = Connection::open(address).unwrap();
            connection.send(beginning).unwrap();
            silent.push(connection);
        }
    }
    // More than one address may have at the port for Envoys.
    let crowd: Vec<Connection> = (0..60)
        .filter_map(|_| Connection::open(control.grpc_address()).ok())
        .collect();
    assert!(
        control.is_live(),
        "with {} silent connections",
        silent.len() + crowd.len()
    );
    let begun = std::time::Instant::now();
    for mut connection in silent.into_iter().chain(crowd) {
        // Something may be said before it ends.
        while let Ok(read) = connection.read_at_least(1) {
            assert!(!read.is_empty());
        }
    }
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(18),
        "{:?}",
        begun.elapsed()
    );
    assert!(control.is_live());
}

#[test]
fn a_module_is_as_large_as_may_be_and_no_larger() {
    let charged = Charged::start();
    let upload = |length: usize| {
        let module = [&b"\0asm\x01\0\0\0"[..], &vec![0; length - 8]].concat();
        let request = Request::new("PUT", "/filter/modules").header("content-type", "application/wasm");
        charged.control.rest().send(&request.body(module))
    };
    assert_eq!(upload(16 << 20).unwrap().status, 200);
    // Refused before all of it was sent, it may be cut off.
    let answer = upload((16 << 20) + 1);
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 413));
    let rollout = charged.control.rest().document("/filter/rollout").unwrap();
    assert_eq!(rollout["modules"].as_array().unwrap().len(), 1, "{rollout}");
}
