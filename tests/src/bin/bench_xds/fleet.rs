//! Many simulated Envoys with a hundred clusters each.

use crate::show;
use e2e::control_plane::ControlPlane;
use e2e::process::Process;
use e2e::rest::Rest;
use e2e::times::Times;
use e2e::xds_clients::{CLUSTERS, RUNTIME, XdsClients};
use e2e::{Failure, Result};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const UPSTREAMS: u32 = 100;
const CHANGES: u64 = 20;
/// Between two changes.
const CHANGE_EVERY: Duration = Duration::from_millis(500);
const SETTLE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(10);

/// Idle first, then changes of limits, then of clusters.
pub(crate) fn measure(count: u64) -> Result<Value> {
    let folder = tempfile::Builder::new().prefix("bench-xds-").tempdir()?;
    let mut plane = ControlPlane::quiet(folder.path())?;
    let address = plane.grpc_address();
    let rest = plane.rest();
    let upstream = |number| json!({"name": format!("u{number}"), "endpoints": [{"address": "192.0.2.1:80"}]});
    change(
        &rest,
        &json!({"upstreams": (0..UPSTREAMS).map(upstream).collect::<Vec<_>>()}),
    )?;
    let begin = Instant::now();
    let mut clients = XdsClients::connect(count, address)?;
    println!(
        "{count} clients with {UPSTREAMS} clusters connected in {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    std::thread::sleep(SETTLE);
    let process = plane
        .process()
        .ok_or_else(|| Failure::new("the control plane has no process"))?;
    let idle = used(process, || {
        std::thread::sleep(IDLE);
        Ok(())
    })?;
    let idle_mb = process.resident_mb()?;
    println!("{:<64} {:.3} cores, {idle_mb:.0} MB resident", "idle", idle.cores);

    let mut pushed = |kind: &str, process: &Process, make: &dyn Fn(u64) -> Value| -> Result<(Times, Used)> {
        let mut times = Times::new()?;
        let used = used(process, || {
            (0..CHANGES).try_for_each(|number| {
                let begin = Instant::now();
                change(&rest, &make(number))?;
                times.merge(&clients.all_told(kind, begin)?)?;
                std::thread::sleep(CHANGE_EVERY.saturating_sub(begin.elapsed()));
                Ok(())
            })
        })?;
        Ok((times, used))
    };
    let (limits, limits_used) = pushed(RUNTIME, process, &|number| json!({"max_connections": 1_000 + number}))?;
    show("a limit, request sent to told, over all clients", &limits);
    tell(&limits_used);
    let idle_timeout = |number| json!({"http2": {"idle_timeout": format!("{}s", 70 + number)}});
    let (clusters, clusters_used) = pushed(CLUSTERS, process, &idle_timeout)?;
    show("all clusters, request sent to told, over all clients", &clusters);
    tell(&clusters_used);
    let resident_mb = process.resident_mb()?;
    println!("{:<64} {resident_mb:.0} MB resident", "after all of it");
    Ok(json!({
        "clients": count, "upstreams": UPSTREAMS,
        "idle": {"cores": idle.cores, "resident_mb": idle_mb},
        "limits": {"told_ms": limits.to_json(), "cores": limits_used.cores, "cpu_ms_per_change": limits_used.per_change()},
        "clusters": {"told_ms": clusters.to_json(), "cores": clusters_used.cores, "cpu_ms_per_change": clusters_used.per_change()},
        "resident_mb": resident_mb,
    }))
}

fn change(rest: &Rest, change: &Value) -> Result<()> {
    let answer = rest.merge_patch("/settings", change)?;
    if answer.status == 200 {
        return Ok(());
    }
    let text = format!("a change was answered {}: {}", answer.status, answer.text());
    Err(Failure::new(text))
}

/// Processor time of the control plane.
struct Used {
    seconds: f64,
    cores: f64,
}

impl Used {
    fn per_change(&self) -> f64 {
        self.seconds * 1_000.0 / CHANGES as f64
    }
}

fn used(process: &Process, work: impl FnOnce() -> Result<()>) -> Result<Used> {
    let (ticks, begin) = (process.cpu_ticks(), Instant::now());
    work()?;
    let seconds = process.cpu_ticks().saturating_sub(ticks) as f64 / 100.0;
    Ok(Used {
        seconds,
        cores: seconds / begin.elapsed().as_secs_f64(),
    })
}

fn tell(used: &Used) {
    println!(
        "{:<64} {:.3} cores, {:.0} ms of processor time a change",
        "  meanwhile",
        used.cores,
        used.per_change()
    );
}
