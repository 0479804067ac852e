//! Reads a snapshot document as a stream: a gigabyte in the memory of one entry.

use control_domain::snapshot::{Checksum, Entry, FORMAT, VERSION};
use flate2::read::MultiGzDecoder;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::rc::Rc;

/// What a whole reading found out about a document.
#[derive(Debug, Default)]
pub(crate) struct Report {
    fields: Map<String, Value>,
    entries: u64,
    checksum: Checksum,
    has_entries: bool,
}

impl Report {
    /// Whether this is a snapshot that can be restored at all.
    ///
    /// # Errors
    /// Why not, in a sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        let text = |name: &str| self.fields.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("format") != FORMAT || !self.has_entries {
            return Err(format!("the document is no {FORMAT}"));
        }
        let version = self.fields.get("version").and_then(Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            return Err(format!(
                "version {version:?} of the format is not known, only {VERSION}"
            ));
        }
        Ok(())
    }

    /// Whether it holds everything that was asked for.
    pub(crate) fn is_complete(&self) -> bool {
        self.fields.get("complete") == Some(&Value::Bool(true))
    }

    /// Whether count and checksum at its end are those of its entries.
    pub(crate) fn is_intact(&self) -> bool {
        let text = |name: &str| self.fields.get(name).and_then(Value::as_str).unwrap_or_default();
        self.fields.get("count").and_then(Value::as_u64) == Some(self.entries)
            && text("checksum") == self.checksum.text()
    }
}

/// Reads a document, plain or compressed by gzip; `put` gets every entry, or `None` for one that is none, and answers whether to go
/// on. Seen are bounded pieces only, whatever the document claims to be.
///
/// # Errors
/// It is no JSON, or ends early.
pub(crate) fn read(source: &mut File, put: &mut dyn FnMut(Option<Entry>) -> bool) -> io::Result<Report> {
    let mut magic = [0; 2];
    let begun = source.read(&mut magic)?;
    source.seek(SeekFrom::Start(0))?;
    let budget = Rc::new(Cell::new(MAX_PIECE));
    let file = BufReader::with_capacity(BUFFER, source);
    let plain: Box<dyn Read + '_> = if begun == 2 && magic == GZIP {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    };
    let source = Bounded {
        source: plain,
        left: Rc::clone(&budget),
    };
    let mut deserializer = serde_json::Deserializer::from_reader(source);
    let mut counted = |entry| {
        budget.set(MAX_PIECE);
        put(entry)
    };
    let report = Document { put: &mut counted }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(report)
}

/// Bytes that one entry, or everything before and behind them, may take: the largest record in base64, and some.
const MAX_PIECE: usize = 48 << 20;
const BUFFER: usize = 64 << 10;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Ends a document that wants more memory than any entry needs.
struct Bounded<R> {
    source: R,
    left: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        let left = self.left.get().checked_sub(read);
        self.left
            .set(left.ok_or_else(|| io::Error::other("an entry is larger than any can be"))?);
        Ok(read)
    }
}

struct Document<'p> {
    put: &'p mut dyn FnMut(Option<Entry>) -> bool,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = Report;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Report, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Report;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a snapshot document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Report, A::Error> {
        let mut report = Report::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == "entries" && !report.has_entries {
                report.has_entries = true;
                map.next_value_seed(Entries {
                    report: &mut report,
                    put: &mut *self.put,
                })?;
            } else if report.fields.len() < 32 {
                report.fields.insert(name, map.next_value()?);
            } else {
                return Err(A::Error::custom("more fields than a snapshot has"));
            }
        }
        Ok(report)
    }
}

struct Entries<'r, 'p> {
    report: &'r mut Report,
    put: &'p mut dyn FnMut(Option<Entry>) -> bool,
}

impl<'de> DeserializeSeed<'de> for Entries<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element::<Value>()? {
            let entry = serde_json::from_value::<Entry>(value).ok();
            self.report.entries += 1;
            if let Some(entry) = &entry {
                self.report.checksum.add(entry.checksum.as_bytes());
            }
            if !(self.put)(entry) {
                return Err(A::Error::custom("given up"));
            }
        }
        Ok(())
    }
}
