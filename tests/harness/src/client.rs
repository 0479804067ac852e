//! An HTTP/1.1 client that can send what no well-behaved client would.

use crate::{Failure, Result};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest silence of a peer.
const SILENCE: Duration = Duration::from_secs(20);

/// A request, written as given.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    fields: FieldLines,
    body: Vec<u8>,
}

impl Request {
    /// A request with `method` for `path`.
    #[must_use]
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            fields: Vec::new(),
            body: Vec::new(),
        }
    }

    /// GET.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// Adds a field line. `Host` is added by itself unless given.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Sets the body; `Content-Length` is added by itself unless given.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Whether a field was added.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(given, _)| given.eq_ignore_ascii_case(name))
    }

    /// As it goes over HTTP/1.1.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.path).into_bytes();
        if !self.has("host") {
            out.extend_from_slice(b"host: api.example\r\n");
        }
        if !self.has("content-length")
            && !self.has("transfer-encoding")
            && (!self.body.is_empty() || self.method == "POST")
        {
            out.extend_from_slice(format!("content-length: {}\r\n", self.body.len()).as_bytes());
        }
        for (name, value) in &self.fields {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        out
    }
}

/// Field lines in order: name and value.
pub type FieldLines = Vec<(String, Vec<u8>)>;

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Field lines in order, names in lower case.
    pub fields: FieldLines,
    /// The content, without chunk framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The values of a field, joined as one list; `None` without such a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self.fields.iter().filter(|(given, _)| given == name).collect();
        let text = values
            .iter()
            .map(|(_, value)| String::from_utf8_lossy(value))
            .collect::<Vec<_>>()
            .join(", ");
        (!values.is_empty()).then_some(text)
    }

    /// A field's value as a whole number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }

    /// What the filter says it did, without its own name: `hit; ttl=59`, `fwd=uri-miss; stored`. Empty if it says nothing.
    #[must_use]
    pub fn cache_status(&self) -> String {
        let whole = self.header("cache-status").unwrap_or_default();
        let member = whole
            .split(", ")
            .filter_map(|member| member.strip_prefix("api-optimizer; "))
            .last();
        member.unwrap_or_default().to_owned()
    }

    /// Whether the filter served this from the cache.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.cache_status().split("; ").any(|parameter| parameter == "hit")
    }

    /// The content as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The content as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Read and not used yet.
    ahead: Vec<u8>,
    received: u64,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .map_err(|error| Failure::from(error).during(&format!("connecting to {address}")))?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            ahead: Vec::new(),
            received: 0,
        })
    }

    /// How many bytes of the peer have come.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The peer closed.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends a request and reads its final response.
    ///
    /// # Errors
    /// No complete response.
    pub fn exchange(&mut self, request: &Request) -> Result<Response> {
        self.send(&request.bytes())?;
        self.response(&request.method)
    }

    /// Reads the next final response, to a request of `method`.
    ///
    /// # Errors
    /// The peer closes or falls silent before its end, or what it sends is no response.
    pub fn response(&mut self, method: &str) -> Result<Response> {
        loop {
            let (status, fields) = self.head()?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let mut response = Response {
                status,
                fields,
                body: Vec::new(),
            };
            response.body = self.content(method, &response)?;
            return Ok(response);
        }
    }

    /// Reads at least `size` bytes of whatever comes.
    ///
    /// # Errors
    /// The peer closes or falls silent before.
    pub fn read_at_least(&mut self, size: usize) -> Result<Vec<u8>> {
        while self.ahead.len() < size {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    fn head(&mut self) -> Result<(u16, FieldLines)> {
        let head = self.take_to(b"\r\n\r\n")?;
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
        let first = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status
            .filter(|_| first.starts_with("HTTP/1."))
            .ok_or_else(|| Failure::new("no status line"))?;
        let fields = lines.filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = String::from_utf8_lossy(line.get(..colon)?).to_ascii_lowercase();
            Some((name, line.get(colon + 1..)?.trim_ascii().to_vec()))
        });
        Ok((status, fields.collect()))
    }

    fn content(&mut self, method: &str, head: &Response) -> Result<Vec<u8>> {
        if method == "HEAD" || matches!(head.status, 101 | 204 | 304) {
            return Ok(Vec::new());
        }
        if head
            .header("transfer-encoding")
            .is_some_and(|coding| coding.ends_with("chunked"))
        {
            return self.chunks();
        }
        match head.number("content-length") {
            Some(length) => self.take(usize::try_from(length).unwrap_or(usize::MAX)),
            None => self.rest(),
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.take_to(b"\r\n")?;
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            let size = usize::from_str_radix(text.split(';').next().unwrap_or_default(), 16);
            let size = size.map_err(|_| Failure::new(format!("no chunk size: {text:?}")))?;
            if size == 0 {
                while self.take_to(b"\r\n")?.len() > 2 {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            self.take(2)?;
        }
    }

    fn take_to(&mut self, mark: &[u8]) -> Result<Vec<u8>> {
        let mut from = 0;
        loop {
            let found = self
                .ahead
                .get(from..)
                .and_then(|rest| rest.windows(mark.len()).position(|window| window == mark));
            if let Some(at) = found {
                return Ok(self.ahead.drain(..from + at + mark.len()).collect());
            }
            from = self.ahead.len().saturating_sub(mark.len() - 1);
            self.fill()?;
        }
    }

    fn take(&mut self, size: usize) -> Result<Vec<u8>> {
        while self.ahead.len() < size {
            self.fill()?;
        }
        Ok(self.ahead.drain(..size).collect())
    }

    fn rest(&mut self) -> Result<Vec<u8>> {
        let mut body = std::mem::take(&mut self.ahead);
        self.received += self.stream.read_to_end(&mut body)? as u64;
        Ok(body)
    }

    fn fill(&mut self) -> Result<()> {
        let mut chunk = [0; 65_536];
        let size = self.stream.read(&mut chunk)?;
        if size == 0 {
            return Err(Failure::new(
                "the peer closed the connection in the middle of a response",
            ));
        }
        self.received += size as u64;
        self.ahead.extend_from_slice(chunk.get(..size).unwrap_or_default());
        Ok(())
    }
}
