//! An origin whose answers take their time: event streams, WebSockets, long polls, slow downloads, over HTTP/1.1.

use crate::Result;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Between two pieces of what flows.
const PACE: Duration = Duration::from_millis(100);
/// Pieces after which a stream ends by itself, so that none outlives its story for long.
const PIECES: usize = 600;

/// The origin.
#[derive(Debug)]
pub struct StreamOrigin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    failing: AtomicBool,
    stopped: AtomicBool,
    asked: AtomicUsize,
}

impl StreamOrigin {
    /// Starts it, well.
    ///
    /// # Errors
    /// It cannot listen.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if theirs.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&theirs);
                // An error is the peer's end of the connection.
                std::thread::spawn(move || serve(&stream, &shared).is_ok());
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests there were.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// From now on every request is answered with 500, or none.
    pub fn fail(&self, failing: bool) {
        self.shared.failing.store(failing, Ordering::SeqCst);
    }
}

impl Drop for StreamOrigin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

struct Asked {
    path: String,
    upgrade: bool,
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader)? {
        shared.asked.fetch_add(1, Ordering::SeqCst);
        if shared.failing.load(Ordering::SeqCst) {
            stream.write_all(b"HTTP/1.1 500 Failing\r\ncontent-length: 0\r\n\r\n")?;
            continue;
        }
        let head: &[u8] = match asked.path.as_str() {
            path if path.ends_with("/events") => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n")?;
                let pieces = if path.contains("cut") { 1 } else { PIECES };
                return flow(stream, shared, b"9\r\ndata: 1\n\n\r\n", pieces);
            }
            path if path.ends_with("/download") => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
                let pieces = if path.contains("cut") { 1 } else { PIECES };
                return flow(stream, shared, b"0123456789", pieces);
            }
            path if path.ends_with("/silent") => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")?;
                return flow(stream, shared, b"", PIECES);
            }
            "/ws" if asked.upgrade => {
                stream.write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
                )?;
                return echo(stream, &mut reader);
            }
            "/ws" => {
                std::thread::sleep(PACE);
                b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncache-control: max-age=60\r\n\r\npage"
            }
            "/poll" => {
                std::thread::sleep(PACE * 30);
                b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncache-control: no-store\r\n\r\nnews"
            }
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncache-control: no-store\r\n\r\nwell",
        };
        stream.write_all(head)?;
    }
    Ok(())
}

/// The same piece over and over; then the connection closes, whatever was promised.
fn flow(mut stream: &TcpStream, shared: &Shared, piece: &[u8], pieces: usize) -> io::Result<()> {
    for _ in 0..pieces {
        if shared.stopped.load(Ordering::SeqCst) {
            break;
        }
        stream.write_all(piece)?;
        std::thread::sleep(PACE);
    }
    Ok(())
}

/// Sends back what comes; closes after a `.`, before the peer does.
fn echo(mut stream: &TcpStream, reader: &mut BufReader<&TcpStream>) -> io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        let size = reader.read(&mut buffer)?;
        let got = buffer.get(..size).unwrap_or_default();
        stream.write_all(got)?;
        if size == 0 || got.contains(&b'.') {
            return Ok(());
        }
    }
}

/// The next request; `None` at the connection's end.
fn read(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Asked>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut upgrade = false;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(Some(Asked { path, upgrade }));
        }
        upgrade |= line.to_ascii_lowercase().starts_with("upgrade:");
    }
}
