//! What `optimizer tail` costs Envoy: its CPU time per hit with a tail on its access log and without, by turns on one Envoy, and that of
//! an Envoy that writes no log beside them. The tail is another process, so whatever is seen is contention for the machine.

use e2e::bootstrap::Bootstrap;
use e2e::client::{Connection, Request};
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Reply};
use e2e::ports::free_port;
use e2e::{Failure, Result, artefacts, machine, wait};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;
const LASTS: Duration = Duration::from_secs(2);
const CLIENTS: usize = 8;
/// The target: Envoy's CPU time per hit with the tail, over that without.
const TARGET: f64 = 1.02;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("the figure misses its target");
            ExitCode::FAILURE
        }
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn start(folder: &Path, origin: &Origin, log: bool) -> Result<Envoy> {
    let upstream = ("127.0.0.1".to_owned(), origin.address().port());
    let mut bootstrap = Bootstrap::bare(free_port()?, free_port()?, upstream);
    bootstrap.wasm = Some(artefacts::filter()?);
    bootstrap.access_log = log.then(|| folder.join("access.log"));
    let own = folder.join(if log { "logs" } else { "silent" });
    std::fs::create_dir(&own)?;
    let mut envoy = Envoy::start(&bootstrap, 1, &own)?;
    envoy.wait_ready()?;
    wait::until("a hit", || {
        let answer = envoy.fetch(&Request::get("/page")).ok()?;
        answer.is_hit().then_some(())
    })?;
    Ok(envoy)
}

/// A tail on the log; ended when dropped.
struct Tail(Child);

impl Tail {
    fn begin(log: &Path) -> Result<Self> {
        let mut command = Command::new(artefacts::command_line()?);
        command.args(["tail", "--follow", "--sample", "100"]).arg(log);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(child.spawn()?))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Envoy's CPU time per hit, microseconds.
fn cost(envoy: &Envoy) -> Result<f64> {
    let (address, end) = (envoy.address(), Instant::now() + LASTS);
    let before = envoy.cpu_ticks();
    let hits = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(move || hits(address, end))).collect();
        let counts = clients
            .into_iter()
            .map(|client| client.join().map_err(|_| Failure::new("a client panicked"))?);
        counts.sum::<Result<u32>>()
    })?;
    let ticks = envoy.cpu_ticks().saturating_sub(before);
    Ok(f64::from(u32::try_from(ticks).unwrap_or(u32::MAX)) * 10_000.0 / f64::from(hits))
}

/// Asks again and again over one connection; how many hits came.
fn hits(address: SocketAddr, end: Instant) -> Result<u32> {
    let mut connection = Connection::open(address)?;
    let mut count = 0;
    while Instant::now() < end {
        if !connection.exchange(&Request::get("/page"))?.is_hit() {
            return Err(Failure::new("not a hit"));
        }
        count += 1;
    }
    Ok(count)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn run() -> Result<bool> {
    let folder = tempfile::tempdir()?;
    let origin = Origin::start(|_| Reply::ok(vec![b'x'; 1024]).max_age(3_600))?;
    let (logs, silent) = (
        start(folder.path(), &origin, true)?,
        start(folder.path(), &origin, false)?,
    );
    let log = folder.path().join("access.log");
    cost(&logs)?;
    cost(&silent)?;
    let (mut with, mut without, mut no_log) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // By turns who is first; the log starts anew, as Envoy appends to what is there.
        std::fs::File::options().write(true).open(&log)?.set_len(0)?;
        if round % 2 == 0 {
            without.push(cost(&logs)?);
        }
        let tail = Tail::begin(&log)?;
        with.push(cost(&logs)?);
        drop(tail);
        if round % 2 == 1 {
            without.push(cost(&logs)?);
        }
        no_log.push(cost(&silent)?);
    }
    let ratios: Vec<f64> = with
        .iter()
        .zip(&without)
        .map(|(with, without)| with / without)
        .collect();
    let log_ratios: Vec<f64> = without.iter().zip(&no_log).map(|(log, none)| log / none).collect();
    let (ratio, of_log) = (median(ratios), median(log_ratios));
    let result = json!({
        "rounds": ROUNDS,
        "seconds_each": LASTS.as_secs(),
        "envoy_cpu_us_per_hit": {"with_tail": median(with), "without": median(without), "no_access_log": median(no_log)},
        "with_tail_over_without": ratio,
        "access_log_over_none": of_log,
        "machine": machine::describe(&[]),
    });
    println!("{}", serde_json::to_string_pretty(&result).unwrap_or_default());
    Ok(ratio <= TARGET)
}
