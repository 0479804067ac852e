//! A way to a server on which answers can be held up.

use crate::Result;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Passes bytes on in both directions; every byte of an answer comes so much later. Its threads end with their connections.
#[derive(Clone, Debug)]
pub struct Relay {
    address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
}

impl Relay {
    /// Opens one to a port of the loopback interface, without delay.
    ///
    /// # Errors
    /// No port is free.
    pub fn open(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let relay = Self {
            address: listener.local_addr()?,
            delay_ms: Arc::default(),
        };
        let delay_ms = Arc::clone(&relay.delay_ms);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // One that cannot be reached closes the connection, as without a relay.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    let _ = pass(&client, &server, &Arc::default());
                    let _ = pass(&server, &client, &delay_ms);
                }
            }
        });
        Ok(relay)
    }

    /// The port that stands for the server's.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on answers come so much later.
    pub fn delay(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(ms, Ordering::SeqCst);
    }
}

/// Passes on what comes, each piece after the delay at its arrival: what is late does not hold up what follows.
fn pass(from: &TcpStream, to: &TcpStream, delay_ms: &Arc<AtomicU64>) -> Result<()> {
    let (mut from, mut to, delay_ms) = (from.try_clone()?, to.try_clone()?, Arc::clone(delay_ms));
    to.set_nodelay(true)?;
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut piece = vec![0; 64 << 10];
        while let Ok(length) = from.read(&mut piece) {
            let due = Instant::now() + Duration::from_millis(delay_ms.load(Ordering::SeqCst));
            let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else {
                return;
            };
            if sender.send((due, read.to_vec())).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (due, piece) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        // An error means that it is closed.
        let _ = to.shutdown(Shutdown::Both);
    });
    Ok(())
}
