//! Reads a snapshot document as a stream: a gigabyte in the memory of one entry.

use control_domain::cache::snapshot::{Checksum, Entry, FORMAT, VERSION};
use control_domain::settings::shape::Counter;
use flate2::read::MultiGzDecoder;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::rc::Rc;

/// What a whole reading found out about a document.
#[derive(Debug, Default)]
pub(crate) struct Report {
    fields: Map<String, Value>,
    entries: u64,
    malformed: u64,
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

    /// How many entries it has.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
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
    let size = source.seek(SeekFrom::End(0))?;
    source.seek(SeekFrom::Start(0))?;
    let budget = Rc::new(RefCell::new(Budget::default()));
    let file = BufReader::with_capacity(BUFFER, source);
    let plain: Box<dyn Read + '_> = if begun == 2 && magic == GZIP {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))
    } else {
        Box::new(file)
    };
    let source = Bounded {
        source: plain.take(longest(size)),
        budget: Rc::clone(&budget),
    };
    // Asked for single bytes; counted are whole buffers, which may reach into the next piece.
    let source = BufReader::with_capacity(BUFFER, source);
    let mut deserializer = serde_json::Deserializer::from_reader(source);
    let document = Document { put, budget: &budget };
    let report = document.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(report)
}

/// Bytes that one entry may take: the largest record in base64, and some.
pub(crate) const MAX_PIECE: usize = 25 << 20;
/// Bytes that everything before the entries may take, and everything behind them.
pub(crate) const MAX_FIELDS: usize = 8 << 20;
/// Entries that are none: a damaged snapshot has some, and each costs about what a sound one does.
pub(crate) const MALFORMED: u64 = 1_000;
/// Longest field beside the entries that is looked at.
const SCALAR: usize = 256;
/// How much longer a document may be than what came over the wire, and what it may be at least. Snapshots hold base64, which hardly gets
/// shorter than a tenth.
pub(crate) const RATIO: u64 = 100;
pub(crate) const AT_LEAST: u64 = 64 << 20;
const BUFFER: usize = 64 << 10;

/// The longest document that is unpacked from this many bytes.
fn longest(size: u64) -> u64 {
    size.saturating_mul(RATIO).max(AT_LEAST)
}

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What one piece may take still.
#[derive(Debug)]
struct Budget {
    bytes: usize,
    shape: Counter,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: MAX_FIELDS,
            shape: Counter::default(),
        }
    }
}

impl Budget {
    fn renew(&mut self, bytes: usize) {
        self.bytes = bytes;
        self.shape.part();
    }

    fn spend(&mut self, read: &[u8]) -> io::Result<()> {
        let left = self.bytes.checked_sub(read.len());
        self.bytes = left.ok_or_else(|| io::Error::other("an entry is larger than any can be"))?;
        self.shape.take(read).map_err(io::Error::other)
    }
}

/// Ends a document that wants more memory than any entry needs.
struct Bounded<R> {
    source: R,
    budget: Rc<RefCell<Budget>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.budget.borrow_mut().spend(buffer.get(..read).unwrap_or_default())?;
        Ok(read)
    }
}

struct Document<'p> {
    put: &'p mut dyn FnMut(Option<Entry>) -> bool,
    budget: &'p RefCell<Budget>,
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
                self.budget.borrow_mut().renew(MAX_PIECE);
                map.next_value_seed(Entries {
                    report: &mut report,
                    put: &mut *self.put,
                    budget: self.budget,
                })?;
                self.budget.borrow_mut().renew(MAX_FIELDS);
            } else if report.fields.len() < 32 && name.len() <= SCALAR {
                let text = map.next_value::<Box<RawValue>>()?;
                // Names of Envoys and the like are not looked at.
                let short = Some(text.get()).filter(|text| text.len() <= SCALAR);
                let value = short.and_then(|text| serde_json::from_str(text).ok());
                report.fields.insert(name, value.unwrap_or_default());
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
    budget: &'p RefCell<Budget>,
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
        while let Some(text) = list.next_element::<Box<RawValue>>()? {
            let entry = serde_json::from_str::<Entry>(text.get()).ok();
            drop(text);
            self.report.entries += 1;
            match &entry {
                Some(entry) => self.report.checksum.add(entry.checksum.as_bytes()),
                None => self.report.malformed += 1,
            }
            if self.report.malformed > MALFORMED {
                return Err(A::Error::custom("most of its entries are none"));
            }
            self.budget.borrow_mut().renew(MAX_PIECE);
            if !(self.put)(entry) {
                return Err(A::Error::custom("given up"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    /// What is read of a document whose entries are all alike, packed.
    fn entries(bytes: usize) -> (u64, io::Result<Report>) {
        let entry = format!(
            r#"{{"url":"","status":200,"response_time_ms":1,"usable_until_ms":1,"freshness_lifetime_ms":1,"tags":[],"private":false,"hits":1,"checksum":"","record":"{}"}}"#,
            "A".repeat(100_000)
        );
        let mut packer = GzEncoder::new(tempfile::tempfile().unwrap(), Compression::best());
        packer.write_all(br#"{"entries":["#).unwrap();
        for number in 0..bytes / entry.len() {
            let comma = if number == 0 { "" } else { "," };
            packer.write_all(format!("{comma}{entry}").as_bytes()).unwrap();
        }
        packer.write_all(b"]}").unwrap();
        let mut seen = 0;
        let mut file = packer.finish().unwrap();
        file.rewind().unwrap();
        let report = read(&mut file, &mut |entry| {
            seen += entry.map_or(0, |entry| entry.record.len() as u64);
            true
        });
        (seen, report)
    }

    #[test]
    fn no_more_is_unpacked_than_a_snapshot_can_be() {
        let (seen, report) = entries(8 << 20);
        assert!(report.is_ok() && seen > 7 << 20, "{seen}");
        // It packs a thousandfold: a hundredfold is less than what is taken anyway.
        let (seen, report) = entries(66 << 20);
        assert!(report.is_err() && seen <= 64 << 20, "{seen}");
    }

    fn of(text: &str) -> io::Result<Report> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.rewind().unwrap();
        read(&mut file, &mut |_| true)
    }

    #[test]
    fn a_document_is_at_most_a_hundred_times_as_long_as_what_came() {
        assert_eq!(longest(1 << 20), 100 << 20);
        assert_eq!(longest(600 << 10), 64 << 20, "or what is taken anyway");
    }

    #[test]
    fn pieces_of_a_snapshot_are_bounded() {
        let text = |length: usize| "A".repeat(length);
        let entry = |length: usize| of(&format!(r#"{{"entries":["{}"]}}"#, text(length))).is_ok();
        let before = |length: usize| of(&format!(r#"{{"x":"{}","entries":[]}}"#, text(length))).is_ok();
        let behind = |length: usize| of(&format!(r#"{{"entries":[],"x":"{}"}}"#, text(length))).is_ok();
        // Counted in buffers of 64 KB.
        const MARGIN: usize = 200 << 10;
        assert!(entry((25 << 20) - MARGIN) && !entry((25 << 20) + MARGIN));
        assert!(before((8 << 20) - MARGIN) && !before((8 << 20) + MARGIN));
        assert!(behind((8 << 20) - MARGIN) && !behind((8 << 20) + MARGIN));
        let malformed = |count: usize| of(&format!(r#"{{"entries":[{}]}}"#, vec!["0"; count].join(",")));
        assert!(malformed(1_000).is_ok_and(|report| report.malformed == 1_000));
        assert!(malformed(1_001).is_err());
    }
}
