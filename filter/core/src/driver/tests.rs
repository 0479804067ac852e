//! Scenarios through the driver on a host that records: what the client got, what the upstream was asked, what it cost.

mod behind;
mod client_limits;
mod collapsing;
mod commands;
mod content;
mod control;
mod failing;
mod guarded;
mod health_check;
mod limit;
mod lookup;
mod parked;
mod routing;
mod searches;
mod streams;
mod transfer;
mod verify;
mod workers;

use super::exchange::{Flow, SharedExchange};
use super::fake_host::{FakeHost, Replied};
use super::host::ctx::Ctx;
use super::host::{Clock, MapKind};
use super::state::staleness_guard::{Clocks, StalenessGuard};
use super::vm::{RootId, Vm};
use optimizer_proto::v1::control_message::Body as ToFilter;
use optimizer_proto::v1::filter_message::Body as FromFilter;
use optimizer_proto::v1::{ControlMessage, FilterMessage, SettingsPush, TelemetryAck, Welcome};
use prost::Message;

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "api.example"),
    (":path", "/a?b=1"),
];
const ROOT: RootId = RootId(1);

struct Envoy {
    host: FakeHost,
    vm: Vm,
    /// How a response came about, as Envoy tells.
    details: &'static str,
}

/// What became of a request.
#[derive(Debug)]
enum Seen {
    Replied(Replied),
    Forwarded { status: String, cache_status: String },
}

impl Envoy {
    fn new(settings: &str) -> Self {
        let host = FakeHost::default();
        host.now_ms.set(1_700_000_000_000);
        host.set_property("xds\0cluster_name", b"api");
        host.set_property("xds\0route_name", b"all");
        let mut vm = Vm::new();
        vm.on_start(&host);
        let document = format!(r#"{{"control_cluster":"control","settings":{settings}}}"#);
        vm.on_configure(&host, ROOT, document.as_bytes());
        Self {
            host,
            vm,
            details: "via_upstream",
        }
    }

    /// Time passes. In a test that leaves the ticks out it does so as usual: nothing stood still.
    fn wait(&mut self, ms: u64) {
        let now_ms = self.host.now_ms.get() + ms;
        self.host.now_ms.set(now_ms);
        if self.vm.last_second_ms == 0 && !self.vm.staleness.is_in_doubt() {
            self.vm.staleness = StalenessGuard::default();
            self.vm.staleness.begins(Clocks::new(now_ms, self.host.steady_ms()));
        }
    }

    /// A request whose upstream, if it is asked, answers as given.
    fn get(&mut self, more: &[(&str, &str)], status: &str, response: &[(&str, &str)], body: &[u8]) -> Seen {
        let mut request = GET.to_vec();
        request.extend_from_slice(more);
        self.ask(&request, status, response, body)
    }

    fn ask(&mut self, request: &[(&str, &str)], status: &str, response: &[(&str, &str)], body: &[u8]) -> Seen {
        let (host, vm) = (&self.host, &mut self.vm);
        host.replies.borrow_mut().clear();
        host.set_request(request);
        let shared = SharedExchange::default();
        let flow = vm.on_request_headers(host, &shared, 9);
        self.answered(&shared, flow, status, response, body)
    }

    /// What becomes of a request that has come to that, where its upstream answers as given if it is asked.
    fn answered(
        &mut self,
        shared: &SharedExchange,
        mut flow: Flow,
        status: &str,
        response: &[(&str, &str)],
        body: &[u8],
    ) -> Seen {
        let (host, vm) = (&self.host, &mut self.vm);
        if flow == Flow::Continue {
            let length = body.len().to_string();
            let mut head = vec![(":status", status), ("content-length", length.as_str())];
            head.extend_from_slice(response);
            host.set_response(&head);
            host.set_property("response\0code_details", self.details.as_bytes());
            host.set_property("response\0flags", &0_u64.to_le_bytes());
            flow = vm.on_response_headers(host, &mut shared.borrow_mut(), 0, body.is_empty());
            if flow == Flow::Continue && !body.is_empty() {
                for chunk in body.chunks(5) {
                    *host.body.borrow_mut() = chunk.to_vec();
                    vm.on_response_body(host, &mut shared.borrow_mut(), chunk.len(), false);
                }
                vm.on_response_body(host, &mut shared.borrow_mut(), 0, true);
            }
        }
        vm.on_end(host, shared);
        if flow == Flow::Pause {
            return Seen::Replied(host.replies.borrow().last().cloned().unwrap());
        }
        Seen::Forwarded {
            status: host.header(MapKind::Response, ":status").unwrap(),
            cache_status: host.header(MapKind::Response, "cache-status").unwrap_or_default(),
        }
    }

    fn control(&mut self, body: ToFilter) {
        *self.host.incoming.borrow_mut() = ControlMessage { body: Some(body) }.encode_to_vec();
        let size = self.host.incoming.borrow().len();
        self.vm.on_control_message(&self.host, ROOT, 77, size);
    }

    fn said(&self) -> Vec<FromFilter> {
        let sent = std::mem::take(&mut *self.host.sent.borrow_mut());
        sent.iter()
            .filter_map(|bytes| FilterMessage::decode(bytes.as_slice()).unwrap().body)
            .collect()
    }
}

fn replied(seen: Seen) -> Replied {
    match seen {
        Seen::Replied(reply) => reply,
        Seen::Forwarded { .. } => panic!("forwarded: {seen:?}"),
    }
}

fn forwarded(seen: Seen) -> (String, String) {
    match seen {
        Seen::Forwarded { status, cache_status } => (status, cache_status),
        Seen::Replied(_) => panic!("answered: {seen:?}"),
    }
}

const FRESH: [(&str, &str); 3] = [
    ("cache-control", "max-age=60"),
    ("etag", "\"v1\""),
    ("content-type", "text/plain"),
];

const UNCACHED: [(&str, &str); 1] = [("cache-control", "no-store")];

/// A GET that is left under way.
fn begin(envoy: &mut Envoy, context: u32) -> (SharedExchange, Flow) {
    let shared = SharedExchange::default();
    envoy.host.set_request(&GET);
    let flow = envoy.vm.on_request_headers(&envoy.host, &shared, context);
    (shared, flow)
}

fn finish(envoy: &mut Envoy, shared: &SharedExchange, response: &[(&str, &str)], body: &[u8]) {
    let (host, vm) = (&envoy.host, &mut envoy.vm);
    let length = body.len().to_string();
    let mut head = vec![(":status", "200"), ("content-length", length.as_str())];
    head.extend_from_slice(response);
    host.set_response(&head);
    host.set_property("response\0code_details", b"via_upstream");
    vm.on_response_headers(host, &mut shared.borrow_mut(), 0, false);
    *host.body.borrow_mut() = body.to_vec();
    vm.on_response_body(host, &mut shared.borrow_mut(), body.len(), true);
    vm.on_end(host, shared);
    let queue = vm.queue;
    vm.on_wake(host, ROOT, queue);
}

fn wake(envoy: &mut Envoy) {
    let queue = envoy.vm.queue;
    for _ in 0..8 {
        envoy.vm.on_wake(&envoy.host, ROOT, queue);
    }
}
