//! A case: what the origin answers, who asks first, and who must not see it.

use e2e::client::Request;
use e2e::origin::{Received, Reply};
use serde_json::{Value, json};
use std::sync::Arc;

/// What the origin makes of a request by somebody.
pub(super) type Answer = Arc<dyn Fn(&Received, &str) -> Reply + Send + Sync>;

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) method: &'static str,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: &'static str,
    /// Whole seconds to let pass before it.
    pub(super) pause: u64,
}

/// A case.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) name: String,
    /// The last one is of the other client.
    pub(super) steps: Vec<Step>,
    pub(super) answer: Answer,
    /// Settings of our route, beside its name and path.
    pub(super) route: Value,
    /// Not to be shared, whatever others do.
    pub(super) never: bool,
    /// The section of a standard by which it may be shared, whatever others do.
    pub(super) standard: Option<&'static str>,
}

impl Step {
    /// GET by `who`, who is known to the origin by a field that nobody keys.
    pub(super) fn get(who: &str) -> Self {
        Self::new("GET", who)
    }

    pub(super) fn new(method: &'static str, who: &str) -> Self {
        Self {
            method,
            fields: vec![("x-who".to_owned(), who.to_owned())],
            body: "",
            pause: 0,
        }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn body(mut self, body: &'static str) -> Self {
        self.body = body;
        self
    }

    pub(super) fn after(mut self, seconds: u64) -> Self {
        self.pause = seconds;
        self
    }

    pub(super) fn request(&self, path: &str) -> Request {
        let start = Request::new(self.method, path);
        let fields = self.fields.iter();
        fields
            .fold(start, |request, (name, value)| request.header(name, value))
            .body(self.body)
    }
}

impl Case {
    /// Alice asks, then Bob, each by a plain GET; the origin answers by `answer`.
    pub(super) fn new(
        name: impl Into<String>,
        answer: impl Fn(&Received, &str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            steps: vec![Step::get("alice"), Step::get("bob")],
            answer: Arc::new(answer),
            route: json!({}),
            never: false,
            standard: None,
        }
    }

    /// Both ask with a field of their own.
    pub(super) fn each_with(self, name: &str, alice: &str, bob: &str) -> Self {
        self.asked(vec![
            Step::get("alice").with(name, alice),
            Step::get("bob").with(name, bob),
        ])
    }

    /// Alice asks with a field, Bob without.
    pub(super) fn first_with(self, name: &str, value: &str) -> Self {
        self.asked(vec![Step::get("alice").with(name, value), Step::get("bob")])
    }

    pub(super) fn asked(mut self, steps: Vec<Step>) -> Self {
        self.steps = steps;
        self
    }

    pub(super) fn routed(mut self, route: Value) -> Self {
        self.route = route;
        self
    }

    pub(super) fn by_standard(mut self, section: &'static str) -> Self {
        self.standard = Some(section);
        self
    }

    /// Bob asks so many seconds after Alice.
    pub(super) fn later(mut self, seconds: u64) -> Self {
        if let Some(last) = self.steps.last_mut() {
            last.pause = seconds;
        }
        self
    }

    pub(super) fn never(mut self) -> Self {
        self.never = true;
        self
    }
}

/// Content for somebody, with their name in a field and in the body.
pub(super) fn told(status: u16, who: &str) -> Reply {
    let reply = Reply::new(status).header("x-for", who);
    if matches!(status, 204 | 304) {
        reply
    } else {
        reply.header("content-type", "text/plain").body(format!("for {who}"))
    }
}

/// As [`told`], with `Cache-Control`.
pub(super) fn controlled(status: u16, who: &str, control: &str) -> Reply {
    told(status, who).header("cache-control", control)
}

/// A way to be fresh: its name, what the origin says, and our route's settings.
pub(super) type Freshness = (&'static str, fn(Reply) -> Reply, Value);

/// Fresh beyond doubt.
pub(super) const FRESH: &str = "max-age=60";

/// Here Bob asks when the answer is stale already.
pub(super) const STALE_WINDOW: &str = "stale window";

pub(super) fn ways_to_be_fresh() -> Vec<Freshness> {
    fn future() -> String {
        httpdate::fmt_http_date(std::time::SystemTime::now() + std::time::Duration::from_secs(600))
    }
    vec![
        (
            "max-age",
            |reply| reply.header("cache-control", "max-age=60"),
            json!({}),
        ),
        (
            "s-maxage",
            |reply| reply.header("cache-control", "s-maxage=60"),
            json!({}),
        ),
        (
            "public, max-age",
            |reply| reply.header("cache-control", "public, max-age=60"),
            json!({}),
        ),
        (
            "must-revalidate",
            |reply| reply.header("cache-control", "max-age=60, must-revalidate"),
            json!({}),
        ),
        ("Expires", |reply| reply.header("expires", future()), json!({})),
        (
            "Last-Modified",
            |reply| reply.header("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
            json!({}),
        ),
        (
            "public alone",
            |reply| reply.header("cache-control", "public"),
            json!({}),
        ),
        ("default_ttl", |reply| reply, json!({"default_ttl": "60s"})),
        ("ttl_override", |reply| reply, json!({"ttl_override": "60s"})),
        (
            STALE_WINDOW,
            |reply| reply.header("cache-control", "max-age=1, stale-while-revalidate=60"),
            json!({}),
        ),
        ("no word", |reply| reply, json!({})),
    ]
}
