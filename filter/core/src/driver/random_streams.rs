//! Random headers, methods, statuses and clock jumps through the whole driver: it never panics, and whatever it reuses it may reuse.
//!
//! Every response of the origin carries a number; the test remembers what was said with it and under which request. What comes
//! back from the cache is held against that by plain rules of its own, not by the code under test.

mod steps;

use super::exchange::{Flow, SharedExchange};
use super::fake_host::FakeHost;
use super::vm::{RootId, Vm};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::collections::{HashMap, HashSet};
use steps::{Lines, Step, step};

/// What the origin said with a number, and to whom.
#[derive(Debug, Clone)]
struct Said {
    path: &'static str,
    request: Lines,
    response: Lines,
}

struct Run {
    host: FakeHost,
    vm: Vm,
    isolating: bool,
    said: HashMap<u32, Said>,
    /// Numbers whose response the origin has since forbidden to keep.
    forbidden: HashSet<u32>,
    next: u32,
}

impl Run {
    fn new(isolating: bool) -> Self {
        let host = FakeHost::default();
        host.now_ms.set(1_700_000_000_000);
        host.set_property("xds\0cluster_name", b"api");
        host.set_property("xds\0route_name", b"all");
        host.set_property("response\0code_details", b"via_upstream");
        host.set_property("response\0flags", &0_u64.to_le_bytes());
        let mut vm = Vm::new();
        vm.on_start(&host);
        let settings = format!(
            r#"{{"control_cluster":"control","settings":{{"default_ttl":"20s","breaker":{{"enabled":false}},
            "freshness":{{"stale_if_error":"1h"}},"routes":[{{"name":"r","isolate_authorization":{isolating}}}]}}}}"#
        );
        vm.on_configure(&host, RootId(1), settings.as_bytes());
        Self {
            host,
            vm,
            isolating,
            said: HashMap::new(),
            forbidden: HashSet::new(),
            next: 0,
        }
    }

    fn take(&mut self, step: &Step) {
        let now = self.host.now_ms.get();
        self.host.now_ms.set(now.saturating_add_signed(step.jump_ms));
        let mut request = vec![
            (":method", step.method),
            (":scheme", "http"),
            (":authority", "api"),
            (":path", step.path),
        ];
        request.extend(step.request.iter().map(|(name, value)| (*name, value.as_str())));
        self.host.set_request(&request);
        self.host.replies.borrow_mut().clear();
        let shared = SharedExchange::default();
        let mut asked_origin = false;
        if self.vm.on_request_headers(&self.host, &shared, 9) == Flow::Continue {
            asked_origin = true;
            self.answer(step, &shared);
        }
        self.vm.on_end(&self.host, &shared);
        self.vm.on_tick(&self.host, RootId(1));
        let reply = self.host.replies.borrow().last().cloned();
        let Some(number) = reply.and_then(|reply| reply.field("x-id")?.parse().ok()) else {
            return;
        };
        self.judge(number, step, asked_origin);
    }

    fn answer(&mut self, step: &Step, shared: &SharedExchange) {
        self.next += 1;
        let bodiless = step.method == "HEAD" || matches!(step.status, "204" | "304");
        let number = self.next.to_string();
        let length = if bodiless { "0" } else { "5" };
        let mut response = vec![(":status", step.status), ("content-length", length)];
        response.extend(step.response.iter().map(|(name, value)| (*name, value.as_str())));
        // What only freshens something stored leaves that its number.
        if !(step.method == "HEAD" || step.status == "304") {
            response.push(("x-id", number.as_str()));
            self.said.insert(
                self.next,
                Said {
                    path: step.path,
                    request: step.request.clone(),
                    response: step.response.clone(),
                },
            );
        }
        self.host.set_response(&response);
        let flow = self
            .vm
            .on_response_headers(&self.host, &mut shared.borrow_mut(), 0, bodiless);
        if flow == Flow::Continue && !bodiless {
            *self.host.body.borrow_mut() = b"12345".to_vec();
            self.vm.on_response_body(&self.host, &mut shared.borrow_mut(), 5, true);
        }
    }

    fn judge(&mut self, number: u32, step: &Step, asked_origin: bool) {
        let said = self.said.get(&number).expect("a number the origin has given").clone();
        assert_eq!(said.path, step.path, "another key's response: {said:?} for {step:?}");
        assert!(
            !self.forbidden.contains(&number),
            "kept although forbidden since: {said:?}"
        );
        assert!(
            !has(&said.response, "set-cookie"),
            "one client's cookie: {said:?} for {step:?}"
        );
        let targeted = has(&said.response, "cdn-cache-control") || has(&said.response, "surrogate-control");
        let directive = |name: &str| {
            directives(&said.response)
                .iter()
                .any(|given| given.split('=').next() == Some(name))
        };
        if !targeted {
            let understood = directive("must-understand");
            assert!(
                understood || !directive("no-store"),
                "past a no-store: {said:?} for {step:?}"
            );
            assert!(
                !directives(&said.response).contains(&"private".to_owned()),
                "private: {said:?} for {step:?}"
            );
        }
        assert!(
            !directives(&said.request).iter().any(|given| given == "no-store"),
            "the request said no-store: {said:?}"
        );
        let identity = |lines: &Lines| values(lines, "authorization");
        if self.isolating {
            assert_eq!(
                identity(&said.request),
                identity(&step.request),
                "another identity: {said:?} for {step:?}"
            );
        } else if has(&said.request, "authorization") && !targeted {
            // What stands before a lone quotation mark is said.
            let before = |line: &String| line.split('"').next().unwrap_or_default().to_ascii_lowercase();
            let said_plainly: Vec<String> = values(&said.response, "cache-control").iter().map(before).collect();
            let permitted = ["public", "must-revalidate", "s-maxage"]
                .iter()
                .any(|name| directive(name) || said_plainly.iter().any(|line| line.contains(name)));
            assert!(permitted, "one identity's response: {said:?} for {step:?}");
        }
        for name in values(&said.response, "vary").iter().flat_map(|line| line.split(',')) {
            let name = name.trim().to_ascii_lowercase();
            assert_ne!(name, "*", "Vary: * reused: {said:?}");
            let excused = name.is_empty() || name == "accept-language" && same_language(&said, step);
            if !excused {
                assert_eq!(
                    selecting(&said.request, &name),
                    selecting(&step.request, &name),
                    "{name}: {said:?} for {step:?}"
                );
            }
        }
        // A 304 or a HEAD that forbids keeping has answered this request; the next one must not see the response again.
        if asked_origin && step.status == "304" && !has_targeted(&step.response) {
            let given = directives(&step.response);
            if given.iter().any(|name| name == "private")
                || given.contains(&"no-store".to_owned()) && !given.contains(&"must-understand".to_owned())
            {
                self.forbidden.insert(number);
            }
        }
    }
}

fn has_targeted(lines: &Lines) -> bool {
    has(lines, "cdn-cache-control") || has(lines, "surrogate-control")
}

fn has(lines: &Lines, name: &str) -> bool {
    lines.iter().any(|(given, _)| *given == name)
}

fn values(lines: &Lines, name: &str) -> Vec<String> {
    lines
        .iter()
        .filter(|(given, _)| *given == name)
        .map(|(_, value)| value.clone())
        .collect()
}

/// Members of `Cache-Control`. A lone quotation mark hides what follows it, as the grammar has it, so lines with one do not count.
fn directives(lines: &Lines) -> Vec<String> {
    values(lines, "cache-control")
        .iter()
        .filter(|line| line.matches('"').count() % 2 == 0)
        .flat_map(|line| {
            line.replace("ext=\"no-store, private\"", "ext")
                .split(", ")
                .map(str::to_ascii_lowercase)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn selecting(request: &Lines, name: &str) -> Option<Vec<String>> {
    let lines = values(request, name);
    let members = lines.iter().flat_map(|line| line.split(',')).map(|member| {
        let member = member.trim();
        if name.starts_with("accept-") {
            member.to_ascii_lowercase()
        } else {
            member.to_owned()
        }
    });
    let mut members: Vec<String> = members.filter(|member| !member.is_empty()).collect();
    if name == "accept-language" {
        members.sort();
    }
    (!lines.is_empty()).then_some(members)
}

/// Both like best the language the response is in. With the values of this test that is a short table.
fn same_language(said: &Said, step: &Step) -> bool {
    let best = |language: &str, accepted: &[String]| {
        let all = accepted.join(", ");
        match language {
            "de" => all.contains("de") && (!all.contains("de;q") || all.split(", ").any(|member| member == "de")),
            _ => all.split(", ").any(|member| member == "en"),
        }
    };
    let language = values(&said.response, "content-language");
    let [language] = language.as_slice() else { return false };
    best(language, &values(&said.request, "accept-language"))
        && best(language, &values(&step.request, "accept-language"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_reused_that_may_not_be(isolating: bool, steps in prop::collection::vec(step(), 1..40)) {
        let mut run = Run::new(isolating);
        for step in &steps {
            run.take(step);
        }
    }
}

#[test]
fn the_soup_is_thick_enough_to_be_served_from() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut reused, mut asked) = (0, 0);
    for _ in 0..60 {
        let steps = prop::collection::vec(step(), 40)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let mut run = Run::new(false);
        for step in &steps {
            run.take(step);
            reused += usize::from(
                run.host
                    .replies
                    .borrow()
                    .iter()
                    .any(|reply| reply.field("x-id").is_some()),
            );
        }
        asked += steps.len();
    }
    // After a jump of the clock nothing is believed for a while.
    assert!(reused * 32 > asked, "{reused} of {asked} came from the cache");
}
