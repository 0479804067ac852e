//! The commands, one file each: what each asks, and what the answer means.

pub mod alerts;
pub mod breaker;
pub mod check;
pub mod context;
pub mod experiment;
pub mod explain;
pub mod optimize;
pub mod purge;
pub mod restore;
pub mod rollout;
pub mod settings;
pub mod snapshot;
pub mod tail;
pub mod top;
pub mod warm;
pub mod watch;
pub mod what_if;

use crate::client::Client;
use crate::connection::Connection;
use crate::output::Output;

/// What a command has at hand: the control plane that is meant, and where answers go.
#[derive(Debug)]
pub struct Session {
    /// Which control plane.
    pub connection: Connection,
    /// Asks it.
    pub client: Client,
    /// Where answers go.
    pub output: Output,
}

/// One segment of a path, percent-encoded.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_one_segment() {
        assert_eq!(segment("orders/checkout?x"), "orders%2Fcheckout%3Fx");
        assert_eq!(segment("payment-api_1.v2~"), "payment-api_1.v2~");
    }
}
