//! Envoy, as the core sees it in one hook.
//!
//! While the core works, the worker's state is locked. So nothing is called here by which Envoy would call the module back: what is to be
//! done to streams is noted as an [`Action`], what only the main thread can do as an [`Errand`].

use crate::abi::{attribute, body, map, metadata};
use crate::envoy::Filter;
use crate::errand::{Errand, Task};
use crate::mailbox::Mailbox;
use crate::process::Process;
use crate::reply::{Action, Reply, owned_body};
use crate::waiting::Waiting;
use bytes::Bytes;
use filter_core::driver::host::{
    BodySource, CallError, Callouts, Clock, ControlTransport, Headers, HostError, LocalReply, LogLevel, MapKind,
    Metrics, Properties, Queues, Streams,
};
use filter_core::shared_map::{Cas, SetError, SharedMap};
use rustix::time::{ClockId, clock_gettime};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// What is refused here, for want of Envoy's own numbers: the thing is not there, or Envoy says no.
const ABSENT: HostError = HostError(1);
const REFUSED: HostError = HostError(2);

/// What the running hook brought along, beside a stream.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    /// The head of a callout's answer, serialized.
    pub(crate) fields: Vec<u8>,
    /// Its content, or a message.
    pub(crate) content: RefCell<Vec<u8>>,
}

/// One hook's view of Envoy.
pub(crate) struct NativeHost<'h> {
    pub(crate) process: &'static Process,
    pub(crate) mailbox: &'h Mailbox,
    /// Those that wait in this worker.
    pub(crate) waiting: &'h BTreeMap<u32, Waiting>,
    /// The filter of the stream at hand.
    pub(crate) filter: Cell<Option<Filter>>,
    /// Its number.
    pub(crate) context: Cell<u32>,
    /// A response's head is on its way.
    pub(crate) in_response: bool,
    pub(crate) brought: Brought,
    /// What is to be done afterwards, and to which stream.
    pub(crate) actions: RefCell<Vec<(u32, Action)>>,
}

impl NativeHost<'_> {
    /// The filter of the stream at hand.
    fn filter(&self) -> Result<Filter, HostError> {
        self.filter.get().ok_or(ABSENT)
    }

    fn note(&self, action: Action) -> Result<(), HostError> {
        let context = self.filter().map(|_| self.context.get())?;
        let mut actions = self.actions.try_borrow_mut().map_err(|_| REFUSED)?;
        if actions.iter().any(|(of, _)| *of == context) {
            return Err(REFUSED);
        }
        actions.push((context, action));
        Ok(())
    }

    fn text(&self, attribute: u32) -> Option<Vec<u8>> {
        self.filter.get()?.text(attribute)
    }

    fn number(&self, attribute: u32) -> Option<Vec<u8>> {
        let number = self.filter.get()?.number(attribute)?;
        Some(number.to_le_bytes().to_vec())
    }

    /// `namespace NUL key` of the metadata of a route or a cluster: the core asks for what is true or false.
    fn metadata_bool(&self, source: u32, path: &[u8]) -> Option<Vec<u8>> {
        let end = path.iter().position(|byte| *byte == 0)?;
        let (namespace, key) = (path.get(..end)?, path.get(end + 1..)?);
        let metadata_bool = self.filter.get()?.metadata_bool(source, namespace, key)?;
        Some(vec![u8::from(metadata_bool)])
    }

    /// Whether filters have left anything under that name.
    fn left(&self, namespace: &[u8]) -> Option<Vec<u8>> {
        (self.filter.get()?.key_count(metadata::DYNAMIC, namespace) > 0).then(|| vec![1])
    }

    fn errand(&self, task: Task) {
        self.process.send_errand(Errand {
            owner: self.mailbox.number,
            task,
        });
    }
}

fn map_of(kind: MapKind) -> Result<u32, HostError> {
    match kind {
        MapKind::Request => Ok(map::REQUEST),
        MapKind::Response => Ok(map::RESPONSE),
        MapKind::ResponseTrailers => Ok(map::RESPONSE_TRAILERS),
        MapKind::CallResponse => Err(ABSENT),
    }
}

fn done(done: bool) -> Result<(), HostError> {
    if done { Ok(()) } else { Err(REFUSED) }
}

impl Clock for NativeHost<'_> {
    fn random(&self) -> u64 {
        // The standard library seeds each hasher from the system's random source, and counts up from there.
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0_u8)
    }

    fn now_ns(&self) -> u64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(0))
    }

    fn steady_ms(&self) -> u64 {
        // It runs on while the machine is suspended.
        let now = clock_gettime(ClockId::Boottime);
        let ms = now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000);
        u64::try_from(ms).unwrap_or(0)
    }

    fn log(&self, level: LogLevel, message: &str) {
        crate::abi::log(level as u32, message);
    }
}

impl SharedMap for NativeHost<'_> {
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)> {
        self.process.shared.get(key)
    }

    fn lend(&self, key: &[u8]) -> Option<(Bytes, Cas)> {
        self.process.shared.lend(key)
    }

    fn version(&self, key: &[u8]) -> Option<Cas> {
        self.process.shared.version(key)
    }

    fn set(&self, key: &[u8], value: &[u8], cas: Option<Cas>) -> Result<(), SetError> {
        self.process.shared.set(key, value, cas)
    }
}

impl Headers for NativeHost<'_> {
    fn header_map(&self, kind: MapKind) -> Result<Vec<u8>, HostError> {
        if kind == MapKind::CallResponse {
            return Ok(self.brought.fields.clone());
        }
        self.filter()?.lines(map_of(kind)?).ok_or(ABSENT)
    }

    fn add_header(&self, kind: MapKind, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        done(self.filter()?.add_line(map_of(kind)?, name, value))
    }

    fn replace_header(&self, kind: MapKind, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        done(self.filter()?.set_line(map_of(kind)?, name, Some(value)))
    }

    fn remove_header(&self, kind: MapKind, name: &[u8]) -> Result<(), HostError> {
        done(self.filter()?.set_line(map_of(kind)?, name, None))
    }
}

impl BodySource for NativeHost<'_> {
    fn shows_request_body(&self) -> bool {
        true
    }

    fn request_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        let mut content = self.filter()?.content(body::RECEIVED_REQUEST);
        content.truncate(size);
        Ok(content)
    }

    fn response_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        let mut content = self.filter()?.content(body::RECEIVED_RESPONSE);
        content.truncate(size);
        Ok(content)
    }
}

impl Properties for NativeHost<'_> {
    fn property(&self, path: &[u8]) -> Option<Vec<u8>> {
        const OF_CLUSTER: &[u8] = b"xds\0cluster_metadata\0filter_metadata\0";
        const OF_ROUTE: &[u8] = b"xds\0route_metadata\0filter_metadata\0";
        const OF_FILTERS: &[u8] = b"metadata\0filter_metadata\0";
        const OF_STREAM: &[u8] = b"filter_state\0";
        match path {
            b"xds\0cluster_name" => self.filter.get()?.cluster_name(),
            b"xds\0route_name" => self.text(attribute::ROUTE_NAME),
            b"response\0code_details" => self.text(attribute::RESPONSE_CODE_DETAILS),
            b"response\0flags" => self.number(attribute::RESPONSE_FLAGS),
            b"request\0size" => self.number(attribute::REQUEST_SIZE),
            b"request\0protocol" => self.text(attribute::REQUEST_PROTOCOL),
            b"source\0address" => self.text(attribute::SOURCE_ADDRESS),
            b"destination\0address" => self.text(attribute::DESTINATION_ADDRESS),
            b"upstream\0address" => self.text(attribute::UPSTREAM_ADDRESS),
            b"upstream\0local_address" => self.text(attribute::UPSTREAM_LOCAL_ADDRESS),
            _ => None
                .or_else(|| self.metadata_bool(metadata::CLUSTER, path.strip_prefix(OF_CLUSTER)?))
                .or_else(|| self.metadata_bool(metadata::ROUTE, path.strip_prefix(OF_ROUTE)?))
                .or_else(|| self.left(path.strip_prefix(OF_FILTERS)?))
                .or_else(|| self.filter.get()?.state(path.strip_prefix(OF_STREAM)?)),
        }
    }

    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), HostError> {
        // Under the name that it has in the Wasm filter, so that access logs are the same.
        done(self.filter()?.set_state(&[b"wasm.", path].concat(), value))
    }
}

impl Streams for NativeHost<'_> {
    fn reply(&self, reply: &LocalReply<'_>) -> Result<(), HostError> {
        self.note(Action::Reply(Reply {
            status: reply.status,
            fields: reply.fields.to_vec(),
            body: owned_body(reply),
            details: reply.details.to_owned(),
            in_place: self.in_response,
        }))
    }

    fn resume_request(&self) -> Result<(), HostError> {
        self.note(Action::Resume)
    }

    fn enter(&self, context: u32) -> Result<(), HostError> {
        let waiting = self.waiting.get(&context).ok_or(ABSENT)?;
        self.filter.set(Some(waiting.filter()));
        self.context.set(context);
        Ok(())
    }
}

impl Queues for NativeHost<'_> {
    fn register_queue(&self, _name: &[u8]) -> Result<u32, HostError> {
        Ok(self.mailbox.number)
    }

    fn enqueue(&self, queue: u32, item: &[u8]) -> Result<(), HostError> {
        let mailbox = self.process.mailbox(queue).ok_or(ABSENT)?;
        mailbox.wake(item.to_vec());
        self.process.ring(&mailbox);
        Ok(())
    }

    fn dequeue(&self, queue: u32) -> Option<Vec<u8>> {
        (queue == self.mailbox.number).then(|| self.mailbox.next_wake())?
    }

    fn set_tick_ms(&self, _period_ms: u32) -> Result<(), HostError> {
        // The process has one clock for all its workers, which runs already.
        Ok(())
    }
}

impl Metrics for NativeHost<'_> {
    fn define_counter(&self, name: &str) -> Result<u32, HostError> {
        self.process.statistics.find(name).ok_or(ABSENT)
    }

    fn define_gauge(&self, _name: &str) -> Result<u32, HostError> {
        Err(ABSENT)
    }

    fn increment(&self, id: u32, by: i64) {
        self.process.statistics.add(id, u64::try_from(by).unwrap_or(0));
    }

    fn record(&self, _id: u32, _value: u64) {}
}

/// The cluster in a serialized `GrpcService { envoy_grpc { cluster_name } }`, as the core names targets.
fn cluster_in(target: &str) -> Option<&str> {
    let (head, cluster) = target.split_at_checked(4)?;
    let [b'\n', outer, b'\n', inner] = head.as_bytes() else {
        return None;
    };
    let fits = usize::from(*inner) == cluster.len() && usize::from(*outer) == cluster.len() + 2;
    fits.then_some(cluster)
}

impl ControlTransport for NativeHost<'_> {
    fn open_stream(&self, target: &str, service: &str, method: &str) -> Result<u32, HostError> {
        let cluster = cluster_in(target).ok_or(REFUSED)?.to_owned();
        let number = self.process.next_number();
        self.process.links.open(number);
        self.errand(Task::Open {
            number,
            cluster,
            path: format!("/{service}/{method}"),
        });
        Ok(number)
    }

    fn send(&self, stream: u32, message: &[u8]) -> Result<(), HostError> {
        if !self.process.links.is_open(stream) {
            return Err(ABSENT);
        }
        self.errand(Task::Send {
            number: stream,
            message: crate::grpc::frame(message),
        });
        Ok(())
    }

    fn cancel(&self, stream: u32) {
        self.errand(Task::Cancel { number: stream });
    }

    fn message(&self, size: usize) -> Result<Vec<u8>, HostError> {
        self.call_body(size)
    }
}

impl Callouts for NativeHost<'_> {
    fn call(&self, cluster: &str, fields: Vec<(&str, &[u8])>, timeout: Duration) -> Result<u32, CallError> {
        let number = self.process.next_number();
        self.errand(Task::Call {
            number,
            cluster: cluster.to_owned(),
            fields: fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_vec()))
                .collect(),
            timeout,
        });
        Ok(number)
    }

    fn grpc_call(
        &self,
        target: &str,
        service: &str,
        method: &str,
        message: &[u8],
        timeout: Duration,
    ) -> Result<u32, HostError> {
        let cluster = cluster_in(target).ok_or(REFUSED)?.to_owned();
        let number = self.process.next_number();
        self.errand(Task::Ask {
            number,
            cluster,
            path: format!("/{service}/{method}"),
            message: crate::grpc::frame(message),
            timeout,
        });
        Ok(number)
    }

    fn call_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        let mut content = self.brought.content.try_borrow_mut().map_err(|_| REFUSED)?;
        let mut content = std::mem::take(&mut *content);
        content.truncate(size);
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_of_a_target_is_read() {
        assert_eq!(cluster_in("\u{a}\u{7}\u{a}\u{5}plane"), Some("plane"));
        for odd in ["", "plane", "\u{a}\u{7}\u{a}\u{5}plan", "\u{a}\u{7}\u{b}\u{5}plane"] {
            assert_eq!(cluster_in(odd), None, "{odd:?}");
        }
    }
}
