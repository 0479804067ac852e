//! What operators do to a full cache: purge it, copy it out, take it back. `bench-admin [ENTRIES [BYTES]]`, 100,000 entries of 1,024
//! bytes unless told otherwise.

use e2e::client::{Connection, Request};
use e2e::envoy::Envoy;
use e2e::origin::{Origin, Reply};
use e2e::rest::Rest;
use e2e::stack::{Plan, Stack};
use e2e::times::Times;
use e2e::{Failure, Result, artefacts, machine};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PURGES: u32 = 200;
const TAG_PURGES: u32 = 20;
/// Clients that fill the cache side by side.
const CLIENTS: usize = 4;
const LOOK_EVERY: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let arguments: std::result::Result<Vec<usize>, _> = std::env::args().skip(1).map(|text| text.parse()).collect();
    let outcome = match arguments.as_deref() {
        Ok([]) => run(100_000, 1_024),
        Ok([entries]) => run(*entries, 1_024),
        Ok([entries, bytes]) => run(*entries, *bytes),
        _ => Err(Failure::new("usage: bench-admin [ENTRIES [BYTES]]")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(entries: usize, bytes: usize) -> Result<()> {
    let machine = machine::describe(&[("curl", "--version")]);
    println!("{}", serde_json::to_string_pretty(&machine)?);
    println!("{entries} entries of {bytes} bytes, one Envoy with two workers, everything on one machine\n");
    let memory_mb = entries * (bytes + 1_024) / 1_000_000 + 64;
    let origin = Origin::start(move |request| {
        // One page by itself, all the others together.
        let tag = if request.path == "/page/0" { "one" } else { "rest" };
        Reply::ok(vec![b'x'; bytes])
            .max_age(36_000)
            .header("surrogate-key", tag)
    })?;
    let settings = json!({"cache_size": entries + 1_000, "cache_memory_mb": memory_mb});
    let plan = Plan::default();
    let mut stack = Stack::start(&plan, origin)?;
    stack.change_settings(&settings)?;
    let begin = Instant::now();
    fill(&stack.envoy, entries)?;
    println!("filled in {:.1} s", begin.elapsed().as_secs_f64());
    let rest = stack.rest();

    let url = purges(
        &rest,
        PURGES,
        |number| json!({"url": format!("http://bench/new/{number}")}),
    )?;
    show("purge of a URL to all workers, ms", &url);
    let file = stack.folder().join("snapshot.json");
    let copied = copy_out(&mut stack, &file)?;
    let (restored, _fresh) = take_back(&mut stack, &file)?;
    let one = purges(&rest, TAG_PURGES, |_| json!({"tags": ["one"]}))?;
    show("purge of a tag with 1 entry, two Envoys, ms", &one);
    let many = purges(&rest, TAG_PURGES, |_| json!({"tags": ["rest"]}))?;
    show(
        &format!("purge of a tag with {} entries, two Envoys, ms", entries - 1),
        &many,
    );
    if stack.envoy.get("/page/1")?.is_hit() {
        return Err(Failure::new("a purged page was a hit"));
    }

    let document = json!({
        "machine": machine, "entries": entries, "bytes": bytes, "snapshot": copied, "restore": restored,
        "purge_ms": {"url": url.to_json(), "tag_of_1": one.to_json(), "tag_of_the_rest": many.to_json()},
    });
    let folder = artefacts::workspace().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("admin.json");
    std::fs::write(&path, serde_json::to_string_pretty(&document)? + "\n")?;
    println!("\nWritten to {}", path.display());
    Ok(())
}

fn show(what: &str, times: &Times) {
    println!(
        "{what:<52} p50 {:.1}, p99 {:.1}, {} of them",
        times.ms(0.5),
        times.ms(0.99),
        times.count()
    );
}

/// Asks for every page once.
fn fill(envoy: &Envoy, entries: usize) -> Result<()> {
    let address = envoy.address();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || -> Result<()> {
                    let mut connection = Connection::open(address)?;
                    for page in (client..entries).step_by(CLIENTS) {
                        let request = Request::get(&format!("/page/{page}")).header("host", "bench");
                        let answer = connection.exchange(&request)?;
                        if answer.status != 200 {
                            return Err(Failure::new(format!("page {page} answered {}", answer.status)));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| {
            client
                .join()
                .unwrap_or_else(|_| Err(Failure::new("a client ended early")))
        })
    })
}

/// From the start of the REST request to its answer, once every worker has the purge.
fn purges(rest: &Rest, count: u32, purge: impl Fn(u32) -> Value) -> Result<Times> {
    let mut times = Times::new()?;
    for number in 0..count {
        let request = Request::new("POST", "/cache/purge?wait=all&timeout=10s")
            .header("content-type", "application/json")
            .body(purge(number).to_string());
        let begin = Instant::now();
        // Purges are rate limited on purpose; how long that lasts is not what is asked here.
        loop {
            let answer = rest.send(&request)?;
            match answer.status {
                200 => break,
                429 => std::thread::sleep(Duration::from_millis(100)),
                status => {
                    return Err(Failure::new(format!(
                        "a purge was answered {status}: {}",
                        answer.text()
                    )));
                }
            }
        }
        times.add(begin.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(times)
}

/// Runs `work` and gives with its result the highest memory of the control plane meanwhile, megabytes of 2^20 bytes.
fn watched<R>(stack: &mut Stack, work: impl FnOnce() -> Result<R>) -> Result<(R, f64, f64)> {
    let control = stack.control().process();
    let process = control.ok_or_else(|| Failure::new("the control plane has no process"))?;
    let before = process.resident_mb()?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut peak = before;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(process.resident_mb().unwrap_or(0.0));
                std::thread::sleep(LOOK_EVERY);
            }
            peak
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        let peak = watching.join().unwrap_or(before);
        Ok((result?, before, peak))
    })
}

fn copy_out(stack: &mut Stack, file: &Path) -> Result<Value> {
    let url = format!("http://{}/cache/snapshot?max_mb=8000", stack.rest().address());
    let begin = Instant::now();
    let ((), before, peak) = watched(stack, || curl(&["-X", "POST", &url, "-o"], file))?;
    report("snapshot", file, begin, before, peak)
}

/// Gives the second Envoy as well: a purge waits for those that are known.
fn take_back(stack: &mut Stack, file: &Path) -> Result<(Value, Envoy)> {
    let fresh = stack.envoy_beside("fresh")?;
    let url = format!("http://{}/cache/restore", stack.rest().address());
    let begin = Instant::now();
    let ((), before, peak) = watched(stack, || {
        curl(
            &["-X", "POST", "-H", "content-type: application/json", &url, "-T"],
            file,
        )
    })?;
    let shown = report("restore to two Envoys", file, begin, before, peak)?;
    let request = Request::get("/page/1").header("host", "bench");
    if !fresh.fetch(&request)?.is_hit() {
        return Err(Failure::new("the fresh Envoy has not got what was restored"));
    }
    Ok((shown, fresh))
}

fn curl(arguments: &[&str], file: &Path) -> Result<()> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail-with-body"])
        .args(arguments)
        .arg(file)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(Failure::new(format!("curl: {}", String::from_utf8_lossy(&text))))
}

fn report(what: &str, file: &Path, begin: Instant, before: f64, peak: f64) -> Result<Value> {
    let seconds = begin.elapsed().as_secs_f64();
    let megabytes = std::fs::metadata(file)?.len() as f64 / 1_000_000.0;
    println!(
        "{what:<52} {megabytes:.0} MB in {seconds:.1} s, {:.0} MB/s; control plane {before:.0} MB before, {peak:.0} at most",
        megabytes / seconds
    );
    Ok(json!({"megabytes": megabytes, "seconds": seconds, "control_plane_mb": {"before": before, "peak": peak}}))
}
