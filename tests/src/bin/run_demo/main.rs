//! What `make run` runs: the demo API (or an upstream of yours), the control plane and Envoy with the filter, until Ctrl-C.

mod options;
mod product;
mod status;

use e2e::{Failure, Result, signals};
use options::Options;
use product::Product;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(100);
/// Between two status lines.
const STATUS: Duration = Duration::from_secs(3);
/// Longest start.
const START: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::read()?;
    let stop = signals::stop()?;
    let mut product = Product::start(&options)?;
    if wait_ready(&mut product, &stop)? {
        introduce(&options, &product);
        attend(&mut product, &stop)?;
    }
    println!("Stopping ...");
    product.drain();
    drop(product);
    println!("Stopped.");
    Ok(())
}

/// False when it was told to stop before.
fn wait_ready(product: &mut Product, stop: &AtomicBool) -> Result<bool> {
    let start = Instant::now();
    while !product.is_ready() {
        if stop.load(Ordering::SeqCst) {
            return Ok(false);
        }
        if let Some(sentence) = product.fallen() {
            return Err(Failure::new(sentence));
        }
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
    println!("Ready.");
    println!(
        "  API through Envoy  {envoy}   ({} workers, in front of {})",
        options.workers,
        product.origin()
    );
    println!("  Control plane      {rest}   (gRPC on {})", options.grpc_port);
    println!("  Envoy admin        http://127.0.0.1:{}", options.admin_port);
    println!("  Logs               {}", product.logs().display());
    println!("Try, in another terminal:");
    if options.origin.is_none() {
        println!("  curl -si {envoy}/products/7 | grep -iE '^(HTTP|age|cache-status)'     # twice: a miss, then a hit");
        println!(
            "  curl -s -X POST '{envoy}/demo/fail?seconds=20'                       # the API fails; ask for products meanwhile"
        );
    } else {
        println!(
            "  curl -si {envoy}/ | grep -iE '^(HTTP|age|cache-status)'     # what the filter did with the request"
        );
        println!("  curl -s {rest}/circuit-breaker/status     # how your API fares");
    }
    println!(
        "  curl -s -X PATCH {rest}/settings -d '{{\"freshness\":{{\"ttl_ceiling\":\"5s\"}}}}'     # in force at once, everywhere"
    );
    println!("Ctrl-C stops everything.");
}

/// Prints status lines until told to stop.
fn attend(product: &mut Product, stop: &AtomicBool) -> Result<()> {
    let mut next = Instant::now();
    let mut last = String::new();
    while !stop.load(Ordering::SeqCst) {
        if let Some(sentence) = product.fallen() {
            return Err(Failure::new(sentence));
        }
        if Instant::now() >= next {
            next = Instant::now() + STATUS;
            let line = status::line(&product.rest()).unwrap_or_else(|| "the control plane does not answer".to_owned());
            if line != last {
                println!("{line}");
                last = line;
            }
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
