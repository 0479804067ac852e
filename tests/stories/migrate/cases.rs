//! The configuration, and what is asked of it.

use e2e::client::Request;
use e2e::origin::{Received, Reply};
use std::net::SocketAddr;

/// What is in nginx's http block. `nowhere`: a port where nobody listens.
pub(super) fn configuration(origin: SocketAddr, nowhere: u16) -> String {
    CONFIGURATION
        .replace("ORIGIN", &origin.to_string())
        .replace("NOWHERE", &format!("127.0.0.1:{nowhere}"))
}

const CONFIGURATION: &str = "
    proxy_cache_path CACHE keys_zone=cache:8m inactive=10m use_temp_path=off;
    map $http_x_tier $tier { default all; gold gold; }
    upstream api { server ORIGIN; keepalive 4; }
    upstream two { server NOWHERE max_fails=1 fail_timeout=10s; server ORIGIN; }
    server {
        listen PORT;
        server_name _;
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        proxy_set_header Host $host;
        proxy_cache cache;
        location / { proxy_pass http://api; proxy_cache off; }
        location /plain/ { proxy_pass http://api; }
        location /silent/ { proxy_pass http://api; proxy_cache_valid any 1h; }
        location /statuses/ { proxy_pass http://api; proxy_cache_valid 200 302 1h; proxy_cache_valid 404 1m; }
        location /stale/ {
            proxy_pass http://api;
            proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;
        }
        location /refresh/ {
            proxy_pass http://api;
            proxy_cache_use_stale updating;
            proxy_cache_background_update on;
        }
        location /bypass/ {
            proxy_pass http://api;
            proxy_cache_bypass $cookie_nocache;
            proxy_no_cache $cookie_nocache;
        }
        location /own/ {
            proxy_pass http://api;
            proxy_cache_valid any 1h;
            proxy_ignore_headers Cache-Control Expires;
        }
        location /cookies/ { proxy_pass http://api; proxy_ignore_headers Set-Cookie; }
        location /path/ { proxy_pass http://api; proxy_cache_key $scheme$host$uri; }
        location /keyed/ {
            proxy_pass http://api;
            proxy_cache_key $scheme$host$request_uri$http_x_tenant$tier$cookie_plan;
        }
        location /skip/ {
            proxy_pass http://api;
            proxy_cache_valid any 1h;
            proxy_cache_bypass $cookie_nocache;
            proxy_no_cache $cookie_nocache;
        }
        location /argument/ { proxy_pass http://api; proxy_cache_key $scheme$host$uri$arg_id; }
        location /twice/ { proxy_pass http://api; proxy_cache_min_uses 2; }
        location /guarded/ { proxy_pass http://api; allow 127.0.0.1; deny all; }
        location /off/ { proxy_pass http://api; proxy_cache off; }
        location /exact/ { proxy_pass http://api; }
        location = /exact/one/page { proxy_pass http://api; proxy_cache off; }
        location /rx/ { proxy_pass http://api; }
        location ~ ^/rx/.*\\.php$ { proxy_pass http://api; proxy_cache off; }
        location /two/ { proxy_pass http://two; proxy_cache off; }
    }
";

/// One request of a case.
#[derive(Clone, Debug)]
pub(super) struct Step {
    method: &'static str,
    /// Behind the path of the case.
    suffix: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    /// Seconds before it.
    pub(super) pause: u64,
    /// The origin is asked behind the client's back.
    pub(super) refreshes: bool,
}

/// Whether the two decide otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Differs {
    /// They decide alike.
    No,
    /// They do not, and the report says so by a code.
    Says(&'static str),
    /// It depends, and the report says so by a code.
    May(&'static str),
}

impl From<Option<&'static str>> for Differs {
    fn from(code: Option<&'static str>) -> Self {
        code.map_or(Self::No, Self::Says)
    }
}

/// Requests for one resource.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// The location, which is its route.
    pub(super) location: &'static str,
    /// What the origin answers; the number counts how often it was asked.
    pub(super) answer: fn(&Received, usize) -> Reply,
    pub(super) steps: Vec<Step>,
    pub(super) differs: Differs,
}

impl Case {
    fn path(&self) -> String {
        let name: String = self
            .name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        if self.location.ends_with("/page") {
            self.location.to_owned()
        } else {
            format!("{}{name}/page", self.location)
        }
    }

    /// Whether a path is one of its own.
    pub(super) fn is_of(&self, path: &str) -> bool {
        path.starts_with(&self.path())
    }

    pub(super) fn request(&self, step: &Step) -> Request {
        let request = Request::new(step.method, &format!("{}{}", self.path(), step.suffix));
        step.fields
            .iter()
            .fold(request, |request, (name, value)| request.header(name, value))
    }
}

fn step(method: &'static str, suffix: &'static str, fields: &[(&'static str, &'static str)]) -> Step {
    Step {
        method,
        suffix,
        fields: fields.to_vec(),
        pause: 0,
        refreshes: false,
    }
}

fn get() -> Step {
    step("GET", "", &[])
}

fn with(name: &'static str, value: &'static str) -> Step {
    step("GET", "", &[(name, value)])
}

fn at(suffix: &'static str) -> Step {
    step("GET", suffix, &[])
}

fn later(step: Step) -> Step {
    Step { pause: 3, ..step }
}

type Answer = fn(&Received, usize) -> Reply;

fn case(
    location: &'static str,
    name: &'static str,
    answer: Answer,
    steps: Vec<Step>,
    differs: impl Into<Differs>,
) -> Case {
    Case {
        name,
        location,
        answer,
        steps,
        differs: differs.into(),
    }
}

fn silent(_: &Received, _: usize) -> Reply {
    Reply::ok("")
}

fn lasting(_: &Received, _: usize) -> Reply {
    Reply::ok("").max_age(600)
}

/// Fails when it is asked again.
fn once(_: &Received, count: usize) -> Reply {
    if count == 1 {
        Reply::ok("").max_age(1)
    } else {
        Reply::new(503)
    }
}

pub(super) fn all() -> Vec<Case> {
    let mut all = freshness();
    all.extend(clients());
    all.extend(keys());
    all.extend(failures());
    all.extend(places());
    all
}

/// For the same configuration with all that can be assumed of the origin.
pub(super) fn assumed() -> Vec<Case> {
    let nocache = || with("cookie", "nocache=1");
    vec![
        case("/statuses/", "200", silent, vec![get(), get()], None),
        case(
            "/statuses/",
            "410",
            |_, _| Reply::new(410),
            vec![get(), get()],
            Some("one_ttl"),
        ),
        case("/skip/", "without a cookie", silent, vec![get(), get()], None),
        case("/skip/", "with the cookie", silent, vec![nocache(), nocache()], None),
        case(
            "/skip/",
            "with and without",
            silent,
            vec![get(), nocache(), get()],
            None,
        ),
        case(
            "/skip/",
            "another cookie",
            silent,
            vec![get(), with("cookie", "a=b")],
            Some("bypass_by_credentials"),
        ),
        case(
            "/keyed/",
            "cookie",
            lasting,
            vec![
                with("cookie", "plan=a"),
                with("cookie", "plan=b"),
                with("cookie", "plan=a; x=1"),
            ],
            None,
        ),
        case(
            "/argument/",
            "another parameter",
            lasting,
            vec![at("?id=1&x=1"), at("?id=1&x=2"), at("?id=2")],
            None,
        ),
    ]
}

fn freshness() -> Vec<Case> {
    let twice = || vec![get(), get()];
    vec![
        case("/plain/", "max-age", lasting, twice(), None),
        case(
            "/plain/",
            "s-maxage",
            |_, _| Reply::ok("").header("cache-control", "max-age=0, s-maxage=600"),
            twice(),
            None,
        ),
        case("/plain/", "nothing said", silent, twice(), None),
        case(
            "/plain/",
            "no-store",
            |_, _| Reply::ok("").header("cache-control", "no-store, max-age=600"),
            twice(),
            None,
        ),
        case(
            "/plain/",
            "private",
            |_, _| Reply::ok("").header("cache-control", "private, max-age=600"),
            twice(),
            None,
        ),
        case(
            "/plain/",
            "no-cache",
            |_, _| Reply::ok("").header("cache-control", "no-cache, max-age=600"),
            twice(),
            None,
        ),
        case(
            "/plain/",
            "last-modified",
            |_, _| Reply::ok("").header("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
            twice(),
            None,
        ),
        case(
            "/plain/",
            "404 with max-age",
            |_, _| Reply::new(404).max_age(600),
            twice(),
            None,
        ),
        case(
            "/plain/",
            "302 with max-age",
            |_, _| Reply::new(302).max_age(600).header("location", "/x"),
            twice(),
            None,
        ),
        case(
            "/plain/",
            "403 with max-age",
            |_, _| Reply::new(403).max_age(600),
            twice(),
            Some("request_statuses"),
        ),
        case(
            "/plain/",
            "age",
            |_, _| Reply::ok("").max_age(600).header("age", "900"),
            twice(),
            Some("conditions"),
        ),
        case(
            "/plain/",
            "x-accel-expires",
            |_, _| Reply::ok("").header("x-accel-expires", "600"),
            twice(),
            Some("x_accel_expires"),
        ),
        case(
            "/plain/",
            "x-accel-expires 0",
            |_, _| Reply::ok("").max_age(600).header("x-accel-expires", "0"),
            twice(),
            Some("x_accel_expires"),
        ),
        case("/silent/", "200", silent, twice(), None),
        case("/silent/", "404", |_, _| Reply::new(404), twice(), None),
        case(
            "/silent/",
            "301",
            |_, _| Reply::new(301).header("location", "/x"),
            twice(),
            None,
        ),
        case(
            "/silent/",
            "302",
            |_, _| Reply::new(302).header("location", "/x"),
            twice(),
            Some("status_not_stored"),
        ),
        case(
            "/silent/",
            "500",
            |_, _| Reply::new(500),
            twice(),
            Some("status_not_stored"),
        ),
        case(
            "/silent/",
            "401",
            |_, _| Reply::new(401),
            twice(),
            Some("status_not_stored"),
        ),
        case(
            "/silent/",
            "no-store",
            |_, _| Reply::ok("").header("cache-control", "no-store"),
            twice(),
            None,
        ),
        case(
            "/silent/",
            "last-modified",
            |_, _| Reply::ok("").header("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
            twice(),
            Some("last_modified"),
        ),
        case("/statuses/", "200", silent, twice(), Some("ttl_by_status")),
        case(
            "/statuses/",
            "404",
            |_, _| Reply::new(404),
            twice(),
            Some("ttl_by_status"),
        ),
        case("/statuses/", "410", |_, _| Reply::new(410), twice(), None),
        case("/statuses/", "max-age", lasting, twice(), None),
        case("/own/", "nothing said", silent, twice(), None),
        case(
            "/own/",
            "max-age 0",
            |_, _| Reply::ok("").header("cache-control", "max-age=0"),
            twice(),
            None,
        ),
        case(
            "/own/",
            "no-store",
            |_, _| Reply::ok("").header("cache-control", "no-store"),
            twice(),
            Some("ignored_freshness"),
        ),
        case(
            "/twice/",
            "max-age",
            lasting,
            vec![get(), get(), get()],
            Some("min_uses"),
        ),
    ]
}

fn clients() -> Vec<Case> {
    let setting: Answer = |_, _| Reply::ok("").max_age(600).header("set-cookie", "a=b");
    let credentials = || vec![with("authorization", "Basic YTpi"), with("authorization", "Basic YTpi")];
    let cookie = || vec![with("cookie", "who=a"), with("cookie", "who=b")];
    vec![
        case("/plain/", "set-cookie", setting, vec![get(), get()], None),
        case(
            "/cookies/",
            "set-cookie",
            setting,
            vec![get(), get()],
            Some("set_cookie_strip"),
        ),
        case("/plain/", "cookie", lasting, cookie(), None),
        case("/silent/", "cookie", silent, cookie(), Some("credentials")),
        case(
            "/plain/",
            "authorization",
            lasting,
            credentials(),
            Some("authorization"),
        ),
        case(
            "/plain/",
            "authorization and public",
            |_, _| Reply::ok("").header("cache-control", "public, max-age=600"),
            credentials(),
            None,
        ),
        case("/silent/", "authorization", silent, credentials(), Some("credentials")),
        case(
            "/plain/",
            "the client's no-cache",
            lasting,
            vec![get(), with("cache-control", "no-cache")],
            None,
        ),
        case(
            "/plain/",
            "the client's pragma",
            lasting,
            vec![get(), with("pragma", "no-cache")],
            None,
        ),
        case(
            "/bypass/",
            "without the cookie",
            lasting,
            vec![get(), get()],
            Some("bypass_not_possible"),
        ),
        case(
            "/bypass/",
            "with the cookie",
            lasting,
            vec![with("cookie", "nocache=1"), with("cookie", "nocache=1")],
            None,
        ),
        case(
            "/plain/",
            "head, then get",
            lasting,
            vec![step("HEAD", "", &[]), get()],
            Some("head"),
        ),
        case(
            "/plain/",
            "get, then head",
            lasting,
            vec![get(), step("HEAD", "", &[])],
            None,
        ),
        case(
            "/plain/",
            "post twice",
            lasting,
            vec![step("POST", "", &[]), step("POST", "", &[])],
            None,
        ),
        case(
            "/plain/",
            "post between",
            lasting,
            vec![get(), step("POST", "", &[]), get()],
            Some("invalidation"),
        ),
        case("/guarded/", "max-age", lasting, vec![get(), get()], Some("access")),
    ]
}

fn keys() -> Vec<Case> {
    let parameters = || vec![at("?id=1&x=1"), at("?id=1&x=2")];
    let varying: Answer = |_, _| Reply::ok("").max_age(600).header("vary", "x-language");
    let by_language = || {
        vec![
            with("x-language", "de"),
            with("x-language", "fr"),
            with("x-language", "de"),
        ]
    };
    vec![
        case("/plain/", "vary", varying, by_language(), None),
        case(
            "/plain/",
            "vary star",
            |_, _| Reply::ok("").max_age(600).header("vary", "*"),
            vec![get(), get()],
            None,
        ),
        case(
            "/plain/",
            "query",
            lasting,
            vec![at("?a=1"), at("?a=2"), at("?a=1")],
            None,
        ),
        case(
            "/plain/",
            "hosts",
            lasting,
            vec![with("host", "a.example"), with("host", "b.example")],
            Some("host_in_key"),
        ),
        case(
            "/argument/",
            "another parameter",
            lasting,
            parameters(),
            Some("whole_query"),
        ),
        case("/path/", "query", lasting, vec![at("?a=1"), at("?a=2")], None),
        case(
            "/path/",
            "hosts",
            lasting,
            vec![with("host", "a.example"), with("host", "b.example")],
            None,
        ),
        case(
            "/keyed/",
            "field",
            lasting,
            vec![with("x-tenant", "a"), with("x-tenant", "b"), with("x-tenant", "a")],
            None,
        ),
        case(
            "/keyed/",
            "map",
            lasting,
            vec![with("x-tier", "gold"), get(), with("x-tier", "gold")],
            None,
        ),
        case(
            "/keyed/",
            "cookie",
            lasting,
            vec![
                with("cookie", "plan=a"),
                with("cookie", "plan=b"),
                with("cookie", "plan=a"),
            ],
            None,
        ),
        case(
            "/keyed/",
            "another cookie",
            lasting,
            vec![with("cookie", "plan=a; x=1"), with("cookie", "plan=a; x=2")],
            Some("whole_cookie"),
        ),
    ]
}

fn failures() -> Vec<Case> {
    vec![
        case("/stale/", "503", once, vec![get(), later(get())], None),
        case("/plain/", "503", once, vec![get(), later(get())], None),
        case(
            "/plain/",
            "stale-if-error",
            |_, count| {
                if count == 1 {
                    Reply::ok("").header("cache-control", "max-age=1, stale-if-error=600")
                } else {
                    Reply::new(503)
                }
            },
            vec![get(), later(get())],
            // Newer versions of nginx do as the filter does.
            Differs::May("origins_stale"),
        ),
        case(
            "/refresh/",
            "stale",
            |_, _| Reply::ok("").max_age(2),
            vec![
                get(),
                Step {
                    refreshes: true,
                    ..later(get())
                },
            ],
            Differs::May("stale_updating_window"),
        ),
        case(
            "/plain/",
            "expired",
            |_, _| Reply::ok("").max_age(1),
            vec![get(), later(get())],
            None,
        ),
        case(
            "/two/",
            "an endpoint is down",
            silent,
            vec![get(), get(), get(), get()],
            None,
        ),
    ]
}

fn places() -> Vec<Case> {
    vec![
        case("/off/", "max-age", lasting, vec![get(), get()], None),
        case("/exact/one/page", "the one path", lasting, vec![get(), get()], None),
        case(
            "/exact/one/page",
            "a longer path",
            lasting,
            vec![at("s"), at("s")],
            Some("exact"),
        ),
        case(
            "/rx/",
            "what the expression fits",
            lasting,
            vec![at(".php"), at(".php")],
            None,
        ),
        case(
            "/rx/",
            "what it does not fit",
            lasting,
            vec![at(".html"), at(".html")],
            Some("expression"),
        ),
    ]
}
