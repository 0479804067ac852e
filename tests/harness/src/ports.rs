//! Free ports.

use crate::{Failure, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below Linux's range for outgoing connections (32768 and up), so that no connection takes a port between its choice and its use.
const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port of the loopback interface on which nothing listens. Each call in a process gives another one; processes start at
/// different places.
///
/// # Errors
/// None of a thousand ports is free.
pub fn free_port() -> Result<u16> {
    let start = std::process::id().wrapping_mul(397);
    for _ in 0..1_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + start.wrapping_add(step) % COUNT).unwrap_or(0);
        if is_free(port) {
            return Ok(port);
        }
    }
    Err(Failure::new("no free port on the loopback interface"))
}

/// Whether nothing listens on this port of the loopback interface.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
