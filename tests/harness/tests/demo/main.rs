//! What `make run` starts: that the README's tour through it is true, that it stays up, and that it ends.

mod tour;

use harness::ports::free_port;
use harness::process::Process;
use harness::rest::Rest;
use harness::{artefacts, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use tour::Ports;

/// A running demo on ports of its own.
struct Demo {
    process: Process,
    ports: Ports,
    admin_port: u16,
    grpc_port: u16,
    folder: TempDir,
}

impl Demo {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = Ports {
            listen: free_port().unwrap(),
            rest: free_port().unwrap(),
        };
        let (admin_port, grpc_port) = (free_port().unwrap(), free_port().unwrap());
        let mut command = run_demo();
        command
            .env("LISTEN_PORT", ports.listen.to_string())
            .env("ADMIN_PORT", admin_port.to_string())
            .env("REST_PORT", ports.rest.to_string())
            .env("GRPC_PORT", grpc_port.to_string())
            .env("STATE_DIR", folder.path());
        let process = Process::start("run-demo", &mut command, &folder.path().join("demo.log")).unwrap();
        let mut demo = Self {
            process,
            ports,
            admin_port,
            grpc_port,
            folder,
        };
        demo.wait_for("Ctrl-C stops everything.");
        demo
    }

    /// Waits until it has said this; returns all that it has said.
    fn wait_for(&mut self, said: &str) -> String {
        let seen = wait::until(said, || {
            let output = self.process.output();
            (output.contains(said) || self.process.ended().is_some()).then_some(output)
        });
        let output = seen.unwrap_or_else(|_| self.process.output());
        assert!(output.contains(said), "{output}");
        output
    }

    /// The process that it names in the first line with `said`.
    fn named(&mut self, said: &str) -> Pid {
        let output = self.wait_for(said);
        let after = output.split_once(said).unwrap().1;
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        Pid::from_raw(digits.parse().unwrap()).unwrap()
    }

    fn rest(&self) -> Rest {
        Rest::new((Ipv4Addr::LOCALHOST, self.ports.rest).into())
    }

    fn product(&self, id: u32) -> u16 {
        let envoy = Rest::new((Ipv4Addr::LOCALHOST, self.ports.listen).into());
        envoy.get(&format!("/products/{id}")).map_or(0, |answer| answer.status)
    }
}

/// The program, free of what the caller's environment would tell it.
fn run_demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_run-demo"));
    for name in ["ORIGIN", "CONCURRENCY", "CONFIG_DIR"] {
        command.env_remove(name);
    }
    command
}

/// Processes whose command line holds both words.
fn processes(of: &str, with: &str) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let environment = String::from_utf8_lossy(&read("environ")).into_owned();
        if command.contains(of) && (command.contains(with) || environment.contains(with)) {
            found.extend(Pid::from_raw(id));
        }
    }
    found
}

#[test]
fn the_tour_of_the_readme_is_what_it_prints() {
    let readme = std::fs::read_to_string(artefacts::workspace().join("README.md")).unwrap();
    let steps = tour::steps(&readme, "## Five minutes");
    assert!(steps.len() >= 8, "the tour is not read any more: {steps:?}");
    let demo = Demo::start();
    let mut wrong = Vec::new();
    for step in &steps {
        let printed = demo
            .ports
            .back(&run(&demo.ports.put(&step.command), demo.folder.path()));
        if !tour::fits(&step.prints, &printed) {
            wrong.push(format!(
                "$ {}\n{}\n--- README has\n{}",
                step.command, printed, step.prints
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn run(command: &str, folder: &Path) -> String {
    let output = Command::new("bash")
        .args(["-c", command])
        .current_dir(folder)
        .output()
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&printed).replace('\r', "")
}

#[test]
fn what_falls_is_started_again_and_a_closed_terminal_ends_all() {
    let mut demo = Demo::start();
    let state = demo.folder.path().display().to_string();
    assert_eq!(demo.product(1), 200);
    let said = demo.wait_for(r#"{"method":"GET","path":"/products/1","status":200,"cache":"fwd","reason":"uri-miss""#);
    assert!(!said.contains('\u{1b}'), "it is no terminal");
    let [plane] = processes("api-optimizer-control-plane", &state)[..] else {
        panic!("one control plane")
    };
    kill_process(plane, Signal::KILL).unwrap();
    let again = demo.named("Started the control plane again (process ");
    assert_eq!(demo.product(1), 200, "Envoy goes on");
    wait::until("the new control plane with its Envoy", || {
        let fleet = demo.rest().document("/fleet").ok()?;
        fleet.as_array().filter(|envoys| !envoys.is_empty()).map(|_| ())
    })
    .unwrap();
    let api = processes("demo-api", "--port")
        .into_iter()
        .find(|pid| parent(*pid) == Some(demo.process.id()))
        .expect("the demo API");
    kill_process(api, Signal::KILL).unwrap();
    let api = demo.named("Started the demo API again (process ");
    wait::until("products that are not stored", || {
        (demo.product(2) == 200).then_some(())
    })
    .unwrap();

    let pid = Pid::from_raw(i32::try_from(demo.process.id()).unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    wait::until("its end", || demo.process.ended()).unwrap();
    for pid in [again, api] {
        assert!(
            !Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists(),
            "{pid:?} stays"
        );
    }
    let ports = [demo.ports.listen, demo.ports.rest, demo.admin_port, demo.grpc_port];
    assert!(ports.into_iter().all(harness::ports::is_free), "some port is taken");
}

fn parent(pid: Pid) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn it_says_what_it_takes_and_what_is_wrong() {
    let said = |command: &mut Command| {
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (fine, help) = said(run_demo().arg("--help"));
    assert!(
        fine && ["ORIGIN", "STATE_DIR", "Ctrl-C"].iter().all(|word| help.contains(word)),
        "{help}"
    );
    assert_eq!(
        said(run_demo().arg("--port")),
        (
            false,
            "error: there is no argument --port: options come from the environment, see run-demo --help.\n".to_owned()
        )
    );
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let sentence =
        format!("error: Port {port} is in use: stop what listens there, or set LISTEN_PORT to another port.\n");
    assert_eq!(said(run_demo().env("LISTEN_PORT", port.to_string())), (false, sentence));
}

/// `make run` up to its build, with this put in its way.
fn make_run(change: impl FnOnce(&mut Command)) -> (bool, String) {
    let mut command = Command::new(artefacts::workspace().join("tests/harness/run.sh"));
    for name in ["LISTEN_PORT", "ADMIN_PORT", "REST_PORT", "GRPC_PORT"] {
        command.env(name, free_port().unwrap().to_string());
    }
    // Nothing may be built here.
    command.env("CARGO", "false");
    change(&mut command);
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn what_is_in_the_way_is_said_before_anything_is_built() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let sentence =
        format!("error: Port {port} is in use: stop what listens there, or set REST_PORT to another port.\n");
    let said = make_run(|command| {
        command.env("REST_PORT", port.to_string());
    });
    assert_eq!(said, (false, sentence));

    let tools = tempfile::tempdir().unwrap();
    let rustc = tools.path().join("rustc");
    std::fs::write(&rustc, "#!/bin/sh\necho 'rustc 1.85.0 (4d91de4e4 2025-02-17)'\n").unwrap();
    std::fs::set_permissions(&rustc, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
    let (fine, said) = make_run(|command| {
        command.env("PATH", path);
    });
    assert!(!fine && said.starts_with("error: Rust 1.85.0 is too old: "), "{said}");

    let log = "error: failed to download from `https://index.example/`\n[6] Could not resolve host";
    let cargo = tools.path().join("cargo");
    std::fs::write(&cargo, format!("#!/bin/sh\necho '{log}' >&2\nexit 101\n")).unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (fine, said) = make_run(|command| {
        command.env("CARGO", &cargo);
    });
    assert!(
        !fine && said.contains("\nerror: the crates could not be downloaded: "),
        "{said}"
    );
}
