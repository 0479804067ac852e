//! What the service takes: lookups and stores per second, by connections that each wait for one answer before the next question.

use crate::document;
use e2e::fleet::Fleet;
use e2e::origin::{Origin, Reply};
use e2e::{Failure, Result};
use optimizer_proto::v1::cache_backend_client::CacheBackendClient;
use optimizer_proto::v1::tier_found::Result as Found;
use optimizer_proto::v1::{Fence, TierGet, TierPut};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

const LASTS: Duration = Duration::from_secs(2);
const CLIENTS: [u64; 3] = [1, 16, 64];
const KEYS: u64 = 1_000;
const BODY: usize = 1_024;

pub(crate) fn measure() -> Result<Value> {
    println!("\nThroughput: values of {BODY} bytes, {KEYS} keys");
    let origin = Origin::start(|_| Reply::ok("unused"))?;
    let mut fleet = Fleet::start(true, 1, json!({}), origin)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let mut rows = Vec::new();
    for clients in CLIENTS {
        let address = fleet.grpc_address(0);
        let before = ticks(&mut fleet);
        let stores = runtime.block_on(per_second(address, clients, true))?;
        let between = ticks(&mut fleet);
        let lookups = runtime.block_on(per_second(address, clients, false))?;
        let share = |ticks: u64| f64::from(u32::try_from(ticks).unwrap_or(u32::MAX)) / 100.0 / LASTS.as_secs_f64();
        let (storing, looking) = (share(between - before), share(ticks(&mut fleet) - between));
        println!(
            "  {clients:>3} connections: {stores:>7.0} stores/s ({storing:.2} cores of the control plane), {lookups:>7.0} lookups/s ({looking:.2} cores)"
        );
        rows.push(json!({
            "connections": clients, "stores_per_second": stores, "lookups_per_second": lookups,
            "control_plane_cores": {"storing": storing, "looking_up": looking},
        }));
    }
    Ok(Value::Array(rows))
}

fn ticks(fleet: &mut Fleet) -> u64 {
    let process = fleet.controls.first_mut().and_then(|control| control.process());
    process.map_or(0, |process| process.cpu_ticks())
}

async fn per_second(address: SocketAddr, clients: u64, stores: bool) -> Result<f64> {
    let mut running = JoinSet::new();
    let begin = Instant::now();
    for client in 0..clients {
        running.spawn(ask(address, client, stores));
    }
    let mut done = 0_u32;
    while let Some(count) = running.join_next().await {
        done += count.map_err(failed)??;
    }
    Ok(f64::from(done) / begin.elapsed().as_secs_f64())
}

async fn ask(address: SocketAddr, client: u64, stores: bool) -> Result<u32> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(failed)?;
    let mut backend = CacheBackendClient::new(endpoint.connect().await.map_err(failed)?);
    let fence = look(&mut backend, "nothing").await?.1;
    let value = document(BODY);
    let end = Instant::now() + LASTS;
    let mut done = 0;
    while Instant::now() < end {
        let key = format!("key {}", (client * 61 + u64::from(done)) % KEYS);
        if stores {
            let stored = backend.put(offer(&key, &value, fence)).await.map_err(failed)?;
            if !stored.get_ref().stored {
                return Err(Failure::new(format!("not stored: {}", stored.get_ref().reason)));
            }
        } else {
            look(&mut backend, &key).await?;
        }
        done += 1;
    }
    Ok(done)
}

async fn look(backend: &mut CacheBackendClient<Channel>, key: &str) -> Result<(Found, Option<Fence>)> {
    let question = TierGet {
        key: key.as_bytes().to_vec(),
        ..TierGet::default()
    };
    let found = backend.get(question).await.map_err(failed)?.into_inner();
    Ok((found.result(), found.fence))
}

fn offer(key: &str, value: &str, fence: Option<Fence>) -> TierPut {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_ms = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
    TierPut {
        key: key.as_bytes().to_vec(),
        value: value.as_bytes().to_vec(),
        fence,
        host: "bench".to_owned(),
        path: format!("/{key}"),
        usable_until_ms: now_ms + 600_000,
        now_ms,
        ..TierPut::default()
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}
