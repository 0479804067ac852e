//! One control plane with so many Envoys.

use crate::envoys::Envoys;
use e2e::control_plane::ControlPlane;
use e2e::process::{Process, own_cpu_ticks};
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
/// What operators and scripts read meanwhile, whose length does not depend on the fleet. Each so often after a change: a p99 of few samples
/// is their maximum.
const READ: [&str; 3] = ["/health/ready", "/settings", "/metrics/performance"];
const READ_TIMES: u32 = 10;
/// What is as long as the fleet is large.
const READ_WHOLE: [&str; 3] = ["/fleet", "/circuit-breaker/status", "/metrics"];
/// What asks every Envoy.
const READ_ASKING: &str = "/cache/stats";

/// What was seen at one size of the fleet.
pub(crate) struct Seen {
    pub(crate) envoys: u64,
    /// From the start of the REST request to the arrival at an Envoy, over all changes and Envoys.
    pub(crate) push: Times,
    /// From the start of the REST request to its answer, once all Envoys have acknowledged.
    pub(crate) rollout: Times,
    /// Cores used while the fleet only reported.
    pub(crate) steady: Cores,
    /// Cores used while settings changed and operators read.
    busy: Cores,
    pub(crate) resident_mb: f64,
    pub(crate) report_bytes: f64,
    /// Reads whose answer does not grow with the fleet.
    pub(crate) reads: Times,
    /// Reads whose answer does.
    pub(crate) whole: Times,
    by_path: BTreeMap<&'static str, Times>,
    connect_s: f64,
    reports: u64,
    acknowledged: u64,
}

impl Seen {
    /// Reads that ask every Envoy: median and slowest.
    pub(crate) fn asking(&self) -> (f64, f64) {
        self.by_path
            .get(READ_ASKING)
            .map_or((0.0, 0.0), |times| (times.ms(0.5), times.ms(1.0)))
    }

    pub(crate) fn to_json(&self) -> Value {
        let by_path: BTreeMap<_, _> = self
            .by_path
            .iter()
            .map(|(path, times)| (path, times.to_json()))
            .collect();
        json!({
            "envoys": self.envoys,
            "connect_s": self.connect_s,
            "cores": self.steady.control_plane,
            "simulator_cores": self.steady.simulator,
            "busy_cores": self.busy.control_plane,
            "busy_simulator_cores": self.busy.simulator,
            "resident_mb": self.resident_mb,
            "report_bytes": self.report_bytes,
            "reports": self.reports,
            "acknowledged": self.acknowledged,
            "push_ms": self.push.to_json(),
            "rollout_ms": self.rollout.to_json(),
            "reads_ms": self.reads.to_json(),
            "whole_ms": self.whole.to_json(),
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
    let begin = Used::now(&mut plane)?;
    std::thread::sleep(Duration::from_secs(seconds));
    let steady = begin.cores_since(&mut plane)?;
    let mut seen = Seen {
        envoys,
        push: Times::new()?,
        rollout: Times::new()?,
        steady,
        busy: steady,
        resident_mb: 0.0,
        report_bytes: 0.0,
        reads: Times::new()?,
        whole: Times::new()?,
        by_path: BTreeMap::new(),
        connect_s,
        reports: 0,
        acknowledged: 0,
    };
    let begin = Used::now(&mut plane)?;
    let started = operate(&plane.rest(), seconds, &mut seen)?;
    seen.busy = begin.cores_since(&mut plane)?;
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

/// Processor cores used by both sides.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) control_plane: f64,
    pub(crate) simulator: f64,
}

/// Processor time used so far, in ticks of 1/100 s.
struct Used {
    control_plane: u64,
    simulator: u64,
    at: Instant,
}

impl Used {
    fn now(plane: &mut ControlPlane) -> Result<Self> {
        Ok(Self {
            control_plane: process(plane)?.cpu_ticks(),
            simulator: own_cpu_ticks(),
            at: Instant::now(),
        })
    }

    fn cores_since(&self, plane: &mut ControlPlane) -> Result<Cores> {
        let now = Self::now(plane)?;
        let seconds = (now.at - self.at).as_secs_f64();
        let cores = |now: u64, then: u64| now.saturating_sub(then) as f64 / 100.0 / seconds;
        Ok(Cores {
            control_plane: cores(now.control_plane, self.control_plane),
            simulator: cores(now.simulator, self.simulator),
        })
    }
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
        for path in (0..READ_TIMES).flat_map(|_| READ) {
            let took = read(rest, path)?;
            seen.reads.add(took);
            by_path(seen, path)?.add(took);
        }
        for path in READ_WHOLE {
            let took = read(rest, path)?;
            seen.whole.add(took);
            by_path(seen, path)?.add(took);
        }
        let took = read(rest, READ_ASKING)?;
        by_path(seen, READ_ASKING)?.add(took);
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
