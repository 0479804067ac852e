//! What the driver needs of a host, as small ports. Bytes in, `Result` out; an implementation never panics.

pub(super) mod ctx;
pub mod header_map;

use crate::Millis;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// The host's own status code for a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostError(pub u32);

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host status {}", self.0)
    }
}

/// A background request that could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallError;

/// Severity of a log line, with the host's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// For the operator, normal.
    Info = 2,
    /// For the operator, unusual.
    Warn = 3,
    /// For the operator, broken.
    Error = 4,
}

/// Which of a stream's header maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// Fields of the client's request.
    Request = 0,
    /// Fields of the response to the client.
    Response = 2,
    /// Trailers of the response to the client.
    ResponseTrailers = 3,
    /// Fields of the answer to a background request.
    CallResponse = 6,
}

/// A response that the filter makes itself.
#[derive(Debug, Clone, Copy)]
pub struct LocalReply<'a> {
    /// HTTP status.
    pub status: u16,
    /// Serialized header map, see [`header_map`].
    pub fields: &'a [u8],
    /// Content.
    pub body: &'a [u8],
    /// The memory that the content is a part of, for a host that keeps it and does not copy.
    pub memory: Option<&'a Bytes>,
    /// Envoy's `response_code_details` of the reply.
    pub details: &'a str,
}

/// Time, chance and log.
pub trait Clock {
    /// An unpredictable number.
    fn random(&self) -> u64;
    /// Nanoseconds since the Unix epoch; 0 when the host has no clock.
    fn now_ns(&self) -> u64;
    /// Milliseconds since some moment, the same for all VMs of a process, on a clock that nobody sets.
    fn steady_ms(&self) -> Millis;
    /// One line in the host's log.
    fn log(&self, level: LogLevel, message: &str);
}

/// Header maps of the stream in whose callback we are.
pub trait Headers {
    /// The whole map in the host's serialization.
    ///
    /// # Errors
    /// When the map is not there in this phase.
    fn header_map(&self, kind: MapKind) -> Result<Vec<u8>, HostError>;
    /// Appends a field line.
    ///
    /// # Errors
    /// When the map is not there in this phase.
    fn add_header(&self, kind: MapKind, name: &[u8], value: &[u8]) -> Result<(), HostError>;
    /// Replaces all lines of a field by one.
    ///
    /// # Errors
    /// When the map is not there in this phase.
    fn replace_header(&self, kind: MapKind, name: &[u8], value: &[u8]) -> Result<(), HostError>;
    /// Removes all lines of a field.
    ///
    /// # Errors
    /// When the map is not there in this phase.
    fn remove_header(&self, kind: MapKind, name: &[u8]) -> Result<(), HostError>;
}

/// Content passing through the stream.
pub trait BodySource {
    /// Whether a request whose head has stopped with [`super::exchange::Flow::Collect`] shows its content.
    fn shows_request_body(&self) -> bool;
    /// The chunk of the request's content of this callback.
    ///
    /// # Errors
    /// When there is none.
    fn request_body(&self, size: usize) -> Result<Vec<u8>, HostError>;
    /// The chunk of this callback.
    ///
    /// # Errors
    /// When there is none.
    fn response_body(&self, size: usize) -> Result<Vec<u8>, HostError>;
}

/// Envoy's attributes of a stream.
pub trait Properties {
    /// The attribute at a path whose parts are separated by NUL; `None` when absent.
    fn property(&self, path: &[u8]) -> Option<Vec<u8>>;
    /// Sets a property of ours on the stream, for Envoy's access log: `FILTER_STATE(wasm.<path>:PLAIN)`.
    ///
    /// # Errors
    /// When the host refuses.
    fn set_property(&self, path: &[u8], value: &[u8]) -> Result<(), HostError>;
}

/// Answering and resuming streams.
pub trait Streams {
    /// Answers the current stream. For another stream than the callback's own: only from a root callback after [`Streams::enter`],
    /// else the current stream's iteration stops.
    ///
    /// # Errors
    /// When the stream is gone or already answered.
    fn reply(&self, reply: &LocalReply<'_>) -> Result<(), HostError>;
    /// Lets a paused request go on.
    ///
    /// # Errors
    /// When the stream is gone.
    fn resume_request(&self) -> Result<(), HostError>;
    /// Makes another context the current one.
    ///
    /// # Errors
    /// When that context is gone.
    fn enter(&self, context: u32) -> Result<(), HostError>;
}

/// Wake-ups between VMs, and the tick.
pub trait Queues {
    /// Registers (or finds) the queue of that name; this VM becomes its consumer.
    ///
    /// # Errors
    /// When the host refuses.
    fn register_queue(&self, name: &[u8]) -> Result<u32, HostError>;
    /// Appends an item; its consumer is called back.
    ///
    /// # Errors
    /// When the queue is unknown.
    fn enqueue(&self, queue: u32, item: &[u8]) -> Result<(), HostError>;
    /// Takes the oldest item.
    fn dequeue(&self, queue: u32) -> Option<Vec<u8>>;
    /// Period of this VM's tick.
    ///
    /// # Errors
    /// When the host refuses.
    fn set_tick_ms(&self, period_ms: u32) -> Result<(), HostError>;
}

/// Envoy's own statistics.
pub trait Metrics {
    /// Defines a counter.
    ///
    /// # Errors
    /// When the host refuses the name.
    fn define_counter(&self, name: &str) -> Result<u32, HostError>;
    /// Defines a gauge.
    ///
    /// # Errors
    /// When the host refuses the name.
    fn define_gauge(&self, name: &str) -> Result<u32, HostError>;
    /// Adds to a counter.
    fn increment(&self, id: u32, by: i64);
    /// Sets a gauge.
    fn record(&self, id: u32, value: u64);
}

/// All ports together.
pub trait Host:
    crate::shared_map::SharedMap
    + BodySource
    + Callouts
    + Clock
    + ControlTransport
    + Headers
    + Metrics
    + Properties
    + Queues
    + Streams
{
}

impl<T> Host for T where
    T: crate::shared_map::SharedMap
        + BodySource
        + Callouts
        + Clock
        + ControlTransport
        + Headers
        + Metrics
        + Properties
        + Queues
        + Streams
{
}

/// The gRPC stream to the control plane.
pub trait ControlTransport {
    /// Opens a bidirectional stream. `target` is a serialized `envoy.config.core.v3.GrpcService`: a bare cluster name is first
    /// parsed as one, and a name that happens to parse aborts Envoy.
    ///
    /// # Errors
    /// When the cluster is unknown or cannot be used.
    fn open_stream(&self, target: &str, service: &str, method: &str) -> Result<u32, HostError>;
    /// Sends one message.
    ///
    /// # Errors
    /// When the stream is gone.
    fn send(&self, stream: u32, message: &[u8]) -> Result<(), HostError>;
    /// Gives the stream up; no close callback follows.
    fn cancel(&self, stream: u32);
    /// The message of this callback.
    ///
    /// # Errors
    /// When there is none.
    fn message(&self, size: usize) -> Result<Vec<u8>, HostError>;
}

/// Requests of our own to an upstream.
pub trait Callouts {
    /// Starts a request without content. Only from a root callback.
    ///
    /// # Errors
    /// When the cluster is unknown, or a field value is no text (the SDK's call takes text only).
    fn call(&self, cluster: &str, fields: Vec<(&str, &[u8])>, timeout: Duration) -> Result<u32, CallError>;
    /// Starts a unary gRPC call; its answer is a message of [`ControlTransport::message`]. `target` as for
    /// [`ControlTransport::open_stream`]. Only from a root callback.
    ///
    /// # Errors
    /// When the cluster is unknown or cannot be used.
    fn grpc_call(
        &self,
        target: &str,
        service: &str,
        method: &str,
        message: &[u8],
        timeout: Duration,
    ) -> Result<u32, HostError>;
    /// Content of the answer in this callback.
    ///
    /// # Errors
    /// When there is none.
    fn call_body(&self, size: usize) -> Result<Vec<u8>, HostError>;
}
