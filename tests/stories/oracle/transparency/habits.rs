//! Habits of origins: how they label, delimit, delay and break off what they answer.

use super::fails::Fails;
use super::framing::{EVENTS, Framing, event};
use std::time::Duration;

/// How long what was sent may answer others without asking the origin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Never: each request needs an answer of its own.
    Own,
    /// Only with a validation that began after the request.
    Validated,
    /// For this many seconds, and then for as many while it is renewed.
    Seconds(u64, u64),
}

/// One of them. The first segment of a path names it.
#[derive(Debug)]
pub(super) struct Habit {
    pub(super) name: &'static str,
    pub(super) fields: &'static [(&'static str, &'static str)],
    /// Has an entity tag, and answers conditions and ranges.
    pub(super) tag: bool,
    pub(super) varies: &'static [&'static str],
    pub(super) life: Life,
    pub(super) status: u16,
    pub(super) framing: Framing,
    pub(super) size: usize,
    pub(super) delay: Duration,
    /// An interim response before the final one.
    pub(super) hints: bool,
    pub(super) fails: Fails,
}

const USUAL: Habit = Habit {
    name: "",
    fields: &[],
    tag: false,
    varies: &[],
    life: Life::Own,
    status: 200,
    framing: Framing::Length,
    size: 400,
    delay: Duration::from_millis(10),
    hints: false,
    fails: Fails::Never,
};

const TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");
const HALF_A_SECOND: Duration = Duration::from_millis(500);
const MINUTE: (&str, &str) = ("cache-control", "max-age=60");
const LONG: Life = Life::Seconds(60, 0);

/// All of them.
pub(super) static HABITS: &[Habit] = &[
    Habit {
        name: "etag",
        fields: &[TEXT],
        tag: true,
        life: Life::Validated,
        ..USUAL
    },
    Habit {
        name: "no-cache",
        fields: &[TEXT, ("cache-control", "no-cache")],
        tag: true,
        life: Life::Validated,
        ..USUAL
    },
    Habit {
        name: "revalidate",
        fields: &[
            ("content-type", "application/json"),
            ("cache-control", "max-age=0, must-revalidate"),
        ],
        tag: true,
        life: Life::Validated,
        ..USUAL
    },
    Habit {
        name: "vary",
        fields: &[
            MINUTE,
            ("vary", "accept-encoding, x-tenant"),
            ("vary", "accept-language"),
        ],
        tag: true,
        varies: &["accept-encoding", "x-tenant", "accept-language"],
        life: LONG,
        ..USUAL
    },
    Habit {
        name: "vary-all",
        fields: &[MINUTE, ("vary", "*")],
        ..USUAL
    },
    Habit {
        name: "sse",
        fields: &[("content-type", "text/event-stream"), ("cache-control", "no-cache")],
        framing: Framing::Events,
        ..USUAL
    },
    // Nobody has promised an end: that it breaks off is no failure.
    Habit {
        name: "sse-cut",
        fields: &[("content-type", "text/event-stream"), ("cache-control", "no-cache")],
        framing: Framing::EventsCut,
        ..USUAL
    },
    Habit {
        name: "poll",
        fields: &[TEXT, ("cache-control", "no-store")],
        delay: Duration::from_millis(700),
        ..USUAL
    },
    Habit {
        name: "chunked",
        fields: &[TEXT, MINUTE],
        tag: true,
        life: LONG,
        framing: Framing::Chunked,
        size: 20_000,
        ..USUAL
    },
    Habit {
        name: "close",
        fields: &[TEXT, MINUTE],
        life: LONG,
        framing: Framing::Close,
        size: 3_000,
        ..USUAL
    },
    Habit {
        name: "hints",
        fields: &[TEXT, MINUTE],
        tag: true,
        life: LONG,
        hints: true,
        ..USUAL
    },
    Habit {
        name: "trailers",
        fields: &[TEXT, MINUTE],
        life: LONG,
        framing: Framing::Trailers,
        ..USUAL
    },
    Habit {
        name: "trailers-own",
        fields: &[TEXT, ("cache-control", "no-store")],
        framing: Framing::Trailers,
        ..USUAL
    },
    Habit {
        name: "cut",
        fields: &[TEXT, MINUTE],
        life: LONG,
        framing: Framing::Cut,
        size: 5_000,
        fails: Fails::HalfTheTime,
        ..USUAL
    },
    Habit {
        name: "errors",
        fields: &[TEXT, ("cache-control", "no-store")],
        fails: Fails::HalfTheTime,
        ..USUAL
    },
    Habit {
        name: "errors-stored",
        fields: &[TEXT, ("cache-control", "max-age=1, stale-if-error=60")],
        life: Life::Seconds(1, 60),
        fails: Fails::HalfTheTime,
        ..USUAL
    },
    Habit {
        name: "seldom",
        fields: &[TEXT, ("cache-control", "no-store")],
        fails: Fails::Seldom,
        ..USUAL
    },
    Habit {
        name: "old",
        fields: &[TEXT, MINUTE, ("age", "600")],
        tag: true,
        life: Life::Validated,
        ..USUAL
    },
    Habit {
        name: "private",
        fields: &[TEXT, ("cache-control", "private, max-age=60")],
        tag: true,
        ..USUAL
    },
    Habit {
        name: "cookie",
        fields: &[TEXT, MINUTE, ("set-cookie", "a=1"), ("set-cookie", "b=2")],
        ..USUAL
    },
    Habit {
        name: "no-store",
        fields: &[TEXT, ("cache-control", "no-store")],
        tag: true,
        ..USUAL
    },
    Habit {
        name: "minute",
        fields: &[TEXT, MINUTE],
        tag: true,
        life: LONG,
        size: 4_000,
        ..USUAL
    },
    Habit {
        name: "plain",
        fields: &[MINUTE],
        life: LONG,
        ..USUAL
    },
    Habit {
        name: "second",
        fields: &[TEXT, ("cache-control", "max-age=1")],
        tag: true,
        life: Life::Seconds(1, 0),
        ..USUAL
    },
    Habit {
        name: "short",
        fields: &[TEXT, ("cache-control", "max-age=1")],
        life: Life::Seconds(1, 0),
        delay: Duration::from_millis(1_200),
        ..USUAL
    },
    Habit {
        name: "renewed",
        fields: &[TEXT, ("cache-control", "max-age=1, stale-while-revalidate=60")],
        tag: true,
        life: Life::Seconds(1, 60),
        ..USUAL
    },
    Habit {
        name: "untyped",
        tag: true,
        life: Life::Validated,
        ..USUAL
    },
    Habit {
        name: "large",
        fields: &[TEXT, MINUTE],
        tag: true,
        life: LONG,
        framing: Framing::Chunked,
        size: 1_500_000,
        ..USUAL
    },
    Habit {
        name: "wide",
        fields: &[TEXT, MINUTE],
        tag: true,
        life: LONG,
        size: 300_000,
        ..USUAL
    },
    Habit {
        name: "empty",
        fields: &[TEXT, MINUTE],
        life: LONG,
        size: 0,
        ..USUAL
    },
    Habit {
        name: "none",
        fields: &[MINUTE],
        status: 204,
        life: LONG,
        size: 0,
        ..USUAL
    },
    Habit {
        name: "moved",
        fields: &[MINUTE, ("location", "/minute/1")],
        status: 301,
        life: LONG,
        size: 30,
        ..USUAL
    },
    Habit {
        name: "missing",
        fields: &[TEXT, MINUTE],
        status: 404,
        life: LONG,
        ..USUAL
    },
    Habit {
        name: "slow-private",
        fields: &[TEXT, ("cache-control", "private, max-age=60")],
        delay: HALF_A_SECOND,
        ..USUAL
    },
    Habit {
        name: "slow-etag",
        fields: &[TEXT],
        tag: true,
        life: Life::Validated,
        delay: HALF_A_SECOND,
        ..USUAL
    },
    Habit {
        name: "slow-vary",
        fields: &[TEXT, MINUTE, ("vary", "x-tenant")],
        varies: &["x-tenant"],
        life: LONG,
        delay: HALF_A_SECOND,
        ..USUAL
    },
    // Most clients leave before they have all of it.
    Habit {
        name: "left",
        fields: &[TEXT, ("cache-control", "no-store")],
        size: 50_000,
        delay: Duration::from_millis(50),
        ..USUAL
    },
    Habit {
        name: "teapot",
        fields: &[TEXT],
        status: 418,
        ..USUAL
    },
];

/// The habit of a path.
pub(super) fn of(path: &str) -> &'static Habit {
    let name = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    HABITS.iter().find(|habit| habit.name == name).unwrap_or(&HABITS[0])
}

impl Habit {
    /// Whether it fails at times.
    pub(super) fn is_failing(&self) -> bool {
        self.fails != Fails::Never
    }

    /// The cluster that is asked for it: those that may lead to a breaker's opening are not among others.
    pub(super) fn cluster(&self) -> &'static str {
        match self.name {
            "left" | "sse" | "sse-cut" => self.name,
            _ => self.fails.cluster(),
        }
    }

    /// What the content depends on besides path and version, for a request with these fields.
    pub(super) fn variant(&self, header: impl Fn(&str) -> Option<String>) -> Vec<(&'static str, String)> {
        let choose = |name: &&'static str| {
            let value = header(name).unwrap_or_default();
            let chosen = match *name {
                "accept-encoding" if value.contains("gzip") => "gzip".to_owned(),
                "accept-language" if value.starts_with("de") => "de".to_owned(),
                "accept-encoding" => "identity".to_owned(),
                "accept-language" => "en".to_owned(),
                _ => value,
            };
            (*name, chosen)
        };
        self.varies.iter().map(choose).collect()
    }

    /// The content of a version. Of an event stream, all events.
    pub(super) fn content(&self, path: &str, version: usize, variant: &[(&'static str, String)]) -> Vec<u8> {
        if matches!(self.framing, Framing::Events | Framing::EventsCut) {
            return (0..EVENTS).flat_map(event).collect();
        }
        let chosen: Vec<&str> = variant.iter().map(|(_, value)| value.as_str()).collect();
        let line = format!("{path} version {version} {}\n", chosen.join(" "));
        line.bytes().cycle().take(self.size).collect()
    }

    /// The entity tag of a version.
    pub(super) fn entity_tag(&self, version: usize, variant: &[(&'static str, String)]) -> String {
        let chosen: Vec<&str> = variant.iter().map(|(_, value)| value.as_str()).collect();
        format!("\"v{version}{}\"", chosen.join("."))
    }
}
