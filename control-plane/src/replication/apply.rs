//! What a replica makes of what the others tell.

use super::reader::Reader;
use super::wire::{Entry, News};
use super::{LOOK_EVERY, Replicas};
use crate::kernel::clock::now_ms;
use crate::kernel::events::Event;
use crate::kernel::sync::lock;
use crate::plane::Plane;
use control_domain::breaker_status::breaker_event;
use control_domain::fleet::{Fleet, Reported, instance};
use control_domain::purges::Purge;
use optimizer_proto::v1::SettingsAck;
use redis::RedisError;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// A purge or a word that is older is no news: an Envoy that has not done it is told when it connects, or soon after.
const FRESH_MS: u64 = 30_000;

/// Hears until the connection fails.
pub(super) async fn hear(replicas: &Replicas, plane: &Arc<Plane>) -> RedisError {
    let places = lock(&replicas.places).clone();
    let opened = Reader::open(replicas.wire.endpoint(), &replicas.keys, &replicas.id(), places).await;
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(error) => return error,
    };
    if let Some(forgotten_ms) = reader.forgotten_ms {
        plane.domain().purges.forget_before(forgotten_ms);
    }
    // Of a new journal everything is read before what it lacks is put back.
    let mut known = reader.journal_is_new.then(BTreeSet::new);
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= LOOK_EVERY {
            match reader.goes_on().await {
                Ok(true) => looked = Instant::now(),
                Ok(false) => return io::Error::other("the shared journal lost entries").into(),
                Err(error) => return error,
            }
        }
        let heard = match reader.next().await {
            Ok(heard) => heard,
            Err(error) => return error,
        };
        if let Some(found) = &mut known {
            if heard.journal.is_empty() {
                put_back(replicas, plane, found);
                known = None;
            } else {
                found.extend(heard.journal.iter().filter_map(name_of));
            }
        }
        if heard.settings {
            replicas.settings(plane).await;
        }
        for entry in heard.journal {
            take(plane, entry);
        }
        heard.news.iter().for_each(|news| learn(replicas, plane, news));
        plane.acknowledged.notify_waiters();
        *lock(&replicas.places) = reader.places.clone();
    }
}

fn name_of(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Purge { purge } => Some(purge.id.clone()),
        Entry::Said { said } => Some(format!("{}/{}", said.at, said.upstream)),
        _ => None,
    }
}

/// What this replica knows and the journal does not: it lost it, or was away when it happened.
fn put_back(replicas: &Replicas, plane: &Plane, known: &BTreeSet<String>) {
    let (purges, words, silences) = {
        let domain = plane.domain();
        let purges: Vec<Purge> = domain.purges.oldest_first().cloned().collect();
        let words: Vec<_> = domain.steering.log().cloned().collect();
        (purges, words, domain.board.silences().to_vec())
    };
    // With its receipts: whoever hears of it takes them as they are.
    let purges = purges.into_iter().map(|purge| Entry::Purge { purge });
    let words = words.into_iter().map(|said| Entry::Said { said });
    let silences = silences.into_iter().map(|silence| Entry::Silenced { silence });
    let is_missing = |entry: &Entry| name_of(entry).is_none_or(|name| !known.contains(&name));
    purges
        .chain(words)
        .chain(silences)
        .filter(is_missing)
        .for_each(|entry| replicas.share_later(&entry));
}

fn take(plane: &Arc<Plane>, entry: Entry) {
    match entry {
        Entry::Purge { purge } => {
            let accepted = plane.domain().purges.accept(purge.clone());
            if accepted.is_err() {
                // Known; perhaps not who has done it.
                for (envoy, at) in &purge.applied {
                    let matched = purge.matched.get(envoy).copied();
                    plane.domain().purges.applied(&purge.id, envoy, *at, matched);
                }
                return;
            }
            crate::purges::service::heard(plane, &purge, purge.at.saturating_add(FRESH_MS) > now_ms());
        }
        Entry::Applied { id, envoy, at, matched } => plane.domain().purges.applied(&id, &envoy, at, matched),
        Entry::Reopened { id } => plane.domain().purges.reopen(&id),
        Entry::Said { said } => {
            let fresh = said.at.saturating_add(FRESH_MS) > now_ms();
            if plane.domain().steering.say(said.clone()) {
                plane.keep_steering();
                if fresh {
                    tokio::spawn(crate::breakers::service::repeat(Arc::clone(plane), said.upstream));
                }
            }
        }
        Entry::Acknowledged { id, by } => {
            plane.domain().board.acknowledge(&id, &by);
        }
        Entry::Silenced { silence } => {
            plane.domain().board.silence(silence);
        }
        Entry::Warmed { envoy, warmth } => plane.warming.set(&envoy, warmth),
        Entry::Unsilenced { name } => {
            plane.domain().board.unsilence(&name);
        }
    }
}

fn learn(replicas: &Replicas, plane: &Plane, news: &News) {
    let now_ms = now_ms();
    let at_ms = news.at_ms.min(now_ms);
    let envoy = instance(&news.hello);
    let is_here = lock(&replicas.own).contains_key(&envoy);
    let mut domain = plane.domain();
    // One that is connected here is known here better; what it told before it came still counts.
    if !is_here {
        stands(&mut domain.fleet, &envoy, news, at_ms);
    }
    let Some(report) = &news.report else { return };
    if optimizer_proto::telemetry::check_report(report, now_ms).is_err() {
        return;
    }
    if domain.fleet.reported(&envoy, report, at_ms) == Reported::Merged {
        drop(domain);
        let events = report.delta.iter().flat_map(|delta| &delta.breaker_events);
        events.for_each(|event| plane.announce(Event::new("breaker", breaker_event(&news.hello.node_id, event))));
    }
}

/// Where an Envoy is connected, and what it runs on.
fn stands(fleet: &mut Fleet, envoy: &str, news: &News, at_ms: u64) {
    if fleet
        .get(envoy)
        .is_none_or(|known| known.connection != Some(news.connection))
    {
        fleet.hello_elsewhere(&news.hello, news.connection, at_ms);
    }
    let says_more = |ack: &&SettingsAck| {
        fleet.get(envoy).is_some_and(|known| {
            if ack.accepted {
                known.in_force != Some((ack.epoch.clone(), ack.revision)) || known.refused.is_some()
            } else {
                known.refused.as_ref().map(|(refused, _)| *refused) != Some(ack.revision)
            }
        })
    };
    if let Some(ack) = news.ack.as_ref().filter(says_more) {
        fleet.acknowledged(envoy, ack, at_ms);
    }
    if !news.connected {
        fleet.gone(envoy, news.connection);
    }
}
