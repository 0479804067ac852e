//! Every verdict of the judge is seen: what is right passes, and each wrong answer is told by its fault.

use super::ask::{Ask, Content, Manner, Wire};
use super::history::{Entry, History};
use super::judge::{From, judge};
use super::seen::{End, Seen};
use std::time::{Duration, Instant};

/// A moment in which nothing fails, with one before it in which something was stored.
struct Case {
    history: History,
    ask: Ask,
    seen: Seen,
    twin: Seen,
}

/// What is said of it, and what makes it so.
type Difference = (&'static str, fn(&mut Seen));
/// The same, with the path it is about.
type WrongReuse = (&'static str, &'static str, fn(&mut Case));

const HIT: &str = "api-optimizer; hit; ttl=50";

fn ask(path: &str) -> Ask {
    Ask {
        wire: Wire::H11,
        manner: Manner::Read,
        method: "GET",
        path: path.to_owned(),
        fields: Vec::new(),
        content: Content::None,
    }
}

impl Case {
    /// A request for a path whose answer is the one without the filter.
    fn fetched(path: &str) -> Self {
        let mut case = Self {
            history: History::new(Instant::now()),
            ask: ask(path),
            seen: Seen::new(Instant::now()),
            twin: Seen::new(Instant::now()),
        };
        case.sent("1", &[]);
        case
    }

    /// The origin sent what the client saw, to that request, with these fields of it.
    fn sent(&mut self, id: &str, fields: &[(&str, &str)]) {
        let serial = self.history.push(self.entry(id, fields));
        let entry = self.history.sent(serial).unwrap();
        let habit = self.ask.habit();
        let mut seen = Seen::new(Instant::now());
        seen.took = Duration::from_millis(1);
        seen.status = habit.status;
        seen.end = End::Whole;
        seen.body = habit.content(&self.ask.path, entry.version, &entry.variant);
        seen.fields.clone_from(&entry.fields);
        seen.fields.push(("x-serial".to_owned(), serial.to_string()));
        self.twin = seen.clone();
        self.seen = seen;
    }

    fn entry(&self, id: &str, fields: &[(&str, &str)]) -> Entry {
        let habit = self.ask.habit();
        let header = |name: &str| {
            let given = fields.iter().find(|(given, _)| *given == name);
            given.map(|(_, value)| (*value).to_owned())
        };
        let variant = habit.variant(header);
        let mut lines = vec![("x-version".to_owned(), "1".to_owned())];
        lines.extend(
            habit
                .fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        if habit.tag {
            lines.push(("etag".to_owned(), habit.entity_tag(1, &variant)));
        }
        Entry {
            ask: id.to_owned(),
            path: self.ask.path.clone(),
            method: "GET".to_owned(),
            status: habit.status,
            version: 1,
            variant,
            fields: lines,
            at: Instant::now(),
            failed: false,
            authorized: header("authorization").is_some(),
        }
    }

    /// A hit on what was sent to another request so long ago.
    fn reused(path: &str, ago: Duration) -> Self {
        let mut case = Self::fetched(path);
        case.seen.asked += ago;
        case.twin.asked += ago;
        case.says(HIT);
        case
    }

    fn says(&mut self, status: &str) {
        self.seen.fields.retain(|(name, _)| name != "cache-status");
        self.seen.fields.push(("cache-status".to_owned(), status.to_owned()));
    }

    fn set(&mut self, name: &str, value: &str) {
        self.seen.fields.retain(|(given, _)| given != name);
        self.seen.fields.push((name.to_owned(), value.to_owned()));
    }

    fn refused(path: &str, status: &str) -> Self {
        let mut case = Self::fetched(path);
        case.seen.status = 503;
        case.seen.fields.clear();
        case.seen.body = b"{}".to_vec();
        case.says(status);
        case
    }

    fn judged_as(&self, id: &str) -> Result<From, String> {
        judge(&self.history, &self.ask, id, &self.seen, &self.twin)
    }

    /// What is wrong with it, as an answer to the first request, or to another one.
    fn fault(&self, id: &str) -> String {
        self.judged_as(id).expect_err("right")
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_is_right_passes() {
    assert_eq!(Case::fetched("/minute/1").judged_as("1"), Ok(From::Fetch));
    assert_eq!(Case::reused("/minute/1", SECOND * 50).judged_as("2"), Ok(From::Reuse));
    let mut nothing = Case::fetched("/minute/1");
    nothing.seen.fields.retain(|(name, _)| name != "x-serial");
    nothing.twin = nothing.seen.clone();
    assert_eq!(nothing.judged_as("2"), Ok(From::Envoy));
}

#[test]
fn each_difference_from_the_twin_is_told() {
    let faults: [Difference; 8] = [
        ("status 404 for 200", |seen| seen.status = 404),
        ("interim", |seen| seen.interim.push((103, None))),
        ("end Cut for Whole", |seen| seen.end = End::Cut),
        ("content", |seen| seen.body.push(b'x')),
        ("trailers", |seen| {
            seen.trailers.push(("x-sum".to_owned(), "1".to_owned()))
        }),
        ("x-more", |seen| seen.fields.push(("x-more".to_owned(), "1".to_owned()))),
        ("etag", |seen| seen.fields.retain(|(name, _)| name != "etag")),
        ("never answered", |seen| seen.end = End::Silent),
    ];
    for (expected, spoil) in faults {
        let mut case = Case::fetched("/minute/1");
        spoil(&mut case.seen);
        assert!(case.fault("1").contains(expected), "{expected}: {}", case.fault("1"));
        // The same where no origin sent it.
        case.seen.fields.retain(|(name, _)| name != "x-serial");
        case.twin.fields.retain(|(name, _)| name != "x-serial");
        assert!(case.fault("2").contains(expected), "{expected}: {}", case.fault("2"));
    }
    let mut head = Case::fetched("/minute/1");
    head.ask.method = "HEAD";
    head.set("content-length", "7");
    assert!(head.fault("1").contains("content-length"), "{}", head.fault("1"));
}

#[test]
fn a_request_goes_to_the_origin_once_or_twice_where_it_may_be_validated() {
    for (path, most) in [("/minute/1", 2), ("/no-store/1", 1)] {
        let mut case = Case::fetched(path);
        for _ in 1..most {
            case.sent("1", &[]);
        }
        assert_eq!(case.judged_as("1"), Ok(From::Fetch), "{path}");
        case.sent("1", &[]);
        assert!(case.fault("1").contains("sent to the origin"), "{}", case.fault("1"));
    }
}

#[test]
fn each_wrong_reuse_is_told() {
    let reused = |path, spoil: fn(&mut Case)| {
        let mut case = Case::reused(path, SECOND * 2);
        spoil(&mut case);
        case.fault("2")
    };
    let faults: [WrongReuse; 19] = [
        ("an answer for /minute/1", "/minute/1", |case| {
            case.ask.path = "/minute/2".to_owned()
        }),
        ("never answered so", "/minute/1", |case| case.ask.method = "POST"),
        ("never answered so", "/minute/1", |case| {
            case.ask.manner = Manner::WebSocket
        }),
        ("never answered so", "/minute/1", |case| {
            case.ask.content = Content::Length(1)
        }),
        ("with credentials", "/minute/1", |case| {
            case.sent("1", &[("authorization", "Bearer x")]);
            case.seen.asked += SECOND;
            case.says(HIT);
        }),
        ("another variant", "/vary/1", |case| {
            case.ask.fields.push(("x-tenant", "gold".to_owned()))
        }),
        ("does not say so", "/minute/1", |case| {
            case.says("api-optimizer; fwd=uri-miss")
        }),
        ("for one alone", "/private/1", |_| ()),
        ("for one alone", "/no-store/1", |case| case.seen.asked -= SECOND * 2),
        ("for one who wants a fresh one", "/minute/1", |case| {
            case.ask.fields.push(("cache-control", "no-cache".to_owned()));
        }),
        ("for one who wants a fresh one", "/minute/1", |case| {
            case.ask.fields.push(("cache-control", "max-age=0".to_owned()));
        }),
        ("reused after 40000 ms", "/minute/1", |case| {
            case.ask.fields.push(("cache-control", "min-fresh=30".to_owned()));
            case.seen.asked += SECOND * 38;
        }),
        ("reused after 62", "/minute/1", |case| case.seen.asked += SECOND * 60),
        ("reused after 2", "/etag/1", |_| ()),
        ("other content", "/minute/1", |case| case.seen.body.push(b'x')),
        ("status 404", "/minute/1", |case| case.seen.status = 404),
        ("status 416", "/minute/1", |case| case.seen.status = 416),
        ("where 304 is due", "/minute/1", |case| {
            case.ask.fields.push(("if-none-match", "\"v1\"".to_owned()));
        }),
        ("fields {\"x-more\"}", "/minute/1", |case| case.set("x-more", "1")),
    ];
    for (expected, path, spoil) in faults {
        let fault = reused(path, spoil);
        assert!(fault.contains(expected), "{expected}: {fault}");
    }
    let mut own = Case::fetched("/minute/1");
    own.says(HIT);
    assert!(own.fault("1").contains("says hit"), "{}", own.fault("1"));
}

#[test]
fn a_part_is_one_of_the_content() {
    let mut case = Case::reused("/minute/1", SECOND * 2);
    case.seen.status = 206;
    case.set("content-range", "bytes 1-3/4000");
    case.seen.body = case.twin.body[1..=3].to_vec();
    assert_eq!(case.judged_as("2"), Ok(From::Reuse));
    case.seen.body = case.twin.body[2..=4].to_vec();
    assert!(case.fault("2").contains("not of the content"), "{}", case.fault("2"));
}

#[test]
fn a_range_beyond_the_end_is_refused_by_whoever_knows_the_end() {
    let mut case = Case::fetched("/revalidate/1");
    case.ask.fields.push(("range", "bytes=90000-".to_owned()));
    case.seen.status = 416;
    case.seen.body.clear();
    assert!(case.fault("1").contains("status 416"), "{}", case.fault("1"));
    case.set("content-range", "bytes */400");
    assert_eq!(case.judged_as("1"), Ok(From::Fetch));
    case.set("content-range", "bytes */4000");
    assert!(case.fault("1").contains("status 416"), "{}", case.fault("1"));
}

#[test]
fn what_had_been_changed_is_not_reused() {
    let mut case = Case::reused("/minute/1", SECOND * 2);
    let newer = Entry {
        version: 2,
        ..case.entry("3", &[])
    };
    case.history.push(newer);
    case.history.change("/minute/1");
    assert!(case.fault("2").contains("had been changed"), "{}", case.fault("2"));
    case.seen.asked -= SECOND * 2;
    case.ask.path = "/minute/1".to_owned();
    assert_eq!(case.judged_as("2"), Ok(From::Reuse), "asked for before anybody knew");
}

#[test]
fn the_breaker_refuses_only_where_the_calls_say_so() {
    let refusals = [
        "api-optimizer; fwd=uri-miss; detail=breaker-open",
        "api-optimizer; fwd=uri-miss; detail=breaker-half-open",
    ];
    for status in refusals {
        for path in ["/minute/1", "/seldom/1", "/errors/1", "/sse-cut/1"] {
            let case = Case::refused(path, status);
            assert!(case.fault("2").contains("refused"), "{path}: {}", case.fault("2"));
            // The failures of another upstream do not count, nor those of a later time.
            let other = Entry {
                path: "/cut/1".to_owned(),
                ..failure(&case)
            };
            (0..10).for_each(|_| _ = case.history.push(other.clone()));
            let shares = matches!(path, "/errors/1");
            let mut later = case;
            later.seen.asked += SECOND / 10;
            assert_eq!(later.judged_as("2").is_ok(), shares, "{path}");
            (0..10).for_each(|_| _ = later.history.push(failure(&later)));
            assert_eq!(later.judged_as("2"), Ok(From::Envoy), "{path}");
            later.seen.asked -= SECOND;
            assert!(later.judged_as("2").is_err(), "{path}: before they failed");
        }
    }
}

fn failure(case: &Case) -> Entry {
    Entry {
        failed: true,
        ..case.entry("f", &[])
    }
}
