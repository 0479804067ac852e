//! The shortest way to a wrong answer: one request alone, two, or one again and again while what is stored grows old.

use super::ask::Ask;
use super::clients::Clients;
use super::world::World;
use super::{Done, Wrong, compare};
use crate::oracle::random::Random;
use e2e::client::Response;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Pages that nobody has asked for.
static PAGES: AtomicUsize = AtomicUsize::new(100_000);

/// Longer than any lifetime that passes while a world runs.
const OLD: Duration = Duration::from_secs(6);

/// How the wrong answer comes about, as commands.
pub(super) fn reproduce(world: &World, wrong: &Wrong, done: &[Done], random: &mut Random) -> String {
    let mut clients = Clients::new(world);
    let last = &wrong.sent.ask;
    for first in candidates(wrong, done) {
        let page = PAGES.fetch_add(1, Ordering::Relaxed);
        for ask in [&first, &first, last, last] {
            let (served, right) = clients.both(random, ask, page);
            if compare::difference(&served, &right).is_some() {
                let served = [served, right]
                    .map(|answer| answer.map_or_else(|failure| failure.to_string(), |answer| told(&answer)));
                return story(world, &first, ask, page, &served);
            }
        }
    }
    let page = PAGES.fetch_add(1, Ordering::Relaxed);
    let end = Instant::now() + OLD;
    while Instant::now() < end {
        let (served, right) = clients.both(random, last, page);
        if compare::difference(&served, &right).is_some() {
            let served =
                [served, right].map(|answer| answer.map_or_else(|failure| failure.to_string(), |answer| told(&answer)));
            return "again and again, until it is old:\n".to_owned() + &story(world, last, last, page, &served);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    format!(
        "  not seen again by two requests: {}",
        last.curl(wrong.sent.topic, &world.with[last.listener].to_string())
    )
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
        .take(250)
        .collect()
}

fn story(world: &World, first: &Ask, last: &Ask, page: usize, answers: &[String; 2]) -> String {
    let line = |ask: &Ask| format!("  {}\n", ask.curl(page, &world.with[ask.listener].to_string()));
    let (first, last) = (line(first), line(last));
    let first = if first == last { "  twice:\n".to_owned() } else { first };
    format!("{first}{last}  served: {}\n  right:  {}", answers[0], answers[1])
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
