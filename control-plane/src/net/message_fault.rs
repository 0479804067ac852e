//! Why a stream of messages ended.

use tonic::{Code, Status};

/// What is wrong with a message, where a stream ended for that: too long or too many parts, or not to be decoded.
pub(crate) fn fault_of(status: &Status) -> Option<&'static str> {
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => Some("too_large"),
        Code::Internal if status.message().contains("decode") => Some("unreadable"),
        _ => None,
    }
}
