//! Clients: a steady number of requests a second, each answer checked.

use crate::content::{KINDS, Kind, LANGUAGES, Random, Resource, USERS};
use crate::judge::{Asked, Right, judge, judge_broken};
use crate::run::Run;
use e2e::client::{Connection, Request, Response};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Requests that can be under way at once: more than a hanging origin holds up.
pub(crate) const CLIENTS: u32 = 40;
/// Tags that a client remembers for conditional requests.
const TAGS: usize = 32;

/// One client, until the run ends.
pub(crate) fn ask(run: &Arc<Run>, number: u32, rate: u32) {
    let mut client = Client {
        random: Random::new(run.seed, 100 + u64::from(number)),
        tags: VecDeque::new(),
        connections: [None, None],
    };
    let begin = Instant::now();
    let mut turn = number;
    while !run.stop.load(Ordering::SeqCst) {
        let due = begin + Duration::from_secs(1) * turn / rate;
        if let Some(pause) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(pause);
        }
        client.once(run);
        // Whoever was held up goes on from now: a crowd of late requests would be another load.
        let late = Instant::now().saturating_duration_since(due).as_millis();
        let missed = late * u128::from(rate) / 1_000 / u128::from(CLIENTS);
        turn += CLIENTS * (1 + u32::try_from(missed).unwrap_or(0));
    }
}

struct Client {
    random: Random,
    tags: VecDeque<(Resource, String, String)>,
    connections: [Option<Connection>; 2],
}

impl Client {
    fn once(&mut self, run: &Run) {
        let envoy = usize::from(self.random.chance(500));
        let asked = self.choose(run);
        let request = request(&asked);
        let answer = self.exchange(run, envoy, &request);
        run.tally.count_request();
        match answer {
            Ok(answer) => {
                match judge(&run.log, &asked, &answer) {
                    Ok(right) => run.tally.right(right, &answer),
                    Err(sentence) => self.wrong(run, envoy, &asked, &answer, &sentence),
                }
                if asked.method == "GET" && answer.status == 200 {
                    self.remember(&asked, &answer);
                }
            }
            Err(sentence) => match judge_broken(&run.log, &asked).or_else(|| run.disturbed_since(envoy, asked.at)) {
                Some(cause) => run.tally.failed(cause),
                None => run.tally.wrong(format!(
                    "Envoy {envoy}, {} {} for <{}>: no answer without a cause: {sentence}",
                    asked.method,
                    asked.resource.path(),
                    asked.who
                )),
            },
        }
    }

    fn wrong(&self, run: &Run, envoy: usize, asked: &Asked, answer: &Response, sentence: &str) {
        if answer.status >= 500
            && let Some(cause) = run.disturbed_since(envoy, asked.at)
        {
            run.tally.right(Right::Refused(cause), answer);
            return;
        }
        let field = |name: &str| answer.header(name).unwrap_or_default();
        run.tally.wrong(format!(
            "Envoy {envoy}, {} {} for <{}>, condition {:?}, range {:?}, asked {} ms ago: {sentence}; cache-status: {}; age: {}; date: {}",
            asked.method,
            asked.resource.path(),
            asked.who,
            asked.condition,
            asked.range,
            asked.at.elapsed().as_millis(),
            field("cache-status"),
            field("age"),
            field("date"),
        ));
    }

    /// On the connection there is, or a new one. A connection that was closed while nobody used it is no failure: as all clients do,
    /// this one asks again where nothing of an answer had come.
    fn exchange(&mut self, run: &Run, envoy: usize, request: &Request) -> e2e::Result<Response> {
        let place = &mut self.connections[envoy];
        if let Some(mut open) = place.take() {
            let before = open.received();
            match open.exchange(request) {
                Ok(answer) => {
                    keep(place, open, &answer);
                    return Ok(answer);
                }
                Err(error) if open.received() > before => return Err(error),
                Err(_) => run.tally.repeated(),
            }
        }
        let mut open = Connection::open(run.fleet.address(envoy))?;
        let answer = open.exchange(request)?;
        keep(place, open, &answer);
        Ok(answer)
    }

    fn choose(&mut self, run: &Run) -> Asked {
        let random = &mut self.random;
        let kind = match random.below(100) {
            0..45 => Kind::Page,
            45..53 => Kind::Part,
            53..70 => Kind::Language,
            70..85 => Kind::Account,
            85..91 => Kind::Mine,
            91..97 => Kind::Bearer,
            _ => Kind::Unstored,
        };
        let count = KINDS
            .iter()
            .find(|(_, known, _)| *known == kind)
            .map_or(1, |(.., count)| *count);
        // Some are asked for much more than others.
        let least = (0..3).map(|_| random.below(count)).min();
        let resource = Resource {
            kind,
            number: least.unwrap_or(0),
        };
        let user = random.below(USERS);
        let who = match kind {
            Kind::Language => (*random.pick(&LANGUAGES)).to_owned(),
            Kind::Bearer => format!("Bearer u{user}"),
            _ if resource.is_personal() => format!("user=u{user}"),
            _ => String::new(),
        };
        let method = match random.below(100) {
            0..2 => "HEAD",
            2 if kind == Kind::Page => "POST",
            _ => "GET",
        };
        let range = (kind == Kind::Part && method == "GET" && random.chance(500)).then(|| {
            let first = usize::try_from(random.below(15_000)).unwrap_or(0);
            (first, first + 1 + usize::try_from(random.below(19_000)).unwrap_or(0))
        });
        let condition = self
            .tags
            .iter()
            .find(|(known, whose, _)| *known == resource && *whose == who);
        let condition = condition
            .filter(|_| method == "GET" && range.is_none())
            .map(|(.., tag)| tag.clone());
        Asked {
            method,
            resource,
            who,
            condition,
            range,
            floor: run.log.floor(resource),
            at: Instant::now(),
        }
    }

    fn remember(&mut self, asked: &Asked, answer: &Response) {
        let Some(tag) = answer.header("etag").filter(|_| self.random.chance(250)) else {
            return;
        };
        self.tags
            .retain(|(known, whose, _)| *known != asked.resource || *whose != asked.who);
        self.tags.push_back((asked.resource, asked.who.clone(), tag));
        if self.tags.len() > TAGS {
            self.tags.pop_front();
        }
    }
}

fn keep(place: &mut Option<Connection>, open: Connection, answer: &Response) {
    let closes = answer
        .header("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"));
    if !closes {
        *place = Some(open);
    }
}

fn request(asked: &Asked) -> Request {
    let mut request = Request::new(asked.method, &asked.resource.path());
    let field = match asked.resource.kind {
        Kind::Language => Some("accept-language"),
        Kind::Account | Kind::Mine | Kind::Unstored => Some("cookie"),
        Kind::Bearer => Some("authorization"),
        Kind::Page | Kind::Part => None,
    };
    if let Some(field) = field {
        request = request.header(field, &asked.who);
    }
    if let Some(tag) = &asked.condition {
        request = request.header("if-none-match", tag);
    }
    if let Some((first, last)) = asked.range {
        request = request.header("range", format!("bytes={first}-{last}"));
    }
    request
}
