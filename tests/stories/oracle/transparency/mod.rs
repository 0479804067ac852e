//! The transparency oracle: random traffic of every kind to an Envoy with the filter and to its twin without, side by side.
//!
//! - Each answer is the twin's, or one that RFC 9111 allows by what the origin has sent, and `Cache-Status` says so ([`judge`]).
//! - None takes longer than one and a half times the longest of its kind without the filter, and [`MORE`].
//! - The breaker is open only while the failures that the origin itself counted say so ([`breaker_rule`]).
//! - What is said to be stored answers the next request.
//!
//! `ORACLE_SEED` runs one seed alone; `ORACLE_SECONDS` goes on with further seeds for as long.

mod ask;
mod breaker_rule;
mod fails;
mod framing;
mod h1;
mod h2;
mod habits;
mod history;
mod judge;
mod judge_tests;
mod origin;
mod seen;
mod tunnel;
mod world;

use crate::oracle::random::Random;
use crate::oracle::{more_time, say};
use ask::{Ask, Content, Manner};
use habits::Life;
use history::LEAVES;
use judge::From;
use seen::{End, Seen};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use world::{Client, Side, World};

/// The seed that always runs.
const SEED: u64 = 1;
const CLIENTS: usize = 6;
const REQUESTS: usize = 130;
/// Clients of a busy machine stop here.
const LONGEST: Duration = Duration::from_secs(40);
/// What a request may take beyond its kind: no measure of speed, but of hanging.
const MORE: Duration = Duration::from_secs(2);
/// Kinds of differences that are looked into, and for how long each.
const REPORTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(8);

/// Something wrong.
struct Wrong {
    client: usize,
    ask: Ask,
    /// What the same client asked for at the same path before, oldest first.
    before: Vec<Ask>,
    what: String,
    seen: String,
    twin: String,
}

/// The longest of a kind: without the filter and with it.
#[derive(Default)]
struct Times {
    without: Duration,
    with: Duration,
    slowest: String,
}

#[derive(Default)]
struct Tally {
    requests: usize,
    reused: usize,
    refused: usize,
    stored: usize,
    /// Tunnels that carried what was said.
    tunnels: usize,
    times: BTreeMap<String, Times>,
    wrong: Vec<Wrong>,
}

#[test]
fn with_the_filter_nothing_is_slower_cut_refused_or_different() {
    let started = Instant::now();
    let seed = std::env::var("ORACLE_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut next = seed.unwrap_or(SEED);
    let (mut reports, mut requests, mut reused, mut stored, mut tunnels) = (Vec::new(), 0, 0, 0, 0);
    loop {
        let (tally, told) = run(next);
        requests += tally.requests;
        reused += tally.reused;
        stored += tally.stored;
        tunnels += tally.tunnels;
        say(&format!(
            "transparency oracle, seed {next}: requests {}, reused {}, refused by the breaker {}, tunnels {}, wrong {}",
            tally.requests,
            tally.reused,
            tally.refused,
            tally.tunnels,
            tally.wrong.len()
        ));
        reports.extend(told);
        next += 1;
        if seed.is_some() || started.elapsed() >= more_time() {
            break;
        }
    }
    assert!(reports.is_empty(), "{}", reports.join("\n\n"));
    assert!(
        reused * 10 > requests && stored > 0,
        "too little was reused to prove anything: {reused} of {requests}, stored {stored}"
    );
    assert!(tunnels > 0, "no tunnel was opened");
}

/// One seed.
fn run(seed: u64) -> (Tally, Vec<String>) {
    let mut world = World::start().unwrap();
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (world, tally) = (&world, &tally);
            scope.spawn(move || ask_on(world, Random::new(seed * 1_000 + client as u64), client, tally));
        }
    });
    let mut tally = tally.into_inner().expect("no panics");
    for (kind, times) in &tally.times {
        let longest = times.without.mul_f64(1.5) + MORE;
        if times.with > longest {
            let what = format!(
                "{kind} took {:?}, without the filter at most {:?}",
                times.with, times.without
            );
            tally.wrong.push(Wrong::of_time(what, times.slowest.clone()));
        }
    }
    let mut kinds: BTreeMap<String, (usize, &Wrong)> = BTreeMap::new();
    for wrong in &tally.wrong {
        let kind = format!("{} [{}]", wrong.what, wrong.ask.kind());
        kinds.entry(kind).or_insert((0, wrong)).0 += 1;
    }
    let mut reports = Vec::new();
    for (at, (kind, (count, wrong))) in kinds.into_iter().enumerate() {
        let story = if at < REPORTS {
            smallest(&world, wrong)
        } else {
            wrong.told()
        };
        reports.push(format!("seed {seed}: {kind} ({count} times)\n{story}"));
    }
    if !reports.is_empty() {
        let folder = world.keep();
        reports.push(format!(
            "ORACLE_SEED={seed} runs it again; configurations and logs in {folder}"
        ));
    }
    (tally, reports)
}

/// One client's requests.
fn ask_on(world: &World, mut random: Random, client: usize, tally: &Mutex<Tally>) {
    let end = Instant::now() + LONGEST;
    let mut pair = [Client::default(), Client::default()];
    let mut before: Vec<Ask> = Vec::new();
    for number in 0..REQUESTS {
        if Instant::now() > end {
            return;
        }
        let ask = Ask::random(&mut random, client, number * CLIENTS + client);
        let leaves = if matches!(ask.manner, Manner::Leave(_)) {
            LEAVES
        } else {
            ""
        };
        let judged = ask_both(world, &mut pair, &ask, &format!("{client}-{number}{leaves}"));
        let earlier: Vec<Ask> = before
            .iter()
            .filter(|earlier| earlier.path == ask.path)
            .cloned()
            .collect();
        let mut tally = tally.lock().expect("no panics");
        for judged in judged {
            tally.requests += 1;
            tally.refused += usize::from(judge::is_refusal(&judged.seen));
            tally.stored += usize::from(judged.seen.says("stored"));
            let through = ask.manner == Manner::Tunnel && judged.seen.body.ends_with(b"bye.");
            tally.tunnels += usize::from(through);
            match judged.verdict {
                Ok(from) => tally.reused += usize::from(from == From::Reuse),
                Err(what) => tally.wrong.push(Wrong {
                    client,
                    ask: ask.clone(),
                    before: earlier.clone(),
                    what,
                    seen: judged.seen.told(),
                    twin: judged.twin.told(),
                }),
            }
            if ask.manner != Manner::Leave(0) {
                let times = tally.times.entry(ask.kind()).or_default();
                times.without = times.without.max(judged.twin.took);
                if judged.seen.took > times.with {
                    times.with = judged.seen.took;
                    times.slowest = format!("{}\n  served: {}", ask.told(), judged.seen.told());
                }
            }
        }
        before.push(ask);
    }
}

/// A request to both, and what is to be said of it.
struct Judged {
    seen: Seen,
    twin: Seen,
    verdict: Result<From, String>,
}

fn ask_both(world: &World, pair: &mut [Client; 2], ask: &Ask, id: &str) -> Vec<Judged> {
    let [with, without] = pair;
    let changes = !matches!(ask.method, "GET" | "HEAD" | "OPTIONS" | "CONNECT");
    if let Manner::Crowd(count) = ask.manner {
        let (seen, twins) = (
            crowd(world, &world.with, ask, id, count),
            crowd(world, &world.without, ask, id, count),
        );
        let both = seen.into_iter().zip(twins).enumerate();
        let judged = both.map(|(at, (seen, twin))| {
            let verdict = judge::judge(&world.history, ask, &format!("{id}-{at}"), &seen, &twin);
            Judged { seen, twin, verdict }
        });
        return judged.collect();
    }
    let seen = with.exchange(world.runtime(), &world.with, ask, id);
    if changes && seen.status < 400 {
        world.history.change(&ask.path);
    }
    let twin = without.exchange(world.runtime(), &world.without, ask, id);
    let mut verdict = judge::judge(&world.history, ask, id, &seen, &twin);
    if verdict.is_ok() && is_to_stay(ask, &seen) {
        let again = with.exchange(world.runtime(), &world.with, ask, &format!("{id}-again"));
        if !again.says("hit") {
            verdict = Err(format!("said to be stored; the next request: {}", again.cache_status()));
        }
    }
    vec![Judged { seen, twin, verdict }]
}

/// Whether the answer says that it is stored, and this for so long that the next request must find it.
fn is_to_stay(ask: &Ask, seen: &Seen) -> bool {
    let stays = matches!(ask.habit().life, Life::Seconds(10.., _));
    let plain =
        matches!(ask.manner, Manner::Read | Manner::Slow) && ask.method == "GET" && ask.content == Content::None;
    let directives = ask.header("cache-control").is_some() || ask.header("authorization").is_some();
    stays && plain && !directives && seen.end == End::Whole && seen.says("stored")
}

fn crowd(world: &World, side: &Side, ask: &Ask, id: &str, count: usize) -> Vec<Seen> {
    std::thread::scope(|scope| {
        let members = (0..count).map(|at| {
            let id = format!("{id}-{at}");
            scope.spawn(move || Client::default().exchange(world.runtime(), side, ask, &id))
        });
        let members: Vec<_> = members.collect();
        members
            .into_iter()
            .map(|member| member.join().expect("no panics"))
            .collect()
    })
}

/// Pages that nobody has asked for, and identities of requests that look for the smallest input.
static AGAIN: AtomicUsize = AtomicUsize::new(0);

/// The fewest requests that lead to the same: one alone, twice, or one of those before it and this one.
fn smallest(world: &World, wrong: &Wrong) -> String {
    let end = Instant::now() + PATIENCE;
    let last = &wrong.ask;
    let alone = std::iter::once(vec![last.clone()]);
    let twice = std::iter::once(vec![last.clone(), last.clone()]);
    let plain = std::iter::once(vec![last.plain(), last.clone()]);
    let others = wrong.before.iter().rev().map(|first| vec![first.clone(), last.clone()]);
    for asks in alone.chain(twice).chain(plain).chain(others) {
        if Instant::now() > end {
            break;
        }
        let page = AGAIN.fetch_add(1, Ordering::Relaxed);
        let mut pair = [Client::default(), Client::default()];
        for (at, ask) in asks.iter().enumerate() {
            let judged = ask_both(world, &mut pair, &ask.at_page(page), &format!("again-{page}-{at}"));
            let found = judged.into_iter().find(|judged| judged.verdict.is_err());
            if let Some(Judged {
                seen,
                twin,
                verdict: Err(what),
            }) = found
            {
                let lines: Vec<_> = asks
                    .iter()
                    .take(at + 1)
                    .map(|ask| format!("  {}\n", ask.at_page(page).told()))
                    .collect();
                let (seen, twin) = (seen.told(), twin.told());
                return format!(
                    "  smallest input: {what}\n{}  served: {seen}\n  right:  {twin}",
                    lines.concat()
                );
            }
        }
    }
    format!("  not seen again by two requests\n{}", wrong.told())
}

impl Wrong {
    fn of_time(what: String, slowest: String) -> Self {
        let ask = Ask::random(&mut Random::new(0), 0, 0);
        Self {
            client: 0,
            ask,
            before: Vec::new(),
            what,
            seen: slowest,
            twin: String::new(),
        }
    }

    fn told(&self) -> String {
        format!(
            "  client {}: {}\n  served: {}\n  right:  {}",
            self.client,
            self.ask.told(),
            self.seen,
            self.twin
        )
    }
}
