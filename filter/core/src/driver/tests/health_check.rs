//! Active health checks: when the leader asks, what it asks, and what becomes of the answer.

use super::*;
use crate::breaker::{BreakerPolicy, BreakerState, View, all};

const CHECKED: &str = r#"{"breaker":{"minimum_calls":5,"jitter_percent":0,"probes":2,"recovery_ramp":"0s",
    "active_health_checks":[{"upstream":"*","path":"/health?deep","interval":"3s","host":"api.internal",
    "expected_statuses":[{"start":200,"end":300}]}]}}"#;
const PROBE: [(&str, &str); 1] = [("cache-control", "no-store")];

impl Envoy {
    /// With the breaker open: its wait of five seconds begins.
    fn opened(settings: &str) -> Self {
        let mut envoy = Self::new(settings);
        for _ in 0..5 {
            forwarded(envoy.get(&[], "500", &[], b""));
        }
        assert_eq!(envoy.view().state, BreakerState::Open);
        envoy
    }

    fn view(&mut self) -> View {
        all(&self.host, &BreakerPolicy::default(), self.host.now_ms.get()).remove(0)
    }

    /// So many seconds pass, tick by tick; how many calls of our own began.
    fn pass(&mut self, seconds: u64) -> usize {
        let before = self.host.calls.borrow().len();
        for _ in 0..seconds * 5 {
            self.wait(200);
            self.vm.on_tick(&self.host, ROOT);
        }
        self.host.calls.borrow().len() - before
    }

    /// The last call of our own is answered; without a status it fails.
    fn answer(&mut self, status: Option<&str>) {
        let token = u32::try_from(self.host.calls.borrow().len()).unwrap();
        let fields = status.map(|status| (":status", status));
        self.host.set_call_response(fields.as_slice());
        self.vm.on_call_response(&self.host, token, fields.iter().len(), 0);
    }
}

#[test]
fn a_quiet_upstream_is_checked_until_its_breaker_is_closed() {
    let mut envoy = Envoy::opened(CHECKED);
    assert_eq!(envoy.pass(4), 0, "not while it is open");
    // Half-open after five seconds, and quiet for three.
    assert_eq!(envoy.pass(3), 0, "a client may come first");
    assert_eq!(envoy.pass(2), 1);
    let (cluster, fields) = envoy.host.calls.borrow().last().cloned().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (text(name), text(value))).collect();
    let expected = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "api.internal"),
        (":path", "/health?deep"),
        ("user-agent", "api-optimizer-health-check"),
    ];
    assert_eq!(
        (cluster.as_str(), fields),
        (
            "api",
            expected
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec()
        )
    );
    assert_eq!(envoy.pass(10), 0, "one at a time");
    assert_eq!(envoy.view().probes, 1);
    envoy.answer(Some("204"));
    assert_eq!(envoy.view().state, BreakerState::HalfOpen, "two are needed");
    assert_eq!(envoy.pass(1), 1, "the interval is over since the last one began");
    envoy.answer(Some("204"));
    assert_eq!(envoy.view().state, BreakerState::Closed);
    assert_eq!(envoy.pass(30), 0, "never while closed");
    forwarded(envoy.get(&[], "200", &PROBE, b"asked"));
}

#[test]
fn another_status_or_no_answer_opens_it_again_for_longer() {
    for status in [Some("404"), Some("503"), None] {
        let mut envoy = Envoy::opened(CHECKED);
        assert_eq!(envoy.pass(9), 1);
        envoy.answer(status);
        assert_eq!(envoy.view().state, BreakerState::Open, "{status:?}");
        // Ten seconds now, and quiet for three.
        assert_eq!(envoy.pass(12), 0, "{status:?}");
        assert_eq!(envoy.pass(2), 1, "{status:?}");
    }
}

#[test]
fn where_clients_probe_nothing_is_checked() {
    let mut envoy = Envoy::opened(CHECKED);
    envoy.pass(7);
    let (client, flow) = begin(&mut envoy, 11);
    assert_eq!(flow, Flow::Continue);
    assert_eq!(envoy.pass(10), 0, "its probe is under way");
    finish(&mut envoy, &client, &PROBE, b"well");
    assert_eq!(envoy.view().state, BreakerState::HalfOpen);
    assert_eq!(envoy.pass(2), 0, "the wait begins anew");
    assert_eq!(envoy.pass(2), 1);
    // One of two places: the other one is a client's, whose success closes it; the answer then comes too late to count.
    forwarded(envoy.get(&[("cache-control", "no-cache")], "200", &PROBE, b"well"));
    assert_eq!(envoy.view().state, BreakerState::Closed);
    envoy.answer(Some("500"));
    assert_eq!(envoy.view().state, BreakerState::Closed);
}

#[test]
fn a_check_that_cannot_be_made_is_no_failure() {
    let mut envoy = Envoy::opened(CHECKED);
    envoy.pass(7);
    envoy.host.no_calls.set(true);
    envoy.pass(20);
    assert_eq!((envoy.view().state, envoy.view().probes), (BreakerState::HalfOpen, 0));
    let told = envoy.vm.health_check_reported("api").unwrap();
    assert_eq!((told.healthy, told.status, told.last_ms > 0), (false, 0, true));
    envoy.host.no_calls.set(false);
    assert_eq!(envoy.pass(4), 1);
}

#[test]
fn so_is_one_of_which_the_host_says_so_later() {
    let mut envoy = Envoy::opened(CHECKED);
    assert_eq!(envoy.pass(9), 1);
    envoy.vm.on_call_refused(&envoy.host, 1);
    assert_eq!((envoy.view().state, envoy.view().probes), (BreakerState::HalfOpen, 0));
    let told = envoy.vm.health_check_reported("api").unwrap();
    assert_eq!((told.healthy, told.status), (false, 0));
    envoy.vm.on_call_refused(&envoy.host, 1);
    assert_eq!(envoy.pass(4), 1, "and it asks again");
}

#[test]
fn by_default_and_where_another_vm_leads_nobody_asks() {
    let mut envoy = Envoy::opened(r#"{"breaker":{"minimum_calls":5,"jitter_percent":0}}"#);
    assert_eq!(envoy.pass(60), 0);
    assert_eq!(envoy.view().state, BreakerState::HalfOpen);
    let mut envoy = Envoy::opened(CHECKED);
    for _ in 0..200 {
        envoy.wait(200);
        assert!(crate::driver::shared::lease::hold(
            &envoy.host,
            99,
            envoy.host.now_ms.get() + 601
        ));
        envoy.vm.on_tick(&envoy.host, ROOT);
    }
    assert!(envoy.host.calls.borrow().is_empty());
}

#[test]
fn a_routes_own_breaker_is_checked_by_its_own_path_once_its_upstream_is_well() {
    let mut envoy = Envoy::opened(
        r#"{"breaker":{"minimum_calls":5,"jitter_percent":0,"probes":1,"recovery_ramp":"0s","active_health_checks":[
            {"upstream":"*","path":"/health","interval":"9s"},{"upstream":"api/all","path":"/all/health","interval":"1s"}]},
            "routes":[{"name":"all","breaker":true}]}"#,
    );
    let path = |envoy: &Envoy| {
        let calls = envoy.host.calls.borrow();
        let (_, fields) = calls.last().unwrap();
        let path = fields.iter().find(|(name, _)| name == b":path").unwrap();
        String::from_utf8(path.1.clone()).unwrap()
    };
    // Both are half-open after five seconds, but only the upstream's can be tried.
    assert_eq!(envoy.pass(13), 0);
    assert_eq!(envoy.pass(3), 1);
    assert_eq!(path(&envoy), "/health");
    envoy.answer(Some("200"));
    assert_eq!(envoy.pass(2), 1);
    assert_eq!(path(&envoy), "/all/health");
    envoy.answer(Some("200"));
    assert_eq!(envoy.pass(30), 0);
    let states: Vec<_> = all(&envoy.host, &BreakerPolicy::default(), envoy.host.now_ms.get())
        .into_iter()
        .map(|view| (view.upstream, view.state))
        .collect();
    let closed = |name: &str| (name.to_owned(), BreakerState::Closed);
    assert_eq!(states, [closed("api"), closed("api/all")]);
}

#[test]
fn the_report_says_how_the_last_check_ended() {
    let mut envoy = Envoy::opened(CHECKED);
    let told = |envoy: &Envoy| envoy.vm.health_check_reported("api").unwrap();
    assert_eq!((told(&envoy).interval_ms, told(&envoy).last_ms), (3_000, 0));
    envoy.pass(9);
    envoy.answer(Some("404"));
    let seen = told(&envoy);
    assert_eq!(
        (seen.last_ms, seen.healthy, seen.status),
        (envoy.host.now_ms.get(), false, 404)
    );
}

#[test]
fn checks_that_envoy_has_forgotten_do_not_use_up_the_room() {
    let mut envoy = Envoy::opened(CHECKED);
    let begun = envoy.pass(900);
    assert!(begun > 3, "a lost check is no last one: {begun}");
    assert!(
        envoy.vm.upstreams.health_checks.calls.len() < begun.min(16),
        "{begun} begun, {} remembered",
        envoy.vm.upstreams.health_checks.calls.len()
    );
}
