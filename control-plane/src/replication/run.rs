//! The connection to the other replicas: reads from them, writes to them, counts those present.

use super::apply::Owners;
use super::follow::follow;
use super::relay;
use super::replica::RedisReplication;
use crate::redis::{Fault, reason};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// Changes are looked for so often, beside being told of them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A replica without a heartbeat for this long is gone.
const GONE_MS: u64 = 5_000;
/// The replica that notifies is replaced when its lease was not renewed for this long.
const LEASE_MS: u64 = 8_000;
/// One step: I am here; who else is, and who holds the lease? By the clock of Redis.
const BEAT: &str = "local time = redis.call('TIME') \
     local now = time[1] * 1000 + math.floor(time[2] / 1000) \
     redis.call('ZADD', KEYS[1], now, ARGV[4]) \
     redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 10 * ARGV[2]) \
     local holder = redis.call('GET', KEYS[2]) \
     if not holder or holder == ARGV[1] then redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3]) holder = ARGV[1] end \
     return { holder, redis.call('ZRANGEBYSCORE', KEYS[1], now - ARGV[2], '+inf') }";

/// Number and address of a replica, as it told them.
fn replica_at(member: &str) -> Option<(u64, String)> {
    let (id, address) = member.split_once('@')?;
    Some((u64::from_str_radix(id, 16).ok()?, address.to_owned()))
}

/// Keeps in touch until told to stop.
pub(crate) async fn run(replicas: Arc<RedisReplication>, owners: Owners, mut stopped: watch::Receiver<bool>) {
    loop {
        match replicas.connection.connect().await {
            Ok(connection) => {
                replicas.connection.is_up(connection);
                // What nobody was told of meanwhile.
                replicas.tell_all();
                tokio::select! {
                    () = replicas.connection.until_lost() => {}
                    error = follow(&replicas, &owners) => {
                        replicas.connection.give_up(reason(&error));
                    }
                    () = look(&replicas, &owners) => {}
                    () = replicas.outgoing.write(&replicas.connection, |id| replicas.wrote(id)) => {}
                    _ = stopped.changed() => return,
                }
            }
            Err(error) => replicas.connection.is_down(&error),
        }
        tokio::select! {
            () = replicas.connection.pause() => {}
            _ = stopped.changed() => return,
        }
    }
}

/// Looks for changes that nobody has told of, and for who is there.
async fn look(replicas: &RedisReplication, owners: &Owners) {
    loop {
        replicas.refresh(&owners.settings).await;
        if let Err(fault) = beat(replicas, owners).await {
            tracing::debug!(%fault, "other replicas cannot be counted");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn beat(replicas: &RedisReplication, owners: &Owners) -> Result<(), Fault> {
    let mut command = redis::cmd("EVAL");
    command
        .arg(BEAT)
        .arg(2)
        .arg(replicas.keys.alive())
        .arg(replicas.keys.lease())
        .arg(replicas.id())
        .arg(GONE_MS)
        .arg(LEASE_MS)
        .arg(format!("{}@{}", replicas.id(), replicas.relay.address()));
    let (holder, alive): (String, Vec<String>) = replicas.connection.ask(&command).await?;
    let leads = holder == replicas.id();
    if replicas.leads.swap(leads, Ordering::Relaxed) != leads {
        tracing::info!(leads, "who notifies has changed");
    }
    let others: BTreeMap<u64, String> = alive.iter().filter_map(|member| replica_at(member)).collect();
    let is_there = |replica| replica == replicas.number || others.contains_key(&replica);
    owners.fleet.keep_connections_of(is_there);
    replicas.relay.known(others);
    agree_on_secret(replicas, owners).await?;
    agree_on_key_secret(replicas, owners).await
}

/// The secret of cache keys: whoever is first decides. Each goes on proposing what was agreed on, should Redis forget it.
async fn agree_on_key_secret(replicas: &RedisReplication, owners: &Owners) -> Result<(), Fault> {
    let Some(proposed) = owners.key_secret.proposed() else {
        return Ok(());
    };
    let mut command = redis::cmd("SET");
    command
        .arg(replicas.keys.key_secret())
        .arg(&proposed)
        .arg("NX")
        .arg("GET");
    let agreed: Option<String> = replicas.connection.ask(&command).await?;
    owners.key_secret.agreed(&agreed.unwrap_or(proposed));
    Ok(())
}

/// The first replica decides; a replica that lost its connection takes the secret that is there afterwards.
async fn agree_on_secret(replicas: &RedisReplication, owners: &Owners) -> Result<(), Fault> {
    let Some(proposed) = relay::proposed() else {
        tracing::error!("no source of chance: commands are not relayed between replicas");
        return Ok(());
    };
    let mut command = redis::cmd("SET");
    command.arg(replicas.keys.secret()).arg(&proposed).arg("NX").arg("GET");
    let agreed: Option<String> = replicas.connection.ask(&command).await?;
    let agreed = agreed.unwrap_or(proposed);
    owners.proofs.share(&agreed);
    replicas.relay.agreed(agreed);
    Ok(())
}
