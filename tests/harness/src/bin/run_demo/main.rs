//! What `make run` runs: the demo API (or an upstream of yours), the control plane and Envoy with the filter, until Ctrl-C.

mod access;
mod falls;
mod options;
mod product;
mod say;
mod status;

use harness::{Failure, Result, signals};
use options::Options;
use product::Product;
use say::{complain, say};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(100);
/// Between two status lines.
const STATUS: Duration = Duration::from_secs(3);
/// Longest start.
const START: Duration = Duration::from_secs(60);

const HELP: &str = "\
Starts a demo API (or takes an upstream of yours), the control plane and Envoy with the filter, until Ctrl-C. `make run` builds all
of them first.

usage: run-demo [--help]

From the environment it takes:
  LISTEN_PORT  Envoy's port for clients (10000)
  ADMIN_PORT   Envoy's admin interface (9901)
  REST_PORT    the control plane for operators (8080)
  GRPC_PORT    the control plane for Envoys (18000)
  ORIGIN       host:port of an upstream of your own, HTTP/1.1 (the demo API)
  CONCURRENCY  Envoy's workers, 1 to 64 (2)
  CONFIG_DIR   a directory laid out like a Kubernetes ConfigMap volume: one file per settings key (none)
  STATE_DIR    where settings survive a restart, and the logs (.state/REST_PORT)
  ENVOY_BIN    an Envoy to use (the one that `make deps` installs)

Each request is shown as a line of JSON: method, path without the values of its query, status, what the cache did and why, the
breaker's state where it mattered, duration. Colours are for terminals, and never where NO_COLOR is set.

All ports are of the loopback interface. A control plane or demo API that ends is started again; Envoy goes on serving meanwhile.
Ctrl-C, SIGTERM or a closed terminal end all of it.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => run(),
        ["--help" | "-h"] => {
            say(HELP);
            Ok(())
        }
        [other, ..] => Err(Failure::new(format!(
            "there is no argument {other}: options come from the environment, see run-demo --help."
        ))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            complain(&format!("error: {sentence}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::read()?;
    let stop = signals::stop()?;
    let mut product = Product::start(&options)?;
    if wait_ready(&mut product, &stop)? {
        if options.config_dir.is_none() {
            product.verify_sharing()?;
        }
        introduce(&options, &product);
        attend(&mut product, &stop)?;
    }
    say("Stopping ...");
    product.drain();
    drop(product);
    say("Stopped.");
    Ok(())
}

/// False when it was told to stop before.
fn wait_ready(product: &mut Product, stop: &AtomicBool) -> Result<bool> {
    let start = Instant::now();
    while !product.is_ready() {
        if stop.load(Ordering::SeqCst) {
            return Ok(false);
        }
        product.all_run()?;
        if start.elapsed() > START {
            let logs = product.logs().display();
            return Err(Failure::new(format!(
                "not ready after {} s; the logs are in {logs}",
                START.as_secs()
            )));
        }
        std::thread::sleep(LOOK);
    }
    Ok(true)
}

fn introduce(options: &Options, product: &Product) {
    let (envoy, rest) = (
        format!("http://127.0.0.1:{}", options.listen_port),
        format!("http://127.0.0.1:{}", options.rest_port),
    );
    say("Ready.");
    say(&format!(
        "  API through Envoy  {envoy}   ({} workers, in front of {})",
        options.workers,
        product.origin()
    ));
    say(&format!(
        "  Control plane      {rest}   (gRPC on {})",
        options.grpc_port
    ));
    say(&format!("  Envoy admin        http://127.0.0.1:{}", options.admin_port));
    say(&format!("  Logs               {}", product.logs().display()));
    say("Try, in another terminal:");
    if options.origin.is_none() {
        say(&format!(
            "  curl -si {envoy}/products/7 | grep -iE '^(HTTP|age|cache-status)'     # twice: a miss, then a hit"
        ));
        say(&format!(
            "  curl -s -X POST '{envoy}/demo/fail?seconds=20'                       # the API fails; ask for products meanwhile"
        ));
    } else {
        say(&format!(
            "  curl -si {envoy}/ | grep -iE '^(HTTP|age|cache-status)'     # what the filter did with the request"
        ));
        say(&format!(
            "  curl -s {rest}/circuit-breaker/status     # how your API fares"
        ));
    }
    say(&format!(
        "  curl -s -X PATCH {rest}/settings -d '{{\"freshness\":{{\"ttl_ceiling\":\"5s\"}}}}'     # in force at once, everywhere"
    ));
    say("Ctrl-C stops everything.");
}

/// Prints status lines until told to stop.
fn attend(product: &mut Product, stop: &AtomicBool) -> Result<()> {
    let mut next = Instant::now();
    let mut last = String::new();
    while !stop.load(Ordering::SeqCst) {
        product.tend(Instant::now())?.iter().for_each(|sentence| say(sentence));
        product.requests().iter().for_each(|line| say(line));
        if Instant::now() >= next {
            next = Instant::now() + STATUS;
            let line = status::line(&product.rest()).unwrap_or_else(|| "the control plane does not answer".to_owned());
            if line != last {
                say(&line);
                last = line;
            }
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
