//! The value of a slot: the response as it was handed in, and behind it a trailer that ties it to its record.
//!
//! Behind and not before, so that storing appends to the caller's buffer and serving hands out the host's, both without moving
//! the body.

use super::codec::{checksum, u16_at, u32_at};
use super::entry::TRAILER_LEN;
use super::page::leading_hash;
use super::record::Record;

const MAGIC: u32 = u32::from_le_bytes(*b"aos1");

/// What a slot's bytes are with respect to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// The record's own; the response has that many bytes.
    Own(usize),
    /// Sound, but another entry's: the page or the slot was read a moment too early or too late.
    Other,
    /// Not what this store writes.
    Corrupt,
}

/// Appends the trailer.
pub(super) fn seal(value: &mut Vec<u8>, page: u16, record: &Record) {
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
    let start = value.len();
    value.reserve_exact(TRAILER_LEN);
    value.extend_from_slice(&record.key.to_le_bytes());
    value.extend_from_slice(&record.generation.to_le_bytes());
    value.extend_from_slice(&record.variant.to_le_bytes());
    value.extend_from_slice(&page.to_le_bytes());
    value.extend_from_slice(&record.slot.to_le_bytes());
    value.extend_from_slice(&len.to_le_bytes());
    value.extend_from_slice(&MAGIC.to_le_bytes());
    let sum = checksum(&[], value.get(start..).unwrap_or_default());
    value.extend_from_slice(&sum.to_le_bytes());
}

/// Compares a slot's bytes with the record that led there. The response itself has its own checksum.
pub(super) fn fit(value: &[u8], page: u16, record: &Record) -> Fit {
    judge(value, page, record).unwrap_or(Fit::Corrupt)
}

fn judge(value: &[u8], page: u16, record: &Record) -> Option<Fit> {
    let len = value.len().checked_sub(TRAILER_LEN)?;
    let trailer = value.get(len..)?;
    if u32_at(trailer, 24)? != MAGIC
        || u32_at(trailer, 28)? != checksum(&[], trailer.get(..28)?)
        || usize::try_from(u32_at(trailer, 20)?).ok()? != len
        || u16_at(trailer, 16)? != page
        || u16_at(trailer, 18)? != record.slot
    {
        return None;
    }
    let own = leading_hash(trailer)? == record.key
        && u32_at(trailer, 8)? == record.generation
        && u32_at(trailer, 12)? == record.variant;
    Some(if own { Fit::Own(len) } else { Fit::Other })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_record_fits() {
        let mut record = Record::new(5, 1, 6, 0);
        record.slot = 3;
        record.generation = 9;
        let mut value = b"response".to_vec();
        seal(&mut value, 7, &record);
        assert_eq!(value.len(), 8 + TRAILER_LEN);
        assert_eq!(fit(&value, 7, &record), Fit::Own(8));
        assert_eq!(
            fit(
                &value,
                7,
                &Record {
                    generation: 10,
                    ..record
                }
            ),
            Fit::Other
        );
        assert_eq!(fit(&value, 7, &Record { key: 4, ..record }), Fit::Other);
        assert_eq!(fit(&value, 7, &Record { variant: 4, ..record }), Fit::Other);
        assert_eq!(fit(&value, 8, &record), Fit::Corrupt);
        assert_eq!(fit(&value[1..], 7, &record), Fit::Corrupt);
        for at in 8..value.len() {
            let mut bad = value.clone();
            bad[at] ^= 1;
            assert_eq!(fit(&bad, 7, &record), Fit::Corrupt, "byte {at}");
        }
        for len in 0..value.len() {
            assert_eq!(fit(&value[..len], 7, &record), Fit::Corrupt);
        }
    }
}
