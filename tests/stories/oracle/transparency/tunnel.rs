//! The far end of tunnels that Envoy ends itself: no HTTP, it sends back what comes.

use super::origin::echo;
use e2e::Result;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Authorities of `CONNECT`: Envoy ends the tunnel; Envoy passes the request on.
pub(super) const AUTHORITIES: [&str; 2] = ["tunnel.example:443", "passed.example:443"];

/// It listens.
#[derive(Debug)]
pub(super) struct FarEnd {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl FarEnd {
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stopped);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if theirs.load(Ordering::SeqCst) {
                    return;
                }
                // An error is the peer's end of the connection.
                std::thread::spawn(move || echo(&stream, &mut BufReader::new(&stream)).is_ok());
            }
        });
        Ok(Self { address, stopped })
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}
