//! What can happen.

use crate::faults::Kind;
use crate::redis::{Answer, Ask};
use crate::replica::{CallId, StreamId, Wire};

/// A VM in one of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) envoy: usize,
    /// Which life of the Envoy.
    pub(super) life: u32,
    pub(super) worker: usize,
    /// Which life of the VM.
    pub(super) born: u32,
}

/// One connection of a replica to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) seat: usize,
    pub(super) wire: Wire,
    /// No other one has this number.
    pub(super) number: u64,
}

#[derive(Debug)]
pub(super) enum Event {
    Tick(Place),
    Wake {
        envoy: usize,
        life: u32,
        queue: u32,
    },
    ToFilter {
        stream: StreamId,
        bytes: Vec<u8>,
    },
    FilterClosed {
        stream: StreamId,
    },
    ToControl {
        stream: StreamId,
        bytes: Vec<u8>,
    },
    ControlClosed {
        stream: StreamId,
    },
    AtOrigin {
        at: Place,
        context: u32,
        delay: u64,
    },
    /// An empty body: the filter has answered, and the stream ends.
    Response {
        at: Place,
        context: u32,
        body: String,
    },
    TierCall {
        call: CallId,
        method: String,
        message: Vec<u8>,
    },
    TierAnswer {
        call: CallId,
        status: u32,
        message: Vec<u8>,
    },
    RedisConnects {
        seat: usize,
        life: u64,
        wire: Wire,
    },
    ToRedis {
        line: Line,
        id: u64,
        ask: Ask,
        waited_ms: u64,
    },
    FromRedis {
        line: Line,
        id: u64,
        answer: Answer,
    },
    RedisLost {
        line: Line,
    },
    RedisStarts,
    RedisKeeps,
    Client,
    Operator,
    Look,
    Watch,
    Liar,
    Byzantine,
    Fault(Kind),
    Thaw {
        envoy: usize,
        life: u32,
    },
    Start {
        envoy: usize,
    },
    ReplicaStarts {
        seat: usize,
    },
}
