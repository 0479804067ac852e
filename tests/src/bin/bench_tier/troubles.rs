//! Times of requests that the tier cannot help, while something is wrong with it, beside those without a tier. The first requests
//! of a trouble wait for the tier; then its breaker is open, and one in a while is a probe.

use crate::{accepted, show};
use e2e::client::{Connection, Request};
use e2e::envoy::Envoy;
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::redis::Redis;
use e2e::relay::Relay;
use e2e::times::Times;
use e2e::{Result, wait};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const FIRST: u32 = 50;
const LATER: u32 = 450;
const ORIGIN: Duration = Duration::from_millis(5);

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A trouble, and its end.
struct Trouble {
    name: &'static str,
    begin: fn(&mut Redis, &Relay) -> Result<()>,
    end: fn(&mut Redis, &Relay) -> Result<()>,
}

const NONE: fn(&mut Redis, &Relay) -> Result<()> = |_, _| Ok(());

const TROUBLES: [Trouble; 6] = [
    Trouble {
        name: "nothing wrong",
        begin: NONE,
        end: NONE,
    },
    Trouble {
        name: "killed",
        begin: |redis, _| {
            redis.kill();
            Ok(())
        },
        end: |redis, _| redis.restart(),
    },
    Trouble {
        name: "hung",
        begin: |redis, _| {
            redis.freeze();
            Ok(())
        },
        end: |redis, _| {
            redis.thaw();
            Ok(())
        },
    },
    Trouble {
        name: "slow by 500 ms",
        begin: |_, relay| {
            relay.delay(Duration::from_millis(500));
            Ok(())
        },
        end: |_, relay| {
            relay.delay(Duration::ZERO);
            Ok(())
        },
    },
    Trouble {
        name: "full",
        begin: |redis, _| redis.ask(&["CONFIG", "SET", "maxmemory", "1mb"]).map(drop),
        end: |redis, _| redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).map(drop),
    },
    Trouble {
        name: "password refused",
        begin: |redis, _| {
            redis.ask(&["CONFIG", "SET", "requirepass", "other"])?;
            redis
                .ask(&["-a", "other", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
                .map(drop)
        },
        end: |redis, _| {
            redis
                .ask(&["-a", "other", "CONFIG", "SET", "requirepass", ""])
                .map(drop)
        },
    },
];

pub(crate) fn measure() -> Result<Value> {
    println!(
        "\nTrouble: one client, misses alone, origin {} ms; the first {FIRST} requests and {LATER} later ones",
        ORIGIN.as_millis()
    );
    let folder = tempfile::Builder::new().prefix("bench-tier-").tempdir()?;
    let mut redis = Redis::start(folder.path())?;
    let relay = Relay::open(redis.port())?;
    let url = format!("redis://127.0.0.1:{}", relay.port());
    let origin = Origin::start(|_| Reply::ok("x").max_age(600).after(ORIGIN))?;
    let mut fleet = Fleet::start_with(false, 1, json!({}), origin, &[("REDIS_URL", &url)])?;
    let envoy = fleet.add_envoy(0)?;
    let mut rows = vec![row("tier off", &fleet.envoys[envoy])?];
    let change = json!({"shared_tier": {"enabled": true}});
    accepted(&fleet.rest(0).merge_patch("/settings?wait=all&timeout=20s", &change)?)?;
    for trouble in &TROUBLES {
        is_asked(&fleet, envoy)?;
        (trouble.begin)(&mut redis, &relay)?;
        rows.push(row(trouble.name, &fleet.envoys[envoy])?);
        (trouble.end)(&mut redis, &relay)?;
    }
    is_asked(&fleet, envoy)?;
    Ok(Value::Array(rows))
}

/// Waits until the tier is asked and answers.
fn is_asked(fleet: &Fleet, envoy: usize) -> Result<()> {
    wait::until("the tier asked", || {
        let before = fleet.tier_count("misses");
        fleet.envoys[envoy].get(&new_path()).ok()?;
        (fleet.tier_count("misses") > before).then_some(())
    })
}

fn new_path() -> String {
    format!("/new/{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn row(name: &str, envoy: &Envoy) -> Result<Value> {
    let mut connection = Connection::open(envoy.address())?;
    let first = times(&mut connection, FIRST)?;
    let later = times(&mut connection, LATER)?;
    Ok(json!({
        "trouble": name, "first": show(&format!("  {name}, first"), &first), "later": show(&format!("  {name}, later"), &later),
    }))
}

fn times(connection: &mut Connection, count: u32) -> Result<Times> {
    let mut times = Times::new()?;
    for _ in 0..count {
        let request = Request::get(&new_path());
        let begin = Instant::now();
        let answer = connection.exchange(&request)?;
        times.add(begin.elapsed());
        accepted(&answer)?;
    }
    Ok(times)
}
