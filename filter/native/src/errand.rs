//! What only the main thread can do for a worker: calls and streams to clusters, by way of a filter configuration.

use crate::abi::Header;
use crate::envoy::Config;
use crate::grpc;
use crate::links::{Kind, Links};
use crate::note::Note;
use std::time::Duration;

/// Something to be done, and for which worker.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) owner: u32,
    pub(crate) task: Task,
}

/// What is to be done. Messages are in their frames.
#[derive(Debug)]
pub(crate) enum Task {
    /// Open a stream of messages.
    Open { number: u32, cluster: String, path: String },
    /// Send one on it.
    Send { number: u32, message: Vec<u8> },
    /// Give it up.
    Cancel { number: u32 },
    /// Make a unary gRPC call.
    Ask {
        number: u32,
        cluster: String,
        path: String,
        message: Vec<u8>,
        timeout: Duration,
    },
    /// Make a request without content.
    Call {
        number: u32,
        cluster: String,
        fields: Vec<(String, Vec<u8>)>,
        timeout: Duration,
    },
}

impl Errand {
    /// Does it, on the main thread, and answers what the owner is to be told at once.
    pub(crate) fn run(self, config: &Config, links: &Links) -> Option<Note> {
        let owner = self.owner;
        match self.task {
            Task::Open { number, cluster, path } => {
                links.begin(number, owner, Kind::Stream);
                links.begun(config.address(), start(config, &cluster, &path, None), number)
            }
            Task::Ask {
                number,
                cluster,
                path,
                message,
                timeout,
            } => {
                links.begin(number, owner, Kind::Unary);
                let started = start(config, &cluster, &path, Some((&message, timeout)));
                links.begun(config.address(), started, number)
            }
            Task::Send { number, message } => {
                config.send(links.id_of(config.address(), number)?, &message);
                None
            }
            Task::Cancel { number } => {
                // First forgotten: of a stream given up nothing more is told.
                config.reset(links.forget(config.address(), number)?);
                None
            }
            Task::Call {
                number,
                cluster,
                fields,
                timeout,
            } => {
                links.begin(number, owner, Kind::Call);
                let headers: Vec<Header> = fields
                    .iter()
                    .map(|(name, value)| Header::of(name.as_bytes(), value))
                    .collect();
                links.begun(config.address(), config.call(&cluster, &headers, timeout), number)
            }
        }
    }

    /// What its owner is told where there is nobody to do it.
    pub(crate) fn fail(self, links: &Links) -> Option<Note> {
        match self.task {
            Task::Open { number, .. } => {
                links.close(number);
                Some(Note::Closed {
                    stream: number,
                    status: grpc::UNAVAILABLE,
                })
            }
            Task::Ask { number, .. } => Some(Note::Asked {
                number,
                status: grpc::UNAVAILABLE,
                message: Vec::new(),
            }),
            Task::Call { number, .. } => Some(Note::Refused { number }),
            Task::Send { .. } | Task::Cancel { .. } => None,
        }
    }
}

/// Starts a gRPC call: with its one message and a time limit, or open.
fn start(config: &Config, cluster: &str, path: &str, message: Option<(&[u8], Duration)>) -> Option<u64> {
    let headers = [
        Header::of(b":method", b"POST"),
        Header::of(b":scheme", b"http"),
        Header::of(b":authority", cluster.as_bytes()),
        Header::of(b":path", path.as_bytes()),
        Header::of(b"content-type", b"application/grpc"),
        Header::of(b"te", b"trailers"),
    ];
    config.start_stream(cluster, &headers, message)
}
