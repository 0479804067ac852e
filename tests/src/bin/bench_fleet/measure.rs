//! One control plane with so many Envoys.

use crate::envoys::Envoys;
use e2e::control_plane::ControlPlane;
use e2e::process::Process;
use e2e::rest::Rest;
use e2e::times::Times;
use e2e::{Failure, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Reading and writing settle before anything is counted.
const SETTLE: Duration = Duration::from_secs(2);
/// Between two changes of settings.
const CHANGE_EVERY: Duration = Duration::from_secs(1);
/// What operators, scripts and Prometheus read meanwhile.
const READ: [&str; 5] = [
    "/health/ready",
    "/settings",
    "/metrics/performance",
    "/cache/stats",
    "/circuit-breaker/status",
];
/// What is as long as the fleet is large.
const READ_WHOLE: [&str; 2] = ["/fleet", "/metrics"];

/// What was seen at one size of the fleet.
pub(crate) struct Seen {
    pub(crate) envoys: u64,
    /// From the start of the REST request to the arrival at an Envoy, over all changes and Envoys.
    pub(crate) push: Times,
    /// From the start of the REST request to its answer, once all Envoys have acknowledged.
    pub(crate) rollout: Times,
    /// Cores the control plane used while the fleet only reported.
    pub(crate) cores: f64,
    pub(crate) resident_mb: f64,
    pub(crate) report_bytes: f64,
    /// Reads that do not grow with the fleet's size.
    pub(crate) reads: Times,
    by_path: BTreeMap<&'static str, Times>,
    connect_s: f64,
    reports: u64,
    acknowledged: u64,
}

impl Seen {
    pub(crate) fn to_json(&self) -> Value {
        let by_path: BTreeMap<_, _> = self
            .by_path
            .iter()
            .map(|(path, times)| (path, times.to_json()))
            .collect();
        json!({
            "envoys": self.envoys,
            "connect_s": self.connect_s,
            "cores": self.cores,
            "resident_mb": self.resident_mb,
            "report_bytes": self.report_bytes,
            "reports": self.reports,
            "acknowledged": self.acknowledged,
            "push_ms": self.push.to_json(),
            "rollout_ms": self.rollout.to_json(),
            "reads_ms": self.reads.to_json(),
            "read_ms": by_path,
        })
    }
}

/// Measures with `envoys` of them: `seconds` of telemetry alone, then as many with changes and reads.
pub(crate) fn measure(envoys: u64, seconds: u64) -> Result<Seen> {
    let folder = tempfile::Builder::new().prefix("bench-fleet-").tempdir()?;
    let mut plane = ControlPlane::quiet_with(folder.path(), [("CONNECTIONS_PER_ADDRESS", envoys.max(1_024))])?;
    let address = plane.grpc_address();
    let begin = Instant::now();
    let mut fleet = Envoys::connect(envoys, address)?;
    let connect_s = begin.elapsed().as_secs_f64();
    std::thread::sleep(SETTLE);
    let cores = steady(&mut plane, seconds)?;
    let mut seen = Seen {
        envoys,
        push: Times::new()?,
        rollout: Times::new()?,
        cores,
        resident_mb: 0.0,
        report_bytes: 0.0,
        reads: Times::new()?,
        by_path: BTreeMap::new(),
        connect_s,
        reports: 0,
        acknowledged: 0,
    };
    let started = operate(&plane.rest(), seconds, &mut seen)?;
    seen.resident_mb = process(&mut plane)?.resident_mb()?;
    fleet.check()?;
    while let Ok(arrival) = fleet.arrivals.try_recv() {
        if let Some(start) = started.get(&arrival.revision) {
            seen.push.add(arrival.at.saturating_duration_since(*start));
        }
    }
    let wanted = envoys * started.len() as u64;
    if seen.push.count() < wanted {
        return Err(Failure::new(format!(
            "{} of {wanted} pushes arrived",
            seen.push.count()
        )));
    }
    let counters = &fleet.counters;
    seen.reports = counters.reports.load(Ordering::Relaxed);
    seen.acknowledged = counters.acknowledged.load(Ordering::Relaxed);
    #[allow(clippy::cast_precision_loss)]
    {
        seen.report_bytes = counters.report_bytes.load(Ordering::Relaxed) as f64 / seen.reports.max(1) as f64;
    }
    Ok(seen)
}

fn process(plane: &mut ControlPlane) -> Result<&mut Process> {
    plane
        .process()
        .ok_or_else(|| Failure::new("the control plane has no process"))
}

/// Cores used while the fleet reports and nothing else happens.
#[allow(clippy::cast_precision_loss)]
fn steady(plane: &mut ControlPlane, seconds: u64) -> Result<f64> {
    let process = process(plane)?;
    let (ticks, begin) = (process.cpu_ticks(), Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let used = process.cpu_ticks().saturating_sub(ticks) as f64 / 100.0;
    Ok(used / begin.elapsed().as_secs_f64())
}

/// Changes settings each second and reads between; gives when the change that became each revision was begun.
fn operate(rest: &Rest, seconds: u64, seen: &mut Seen) -> Result<BTreeMap<u64, Instant>> {
    let mut started = BTreeMap::new();
    for number in 0..seconds {
        let begin = Instant::now();
        let change = json!({"cache_size": 1_000 + number});
        let answer = rest.merge_patch("/settings?wait=all&timeout=30s", &change)?;
        seen.rollout.add(begin.elapsed());
        if answer.status != 200 {
            let what = format!("a change was answered {}: {}", answer.status, answer.text());
            return Err(Failure::new(what));
        }
        let revision = answer.json()?["revision"].as_u64();
        started.insert(
            revision.ok_or_else(|| Failure::new("a change without a revision"))?,
            begin,
        );
        for path in READ {
            let took = read(rest, path)?;
            seen.reads.add(took);
            by_path(seen, path)?.add(took);
        }
        for path in READ_WHOLE {
            let took = read(rest, path)?;
            by_path(seen, path)?.add(took);
        }
        std::thread::sleep(CHANGE_EVERY.saturating_sub(begin.elapsed()));
    }
    Ok(started)
}

fn by_path<'a>(seen: &'a mut Seen, path: &'static str) -> Result<&'a mut Times> {
    if !seen.by_path.contains_key(path) {
        seen.by_path.insert(path, Times::new()?);
    }
    let times = seen.by_path.get_mut(path);
    times.ok_or_else(|| Failure::new("no times"))
}

fn read(rest: &Rest, path: &str) -> Result<Duration> {
    let begin = Instant::now();
    let answer = rest.get(path)?;
    // An unready control plane says so with 503; it has answered all the same.
    if answer.status == 200 || (path == "/health/ready" && answer.status == 503) {
        return Ok(begin.elapsed());
    }
    Err(Failure::new(format!("GET {path} answered {}", answer.status)))
}
