//! A snapshot of what all Envoys have stored, into a file that is there whole or not at all.

use super::Session;
use super::watch::Watch;
use crate::client::broken_off;
use crate::failure::{CANCELLED, Failure, NO, Outcome};
use crate::output::{Table, note, size, text_of};
use clap::Args;
use flate2::write::GzDecoder;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A snapshot of the largest size is gathered and sent within this time.
const LONGEST: Duration = Duration::from_secs(3600);
/// What stands behind the entries is shorter than this, bytes.
const TAIL: usize = 4_096;

/// What goes into the snapshot, and where it is written.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The file; it appears when it is whole, and is for its owner alone: it holds stored responses
    file: PathBuf,
    /// Stop at this size of stored responses, megabytes [default: 1024]
    #[arg(long)]
    max_mb: Option<u64>,
    /// Only responses of this host
    #[arg(long)]
    host: Option<String>,
    /// Only responses whose URL begins with this host/path
    #[arg(long)]
    prefix: Option<String>,
    /// Only responses that had so many hits
    #[arg(long)]
    min_hits: Option<u32>,
    /// Compressed; it can be restored as it is
    #[arg(long)]
    gzip: bool,
    /// Also responses that were stored for one identity
    #[arg(long)]
    include_private: bool,
    /// Replace the file where there is one
    #[arg(long)]
    force: bool,
}

/// Takes the snapshot. It cannot be resumed: where it breaks off or is cancelled by Ctrl-C, nothing is left but what was there before.
///
/// # Errors
/// No answer, a refusal, a broken connection, or the file cannot be written.
pub fn run(session: &Session, arguments: &Arguments) -> Result<Outcome, Failure> {
    let file = &arguments.file;
    if file.exists() && !arguments.force {
        return Err(Failure::usage(format!(
            "{} is there already: --force replaces it",
            file.display()
        )));
    }
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Mode 0600; gone when this ends early.
    let mut part = tempfile::NamedTempFile::new_in(folder).map_err(|error| Failure::file(file, &error))?;
    let flag = |on: bool| on.then(|| "true".to_owned());
    let mut watch = Watch::begin(session, "Snapshot")?;
    let response = session
        .client
        .ask(Method::POST, "/cache/snapshot")
        .query(&[
            ("max_mb", arguments.max_mb.map(|megabytes| megabytes.to_string())),
            ("host", arguments.host.clone()),
            ("prefix", arguments.prefix.clone()),
            ("min_hits", arguments.min_hits.map(|hits| hits.to_string())),
            ("compress", arguments.gzip.then(|| "gzip".to_owned())),
            ("include_private", flag(arguments.include_private)),
        ])
        .header("operation-key", Some(watch.key()))
        .body("application/json", "")
        .patience(LONGEST)
        .open()?;
    let written = copy(response, part.as_file_mut(), session.client.server())?;
    watch.close();
    let ends = ends(part.path())?;
    if watch.is_interrupted() && ends.as_ref().is_none_or(|ends| ends.trailer["complete"] != true) {
        let read = ends.map_or_else(|| "0".to_owned(), |ends| text_of(&ends.trailer["count"]));
        note(&format!(
            "Cancelled after {read} responses; {} was not written.",
            file.display()
        ));
        return Ok(Outcome::No(CANCELLED));
    }
    let Some(Ends { trailer, .. }) = ends else {
        return Err(Failure::Unreachable {
            message: "The snapshot broke off: its end is missing, and it was thrown away".to_owned(),
            advice: "Try again; with --max-mb it is smaller, the responses with most hits first".to_owned(),
        });
    };
    part.as_file_mut()
        .sync_all()
        .map_err(|error| Failure::file(file, &error))?;
    part.persist(file).map_err(|error| Failure::file(file, &error.error))?;
    let complete = trailer["complete"] == true;
    let document = json!({"file": file, "bytes": written, "snapshot": trailer});
    session.output.show(&document, |paint| {
        let mut table = Table::new(&["FILE", "SIZE", "RESPONSES", "COMPLETE"]);
        let whole = if complete {
            "yes".to_owned()
        } else {
            text_of(&trailer["incomplete_because"])
        };
        table.row([
            file.display().to_string(),
            size(written),
            text_of(&trailer["count"]),
            whole,
        ]);
        table.render(paint, "")
    })?;
    if !complete {
        note("It can be restored, but it does not hold everything that was asked for.");
    }
    Ok(if complete { Outcome::Yes } else { Outcome::No(NO) })
}

fn copy(mut from: impl Read, to: &mut File, server: &str) -> Result<u64, Failure> {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        let read = from.read(&mut buffer).map_err(|error| broken_off(server, &error))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(total);
        };
        to.write_all(bytes)
            .map_err(|error| Failure::usage(format!("The snapshot cannot be written: {error}")))?;
        total += u64::try_from(read).unwrap_or_default();
    }
}

/// What a file says of its own end.
#[derive(Debug)]
pub(super) struct Ends {
    /// The fields behind the entries.
    pub(super) trailer: Value,
    /// Length of the document, unpacked.
    pub(super) length: u64,
}

/// What stands at the end of a snapshot, compressed or not; `None` where it has none, so was broken off.
///
/// # Errors
/// The file cannot be read.
pub(super) fn ends(path: &Path) -> Result<Option<Ends>, Failure> {
    let failed = |error: &std::io::Error| Failure::file(path, error);
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let mut head = [0; 2];
    let read = file.read(&mut head).map_err(|error| failed(&error))?;
    let head = head.get(..read).unwrap_or_default();
    if head == [0x1f, 0x8b] {
        let mut unpacked = GzDecoder::new(Tail::default());
        let packed = unpacked
            .write_all(head)
            .and_then(|()| std::io::copy(&mut file, &mut unpacked));
        if packed.is_err() {
            return Ok(None);
        }
        return Ok(unpacked.finish().ok().and_then(|tail| tail.ends()));
    }
    let mut tail = Tail::default();
    tail.write_all(head).map_err(|error| failed(&error))?;
    std::io::copy(&mut file, &mut tail).map_err(|error| failed(&error))?;
    Ok(tail.ends())
}

/// The last bytes of what is written into it.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    length: u64,
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        let over = self.bytes.len().saturating_sub(TAIL);
        self.bytes.drain(..over);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Tail {
    /// The fields behind the entries: `],"complete":true,…}`.
    fn ends(&self) -> Option<Ends> {
        let text = String::from_utf8_lossy(&self.bytes);
        let (_, fields) = text.rsplit_once("],\"complete\":")?;
        let trailer = serde_json::from_str(&format!("{{\"complete\":{}", fields.trim_end())).ok()?;
        Some(Ends {
            trailer,
            length: self.length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn snapshot() -> Vec<u8> {
        let record = "x".repeat(20_000);
        format!(
            r#"{{"format":"api-optimizer-cache-snapshot","entries":[{{"record":"{record}"}}],"complete":true,"incomplete_because":"","count":1}}"#
        )
        .into_bytes()
    }

    #[test]
    fn a_whole_one_has_its_end_packed_or_not() {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&snapshot()).unwrap();
        for bytes in [snapshot(), packed.finish().unwrap()] {
            let Ends { trailer, length } = ends(file(&bytes).path()).unwrap().unwrap();
            assert_eq!(length, snapshot().len() as u64);
            assert_eq!((&trailer["complete"], &trailer["count"]), (&json!(true), &json!(1)));
        }
    }

    #[test]
    fn half_a_one_has_none() {
        let whole = snapshot();
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&whole).unwrap();
        let packed = packed.finish().unwrap();
        for bytes in [
            &whole[..whole.len() - 1],
            &whole[..9_000],
            &packed[..packed.len() - 9],
            b"",
            b"\x1f",
        ] {
            assert!(ends(file(bytes).path()).unwrap().is_none());
        }
    }
}
