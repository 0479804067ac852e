//! The origin: right most of the time; with a habit it cuts, hangs, fails and lies, and writes down what it did.

use crate::content::{Kind, Random, Resource, content, hash};
use crate::log::Log;
use e2e::Result;
use e2e::origin::{Framing, Origin, PARTS, Received, Reply};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What an origin can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// The content ends in the middle.
    Cuts,
    /// The connection ends without an answer.
    Resets,
    /// No answer for seconds, then none at all.
    Hangs,
    /// More content than was announced.
    Overruns,
    /// 500.
    Fails,
    /// 304 to somebody who has another version.
    WrongNotModified,
    /// The content comes in parts with pauses.
    Slow,
}

pub(crate) const HABITS: [Habit; 7] = [
    Habit::Cuts,
    Habit::Resets,
    Habit::Hangs,
    Habit::Overruns,
    Habit::Fails,
    Habit::WrongNotModified,
    Habit::Slow,
];
/// Of a thousand answers, how many a habit takes while it lasts.
const SHARE: u64 = 300;
/// The same of a burst of failures.
const BURST: u64 = 800;
/// The same when nothing is said.
const USUAL: u64 = 3;

impl Habit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cuts => "cut",
            Self::Resets => "reset",
            Self::Hangs => "hang",
            Self::Overruns => "too much content",
            Self::Fails => "500",
            Self::WrongNotModified => "wrong 304",
            Self::Slow => "slow body",
        }
    }
}

/// Which habit the origin has at the moment.
#[derive(Debug)]
pub(crate) struct Habits(Mutex<(Option<(Habit, Instant)>, Random)>);

impl Habits {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new((None, Random::new(seed, 2))))
    }

    /// From now on, for a while.
    pub(crate) fn begin(&self, habit: Habit, lasts: Duration) {
        let mut habits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        habits.0 = Some((habit, Instant::now() + lasts));
    }

    /// What goes wrong with the next answer, and a number by chance for it.
    fn draw(&self) -> (Option<Habit>, u64) {
        let mut habits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (present, random) = &mut *habits;
        let present = present.filter(|(_, until)| Instant::now() < *until);
        let number = random.below(1_000_000);
        let drawn = match present {
            Some((Habit::Fails, _)) if random.chance(BURST) => Some(Habit::Fails),
            Some((habit, _)) if habit != Habit::Fails && random.chance(SHARE) => Some(habit),
            _ if random.chance(USUAL) => Some(*random.pick(&HABITS)),
            _ => None,
        };
        (drawn, number)
    }
}

/// Starts it.
pub(crate) fn start(log: &Arc<Log>, habits: &Arc<Habits>) -> Result<Origin> {
    let (log, habits) = (Arc::clone(log), Arc::clone(habits));
    Origin::start(move |request| answer(&log, &habits, request))
}

/// For whom a response to this request is.
pub(crate) fn who<'r>(resource: Resource, header: impl Fn(&str) -> Option<&'r str>) -> &'r str {
    let value = match resource.kind {
        Kind::Language => header("accept-language"),
        Kind::Account | Kind::Mine | Kind::Unstored => header("cookie"),
        Kind::Bearer => header("authorization"),
        Kind::Page | Kind::Part => None,
    };
    value.unwrap_or_default()
}

/// The validator of a content.
pub(crate) fn entity_tag(resource: Resource, hash: u64) -> String {
    let weak = resource.kind == Kind::Page && resource.number % 4 == 1;
    format!("{}\"{hash:016x}\"", if weak { "W/" } else { "" })
}

fn answer(log: &Log, habits: &Habits, request: &Received) -> Reply {
    let Some(resource) = Resource::read(&request.path) else {
        return Reply::new(404);
    };
    if request.method == "POST" {
        log.publish(&[resource]);
        log.count("POST");
        return Reply::new(204);
    }
    let who = who(resource, |name| request.header(name));
    let version = log.version(resource);
    let body = content(resource, who, version);
    let whole = hash(&body);
    let tag = entity_tag(resource, whole);
    let (habit, chance) = habits.draw();
    let delay = Duration::from_millis(chance % 12);
    let now = Instant::now();

    let mut reply = Reply::new(200).header("cache-control", resource.cache_control());
    reply = reply.header("surrogate-key", resource.tag()).after(delay);
    if let Some(fields) = resource.vary() {
        reply = reply.header("vary", fields);
    }
    let condition = request.header("if-none-match");
    match habit {
        Some(Habit::Fails) => {
            log.trouble(resource, Habit::Fails.name(), now + delay);
            return Reply::new(500).body(format!("failing {}\n", request.path)).after(delay);
        }
        Some(Habit::Resets) => {
            log.trouble(resource, Habit::Resets.name(), now + delay);
            return reply.framing(Framing::Nothing);
        }
        Some(Habit::Hangs) => {
            let hangs = Duration::from_millis(3_000 + chance % 4_000);
            log.trouble(resource, Habit::Hangs.name(), now + hangs);
            return reply.after(hangs).framing(Framing::Nothing);
        }
        Some(Habit::WrongNotModified) if condition.is_some_and(|sent| !sent.contains(&tag)) => {
            log.trouble(resource, Habit::WrongNotModified.name(), now + delay);
            return reply.status(304).header("etag", tag);
        }
        _ => {}
    }
    log.issue(whole, resource, who, version, now + delay);
    reply = reply.header("etag", &tag);
    if condition.is_some_and(|sent| sent.contains(&tag)) {
        log.count("304");
        return reply.status(304);
    }
    let range = request.header("range").filter(|_| habit.is_none());
    let if_range = request.header("if-range").is_none_or(|sent| sent == tag);
    if let Some((first, last)) = range.filter(|_| if_range).and_then(|range| part(range, body.len())) {
        log.count("206");
        let place = format!("bytes {first}-{last}/{}", body.len());
        let part = body.get(first..=last).unwrap_or_default();
        return reply.status(206).header("content-range", place).body(part);
    }
    let half = body.len() / 2;
    match habit {
        Some(Habit::Cuts) => {
            log.trouble(resource, Habit::Cuts.name(), now + delay);
            let framing = if chance % 2 == 0 {
                Framing::CutLength(half)
            } else {
                Framing::CutChunked(half)
            };
            reply.body(body).framing(framing)
        }
        Some(Habit::Overruns) if request.method == "GET" => {
            log.trouble(resource, Habit::Overruns.name(), now + delay + Duration::from_secs(1));
            log.shortened(hash(body.get(..half).unwrap_or_default()), half, whole);
            Reply::new(200)
                .body(overrun(resource, &tag, &body, half))
                .after(delay)
                .framing(Framing::Raw)
        }
        Some(Habit::Slow) => {
            let pause = Duration::from_millis(100 + chance % 400);
            let parts = u32::try_from(PARTS).unwrap_or(1);
            log.trouble(resource, Habit::Slow.name(), now + delay + pause * parts);
            reply.body(body).paced(pause)
        }
        _ => {
            log.count("200");
            let framing = if chance % 5 == 0 {
                Framing::Chunked(4_096)
            } else {
                Framing::Length
            };
            reply.body(body).framing(framing)
        }
    }
}

/// All of a content behind a head that announces the first `half` bytes.
fn overrun(resource: Resource, tag: &str, body: &[u8], half: usize) -> Vec<u8> {
    let mut out = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {half}\r\netag: {tag}\r\ncache-control: {}\r\nsurrogate-key: {}\r\n",
        resource.cache_control(),
        resource.tag()
    );
    if let Some(fields) = resource.vary() {
        let _ = write!(out, "vary: {fields}\r\n");
    }
    let mut out = (out + "\r\n").into_bytes();
    out.extend_from_slice(body);
    out
}

/// First and last byte of `bytes=first-last`.
fn part(range: &str, length: usize) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse::<usize>().ok()?);
    (first <= last && first < length).then_some((first, last.min(length - 1)))
}
