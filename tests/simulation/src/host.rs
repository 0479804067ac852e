//! The host of one VM: shared data of its process, its own streams, and what it asks of the world.

use filter_core::driver::host::header_map::{MapWriter, parse};
use filter_core::driver::host::{
    BodySource, CallError, Callouts, Clock, ControlTransport, Headers, HostError, LocalReply, LogLevel, MapKind,
    Metrics, Properties, Queues, Streams,
};
use filter_core::shared_map::{Cas, MemoryMap, SetError, SharedMap};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// What a VM dies with when the scheduler says so: in the middle of a callback, between two host calls.
#[derive(Debug, Clone, Copy)]
pub struct Dies;

/// What a VM has asked of the world in a callback.
#[derive(Debug)]
pub enum Effect {
    /// A control stream.
    Open(u32),
    /// A message on it.
    Send(u32, Vec<u8>),
    /// It is given up.
    Cancel(u32),
    /// It has a queue of this number.
    Queue(u32),
    /// Something for another VM's queue, or its own.
    Wake(u32),
    /// The current stream is answered: its context, the status and the content.
    Reply(u32, u16, Vec<u8>),
    /// A call to the shared tier: its number, the method, the message, and how long it may take, milliseconds.
    Call(u32, String, Vec<u8>, u64),
    /// A paused stream goes on.
    Resume(u32),
}

/// What all VMs of an Envoy process have in common.
#[derive(Debug, Default)]
pub struct Process {
    /// Envoy's shared data.
    pub map: MemoryMap,
    /// The clock of its machine, milliseconds since 1970.
    pub clock_ms: Cell<u64>,
    /// Its clock that nobody sets, milliseconds.
    pub steady_ms: Cell<u64>,
    /// Queues by name, and what is in them.
    names: RefCell<BTreeMap<Vec<u8>, u32>>,
    items: RefCell<BTreeMap<u32, Vec<Vec<u8>>>>,
    random: Cell<u64>,
    next_stream: Cell<u32>,
}

impl Process {
    /// A process whose chance comes from a seed.
    #[must_use]
    pub fn new(seed: u64, clock_ms: u64, steady_ms: u64) -> Self {
        let process = Self::default();
        process.random.set(seed);
        process.clock_ms.set(clock_ms);
        process.steady_ms.set(steady_ms);
        process
    }
}

type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// The host as one VM sees it.
#[derive(Debug)]
pub struct SimHost {
    /// Its process.
    pub process: Rc<Process>,
    /// What it asked for.
    pub effects: RefCell<Vec<Effect>>,
    /// The message of this callback.
    pub incoming: RefCell<Vec<u8>>,
    /// The content of this callback.
    pub body: RefCell<Vec<u8>>,
    /// The stream of this callback.
    pub current: Cell<u32>,
    request: RefCell<BTreeMap<u32, Lines>>,
    response: RefCell<BTreeMap<u32, Lines>>,
    /// Host calls until it dies.
    left: Cell<Option<u64>>,
}

impl SimHost {
    /// The host of a VM that starts.
    #[must_use]
    pub fn new(process: Rc<Process>) -> Self {
        Self {
            process,
            effects: RefCell::default(),
            incoming: RefCell::default(),
            body: RefCell::default(),
            current: Cell::default(),
            request: RefCell::default(),
            response: RefCell::default(),
            left: Cell::default(),
        }
    }

    /// It dies after so many more calls, whatever it is doing.
    pub fn die_after(&self, calls: u64) {
        self.left.set(Some(calls));
    }

    /// The head of a stream's request.
    pub fn set_request(&self, context: u32, fields: &[(&str, &str)]) {
        self.request.borrow_mut().insert(context, lines(fields));
    }

    /// The head of a stream's response.
    pub fn set_response(&self, context: u32, fields: &[(&str, &str)]) {
        self.response.borrow_mut().insert(context, lines(fields));
    }

    /// A stream is over.
    pub fn forget(&self, context: u32) {
        self.request.borrow_mut().remove(&context);
        self.response.borrow_mut().remove(&context);
    }

    fn called(&self) {
        if let Some(left) = self.left.get() {
            if left == 0 {
                // As a trap: nothing is cleaned up, and no panic hook has a word in it.
                std::panic::resume_unwind(Box::new(Dies));
            }
            self.left.set(Some(left - 1));
        }
    }

    fn ask(&self, effect: Effect) {
        self.effects.borrow_mut().push(effect);
    }

    fn edit(&self, kind: MapKind, edit: impl FnOnce(&mut Lines)) -> Result<(), HostError> {
        self.called();
        let maps = match kind {
            MapKind::Request => &self.request,
            MapKind::Response => &self.response,
            MapKind::ResponseTrailers | MapKind::CallResponse => return Err(HostError(1)),
        };
        let mut maps = maps.borrow_mut();
        edit(maps.get_mut(&self.current.get()).ok_or(HostError(1))?);
        Ok(())
    }
}

fn lines(fields: &[(&str, &str)]) -> Lines {
    let pair = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    fields.iter().map(pair).collect()
}

impl SharedMap for SimHost {
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)> {
        self.called();
        self.process.map.get(key)
    }

    fn version(&self, key: &[u8]) -> Option<Cas> {
        self.called();
        self.process.map.version(key)
    }

    fn set(&self, key: &[u8], value: &[u8], cas: Option<Cas>) -> Result<(), SetError> {
        self.called();
        self.process.map.set(key, value, cas)
    }
}

impl Clock for SimHost {
    fn random(&self) -> u64 {
        let next = crate::random::Random::new(self.process.random.get()).draw();
        self.process.random.set(next);
        next
    }

    fn now_ns(&self) -> u64 {
        self.process.clock_ms.get() * 1_000_000
    }

    fn steady_ms(&self) -> u64 {
        self.process.steady_ms.get()
    }

    fn log(&self, _level: LogLevel, _message: &str) {}
}

impl Headers for SimHost {
    fn header_map(&self, kind: MapKind) -> Result<Vec<u8>, HostError> {
        let mut writer = MapWriter::default();
        self.edit(kind, |lines| {
            lines.iter().for_each(|(name, value)| writer.push(name, value))
        })?;
        Ok(writer.finish())
    }

    fn add_header(&self, kind: MapKind, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.edit(kind, |lines| lines.push((name.to_vec(), value.to_vec())))
    }

    fn replace_header(&self, kind: MapKind, name: &[u8], value: &[u8]) -> Result<(), HostError> {
        self.edit(kind, |lines| {
            lines.retain(|(found, _)| found != name);
            lines.push((name.to_vec(), value.to_vec()));
        })
    }

    fn remove_header(&self, kind: MapKind, name: &[u8]) -> Result<(), HostError> {
        self.edit(kind, |lines| lines.retain(|(found, _)| found != name))
    }
}

impl BodySource for SimHost {
    fn shows_request_body(&self) -> bool {
        false
    }

    fn request_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        self.response_body(size)
    }

    fn response_body(&self, size: usize) -> Result<Vec<u8>, HostError> {
        self.called();
        Ok(self.body.borrow().iter().take(size).copied().collect())
    }
}

impl Properties for SimHost {
    fn property(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.called();
        match path {
            b"xds\0cluster_name" => Some(b"api".to_vec()),
            b"response\0code_details" => Some(b"via_upstream".to_vec()),
            b"response\0flags" => Some(0_u64.to_le_bytes().to_vec()),
            _ => None,
        }
    }

    fn set_property(&self, _path: &[u8], _value: &[u8]) -> Result<(), HostError> {
        self.called();
        Ok(())
    }
}

impl Streams for SimHost {
    fn reply(&self, reply: &LocalReply<'_>) -> Result<(), HostError> {
        self.called();
        // The fields are read as Envoy would: what cannot be read is a fault of the filter.
        let _ = parse(reply.fields);
        self.ask(Effect::Reply(self.current.get(), reply.status, reply.body.to_vec()));
        Ok(())
    }

    fn resume_request(&self) -> Result<(), HostError> {
        self.called();
        self.ask(Effect::Resume(self.current.get()));
        Ok(())
    }

    fn enter(&self, context: u32) -> Result<(), HostError> {
        self.called();
        self.current.set(context);
        let there = self.request.borrow().contains_key(&context);
        if there { Ok(()) } else { Err(HostError(1)) }
    }
}

impl Queues for SimHost {
    fn register_queue(&self, name: &[u8]) -> Result<u32, HostError> {
        self.called();
        let mut names = self.process.names.borrow_mut();
        let next = u32::try_from(names.len()).unwrap_or(u32::MAX) + 1;
        let queue = *names.entry(name.to_vec()).or_insert(next);
        self.ask(Effect::Queue(queue));
        Ok(queue)
    }

    fn enqueue(&self, queue: u32, item: &[u8]) -> Result<(), HostError> {
        self.called();
        self.process
            .items
            .borrow_mut()
            .entry(queue)
            .or_default()
            .push(item.to_vec());
        self.ask(Effect::Wake(queue));
        Ok(())
    }

    fn dequeue(&self, queue: u32) -> Option<Vec<u8>> {
        self.called();
        let mut items = self.process.items.borrow_mut();
        let items = items.get_mut(&queue)?;
        (!items.is_empty()).then(|| items.remove(0))
    }

    fn set_tick_ms(&self, _period_ms: u32) -> Result<(), HostError> {
        self.called();
        Ok(())
    }
}

impl Metrics for SimHost {
    fn define_counter(&self, _name: &str) -> Result<u32, HostError> {
        Ok(0)
    }

    fn define_gauge(&self, _name: &str) -> Result<u32, HostError> {
        Ok(0)
    }

    fn increment(&self, _id: u32, _by: i64) {}

    fn record(&self, _id: u32, _value: u64) {}
}

impl ControlTransport for SimHost {
    fn open_stream(&self, _target: &str, _service: &str, _method: &str) -> Result<u32, HostError> {
        self.called();
        let stream = self.process.next_stream.get() + 1;
        self.process.next_stream.set(stream);
        self.ask(Effect::Open(stream));
        Ok(stream)
    }

    fn send(&self, stream: u32, message: &[u8]) -> Result<(), HostError> {
        self.called();
        self.ask(Effect::Send(stream, message.to_vec()));
        Ok(())
    }

    fn cancel(&self, stream: u32) {
        self.called();
        self.ask(Effect::Cancel(stream));
    }

    fn message(&self, _size: usize) -> Result<Vec<u8>, HostError> {
        self.called();
        Ok(self.incoming.borrow().clone())
    }
}

impl Callouts for SimHost {
    fn call(&self, _cluster: &str, _fields: Vec<(&str, &[u8])>, _timeout: Duration) -> Result<u32, CallError> {
        self.called();
        Err(CallError)
    }

    fn grpc_call(
        &self,
        _target: &str,
        _service: &str,
        method: &str,
        message: &[u8],
        timeout: Duration,
    ) -> Result<u32, HostError> {
        self.called();
        let number = self.process.next_stream.get() + 1;
        self.process.next_stream.set(number);
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.ask(Effect::Call(number, method.to_owned(), message.to_vec(), timeout_ms));
        Ok(number)
    }

    fn call_body(&self, _size: usize) -> Result<Vec<u8>, HostError> {
        Err(HostError(1))
    }
}
