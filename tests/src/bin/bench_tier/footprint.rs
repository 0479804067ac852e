//! Memory of Redis per stored response.

use crate::{accepted, document};
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::redis::Redis;
use e2e::{Failure, Result, wait};
use serde_json::{Value, json};

const ENTRIES: u64 = 20;
const SIZES: [usize; 2] = [1_024, 10_240];

pub(crate) fn measure() -> Result<Value> {
    println!("\nMemory of Redis per response of JSON");
    let mut rows = Vec::new();
    for compressed in [true, false] {
        for size in SIZES {
            let bytes = bytes(size, compressed)?;
            let how = if compressed { "compressed" } else { "as it is" };
            println!("  {size:>6} bytes, {how}: {bytes}");
            rows.push(json!({"body": size, "compressed": compressed, "redis_bytes": bytes}));
        }
    }
    Ok(Value::Array(rows))
}

fn bytes(size: usize, compressed: bool) -> Result<u64> {
    let body = document(size);
    let origin = Origin::start(move |_| {
        Reply::ok(body.clone())
            .max_age(3_600)
            .header("content-type", "application/json")
    })?;
    let environment: &[(&str, &str)] = if compressed {
        &[]
    } else {
        &[("TIER_UNCOMPRESSED", "true")]
    };
    let settings = json!({"shared_tier": {"enabled": true, "deadline": "200ms"}});
    let mut fleet = Fleet::start_with(true, 1, settings, origin, environment)?;
    let envoy = fleet.add_envoy(0)?;
    // The first ones may come before the tier has been heard of.
    let mut number = 0;
    wait::until("responses in the tier", || {
        let answer = fleet.envoys[envoy].get(&format!("/products/{number}")).ok()?;
        accepted(&answer).ok()?;
        number += 1;
        (fleet.tier_count("stores") >= ENTRIES).then_some(())
    })?;
    let redis = fleet.redis.as_ref().ok_or_else(|| Failure::new("no Redis"))?;
    mean(redis, &redis.keys("api-optimizer:tier:*:0000000000000000")?)
}

fn mean(redis: &Redis, keys: &[String]) -> Result<u64> {
    let of = |key: &String| {
        let told = redis.ask(&["MEMORY", "USAGE", key])?;
        told.parse::<u64>()
            .map_err(|_| Failure::new(format!("memory of {key}: {told}")))
    };
    let all: Vec<u64> = keys.iter().map(of).collect::<Result<_>>()?;
    let sum: u64 = all.iter().sum();
    sum.checked_div(all.len() as u64).ok_or_else(|| Failure::new("no keys"))
}
