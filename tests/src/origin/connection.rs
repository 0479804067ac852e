//! One connection to the origin: requests in, replies out.

use super::{Framing, PARTS, Received, Reply, Shared, lock};
use crate::wait;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

pub(super) fn serve(stream: &TcpStream, id: u64, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader, id)? {
        lock(&shared.received).push(request.clone());
        let script = Arc::clone(&lock(&shared.script));
        let reply = script(&request);
        if !reply.delay.is_zero() {
            std::thread::sleep(reply.delay);
        }
        if !write(stream, &reply, request.method == "HEAD")? {
            return Ok(());
        }
    }
    Ok(())
}

/// The next request; `None` at the connection's end.
fn read(reader: &mut BufReader<&TcpStream>, connection: u64) -> io::Result<Option<Received>> {
    let first = line(reader)?;
    let mut words = first.split(' ');
    let (Some(method), Some(path)) = (words.next().filter(|word| !word.is_empty()), words.next()) else {
        return Ok(None);
    };
    let mut fields = Vec::new();
    loop {
        let line = line(reader)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let at = Instant::now();
    let mut request = Received {
        method: method.to_owned(),
        path: path.to_owned(),
        fields,
        body: Vec::new(),
        connection,
        at,
    };
    request.body = content(reader, &request)?;
    Ok(Some(request))
}

fn content(reader: &mut BufReader<&TcpStream>, request: &Received) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if request.header("transfer-encoding").is_some() {
        loop {
            let size = u64::from_str_radix(line(reader)?.trim(), 16).map_err(io::Error::other)?;
            reader.take(size).read_to_end(&mut body)?;
            line(reader)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let length = request
        .header("content-length")
        .and_then(|value| value.parse().ok())
        .unwrap_or(0);
    reader.take(length).read_to_end(&mut body)?;
    Ok(body)
}

fn line(reader: &mut BufReader<&TcpStream>) -> io::Result<String> {
    let mut bytes = Vec::new();
    reader.read_until(b'\n', &mut bytes)?;
    Ok(String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned())
}

/// Whether the connection can be used on.
fn write(mut stream: &TcpStream, reply: &Reply, head_only: bool) -> io::Result<bool> {
    match reply.framing {
        Framing::Nothing => {
            wait_for_gate(reply);
            return Ok(false);
        }
        Framing::Raw => {
            stream.write_all(&reply.body)?;
            return Ok(false);
        }
        _ => {}
    }
    let bodiless = head_only || matches!(reply.status, 204 | 304);
    let mut out = head(reply);
    if !bodiless {
        append_content(&mut out, reply);
    }
    if !reply.pace.is_zero() {
        send_slowly(stream, &out, reply)?;
        return Ok(matches!(reply.framing, Framing::Length | Framing::Chunked(_)));
    }
    let held = first_part(&out, reply);
    stream.write_all(out.get(..held).unwrap_or_default())?;
    wait_for_gate(reply);
    stream.write_all(out.get(held..).unwrap_or_default())?;
    Ok(matches!(reply.framing, Framing::Length | Framing::Chunked(_)))
}

fn send_slowly(mut stream: &TcpStream, out: &[u8], reply: &Reply) -> io::Result<()> {
    for (number, part) in out.chunks(out.len().div_ceil(PARTS).max(1)).enumerate() {
        if number > 0 {
            std::thread::sleep(reply.pace);
        }
        stream.write_all(part)?;
    }
    Ok(())
}

/// How much of the response goes out before the gate.
fn first_part(out: &[u8], reply: &Reply) -> usize {
    let (Some(_), Framing::Chunked(size)) = (&reply.gate, reply.framing) else {
        return if reply.gate.is_some() { 0 } else { out.len() };
    };
    let head = out
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map_or(0, |at| at + 4);
    head + format!("{size:x}").len() + size + 4
}

fn wait_for_gate(reply: &Reply) {
    if let Some(gate) = &reply.gate {
        // A gate that nobody opens ends with the time of the story that forgot it.
        let _ = wait::until("the gate open", || gate.is_open().then_some(()));
    }
}

fn head(reply: &Reply) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {} Scripted\r\n", reply.status).into_bytes();
    for (name, value) in &reply.fields {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    if !reply.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
        out.extend_from_slice(format!("date: {}\r\n", httpdate::fmt_http_date(SystemTime::now())).as_bytes());
    }
    let framing = match reply.framing {
        Framing::Length | Framing::CutLength(_) if !matches!(reply.status, 204 | 304) => {
            format!("content-length: {}\r\n", reply.body.len())
        }
        Framing::Chunked(_) | Framing::CutChunked(_) => "transfer-encoding: chunked\r\n".to_owned(),
        Framing::UntilClose => "connection: close\r\n".to_owned(),
        _ => String::new(),
    };
    out.extend_from_slice(framing.as_bytes());
    out.extend_from_slice(b"\r\n");
    out
}

fn append_content(out: &mut Vec<u8>, reply: &Reply) {
    let part = |size: usize| reply.body.get(..size.min(reply.body.len())).unwrap_or_default();
    match reply.framing {
        Framing::Length | Framing::UntilClose => out.extend_from_slice(&reply.body),
        Framing::CutLength(size) => out.extend_from_slice(part(size)),
        Framing::Chunked(size) => {
            reply
                .body
                .chunks(size.max(1))
                .for_each(|chunk| append_chunk(out, chunk));
            append_chunk(out, b"");
        }
        Framing::CutChunked(size) => append_chunk(out, part(size)),
        Framing::Nothing | Framing::Raw => {}
    }
}

fn append_chunk(out: &mut Vec<u8>, chunk: &[u8]) {
    out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
    out.extend_from_slice(chunk);
    out.extend_from_slice(b"\r\n");
}
