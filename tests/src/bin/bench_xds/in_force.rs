//! One real Envoy under load: from the start of the REST request to what Envoy itself says is in force, and for the filter's settings to
//! the answer that all its workers run on them.

use crate::show;
use e2e::bootstrap::Xds;
use e2e::client::{Connection, Request};
use e2e::origin::{Origin, Reply};
use e2e::stack::{Plan, Stack};
use e2e::times::Times;
use e2e::{Failure, Result};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Of each kind, in turn.
const CHANGES: u64 = 120;
const PROFILES: [&str; 3] = ["high_concurrency", "low_latency", "bandwidth_optimized"];
const LIMIT: &str = "circuit_breakers.origin.default.max_connections";
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two questions to Envoy, which answers them on the thread that takes changes in.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Changes limits, profiles and the filter's settings in turn while a client asks without a pause.
pub(crate) fn measure() -> Result<Value> {
    let origin = Origin::start(|_| Reply::ok("content").header("cache-control", "no-store"))?;
    let plan = Plan {
        xds: Some(Xds::Delta),
        ..Plan::default()
    };
    let stack = Stack::start(&plan, origin)?;
    stack.wait_xds()?;
    let (mut limits, mut profiles, mut settings) = (Times::new()?, Times::new()?, Times::new()?);
    let (ended, served) = (AtomicBool::new(false), AtomicU64::new(0));
    let failed = std::thread::scope(|scope| {
        let load = scope.spawn(|| load(stack.envoy.address(), &ended, &served));
        let changed = (0..CHANGES).try_for_each(|number| {
            limits.add(limit(&stack, 100 + number)?);
            let at = usize::try_from(number).unwrap_or(0) % PROFILES.len();
            profiles.add(profile(&stack, PROFILES.get(at).copied().unwrap_or_default())?);
            let begin = Instant::now();
            stack.change_settings(&json!({"cache_size": 5_000 + number}))?;
            settings.add(begin.elapsed());
            stack.wait_xds()
        });
        ended.store(true, Ordering::Relaxed);
        let load = load
            .join()
            .unwrap_or_else(|_| Err(Failure::new("the client ended early")));
        changed.and(load)
    });
    failed?;
    show("max_connections, request sent to in force in Envoy", &limits);
    show("HTTP/2 profile, request sent to cluster rebuilt and warm", &profiles);
    show("cache_size, request sent to in force in both workers", &settings);
    let served = served.load(Ordering::Relaxed);
    println!("{served} requests meanwhile, none failed\n");
    Ok(
        json!({"limit_ms": limits.to_json(), "profile_ms": profiles.to_json(), "settings_ms": settings.to_json(), "requests": served}),
    )
}

fn load(address: SocketAddr, ended: &AtomicBool, served: &AtomicU64) -> Result<()> {
    let mut connection = Connection::open(address)?;
    while !ended.load(Ordering::Relaxed) {
        let answer = connection.exchange(&Request::get("/load"))?;
        if answer.status != 200 {
            return Err(Failure::new(format!("a request was answered {}", answer.status)));
        }
        served.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn limit(stack: &Stack, connections: u64) -> Result<Duration> {
    let begin = Instant::now();
    sound(
        &stack
            .rest()
            .merge_patch("/settings", &json!({"max_connections": connections}))?,
    )?;
    let wanted = connections.to_string();
    while stack.envoy.runtime(LIMIT)? != wanted {
        pause(begin)?;
    }
    let took = begin.elapsed();
    stack.wait_xds()?;
    Ok(took)
}

fn profile(stack: &Stack, name: &str) -> Result<Duration> {
    let before = stack.envoy.config_dump("dynamic_active_clusters")?;
    let begin = Instant::now();
    sound(
        &stack
            .rest()
            .send(&Request::new("POST", &format!("/settings/profile/{name}")))?,
    )?;
    while stack.envoy.config_dump("dynamic_active_clusters")? == before {
        pause(begin)?;
    }
    let took = begin.elapsed();
    stack.wait_xds()?;
    Ok(took)
}

fn sound(answer: &e2e::client::Response) -> Result<()> {
    if answer.status == 200 {
        return Ok(());
    }
    let text = format!("a change was answered {}: {}", answer.status, answer.text());
    Err(Failure::new(text))
}

fn pause(begin: Instant) -> Result<()> {
    if begin.elapsed() > PATIENCE {
        return Err(Failure::new("a change never came into force"));
    }
    std::thread::sleep(LOOK_EVERY);
    Ok(())
}
