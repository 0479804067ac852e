//! Instructions that a whole Envoy with the dynamic module takes for a request, counted by callgrind: neither other work on the machine
//! nor its clock changes them. The kernel's are not among them.
//!
//! What goes on without requests (ticks, statistics) is counted apart, and taken off by the time that a measurement took: under
//! callgrind a request takes long, and far more of it falls to each.

use crate::contenders::{self, Cores, SIZES};
use crate::numbers::Spread;
use crate::target::Target;
use e2e::client::{Connection, Request};
use e2e::envoy::Envoy;
use e2e::{Failure, Result, artefacts};
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
const REQUESTS: usize = 400;
/// Before the first measurement, so that what happens once is in none.
const WARM: usize = 100;
const IDLE: Duration = Duration::from_secs(4);

/// A kind of request, the path of its number, and of which other kind its ratio is taken.
struct Kind {
    name: &'static str,
    path: fn(usize) -> String,
    base: usize,
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "direct_response",
        path: |_| format!("/direct/{}", SIZES[0]),
        base: 0,
    },
    Kind {
        name: "hit",
        path: |_| format!("/{}", SIZES[0]),
        base: 0,
    },
    Kind {
        name: "forwarded, no filter",
        path: |_| format!("/plain/no-store/{}", SIZES[0]),
        base: 2,
    },
    Kind {
        name: "forwarded by ours",
        path: |_| format!("/no-store/{}", SIZES[0]),
        base: 2,
    },
    Kind {
        name: "stored miss",
        path: |number| format!("/{}?{number}", SIZES[0]),
        base: 2,
    },
];

/// Counts and prints.
pub(crate) fn count() -> Result<()> {
    let cores = Cores::of_this_machine();
    let folder = tempfile::Builder::new().prefix("bench-").tempdir()?;
    let mut origin = contenders::origin(folder.path(), &cores)?;
    let port = Target::of(&mut origin).address.port();
    let mut counted = Counted::start(folder.path(), port)?;
    let mut number = 0;
    for kind in &KINDS {
        ask(counted.address, kind, WARM, &mut number)?;
    }
    let mut seen = KINDS.each_ref().map(|_| Vec::new());
    for _ in 0..ROUNDS {
        let (idle, lasted) = counted.during(|_| {
            std::thread::sleep(IDLE);
            Ok(())
        })?;
        let a_second = idle / lasted;
        for (kind, into) in KINDS.iter().zip(&mut seen) {
            let (all, lasted) = counted.during(|address| ask(address, kind, REQUESTS, &mut number))?;
            into.push((all - a_second * lasted) / REQUESTS as f64);
        }
    }
    let spreads = seen.map(Spread::of);
    println!("Instructions of Envoy with the dynamic module for a request of 1 KB, without the kernel's");
    let mut document = serde_json::Map::new();
    for (kind, spread) in KINDS.iter().zip(&spreads) {
        let ratio = spreads.get(kind.base).map_or(1.0, |base| spread.median / base.median);
        println!("  {:<24} {:>26}   {ratio:.2}", kind.name, spread.text(0));
        document.insert(
            kind.name.to_owned(),
            json!({"instructions": spread.to_json(), "ratio": ratio}),
        );
    }
    let file = artefacts::workspace().join("target/bench/instructions.json");
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&file, serde_json::to_string_pretty(&document)? + "\n")?;
    Ok(())
}

/// Sends requests one after the other over one connection.
fn ask(address: SocketAddr, kind: &Kind, requests: usize, number: &mut usize) -> Result<()> {
    let mut connection = Connection::open(address)?;
    for _ in 0..requests {
        *number += 1;
        let response = connection.exchange(&Request::get(&(kind.path)(*number)))?;
        if response.status != 200 || response.body.len() != SIZES[0] {
            return Err(Failure::new(format!(
                "{} was answered with {}",
                kind.name, response.status
            )));
        }
    }
    Ok(())
}

/// An Envoy under callgrind.
struct Counted {
    envoy: Envoy,
    address: SocketAddr,
    folder: PathBuf,
}

impl Counted {
    fn start(folder: &Path, origin: u16) -> Result<Self> {
        let folder = folder.join("counted");
        std::fs::create_dir_all(&folder)?;
        let out = format!("--callgrind-out-file={}", folder.join("callgrind.%p").display());
        let wrapper = ["valgrind", "--tool=callgrind", "--instr-atstart=no", &out];
        let mut envoy = contenders::ours_under("counted", artefacts::native_filter()?, &folder, &wrapper, origin, 1)?;
        let address = Target::of(&mut envoy).address;
        Ok(Self { envoy, address, folder })
    }

    /// Instructions taken during `work`, and its seconds.
    fn during(&mut self, work: impl FnOnce(SocketAddr) -> Result<()>) -> Result<(f64, f64)> {
        self.dumps()?.into_iter().try_for_each(std::fs::remove_file)?;
        self.control(&["--zero"])?;
        self.control(&["--instr=on"])?;
        let began = Instant::now();
        let done = work(self.address);
        let lasted = began.elapsed().as_secs_f64();
        self.control(&["--instr=off"])?;
        done?;
        self.control(&["--dump"])?;
        let mut counted = None;
        for dump in self.dumps()? {
            let text = std::fs::read_to_string(dump)?;
            let total = text
                .lines()
                .find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<f64>().ok());
            counted = total.map(|total| total + counted.unwrap_or(0.0)).or(counted);
        }
        let counted = counted.ok_or_else(|| Failure::new("callgrind counted nothing"))?;
        Ok((counted, lasted))
    }

    fn control(&mut self, arguments: &[&str]) -> Result<()> {
        let id = self.envoy.process().id().to_string();
        let output = Command::new("callgrind_control").args(arguments).arg(&id).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Err(Failure::new(format!(
            "callgrind_control {}: {said}",
            arguments.join(" ")
        )))
    }

    fn dumps(&self) -> Result<Vec<PathBuf>> {
        let mut dumps = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            if name.starts_with("callgrind.") {
                dumps.push(path);
            }
        }
        Ok(dumps)
    }
}
