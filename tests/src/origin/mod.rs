//! A scriptable origin: answers as told, remembers what it was asked, dies and comes back on the same port.

mod connection;
mod reply;

pub use reply::{Framing, Gate, PARTS, Reply};

use crate::{Failure, Result, wait};
use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Method.
    pub method: String,
    /// Target, as sent.
    pub path: String,
    /// Field lines in order, names in lower case.
    pub fields: Vec<(String, String)>,
    /// Content.
    pub body: Vec<u8>,
    /// Which connection, counted from 1.
    pub connection: u64,
    /// When its head was complete.
    pub at: Instant,
}

impl Received {
    /// The first value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Decides the reply to a request.
pub type Script = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

/// What the threads of an origin share.
struct Shared {
    script: Mutex<Script>,
    received: Mutex<Vec<Received>>,
    open: Mutex<HashMap<u64, TcpStream>>,
    connections: AtomicU64,
    alive: AtomicBool,
}

/// An origin on a port of its own.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Origin {
    /// Starts an origin that answers by `script`.
    ///
    /// # Errors
    /// No port is to be had.
    pub fn start(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Result<Self> {
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            received: Mutex::default(),
            open: Mutex::default(),
            connections: AtomicU64::new(0),
            alive: AtomicBool::new(false),
        });
        let port = crate::ports::free_port()?;
        let mut origin = Self {
            address: (Ipv4Addr::LOCALHOST, port).into(),
            shared,
            listener: None,
        };
        origin.revive()?;
        Ok(origin)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers by another script from now on.
    pub fn script(&self, script: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *lock(&self.shared.script) = Arc::new(script);
    }

    /// All requests so far.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// How many requests there were for `path`.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        lock(&self.shared.received)
            .iter()
            .filter(|request| request.path == path)
            .count()
    }

    /// How many requests there were.
    #[must_use]
    pub fn total(&self) -> usize {
        lock(&self.shared.received).len()
    }

    /// Forgets the requests so far: an origin that runs for long needs its memory.
    pub fn forget(&self) {
        lock(&self.shared.received).clear();
    }

    /// How many connections there were.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Refuses connections from now on and cuts those that are open.
    pub fn die(&mut self) {
        self.shared.alive.store(false, Ordering::SeqCst);
        // Wakes the listener's thread, which then ends and closes the port.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.listener.take() {
            let _ = thread.join();
        }
        for (_, stream) in lock(&self.shared.open).drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens again on the same port.
    ///
    /// # Errors
    /// The port was taken by another.
    pub fn revive(&mut self) -> Result<()> {
        if self.listener.is_some() {
            return Ok(());
        }
        let listener = wait::until("the origin's port free", || TcpListener::bind(self.address).ok())
            .map_err(|error: Failure| error.during("starting the origin"))?;
        self.shared.alive.store(true, Ordering::SeqCst);
        let shared = Arc::clone(&self.shared);
        self.listener = Some(std::thread::spawn(move || accept(&listener, &shared)));
        Ok(())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.die();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if !shared.alive.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let id = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        if let Ok(copy) = stream.try_clone() {
            lock(&shared.open).insert(id, copy);
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // An error is the peer's end of the connection.
            let _ = connection::serve(&stream, id, &shared);
            let _ = stream.shutdown(Shutdown::Both);
            lock(&shared.open).remove(&id);
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A script that panics fails its test by the missing answer; the rest stays usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
