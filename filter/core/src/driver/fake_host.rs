//! A host for tests: Envoy's shared data as it is, one stream at a time, and a control plane that only listens.

use super::host::header_map::{MapWriter, parse};
use super::host::*;
use crate::shared_map::{Cas, MemoryMap, SetError, SharedMap};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// A response the filter made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replied {
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Replied {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Debug, Default)]
pub(super) struct FakeHost {
    pub(super) map: Rc<MemoryMap>,
    pub(super) now_ms: Cell<u64>,
    /// By how much the wall clock was set back.
    pub(super) set_back_ms: Cell<u64>,
    pub(super) request: RefCell<Lines>,
    pub(super) response: RefCell<Lines>,
    pub(super) trailers: RefCell<Lines>,
    pub(super) body: RefCell<Vec<u8>>,
    pub(super) properties: RefCell<HashMap<Vec<u8>, Vec<u8>>>,
    pub(super) replies: RefCell<Vec<Replied>>,
    pub(super) sent: RefCell<Vec<Vec<u8>>>,
    pub(super) incoming: RefCell<Vec<u8>>,
    pub(super) queued: RefCell<HashMap<u32, Vec<Vec<u8>>>>,
    pub(super) calls: RefCell<Vec<(String, Lines)>>,
    pub(super) grpc_calls: RefCell<Vec<(String, Vec<u8>)>>,
    pub(super) call_response: RefCell<Lines>,
    pub(super) log: RefCell<Vec<String>>,
    pub(super) failing: Cell<bool>,
    /// Calls to upstreams cannot be started.
    pub(super) no_calls: Cell<bool>,
    /// It does not show the content of requests.
    pub(super) blind: Cell<bool>,
    pub(super) host_calls: Cell<u32>,
    pub(super) resumed: Cell<u32>,
    pub(super) random: Cell<u64>,
    pub(super) forgotten: RefCell<Vec<u32>>,
}

fn lines(fields: &[(&str, &str)]) -> Lines {
    fields
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect()
}

impl FakeHost {
    /// A stream that is over.
    pub(super) fn forget(&self, context: u32) {
        self.forgotten.borrow_mut().push(context);
    }

    pub(super) fn set_request(&self, fields: &[(&str, &str)]) {
        *self.request.borrow_mut() = lines(fields);
    }

    pub(super) fn set_response(&self, fields: &[(&str, &str)]) {
        *self.response.borrow_mut() = lines(fields);
    }

    pub(super) fn set_call_response(&self, fields: &[(&str, &str)]) {
        *self.call_response.borrow_mut() = lines(fields);
    }

    pub(super) fn set_property(&self, path: &str, value: &[u8]) {
        self.properties
            .borrow_mut()
            .insert(path.as_bytes().to_vec(), value.to_vec());
    }

    pub(super) fn header(&self, kind: MapKind, name: &str) -> Option<String> {
        let lines = self.lines(kind).borrow();
        let found = lines.iter().find(|(found, _)| found == name.as_bytes());
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }

    /// The response's head as it is now.
    pub(super) fn header_map_now(&self) -> Vec<u8> {
        self.header_map(MapKind::Response).unwrap_or_default()
    }

    fn lines(&self, kind: MapKind) -> &RefCell<Lines> {
        match kind {
            MapKind::Request => &self.request,
            MapKind::Response => &self.response,
            MapKind::ResponseTrailers => &self.trailers,
            MapKind::CallResponse => &self.call_response,
        }
    }

    fn called(&self) -> Result<(), HostError> {
        self.host_calls.set(self.host_calls.get() + 1);
        if self.failing.get() { Err(HostError(10)) } else { Ok(()) }
    }
}

impl SharedMap for FakeHost {
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)> {
        self.called().ok()?;
        self.map.get(key)
    }

    fn version(&self, key: &[u8]) -> Option<Cas> {
        self.called().ok()?;
        self.map.version(key)
    }

    fn set(&self, key: &[u8], value: &[u8], cas: Option<Cas>) -> Result<(), SetError> {
        self.called().map_err(|_| SetError::Host)?;
        self.map.set(key, value, cas)
    }
}

impl Clock for FakeHost {
    fn random(&self) -> u64 {
        self.random.set(
            self.random
                .get()
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407),
        );
        self.random.get()
    }

    fn now_ns(&self) -> u64 {
        self.host_calls.set(self.host_calls.get() + 1);
        self.now_ms.get() * 1_000_000
    }

    fn steady_ms(&self) -> u64 {
        self.host_calls.set(self.host_calls.get() + 1);
        self.now_ms.get() + self.set_back_ms.get()
    }

    fn log(&self, _level: LogLevel, message: &str) {
        self.log.borrow_mut().push(message.to_owned());
    }
}

impl Headers for FakeHost {
    fn header_map(&self, kind: MapKind) -> Result<Vec<u8>, HostError> {
        self.called()?;
        let mut writer = MapWriter::default();
        self.lines(kind)
            .borrow()
            .iter()
            .for_each(|(name, value)| writer.push(name, value));
        Ok(writer.finish())
    }

    fn add_header(&self, kind: MapKind, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.called()?;
        self.lines(kind).borrow_mut().push((name.to_vec(), value.to_vec()));
        Ok(())
    }

    fn replace_header(&self, kind: MapKind, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.remove_header(kind, name)?;
        self.lines(kind).borrow_mut().push((name.to_vec(), value.to_vec()));
        Ok(())
    }

    fn remove_header(&self, kind: MapKind, name: &[u8]) -> Result<(), HostError> {
        self.called()?;
        self.lines(kind).borrow_mut().retain(|(found, _)| found != name);
        Ok(())
    }
}

impl BodySource for FakeHost {
    fn shows_request_body(&self) -> bool {
        !self.blind.get()
    }

    fn request_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        self.response_body(size)
    }

    fn response_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        self.called()?;
        Ok(self.body.borrow().iter().take(size).copied().collect())
    }
}

impl Properties for FakeHost {
    fn property(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.called().ok()?;
        self.properties.borrow().get(path).cloned()
    }

    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.called()?;
        self.properties.borrow_mut().insert(path.to_owned(), value.to_owned());
        Ok(())
    }
}

impl Streams for FakeHost {
    fn reply(&self, reply: &LocalReply<'_>) -> Result<(), HostError> {
        self.called()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.replies.borrow_mut().push(Replied {
            status: reply.status,
            fields: parse(reply.fields)
                .into_iter()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            body: reply.body.to_vec(),
        });
        Ok(())
    }

    fn resume_request(&self) -> Result<(), HostError> {
        self.resumed.set(self.resumed.get() + 1);
        self.called()
    }

    fn enter(&self, context: u32) -> Result<(), HostError> {
        self.called()?;
        match self.forgotten.borrow().contains(&context) {
            true => Err(HostError(2)),
            false => Ok(()),
        }
    }
}

impl Queues for FakeHost {
    fn register_queue(&self, name: &[u8]) -> Result<u32, HostError> {
        self.called()?;
        Ok(u32::try_from(xxhash_rust::xxh3::xxh3_64(name) % 1_000_000).unwrap_or(1))
    }

    fn enqueue(&self, queue: u32, item: &[u8]) -> Result<(), HostError> {
        self.called()?;
        self.queued.borrow_mut().entry(queue).or_default().push(item.to_vec());
        Ok(())
    }

    fn dequeue(&self, queue: u32) -> Option<Vec<u8>> {
        self.called().ok()?;
        let mut queued = self.queued.borrow_mut();
        let items = queued.get_mut(&queue)?;
        (!items.is_empty()).then(|| items.remove(0))
    }

    fn set_tick_ms(&self, _period_ms: u32) -> Result<(), HostError> {
        self.called()
    }
}

impl Metrics for FakeHost {
    fn define_counter(&self, name: &str) -> Result<u32, HostError> {
        self.called()?;
        Ok(u32::try_from(name.len()).unwrap_or(0))
    }

    fn define_gauge(&self, name: &str) -> Result<u32, HostError> {
        self.define_counter(name)
    }

    fn increment(&self, _id: u32, _by: i64) {}

    fn record(&self, _id: u32, _value: u64) {}
}

impl ControlTransport for FakeHost {
    fn open_stream(&self, _target: &str, _service: &str, _method: &str) -> Result<u32, HostError> {
        self.called()?;
        Ok(77)
    }

    fn send(&self, _stream: u32, message: &[u8]) -> Result<(), HostError> {
        self.called()?;
        self.sent.borrow_mut().push(message.to_vec());
        Ok(())
    }

    fn cancel(&self, _stream: u32) {}

    fn message(&self, _size: usize) -> Result<Vec<u8>, HostError> {
        self.called()?;
        Ok(self.incoming.borrow().clone())
    }
}

impl Callouts for FakeHost {
    fn call(&self, cluster: &str, fields: Vec<(&str, &[u8])>, _timeout: Duration) -> Result<u32, CallError> {
        self.called().map_err(|_| CallError)?;
        if self.no_calls.get() {
            return Err(CallError);
        }
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()))
            .collect();
        self.calls.borrow_mut().push((cluster.to_owned(), fields));
        u32::try_from(self.calls.borrow().len()).map_err(|_| CallError)
    }

    fn grpc_call(
        &self,
        _target: &str,
        _service: &str,
        method: &str,
        message: &[u8],
        _timeout: Duration,
    ) -> Result<u32, HostError> {
        self.called()?;
        self.grpc_calls.borrow_mut().push((method.to_owned(), message.to_vec()));
        u32::try_from(self.grpc_calls.borrow().len()).map_err(|_| HostError(10))
    }

    fn call_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        self.response_body(size)
    }
}
