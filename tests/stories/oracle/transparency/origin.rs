//! An origin that answers by its paths' habits and keeps a log of what it sent.

use super::framing::{EVENTS, Framing, PACE, event};
use super::habits::{self, Habit};
use super::history::{Entry, History};
use e2e::Result;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug)]
struct Shared {
    history: Arc<History>,
    versions: Mutex<HashMap<String, usize>>,
    stopped: AtomicBool,
    connections: AtomicUsize,
}

/// The origin.
#[derive(Debug)]
pub(super) struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Origin {
    /// Starts it; what it sends is noted there.
    pub(super) fn start(history: Arc<History>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            history,
            versions: Mutex::default(),
            stopped: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
        });
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if theirs.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&theirs);
                shared.connections.fetch_add(1, Ordering::SeqCst);
                // An error is the peer's end of the connection.
                std::thread::spawn(move || serve(&stream, &shared).is_ok());
            }
        });
        Ok(Self { address, shared })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Received {
    method: String,
    path: String,
    fields: Vec<(String, String)>,
    content: usize,
}

impl Received {
    fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self.fields.iter().filter(|(given, _)| given == name).collect();
        let joined = values
            .iter()
            .map(|(_, value)| value.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        (!values.is_empty()).then_some(joined)
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(stream, &mut reader)? {
        if request.method == "CONNECT" {
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
            return echo(stream, &mut reader);
        }
        let upgrade = request.header("upgrade").unwrap_or_default();
        if upgrade.eq_ignore_ascii_case("websocket") {
            let entry = reply(habits::of(&request.path), &request, 0, false, true).entry;
            shared.history.push(Entry { status: 101, ..entry });
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")?;
            return echo(stream, &mut reader);
        }
        if !answer(stream, shared, &request)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Sends back what comes; closes after a `.`.
pub(super) fn echo(mut stream: &TcpStream, reader: &mut BufReader<&TcpStream>) -> io::Result<()> {
    let mut buffer = [0; 256];
    loop {
        let size = reader.read(&mut buffer)?;
        let got = buffer.get(..size).unwrap_or_default();
        stream.write_all(got)?;
        if size == 0 || got.contains(&b'.') {
            return Ok(());
        }
    }
}

fn line(reader: &mut BufReader<&TcpStream>) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.read_until(b'\n', &mut bytes)?;
    Ok(String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned())
}

/// The next request; `None` at the connection's end.
fn read(mut stream: &TcpStream, reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Received>> {
    let first = line(reader)?;
    let mut words = first.split(' ');
    let (Some(method), Some(path)) = (words.next().filter(|word| !word.is_empty()), words.next()) else {
        return Ok(None);
    };
    let mut fields = Vec::new();
    while let Some((name, value)) = line(reader)?.split_once(':') {
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut request = Received {
        method,
        path,
        fields,
        content: 0,
    };
    if request
        .header("expect")
        .is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut content = Vec::new();
    if request.header("transfer-encoding").is_some() {
        loop {
            let size = u64::from_str_radix(line(reader)?.trim(), 16).map_err(io::Error::other)?;
            reader.by_ref().take(size).read_to_end(&mut content)?;
            if size == 0 {
                // Trailers, to the empty line.
                while !line(reader)?.is_empty() {}
                break;
            }
            line(reader)?;
        }
    } else if let Some(length) = request.header("content-length") {
        let length = length.parse().map_err(io::Error::other)?;
        reader.by_ref().take(length).read_to_end(&mut content)?;
    }
    request.content = content.len();
    Ok(Some(request))
}

/// Whether the connection can be used on.
fn answer(mut stream: &TcpStream, shared: &Shared, request: &Received) -> io::Result<bool> {
    let habit = habits::of(&request.path);
    std::thread::sleep(habit.delay);
    let unsafe_method = !matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS");
    let (failing, _) = shared.history.phase(habit, Instant::now());
    let version = {
        let mut versions = lock(&shared.versions);
        let version = versions.entry(request.path.clone()).or_insert(1);
        *version += usize::from(unsafe_method && !failing);
        *version
    };
    if habit.hints {
        stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n")?;
    }
    let mut reply = reply(habit, request, version, failing, unsafe_method);
    let last_of_path = request.path.bytes().last().unwrap_or_default();
    let nothing = failing && habit.framing != Framing::Cut && last_of_path.is_multiple_of(2);
    let bare = request.method == "HEAD" || matches!(reply.entry.status, 204 | 304);
    let framing = match reply.entry.status {
        _ if bare && habit.framing == Framing::Close => Framing::Length,
        304 | 204 => Framing::Close,
        206 | 400.. => Framing::Length,
        _ => habit.framing,
    };
    // Content that is not sent, or in part, cannot break off.
    reply.entry.failed = failing && (habit.framing != Framing::Cut || framing == Framing::Cut && !bare);
    let serial = shared.history.push(reply.entry.clone());
    if nothing {
        return Ok(false);
    }
    let mut head = format!("HTTP/1.1 {} Told\r\nx-serial: {serial}\r\n", reply.entry.status);
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let _ = write!(head, "date: {date}\r\n");
    for (name, value) in &reply.entry.fields {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    match framing {
        Framing::Length | Framing::Cut => {
            let _ = write!(head, "content-length: {}\r\n", reply.content.len());
        }
        Framing::Chunked | Framing::Events | Framing::EventsCut | Framing::Trailers => {
            head.push_str("transfer-encoding: chunked\r\n")
        }
        Framing::Close if !bare => head.push_str("connection: close\r\n"),
        Framing::Close => {}
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if bare {
        return Ok(true);
    }
    send(stream, framing, &reply.content, failing)
}

struct Reply {
    entry: Entry,
    content: Vec<u8>,
}

fn reply(habit: &Habit, request: &Received, version: usize, failing: bool, unsafe_method: bool) -> Reply {
    let variant = habit.variant(|name| request.header(name));
    let tag = habit.entity_tag(version, &variant);
    let mut status = habit.status;
    let mut content = habit.content(&request.path, version, &variant);
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: &str| fields.push((name.to_owned(), value.to_owned()));
    add("x-version", &version.to_string());
    if failing && habit.framing != Framing::Cut {
        status = 500;
        content = b"out of order".to_vec();
        add("content-type", "text/plain");
    } else if unsafe_method || request.method == "OPTIONS" {
        status = 200;
        content = format!("taken {} {} bytes", request.method, request.content).into_bytes();
        add("content-type", "text/plain");
    } else {
        habit.fields.iter().for_each(|(name, value)| add(name, value));
        if variant.iter().any(|(_, value)| value == "gzip") {
            add("content-encoding", "gzip");
        }
        if habit.tag {
            add("etag", &tag);
            let asked = request.header("if-none-match");
            if asked
                .is_some_and(|asked| asked == "*" || asked.split(", ").any(|one| one.trim_start_matches("W/") == tag))
            {
                status = 304;
            } else if let Some((first, last)) = range(request, &tag, content.len()) {
                status = 206;
                add("content-range", &format!("bytes {first}-{last}/{}", content.len()));
                content = content.get(first..=last).unwrap_or_default().to_vec();
            }
        }
    }
    let entry = Entry {
        ask: request.header("x-ask").unwrap_or_default(),
        path: request.path.clone(),
        method: request.method.clone(),
        status,
        version,
        variant,
        fields,
        at: Instant::now(),
        failed: failing,
        authorized: request.header("authorization").is_some(),
    };
    Reply { entry, content }
}

/// A single range that can be given; anything else gets the whole.
fn range(request: &Received, tag: &str, size: usize) -> Option<(usize, usize)> {
    if request.method != "GET" || request.header("if-range").is_some_and(|asked| asked != tag) {
        return None;
    }
    let range = request.header("range")?;
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => (first, last.min(size.checked_sub(1)?)),
        (Ok(first), Err(_)) if last.is_empty() => (first, size.checked_sub(1)?),
        (Err(_), Ok(suffix)) if suffix > 0 => (size.saturating_sub(suffix), size.checked_sub(1)?),
        _ => return None,
    };
    (first <= last && first < size).then_some((first, last))
}

fn send(mut stream: &TcpStream, framing: Framing, content: &[u8], failing: bool) -> io::Result<bool> {
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    match framing {
        Framing::Length => stream.write_all(content)?,
        Framing::Cut if failing => {
            stream.write_all(content.get(..content.len() / 2).unwrap_or_default())?;
            return Ok(false);
        }
        Framing::Cut => stream.write_all(content)?,
        Framing::Close => {
            stream.write_all(content)?;
            return Ok(false);
        }
        Framing::Events | Framing::EventsCut => {
            for number in 0..EVENTS {
                stream.write_all(&chunk(&event(number)))?;
                std::thread::sleep(PACE);
            }
            if framing == Framing::EventsCut {
                return Ok(false);
            }
            stream.write_all(b"0\r\n\r\n")?;
        }
        Framing::Chunked => {
            for part in content.chunks(7_000) {
                stream.write_all(&chunk(part))?;
            }
            stream.write_all(b"0\r\n\r\n")?;
        }
        Framing::Trailers => {
            stream.write_all(&chunk(content))?;
            stream.write_all(b"0\r\nx-sum: 42\r\nx-end: well\r\n\r\n")?;
        }
    }
    Ok(true)
}
