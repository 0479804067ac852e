//! One random request and the manner of the client that sends it.

use super::habits::{self, HABITS, Habit};
use super::tunnel::AUTHORITIES;
use crate::oracle::random::Random;
use std::fmt::Write;

/// The protocol of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    H10,
    H11,
    H2,
}

/// What the client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Sends all and reads all.
    Read,
    /// Reads slowly.
    Slow,
    /// Closes the connection, or the stream, after so many bytes of the response.
    Leave(usize),
    /// Reads all, after as many have left at once.
    Deserted(usize),
    /// So many at once.
    Crowd(usize),
    /// Opens a WebSocket, says something and reads it back.
    WebSocket,
    /// A gRPC call with so many messages.
    Grpc(usize),
    /// A `CONNECT`; through the tunnel it says something and reads it back. The path is the authority.
    Tunnel,
}

/// How a request's content goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    None,
    Length(usize),
    /// In chunks of a thousand bytes, with a trailer.
    Chunked(usize),
    /// After `100 (Continue)`.
    Expect(usize),
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) wire: Wire,
    pub(super) manner: Manner,
    pub(super) method: &'static str,
    /// Path with query.
    pub(super) path: String,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) content: Content,
}

const LANGUAGES: [&str; 5] = ["de, en;q=0.5", "en", "fr, en;q=0.1", "de", "en-GB,en;q=0.9"];
const CODINGS: [&str; 5] = ["gzip", "gzip, deflate, br", "br", "identity", "deflate"];
const RANGES: [&str; 8] = [
    "bytes=0-9",
    "bytes=5-",
    "bytes=-7",
    "bytes=0-0,3-4",
    "bytes=90000-",
    "items=1-2",
    "bytes=9-2",
    "bytes=0-",
];

/// Habits of origins that fail at times, or seem to: what a breaker is for, and what not.
const FAILING: [&str; 7] = [
    "cut",
    "errors",
    "errors-stored",
    "seldom",
    "seldom",
    "sse-cut",
    "sse-cut",
];
/// Habits of origins that take their time: where waiting one after another shows.
const SLOW: [&str; 5] = ["poll", "slow-private", "slow-etag", "slow-vary", "short"];

impl Ask {
    /// A request of `client`, who alone changes what is below its own paths.
    pub(super) fn random(random: &mut Random, client: usize, number: usize) -> Self {
        if random.percent(6) {
            return Self::grpc(random);
        }
        if random.percent(3) {
            return Self::deserted(random);
        }
        if random.percent(3) {
            return Self::tunnel(random);
        }
        let own = random.percent(40);
        let habit = if random.percent(20) {
            habits::of(random.pick(&FAILING))
        } else {
            &HABITS[random.below(HABITS.len())]
        };
        let page = random.below(3);
        let path = if own {
            format!("/{}/own{client}/{page}", habit.name)
        } else {
            format!("/{}/{page}", habit.name)
        };
        let wire = match random.below(20) {
            0 => Wire::H10,
            1..=6 => Wire::H2,
            _ => Wire::H11,
        };
        let plain = Self {
            wire,
            manner: Manner::Read,
            method: "GET",
            path,
            fields: Vec::new(),
            content: Content::None,
        };
        if random.percent(35) {
            return plain;
        }
        plain.varied(random, habit, own, number)
    }

    fn varied(mut self, random: &mut Random, habit: &Habit, own: bool, number: usize) -> Self {
        match random.below(13) {
            0 if self.wire != Wire::H10 => {
                self.manner = Manner::WebSocket;
                if self.wire == Wire::H11 {
                    self.add("connection", "Upgrade");
                    self.add("upgrade", "websocket");
                    self.add("sec-websocket-version", "13");
                    self.add("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
                }
                return self;
            }
            1 => self.manner = Manner::Leave(random.pick(&[0, 0, 1, 300, 4_000])),
            2 => self.manner = Manner::Slow,
            3 if habit.size < 500_000 => {
                // Cold: nobody else asks for it.
                let name = if random.percent(60) {
                    random.pick(&SLOW)
                } else {
                    habit.name
                };
                self.path = format!("/{name}/crowd/{number}/{}", random.below(4));
                self.manner = Manner::Crowd(4 + random.below(5));
                return self;
            }
            4 if own => {
                self.method = random.pick(&["POST", "PUT", "PATCH", "DELETE", "POST"]);
                let size = random.pick(&[0, 5, 3_000, 70_000]);
                self.content = match random.below(3) {
                    0 => Content::Length(size),
                    1 if self.wire != Wire::H10 => Content::Chunked(size.max(1)),
                    2 if self.wire == Wire::H11 => Content::Expect(size.max(1)),
                    _ => Content::Length(size),
                };
                return self;
            }
            5 => self.method = "OPTIONS",
            6 | 7 => self.method = "HEAD",
            8 if self.wire == Wire::H11 => {
                self.add("connection", "Upgrade, HTTP2-Settings");
                self.add("upgrade", "h2c");
                self.add("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA");
            }
            _ => {}
        }
        self.add_fields(random, habit);
        self
    }

    fn add_fields(&mut self, random: &mut Random, habit: &Habit) {
        if random.percent(if habit.varies.is_empty() { 10 } else { 70 }) {
            self.add("accept-encoding", random.pick(&CODINGS));
            self.add("accept-language", random.pick(&LANGUAGES));
            self.add("x-tenant", random.pick(&["gold", "silver", ""]));
        }
        match random.below(9) {
            0 => self.add("range", random.pick(&RANGES)),
            1 => {
                self.add("range", random.pick(&RANGES));
                self.add("if-range", random.pick(&["\"v1\"", "\"v9\"", "W/\"v1\""]));
            }
            2 | 3 => self.add(
                "if-none-match",
                random.pick(&["\"v1\"", "\"v2\"", "W/\"v1\"", "*", "\"a\", \"v1\"", "\"v1en\""]),
            ),
            4 => self.add("if-modified-since", "Mon, 01 Jan 2024 00:00:00 GMT"),
            5 => self.add(
                "cache-control",
                random.pick(&[
                    "no-cache",
                    "max-age=0",
                    "no-store",
                    "only-if-cached",
                    "max-stale=100",
                    "min-fresh=30",
                ]),
            ),
            _ => {}
        }
        match random.below(12) {
            0 => self.add("cookie", "sid=1"),
            1 => self.add("authorization", "Bearer x"),
            _ => {}
        }
    }

    /// That of one who stays, after others who do not.
    fn deserted(random: &mut Random) -> Self {
        Self {
            wire: random.pick(&[Wire::H11, Wire::H11, Wire::H2]),
            manner: Manner::Deserted(10),
            method: "GET",
            path: format!("/left/{}", random.below(3)),
            fields: Vec::new(),
            content: Content::None,
        }
    }

    fn tunnel(random: &mut Random) -> Self {
        Self {
            wire: random.pick(&[Wire::H11, Wire::H2]),
            manner: Manner::Tunnel,
            method: "CONNECT",
            path: random.pick(&AUTHORITIES).to_owned(),
            fields: Vec::new(),
            content: Content::None,
        }
    }

    fn grpc(random: &mut Random) -> Self {
        Self {
            wire: Wire::H2,
            manner: Manner::Grpc(random.pick(&[1, 1, 3])),
            method: "POST",
            path: random
                .pick(&["/call/0", "/message/0", "/call/5", "/only/5", "/message/3", "/stream"])
                .to_owned(),
            fields: vec![
                ("content-type", "application/grpc".to_owned()),
                ("te", "trailers".to_owned()),
            ],
            content: Content::None,
        }
    }

    fn add(&mut self, name: &'static str, value: &str) {
        self.fields.push((name, value.to_owned()));
    }

    /// A field's value.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.fields
            .iter()
            .find(|(given, _)| *given == name)
            .map(|(_, value)| value.clone())
    }

    pub(super) fn habit(&self) -> &'static Habit {
        habits::of(&self.path)
    }

    /// Those that should take about as long.
    pub(super) fn kind(&self) -> String {
        let content = if self.content == Content::None {
            ""
        } else {
            " with content"
        };
        let manner = match self.manner {
            Manner::Crowd(_) => "crowd".to_owned(),
            other => format!("{other:?}").to_ascii_lowercase(),
        };
        let what = if matches!(self.manner, Manner::Grpc(_) | Manner::Tunnel) {
            &self.path
        } else {
            self.habit().name
        };
        format!("{what} {} {manner}{content}", self.method)
    }

    /// A plain request for the same.
    pub(super) fn plain(&self) -> Self {
        Self {
            wire: Wire::H11,
            manner: Manner::Read,
            method: "GET",
            path: self.path.clone(),
            fields: Vec::new(),
            content: Content::None,
        }
    }

    /// The same about another page.
    pub(super) fn at_page(&self, page: usize) -> Self {
        let start = self.path.rfind('/').unwrap_or(0);
        let (before, last) = self.path.split_at(start);
        let path = match self.manner {
            Manner::Grpc(_) | Manner::Tunnel => self.path.clone(),
            _ => format!("{before}/again{page}{last}"),
        };
        Self { path, ..self.clone() }
    }

    /// In one line.
    pub(super) fn told(&self) -> String {
        let mut line = format!("{:?} {} {}", self.wire, self.method, self.path);
        for (name, value) in &self.fields {
            let _ = write!(line, " [{name}: {value}]");
        }
        if self.content != Content::None {
            let _ = write!(line, " {:?}", self.content);
        }
        if self.manner != Manner::Read {
            let _ = write!(line, " {:?}", self.manner);
        }
        line
    }
}
