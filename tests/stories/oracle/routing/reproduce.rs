//! The shortest way to a wrong answer: one request alone, two, or one again and again while what is stored grows old.

use super::ask::Ask;
use super::clients::Clients;
use super::world::World;
use super::{Done, Wrong, compare};
use crate::oracle::random::Random;
use e2e::Result;
use e2e::client::Response;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Pages that nobody has asked for.
static PAGES: AtomicUsize = AtomicUsize::new(100_000);

/// Longer than any lifetime that passes while a world runs.
const OLD: Duration = Duration::from_secs(6);

/// For looking through what was asked before.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the wrong answer comes about, as commands: the same difference, or else one that is part of it.
pub(super) fn reproduce(world: &World, wrong: &Wrong, done: &[Done], random: &mut Random) -> String {
    let mut clients = Clients::new(world);
    let last = &wrong.sent.ask;
    let mut another = None;
    let end = Instant::now() + PATIENCE;
    for first in candidates(wrong, done) {
        if Instant::now() > end {
            break;
        }
        let page = PAGES.fetch_add(1, Ordering::Relaxed);
        for ask in [&first, &first, last, last] {
            let answers = clients.both(random, ask, page);
            match compare::difference(&answers.0, &answers.1) {
                Some(found) if found == wrong.difference => return story(world, &first, ask, page, answers),
                Some(found) if another.is_none() && wrong.difference.contains(&found) => {
                    another = Some(story(world, &first, ask, page, answers));
                }
                _ => {}
            }
        }
    }
    another.or_else(|| once_old(world, wrong, random)).unwrap_or_else(|| {
        let address = world.with[last.listener].to_string();
        format!(
            "  not seen again by two requests: {}",
            last.curl(wrong.sent.topic, &address)
        )
    })
}

/// The request again and again.
fn once_old(world: &World, wrong: &Wrong, random: &mut Random) -> Option<String> {
    let mut clients = Clients::new(world);
    let ask = &wrong.sent.ask;
    let page = PAGES.fetch_add(1, Ordering::Relaxed);
    let end = Instant::now() + OLD;
    while Instant::now() < end {
        let answers = clients.both(random, ask, page);
        if compare::difference(&answers.0, &answers.1).is_some() {
            return Some("  again and again, until it is old:\n".to_owned() + &story(world, ask, ask, page, answers));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

/// The request itself, then others about the same before it, each once, the newest first.
fn candidates(wrong: &Wrong, done: &[Done]) -> Vec<Ask> {
    let mut seen = BTreeSet::new();
    let own = std::iter::once(wrong.sent.ask.clone());
    let before = (0..=wrong.at).rev().flat_map(|at| {
        let order = std::iter::once(wrong.client).chain((0..done.len()).filter(|client| *client != wrong.client));
        order.filter_map(move |client| done[client].sent.get(at))
    });
    let before = before
        .filter(|sent| sent.topic == wrong.sent.topic)
        .map(|sent| sent.ask.clone());
    own.chain(before)
        .filter(|ask| seen.insert(format!("{ask:?}")))
        .take(120)
        .collect()
}

fn story(world: &World, first: &Ask, last: &Ask, page: usize, answers: (Result<Response>, Result<Response>)) -> String {
    let line = |ask: &Ask| format!("  {}\n", ask.curl(page, &world.with[ask.listener].to_string()));
    let (first, last) = (line(first), line(last));
    let first = if first == last { "  twice:\n".to_owned() } else { first };
    let told = |answer: Result<Response>| answer.map_or_else(|failure| failure.to_string(), |answer| told(&answer));
    format!(
        "{first}{last}  served: {}\n  right:  {}",
        told(answers.0),
        told(answers.1)
    )
}

fn told(response: &Response) -> String {
    let fields = response
        .fields
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)));
    format!(
        "{} {} [{}]",
        response.status,
        response.text(),
        fields.collect::<Vec<_>>().join("; ")
    )
}
