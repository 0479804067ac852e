//! A response of the tier beside an origin fetch and an own hit.

use crate::{accepted, document, show};
use e2e::client::{Connection, Request};
use e2e::envoy::Envoy;
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::times::Times;
use e2e::{Result, wait};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const REQUESTS: u64 = 300;
const BODY: usize = 1_024;
/// What the origin takes, milliseconds.
const ORIGINS: [u64; 2] = [0, 20];

pub(crate) fn measure() -> Result<Value> {
    println!("Latency: one client, responses of {BODY} bytes");
    let body = document(BODY);
    let origin = Origin::start(move |request| {
        let delay = if request.path.starts_with("/20/") { 20 } else { 0 };
        let reply = Reply::ok(body.clone()).max_age(3_600);
        reply.after(Duration::from_millis(delay))
    })?;
    // A busy machine shall not turn an answer of the tier into one of the origin.
    let mut fleet = Fleet::start(
        true,
        1,
        json!({"shared_tier": {"enabled": true, "deadline": "200ms"}}),
        origin,
    )?;
    let (stores, asks) = (fleet.add_envoy(0)?, fleet.add_envoy(0)?);
    let mut rows = Vec::new();
    for origin_ms in ORIGINS {
        rows.push(of_origin(
            &fleet,
            &fleet.envoys[stores],
            &fleet.envoys[asks],
            origin_ms,
        )?);
    }
    Ok(Value::Array(rows))
}

fn of_origin(fleet: &Fleet, stores: &Envoy, asks: &Envoy, origin_ms: u64) -> Result<Value> {
    switch(fleet, false)?;
    let (plain, _) = times(stores, origin_ms, "plain")?;
    switch(fleet, true)?;
    let before = fleet.tier_count("stores");
    let (missed, _) = times(stores, origin_ms, "shared")?;
    wait::until("all offers taken", || {
        (fleet.tier_count("stores") >= before + REQUESTS).then_some(())
    })?;
    let (found, from_tier) = times(asks, origin_ms, "shared")?;
    let (own, _) = times(asks, origin_ms, "shared")?;
    let name = |what: &str| format!("  origin {origin_ms} ms: {what}");
    println!("  {from_tier} of {REQUESTS} from the tier");
    Ok(json!({
        "origin_ms": origin_ms, "from_tier": from_tier,
        "origin_without_tier": show(&name("origin, tier off"), &plain),
        "origin_after_tier": show(&name("origin, after the tier had nothing"), &missed),
        "tier": show(&name("tier"), &found),
        "own": show(&name("own cache"), &own),
    }))
}

fn switch(fleet: &Fleet, on: bool) -> Result<()> {
    let change = json!({"shared_tier": {"enabled": on}});
    accepted(&fleet.rest(0).merge_patch("/settings?wait=all&timeout=20s", &change)?)
}

/// Times of all pages, and how many came from the tier.
fn times(envoy: &Envoy, origin_ms: u64, part: &str) -> Result<(Times, u64)> {
    let mut times = Times::new()?;
    let mut from_tier = 0;
    let mut connection = Connection::open(envoy.address())?;
    for number in 0..REQUESTS {
        let request = Request::get(&format!("/{origin_ms}/{part}/{number}"));
        let begin = Instant::now();
        let answer = connection.exchange(&request)?;
        times.add(begin.elapsed());
        accepted(&answer)?;
        let status = answer.header("cache-status").unwrap_or_default();
        from_tier += u64::from(status.contains("api-optimizer-tier; hit"));
    }
    Ok((times, from_tier))
}
