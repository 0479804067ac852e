//! A snapshot in parts, each a snapshot itself, so that one that broke off is sent again and not all of it.

use crate::failure::Failure;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of a part, about.
const PART: usize = 4 << 20;
/// What stands before the entries is shorter than this, and an entry too.
const LONGEST: usize = 32 << 20;
const ENTRIES: &[u8] = b"\"entries\":[";

/// A part with its place in the whole document.
#[derive(Debug)]
pub struct Part {
    /// Where it begins.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
    /// The document to be sent.
    pub document: Vec<u8>,
}

/// The parts of a file.
pub struct Parts {
    source: Box<dyn BufRead>,
    path: PathBuf,
    /// Everything up to the entries.
    head: Vec<u8>,
    complete: Value,
    length: u64,
    at: u64,
    has_ended: bool,
    count: u64,
    sum: Sum,
}

impl Parts {
    /// Those of a snapshot that has its end.
    ///
    /// # Errors
    /// The file cannot be read, or is no snapshot as the control plane writes it.
    pub fn of(path: &Path, complete: &Value, length: u64) -> Result<Self, Failure> {
        let failed = |error: &std::io::Error| Failure::file(path, error);
        let mut file = File::open(path).map_err(|error| failed(&error))?;
        let mut magic = [0; 2];
        let read = file.read(&mut magic).map_err(|error| failed(&error))?;
        file.seek(SeekFrom::Start(0)).map_err(|error| failed(&error))?;
        let is_packed = read == 2 && magic == [0x1f, 0x8b];
        let source: Box<dyn BufRead> = match is_packed {
            true => Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file))),
            false => Box::new(BufReader::with_capacity(1 << 16, file)),
        };
        let mut parts = Self {
            source,
            path: path.to_owned(),
            head: Vec::new(),
            complete: complete.clone(),
            length,
            at: 0,
            has_ended: false,
            count: 0,
            sum: Sum::default(),
        };
        while !parts.head.ends_with(ENTRIES) {
            let Some(byte) = parts.byte()?.filter(|_| parts.head.len() < LONGEST) else {
                return Err(parts.no_snapshot());
            };
            parts.head.push(byte);
        }
        Ok(parts)
    }

    /// Count and checksum of all entries gone through so far.
    #[must_use]
    pub fn seen(&self) -> (u64, String) {
        (self.count, self.sum.text())
    }

    /// The next part; what ends at `skip` or before is gone through and left out.
    ///
    /// # Errors
    /// The file cannot be read, or is no snapshot.
    pub fn next(&mut self, skip: u64) -> Result<Option<Part>, Failure> {
        let (mut document, mut sum, mut count) = (self.head.clone(), Sum::default(), 0);
        let mut from = if self.count == 0 { 0 } else { self.at };
        while !self.has_ended {
            let Some(entry) = self.entry()? else {
                self.has_ended = true;
                break;
            };
            let checksum = serde_json::from_slice::<Checked>(&entry).ok();
            self.count += 1;
            if let Some(checked) = &checksum {
                self.sum.add(checked.checksum.as_bytes());
            }
            if self.at <= skip {
                from = self.at;
                continue;
            }
            if let Some(checked) = &checksum {
                sum.add(checked.checksum.as_bytes());
            }
            if count > 0 {
                document.push(b',');
            }
            document.extend_from_slice(&entry);
            count += 1;
            if document.len() >= PART {
                break;
            }
        }
        if count == 0 {
            return Ok(None);
        }
        let end = json!({"incomplete_because": "", "count": count, "bytes": 0, "checksum": sum.text()}).to_string();
        let end = format!("],\"complete\":{},{}", self.complete, end.trim_start_matches('{'));
        document.extend_from_slice(end.as_bytes());
        let is_last = self.has_ended || !self.has_more()?;
        self.has_ended |= is_last;
        let to = if is_last { self.length } else { self.at };
        Ok(Some(Part { from, to, document }))
    }

    /// The next entry, up to its closing brace; `None` at the end of the list.
    fn entry(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let (mut entry, mut depth, mut in_text, mut is_escaped) = (Vec::new(), 0_u32, false, false);
        loop {
            let Some(byte) = self.byte()?.filter(|_| entry.len() < LONGEST) else {
                return Err(self.no_snapshot());
            };
            if depth == 0 {
                match byte {
                    b']' => return Ok(None),
                    b'{' => {}
                    b',' | b' ' | b'\t' | b'\r' | b'\n' => continue,
                    _ => return Err(self.no_snapshot()),
                }
            }
            entry.push(byte);
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if in_text => is_escaped = true,
                b'"' => in_text = !in_text,
                b'{' | b'[' if !in_text => depth += 1,
                b'}' | b']' if !in_text => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Ok(Some(entry));
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether another entry follows.
    fn has_more(&mut self) -> Result<bool, Failure> {
        let ahead = self
            .source
            .fill_buf()
            .map_err(|error| Failure::file(&self.path, &error))?;
        Ok(ahead.first() != Some(&b']'))
    }

    fn byte(&mut self) -> Result<Option<u8>, Failure> {
        let ahead = self
            .source
            .fill_buf()
            .map_err(|error| Failure::file(&self.path, &error))?;
        let byte = ahead.first().copied();
        if byte.is_some() {
            self.source.consume(1);
            self.at += 1;
        }
        Ok(byte)
    }

    fn no_snapshot(&self) -> Failure {
        Failure::Refused {
            message: format!("{} is no snapshot as the control plane writes it", self.path.display()),
            violations: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
struct Checked {
    checksum: String,
}

/// The checksum of a snapshot (FNV-1a).
struct Sum(u64);

impl Default for Sum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    }

    fn text(&self) -> String {
        format!("{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn entry(number: usize, size: usize) -> String {
        let record = "x".repeat(size);
        format!(r#"{{"url":"http://a/{{\"[{number}","checksum":"{number:016x}","record":"{record}"}}"#)
    }

    fn file(entries: &[String]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            r#"{{"format":"f","version":1,"entries":[{}],"complete":true,"count":9}}"#,
            entries.join(",")
        );
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn parts_hold_every_entry_once_and_go_on_where_one_ended() {
        let entries: Vec<String> = (0..7).map(|number| entry(number, 1_500_000)).collect();
        let file = file(&entries);
        let length = file.as_file().metadata().unwrap().len();
        let all = |skip: u64| {
            let mut parts = Parts::of(file.path(), &json!(true), length).unwrap();
            let mut found = Vec::new();
            while let Some(part) = parts.next(skip).unwrap() {
                let document: Value = serde_json::from_slice(&part.document).unwrap();
                assert_eq!(document["count"], document["entries"].as_array().unwrap().len());
                assert_eq!(
                    (&document["format"], &document["complete"]),
                    (&json!("f"), &json!(true))
                );
                found.push((part, document));
            }
            (found, parts.seen())
        };
        let (found, whole) = all(0);
        let counts: Vec<u64> = found.iter().map(|(_, one)| one["count"].as_u64().unwrap()).collect();
        assert_eq!(counts, [3, 3, 1]);
        let places: Vec<_> = found.iter().map(|(part, _)| (part.from, part.to)).collect();
        assert!(places[0].1 == places[1].0 && places[1].1 == places[2].0);
        assert_eq!((places[0].0, places[2].1), (0, length));
        let (rest, seen) = all(places[0].1);
        assert_eq!(seen, whole);
        let counts: Vec<u64> = rest.iter().map(|(_, one)| one["count"].as_u64().unwrap()).collect();
        assert_eq!(counts, [3, 1]);
        assert_eq!(rest[0].0.from, places[0].1);
        assert!(all(length).0.is_empty());
    }

    #[test]
    fn what_is_no_snapshot_is_no_part() {
        let of = |text: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let mut parts = Parts::of(file.path(), &json!(true), 1)?;
            parts.next(0).map(|part| part.is_some())
        };
        assert!(!of(r#"{"entries":[]}"#).unwrap());
        for wrong in ["", "{}", r#"{"entries":[7]}"#, r#"{"entries":[{"a":"#] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
