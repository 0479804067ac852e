//! The routing oracle: random requests over random configurations, each sent to an Envoy with the filter and to its twin without.
//! Whatever is served must be what the twin answers.
//!
//! `ORACLE_SEED` runs one world again; `ORACLE_SECONDS` goes on with further seeds for as long.

mod ask;
mod clients;
mod compare;
mod echo;
mod reproduce;
mod world;

use crate::oracle::random::Random;
use crate::oracle::{more_time, say};
use ask::{Ask, Topic};
use clients::Clients;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use world::World;

/// Seeds that always run.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=6;
const CLIENTS: u64 = 6;
const REQUESTS: usize = 250;
const TOPICS: usize = 16;

/// A request that was sent, in order.
#[derive(Clone, Debug)]
struct Sent {
    topic: usize,
    ask: Ask,
}

/// A request that was answered wrongly.
struct Wrong {
    sent: Sent,
    /// How many requests of the same client were before it.
    at: usize,
    client: usize,
    difference: String,
}

#[derive(Default)]
struct Tally {
    /// While clients asked.
    time: Duration,
    requests: usize,
    hits: usize,
    wrong: usize,
    /// Differences that have a report, in parts.
    told: BTreeSet<String>,
    reports: Vec<String>,
}

/// What one client did.
#[derive(Default)]
struct Done {
    sent: Vec<Sent>,
    hits: usize,
    wrong: Vec<Wrong>,
}

#[test]
fn with_the_filter_everything_is_answered_as_without() {
    let started = Instant::now();
    let seed = std::env::var("ORACLE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Vec<u64> = seed.map_or_else(|| SEEDS.collect(), |seed| vec![seed]);
    let mut tally = Tally::default();
    let mut next = *SEEDS.end();
    seeds.into_iter().for_each(|seed| run(seed, &mut tally));
    let end = started + more_time();
    while Instant::now() < end {
        next += 1;
        run(next, &mut tally);
    }
    let minutes = tally.time.as_secs_f64() / 60.0;
    say(&format!(
        "routing oracle: requests {}, {:.0} a minute, hits {} %, wrong {}",
        tally.requests,
        tally.requests as f64 / minutes,
        tally.hits * 100 / tally.requests,
        tally.wrong
    ));
    assert!(tally.reports.is_empty(), "{}", tally.reports.join("\n\n"));
    assert!(
        tally.hits * 10 > tally.requests,
        "too few hits to prove anything: {}",
        tally.hits
    );
}

/// One world.
fn run(seed: u64, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let mut world = World::start(&mut random).unwrap();
    let topics: Vec<Topic> = (0..TOPICS).map(|_| Topic::random(&mut random)).collect();
    let started = Instant::now();
    let done: Vec<Done> = std::thread::scope(|scope| {
        let clients = (1..=CLIENTS).map(|client| {
            let (world, topics) = (&world, &topics);
            scope.spawn(move || ask_on(world, topics, Random::new(seed * 1_000 + client), client))
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    tally.time += started.elapsed();
    tally.requests += done.iter().map(|done| done.sent.len()).sum::<usize>();
    tally.hits += done.iter().map(|done| done.hits).sum::<usize>();
    let mut kinds: BTreeMap<&str, (usize, &Wrong)> = BTreeMap::new();
    for wrong in done.iter().flat_map(|done| &done.wrong) {
        tally.wrong += 1;
        kinds.entry(&wrong.difference).or_insert((0, wrong)).0 += 1;
    }
    let mut reports = Vec::new();
    for (difference, (count, wrong)) in told_apart(kinds, &mut tally.told) {
        let story = reproduce::reproduce(&world, wrong, &done, &mut random);
        reports.push(format!("seed {seed}: {difference} ({count} times)\n{story}"));
    }
    if !reports.is_empty() {
        say(&format!(
            "routing oracle, seed {seed}: {} kinds of differences",
            reports.len()
        ));
        let folder = world.keep();
        reports.push(format!(
            "seed {seed}: ORACLE_SEED={seed} runs it again; configurations in {folder}\nsettings {}\noptions {}\nvirtual hosts {}\nof the second listener {}",
            world.settings, world.options, world.hosts[0], world.hosts[1]
        ));
        tally.reports.append(&mut reports);
    }
}

/// Those kinds of differences that show something which no simpler one shows, nor one of an earlier seed.
fn told_apart<'a>(
    kinds: BTreeMap<&'a str, (usize, &'a Wrong)>,
    told: &mut BTreeSet<String>,
) -> Vec<(&'a str, (usize, &'a Wrong))> {
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(difference, _)| difference.matches(", ").count());
    kinds.retain(|(difference, _)| {
        let parts = || difference.split(", ").map(str::to_owned);
        let new = parts().any(|part| !told.contains(&part));
        told.extend(parts());
        new
    });
    kinds
}

/// One client's requests.
fn ask_on(world: &World, topics: &[Topic], mut random: Random, client: u64) -> Done {
    let mut clients = Clients::new(world);
    let mut done = Done::default();
    for at in 0..REQUESTS {
        let topic = random.below(topics.len());
        let ask = Ask::random(&mut random, &topics[topic]);
        let (served, right) = clients.both(&mut random, &ask, topic);
        done.hits += usize::from(served.as_ref().is_ok_and(e2e::client::Response::is_hit));
        let sent = Sent { topic, ask };
        if let Some(difference) = compare::difference(&served, &right) {
            done.wrong.push(Wrong {
                sent: sent.clone(),
                at,
                client: usize::try_from(client).unwrap_or(1) - 1,
                difference,
            });
        }
        done.sent.push(sent);
    }
    done
}
