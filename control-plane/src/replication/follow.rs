//! Reads what the other replicas write, until the connection fails.

use super::apply::Owners;
use super::reader::Reader;
use super::replica::RedisReplication;
use crate::kernel::ports::Replication as _;
use crate::kernel::sync::lock;
use control_domain::fleet::instance;
use control_domain::replication::Journaled;
use redis::RedisError;
use std::io;
use std::time::{Duration, Instant};

/// How often it is looked whether the journal is still the one that is read.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Hears until the connection fails.
pub(super) async fn follow(replicas: &RedisReplication, owners: &Owners) -> RedisError {
    let places = replicas.places();
    let opened = Reader::open(
        replicas.connection.endpoint(),
        &replicas.keys,
        &replicas.id(),
        places,
        replicas.unseen(),
    )
    .await;
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(error) => return error,
    };
    if let Some(forgotten_ms) = reader.forgotten_ms {
        owners.purges.forget_before(forgotten_ms);
    }
    if reader.journal_is_new {
        lock(&replicas.written).forget();
    }
    // Of a new journal everything is read before what it lacks is put back.
    let mut known = reader.journal_is_new.then(Journaled::default);
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= LOOK_EVERY {
            match reader.goes_on(replicas.unseen()).await {
                Ok(true) => looked = Instant::now(),
                Ok(false) => return lost(),
                Err(error) => return error,
            }
        }
        let batch = match reader.next().await {
            Ok(batch) => batch,
            Err(error) => return error,
        };
        if replicas.loses_after(&batch.own, reader.place()) {
            return lost();
        }
        if let Some(found) = &mut known {
            if batch.facts.is_empty() {
                put_back(replicas, owners, found);
                known = None;
            } else {
                batch.facts.iter().for_each(|fact| found.note(fact));
            }
        }
        if batch.settings {
            replicas.refresh(&owners.settings).await;
        }
        for fact in batch.facts.into_iter().chain(batch.passing) {
            owners.apply(fact);
        }
        for update in &batch.updates {
            let envoy = instance(&update.hello);
            let is_here = replicas.has(&envoy);
            owners.fleet.observe(&envoy, update, is_here);
        }
        owners.fleet.notify_progress();
        let places = reader.places.clone();
        // Where the connection breaks before what a new journal lacks is put back, all of it is read again.
        let is_whole = known.is_none();
        replicas.read_up_to(if is_whole { places } else { places.without_journal() });
    }
}

fn lost() -> RedisError {
    io::Error::other("the shared journal lost entries").into()
}

/// What this replica knows and the journal does not.
fn put_back(replicas: &RedisReplication, owners: &Owners, found: &Journaled) {
    let missing = found.lacks(owners.facts());
    missing.into_iter().for_each(|fact| replicas.publish_later(fact));
}
