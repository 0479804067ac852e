//! Habits of origins that a cache gains little from, and must not cost anything either.

use e2e::Result;
use e2e::origin::{Origin, Received, Reply};
use serde_json::{Value, json};
use std::time::Duration;

/// One of them. The first segment of a path names it.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    fields: &'static [(&'static str, &'static str)],
    /// Answers conditions on its entity tag.
    tag: bool,
    /// Clients send ten different values of `X-Tenant`.
    pub(crate) varies: bool,
    /// What it takes for an answer to a crowd.
    pub(crate) slow: Duration,
}

/// For an answer to steady load.
const USUAL: Duration = Duration::from_millis(50);

const HALF: Duration = Duration::from_millis(500);

const PLAIN: Kind = Kind {
    name: "",
    fields: &[],
    tag: false,
    varies: false,
    slow: HALF,
};

/// All of them.
pub(crate) static KINDS: &[Kind] = &[
    Kind {
        name: "etag",
        tag: true,
        ..PLAIN
    },
    Kind {
        name: "no-cache-etag",
        fields: &[("cache-control", "no-cache")],
        tag: true,
        ..PLAIN
    },
    Kind {
        name: "must-revalidate",
        fields: &[("cache-control", "max-age=0, must-revalidate")],
        tag: true,
        ..PLAIN
    },
    Kind {
        name: "vary",
        fields: &[("cache-control", "no-cache"), ("vary", "x-tenant")],
        tag: true,
        varies: true,
        ..PLAIN
    },
    Kind {
        name: "private",
        fields: &[("cache-control", "private, max-age=60")],
        ..PLAIN
    },
    Kind {
        name: "no-store",
        fields: &[("cache-control", "no-store")],
        ..PLAIN
    },
    Kind {
        name: "stale-on-arrival",
        fields: &[("cache-control", "max-age=60"), ("age", "600")],
        tag: true,
        ..PLAIN
    },
    Kind {
        name: "short-lived",
        fields: &[("cache-control", "max-age=1")],
        slow: Duration::from_millis(1_200),
        ..PLAIN
    },
];

impl Kind {
    /// Its route in the filter's settings.
    pub(crate) fn route(&self) -> Value {
        json!({"name": self.name, "path_prefix": format!("/{}/", self.name)})
    }

    /// `load` or `crowd`, and a page.
    pub(crate) fn path(&self, use_of_it: &str, page: usize) -> String {
        format!("/{}/{use_of_it}/{page}", self.name)
    }

    fn reply(&self, request: &Received) -> Reply {
        let steady = request.path.contains("/load/");
        let known = self.tag
            && request
                .header("if-none-match")
                .is_some_and(|tags| tags.contains("\"v\""));
        let reply = if known {
            Reply::new(304)
        } else {
            Reply::ok(vec![b'x'; 1_000])
        };
        let reply = self
            .fields
            .iter()
            .fold(reply, |reply, (name, value)| reply.header(name, value));
        let reply = if self.tag { reply.header("etag", "\"v\"") } else { reply };
        let reply = reply.header("content-type", "text/plain");
        reply.after(if steady { USUAL } else { self.slow })
    }
}

/// An origin of all these habits.
pub(crate) fn origin() -> Result<Origin> {
    Origin::start(|request| {
        let name = request.path.split('/').nth(1).unwrap_or_default();
        let kind = KINDS.iter().find(|kind| kind.name == name);
        kind.map_or_else(|| Reply::new(404), |kind| kind.reply(request))
    })
}
