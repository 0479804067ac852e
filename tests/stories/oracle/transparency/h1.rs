//! A client of HTTP/1 that sees interim responses, trailers and how an answer ends.

use super::ask::{Ask, Content, Manner, Wire};
use super::seen::{End, Seen};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest silence.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// A slow reader's pause after each piece, and the number of pauses.
pub(super) const SLOWLY: Duration = Duration::from_millis(60);
pub(super) const PAUSES: usize = 15;
/// When one leaves who reads nothing: with the request on its way.
pub(super) const LEAVES_AFTER: Duration = Duration::from_millis(15);
/// What it reads at a time, bytes, at first.
const PIECE: usize = 200;

/// A connection that may be kept.
#[derive(Debug)]
pub(super) struct H1 {
    stream: BufReader<TcpStream>,
    /// Pauses of a slow reader that are left.
    pauses: usize,
}

impl H1 {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Self {
            stream: BufReader::new(stream),
            pauses: 0,
        })
    }

    /// Sends it and sees the answer; whether the connection can be used on.
    pub(super) fn exchange(&mut self, ask: &Ask, id: &str) -> (Seen, bool) {
        let mut seen = Seen::new(Instant::now());
        self.pauses = if ask.manner == Manner::Slow { PAUSES } else { 0 };
        let ended = self.converse(ask, id, &mut seen);
        seen.took = seen.asked.elapsed();
        seen.end = match ended {
            Ok(end) => end,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => End::Silent,
            Err(_) => End::Cut,
        };
        let closes = seen.header("connection").is_some_and(|value| value.contains("close"));
        let kept = seen.end == End::Whole
            && !closes
            && ask.wire == Wire::H11
            && !matches!(ask.manner, Manner::WebSocket | Manner::Tunnel);
        (seen, kept)
    }

    fn converse(&mut self, ask: &Ask, id: &str, seen: &mut Seen) -> io::Result<End> {
        self.stream.get_mut().write_all(&head(ask, id))?;
        let mut awaited = matches!(ask.content, Content::Expect(_));
        if !awaited {
            self.stream.get_mut().write_all(&content(ask.content))?;
        }
        if ask.manner == Manner::Leave(0) {
            std::thread::sleep(LEAVES_AFTER);
            return Ok(End::Left);
        }
        loop {
            self.read_head(seen)?;
            if seen.status == 101 || seen.status >= 200 {
                break;
            }
            if seen.status == 100 && std::mem::take(&mut awaited) {
                self.stream.get_mut().write_all(&content(ask.content))?;
            }
            // Envoy's own 100 is no part of the answer.
            if seen.status != 100 {
                let link = seen.header("link");
                seen.interim.push((seen.status, link));
            }
        }
        if seen.status == 101 || seen.status == 200 && ask.manner == Manner::Tunnel {
            return self.speak(seen);
        }
        self.read_content(ask, seen)
    }

    fn read_head(&mut self, seen: &mut Seen) -> io::Result<()> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        seen.status = status.ok_or_else(|| io::Error::other("no status line"))?;
        seen.fields = self.fields()?;
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        if self.stream.read_until(b'\n', &mut bytes)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned())
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        while let Some((name, value)) = self.line()?.split_once(':') {
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(fields)
    }

    /// Says something on a WebSocket, and goodbye.
    fn speak(&mut self, seen: &mut Seen) -> io::Result<End> {
        for word in [&b"hello"[..], b"\x00\xff", b"bye."] {
            self.stream.get_mut().write_all(word)?;
            let mut heard = vec![0; word.len()];
            self.stream.read_exact(&mut heard)?;
            seen.body.extend(heard);
        }
        self.stream.read_to_end(&mut seen.body)?;
        Ok(End::Whole)
    }

    fn read_content(&mut self, ask: &Ask, seen: &mut Seen) -> io::Result<End> {
        if ask.method == "HEAD" || matches!(seen.status, 204 | 304) {
            return Ok(End::Whole);
        }
        if seen
            .header("transfer-encoding")
            .is_some_and(|coding| coding == "chunked")
        {
            loop {
                let size = self.line()?;
                let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
                if size == 0 {
                    seen.trailers = self.fields()?;
                    return Ok(End::Whole);
                }
                if !self.take(Some(size), ask.manner, seen)? {
                    return Ok(End::Left);
                }
                self.line()?;
            }
        }
        let length = seen.header("content-length").and_then(|length| length.parse().ok());
        let stayed = self.take(length, ask.manner, seen)?;
        Ok(if stayed { End::Whole } else { End::Left })
    }

    /// Reads so much more content, or all there is; `false` when the client has had enough.
    fn take(&mut self, size: Option<usize>, manner: Manner, seen: &mut Seen) -> io::Result<bool> {
        let mut left = size.unwrap_or(usize::MAX);
        while left > 0 {
            if let Manner::Leave(after) = manner
                && seen.body.len() >= after
            {
                return Ok(false);
            }
            let piece = match manner {
                Manner::Slow if self.pauses > 0 => PIECE.max(seen.body.len() / 2),
                Manner::Leave(after) => after - seen.body.len(),
                _ => 65_536,
            };
            let mut buffer = vec![0; piece.min(left)];
            let got = self.stream.read(&mut buffer)?;
            if got == 0 {
                return if size.is_none() {
                    Ok(true)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
            seen.body.extend_from_slice(&buffer[..got]);
            left -= got;
            if self.pauses > 0 {
                self.pauses -= 1;
                std::thread::sleep(SLOWLY);
            }
        }
        Ok(true)
    }
}

fn head(ask: &Ask, id: &str) -> Vec<u8> {
    let version = if ask.wire == Wire::H10 { "1.0" } else { "1.1" };
    let host = if ask.manner == Manner::Tunnel {
        &ask.path
    } else {
        "api.example"
    };
    let mut head = format!(
        "{} {} HTTP/{version}\r\nhost: {host}\r\nx-ask: {id}\r\n",
        ask.method, ask.path
    );
    for (name, value) in &ask.fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match ask.content {
        Content::None => {}
        Content::Length(size) => head.push_str(&format!("content-length: {size}\r\n")),
        Content::Chunked(_) => head.push_str("transfer-encoding: chunked\r\n"),
        Content::Expect(size) => head.push_str(&format!("content-length: {size}\r\nexpect: 100-continue\r\n")),
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn content(content: Content) -> Vec<u8> {
    match content {
        Content::None => Vec::new(),
        Content::Length(size) | Content::Expect(size) => vec![b'c'; size],
        Content::Chunked(size) => {
            let mut out = Vec::new();
            for part in vec![b'c'; size].chunks(1_000) {
                out.extend(format!("{:x}\r\n", part.len()).into_bytes());
                out.extend(part);
                out.extend(b"\r\n");
            }
            out.extend(b"0\r\nx-sum: 1\r\n\r\n");
            out
        }
    }
}
