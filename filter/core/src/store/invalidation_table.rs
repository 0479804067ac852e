//! The table of purge stamps, as shared data holds it.

use super::codec::{checksum, u16_at, u32_at, u64_at};

/// Another version hashes its subjects otherwise; its table counts as damaged, which purges everything.
const MAGIC: u32 = u32::from_le_bytes(*b"aop3");
const HEADER: usize = 24;
const EXACT_LEN: usize = 28;
const BUCKETS: usize = 1024;
/// Stamps kept one by one; older ones go into buckets.
const MAX_EXACT: usize = 1024;
/// Prefix stamps kept one by one: each different length costs every comparison a hash.
const MAX_PREFIXES: usize = 64;

/// Numbers of the last hard and the last soft purge; 0 for never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stamp {
    pub(super) hard: u32,
    pub(super) soft: u32,
}

impl Stamp {
    pub(super) fn merge(&mut self, other: Self) {
        self.hard = self.hard.max(other.hard);
        self.soft = self.soft.max(other.soft);
    }

    pub(super) fn of(number: u32, soft: bool) -> Self {
        if soft {
            Self { hard: 0, soft: number }
        } else {
            Self { hard: number, soft: 0 }
        }
    }
}

/// What a stamp is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subject {
    /// Hash of kind and value.
    pub(super) hash: u64,
    /// The subject that takes the stamp over when the table is full: itself by way of its bucket, a prefix's host; `None` for
    /// everything.
    pub(super) coarse: Option<u64>,
    /// Length of a path prefix.
    pub(super) prefix: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exact {
    pub(super) subject: Subject,
    pub(super) stamp: Stamp,
}

/// All stamps, bounded: the exact ones in the order of their last purge, then coarser ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct StampTable {
    /// Number of the last purge.
    pub(super) sequence: u32,
    pub(super) all: Stamp,
    pub(super) exact: Vec<Exact>,
    /// Empty as long as the exact ones are enough.
    buckets: Vec<Stamp>,
}

impl StampTable {
    pub(super) fn record(&mut self, subject: Option<Subject>, soft: bool, floor: u32) {
        self.sequence = self.sequence.saturating_add(1).max(floor);
        let mut stamp = Stamp::of(self.sequence, soft);
        let Some(subject) = subject else {
            self.all.merge(stamp);
            return;
        };
        if let Some(at) = self.exact.iter().position(|exact| exact.subject == subject) {
            stamp.merge(self.exact.remove(at).stamp);
        }
        self.exact.push(Exact { subject, stamp });
        if self.exact.len() > MAX_EXACT {
            self.coarsen(0);
        }
        if self.exact.iter().filter(|exact| exact.subject.prefix.is_some()).count() > MAX_PREFIXES
            && let Some(at) = self.exact.iter().position(|exact| exact.subject.prefix.is_some())
        {
            self.coarsen(at);
        }
    }

    /// Everything is purged from now on: for a table that was lost.
    pub(super) fn lost(number: u32) -> Self {
        Self {
            sequence: number,
            all: Stamp::of(number, false),
            ..Self::default()
        }
    }

    fn coarsen(&mut self, at: usize) {
        let Exact { subject, stamp } = self.exact.remove(at);
        let Some(coarse) = subject.coarse else {
            self.all.merge(stamp);
            return;
        };
        if self.buckets.is_empty() {
            self.buckets = vec![Stamp::default(); BUCKETS];
        }
        if let Some(bucket) = self.buckets.get_mut(bucket_of(coarse)) {
            bucket.merge(stamp);
        }
    }

    /// The stamp of the bucket a subject falls into.
    pub(super) fn bucket(&self, hash: u64) -> Stamp {
        self.buckets.get(bucket_of(hash)).copied().unwrap_or_default()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if u32_at(bytes, 0)? != MAGIC || u32_at(bytes, 4)? != checksum(&[], bytes.get(8..)?) {
            return None;
        }
        let exact_end = HEADER + usize::from(u16_at(bytes, 20)?) * EXACT_LEN;
        let exact = bytes
            .get(HEADER..exact_end)?
            .chunks_exact(EXACT_LEN)
            .map(decode_exact)
            .collect::<Option<_>>()?;
        let buckets = bytes
            .get(exact_end..)?
            .chunks_exact(8)
            .map(|bucket| stamp_at(bucket, 0))
            .collect::<Option<_>>()?;
        Some(Self {
            sequence: u32_at(bytes, 8)?,
            all: stamp_at(bytes, 12)?,
            exact,
            buckets,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(HEADER + self.exact.len() * EXACT_LEN + self.buckets.len() * 8);
        body.extend_from_slice(&self.sequence.to_le_bytes());
        push_stamp(&mut body, self.all);
        body.extend_from_slice(&u16::try_from(self.exact.len()).unwrap_or(0).to_le_bytes());
        body.extend_from_slice(&[0; 2]);
        for Exact { subject, stamp } in &self.exact {
            body.extend_from_slice(&subject.hash.to_le_bytes());
            body.extend_from_slice(&subject.coarse.unwrap_or(0).to_le_bytes());
            push_stamp(&mut body, *stamp);
            body.extend_from_slice(
                &subject
                    .prefix
                    .map_or(u16::MAX, |len| len.min(u16::MAX - 1))
                    .to_le_bytes(),
            );
            body.extend_from_slice(&u16::from(subject.coarse.is_some()).to_le_bytes());
        }
        for bucket in &self.buckets {
            push_stamp(&mut body, *bucket);
        }
        let mut bytes = Vec::with_capacity(8 + body.len());
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&checksum(&[], &body).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }
}

fn bucket_of(hash: u64) -> usize {
    (hash >> 20) as usize % BUCKETS
}

fn push_stamp(into: &mut Vec<u8>, stamp: Stamp) {
    into.extend_from_slice(&stamp.hard.to_le_bytes());
    into.extend_from_slice(&stamp.soft.to_le_bytes());
}

fn stamp_at(bytes: &[u8], at: usize) -> Option<Stamp> {
    Some(Stamp {
        hard: u32_at(bytes, at)?,
        soft: u32_at(bytes, at + 4)?,
    })
}

fn decode_exact(bytes: &[u8]) -> Option<Exact> {
    let has_coarse = u16_at(bytes, 26)? != 0;
    let subject = Subject {
        hash: u64_at(bytes, 0)?,
        coarse: u64_at(bytes, 8).filter(|_| has_coarse),
        prefix: u16_at(bytes, 24).filter(|len| *len != u16::MAX),
    };
    Some(Exact {
        subject,
        stamp: stamp_at(bytes, 16)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(hash: u64, prefix: Option<u16>) -> Subject {
        Subject {
            hash,
            coarse: Some(hash ^ 0xff00_0000),
            prefix,
        }
    }

    #[test]
    fn a_table_survives_encoding_and_a_flipped_bit_is_seen() {
        let mut table = StampTable::default();
        table.record(None, true, 0);
        for n in 0..1100 {
            table.record(Some(subject(n, None)), n % 2 == 0, 0);
        }
        table.record(
            Some(Subject {
                hash: 1,
                coarse: None,
                prefix: Some(9),
            }),
            false,
            5000,
        );
        assert_eq!(table.sequence, 5000);
        let bytes = table.encode();
        assert_eq!(StampTable::decode(&bytes), Some(table));
        for at in (0..bytes.len()).step_by(7) {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_eq!(StampTable::decode(&bad), None, "byte {at}");
        }
        assert_eq!(StampTable::decode(&bytes[..bytes.len() - 3]), None);
        assert_eq!(StampTable::decode(&[]), None);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_nothing() {
        let mut table = StampTable::default();
        for n in 0..10_000 {
            table.record(Some(subject(n << 20, Some(3))), false, 0);
        }
        assert_eq!(table.exact.len(), MAX_PREFIXES);
        assert!(table.encode().len() < 48 * 1024);
        let coarse = 0xff00_0000;
        assert!(table.bucket(coarse).hard > 0);
    }
}
