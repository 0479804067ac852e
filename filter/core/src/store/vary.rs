//! Sets of field names nominated by `Vary` (RFC 9110 section 12.5.5), each known by a small number.
//!
//! The numbers are the same in all workers; each keeps a copy of the table and reads it again when it meets a number it does not
//! know. Sets are never taken back, so their number is bounded.

use super::codec::{checksum, u16_at, u32_at};
use super::entry::StoreError;
use crate::shared_map::{SetError, SharedMap, keys};

const MAGIC: u32 = u32::from_le_bytes(*b"aov1");
const HEADER: usize = 8;
/// Different sets kept. Sites have a handful.
const MAX_SETS: usize = 512;
/// Longest set, with its commas.
const MAX_SET_LEN: usize = 1024;
/// Bytes of the whole table.
const MAX_TABLE_LEN: usize = 64 * 1024;
const TRIES: usize = 64;

/// A set of field names: lower-case, sorted, without repetition. The same set always lists its names in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaryNames<'a> {
    joined: &'a [u8],
}

impl<'a> VaryNames<'a> {
    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.joined.split(|byte| *byte == b',').filter(|name| !name.is_empty())
    }
}

/// This worker's copy of the table.
#[derive(Debug, Default)]
pub(super) struct VaryTable {
    sets: Vec<Vec<u8>>,
}

impl VaryTable {
    /// Creates the table's key, if it is missing.
    pub(super) fn seed(map: &impl SharedMap) {
        if map.get(keys::VARY_SETS).is_none() {
            // Without it the first two sets may get the same number, which the comparison of selecting values catches.
            let _ = map.set(keys::VARY_SETS, &encode(&[]), None);
        }
    }

    /// The names of a set. Reads the shared table only when the number is new here.
    pub(super) fn names(&mut self, map: &impl SharedMap, id: u16) -> Option<VaryNames<'_>> {
        let index = usize::from(id).checked_sub(1)?;
        if index >= self.sets.len() {
            let (bytes, _) = map.get(keys::VARY_SETS)?;
            self.sets = decode(&bytes)?;
        }
        self.sets.get(index).map(|joined| VaryNames { joined })
    }

    /// The number of a set, 0 for the empty one. Writes only when no worker has met the set before.
    pub(super) fn intern(&mut self, map: &impl SharedMap, names: &[&[u8]]) -> Result<u16, StoreError> {
        let joined = normalise(names);
        if joined.is_empty() {
            return Ok(0);
        }
        if joined.len() > MAX_SET_LEN {
            return Err(StoreError::TooManyVarySets);
        }
        if let Some(id) = self.find(&joined) {
            return Ok(id);
        }
        for _ in 0..TRIES {
            let held = map.get(keys::VARY_SETS);
            self.sets = held.as_ref().and_then(|(bytes, _)| decode(bytes)).unwrap_or_default();
            if let Some(id) = self.find(&joined) {
                return Ok(id);
            }
            let size: usize = self.sets.iter().map(|set| set.len() + 2).sum();
            if self.sets.len() >= MAX_SETS || size + joined.len() > MAX_TABLE_LEN {
                return Err(StoreError::TooManyVarySets);
            }
            self.sets.push(joined.clone());
            match map.set(keys::VARY_SETS, &encode(&self.sets), held.map(|(_, cas)| cas)) {
                Ok(()) => return self.find(&joined).ok_or(StoreError::TooManyVarySets),
                Err(error) => {
                    self.sets.pop();
                    if error == SetError::Host {
                        return Err(StoreError::Host);
                    }
                }
            }
        }
        Err(StoreError::Contended)
    }

    fn find(&self, joined: &[u8]) -> Option<u16> {
        let index = self.sets.iter().position(|set| set == joined)?;
        u16::try_from(index + 1).ok()
    }
}

fn normalise(names: &[&[u8]]) -> Vec<u8> {
    if names.is_empty() {
        return Vec::new();
    }
    let mut lower: Vec<Vec<u8>> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    lower.sort();
    lower.dedup();
    lower.join(&b',')
}

fn encode(sets: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for set in sets {
        body.extend_from_slice(&u16::try_from(set.len()).unwrap_or(0).to_le_bytes());
        body.extend_from_slice(set);
    }
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&MAGIC.to_le_bytes());
    bytes.extend_from_slice(&checksum(&[], &body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = bytes.get(HEADER..)?;
    if u32_at(bytes, 0)? != MAGIC || u32_at(bytes, 4)? != checksum(&[], rest) {
        return None;
    }
    let mut sets = Vec::new();
    while !rest.is_empty() {
        let len = usize::from(u16_at(rest, 0)?);
        sets.push(rest.get(2..2 + len)?.to_vec());
        rest = rest.get(2 + len..)?;
    }
    Some(sets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_map::MemoryMap;

    #[test]
    fn a_set_has_one_number_in_all_workers() {
        let map = MemoryMap::default();
        VaryTable::seed(&map);
        let (mut one, mut two) = (VaryTable::default(), VaryTable::default());
        let id = one.intern(&map, &[b"Accept", b"accept-encoding", b"ACCEPT"]).unwrap();
        assert_eq!(two.intern(&map, &[b"Accept-Encoding", b"Accept"]), Ok(id));
        assert_eq!(two.intern(&map, &[b"cookie"]), Ok(id + 1));
        assert_eq!(one.intern(&map, &[]), Ok(0));
        let names: Vec<_> = one.names(&map, id).unwrap().iter().collect();
        assert_eq!(names, [&b"accept"[..], b"accept-encoding"]);
        assert_eq!(one.names(&map, id + 1).unwrap().iter().count(), 1);
        assert!(one.names(&map, 0).is_none());
        assert!(one.names(&map, 99).is_none());
    }

    #[test]
    fn known_sets_cost_no_reads() {
        let map = MemoryMap::default();
        let mut table = VaryTable::default();
        let id = table.intern(&map, &[b"accept"]).unwrap();
        let before = map.reads();
        table.intern(&map, &[b"accept"]).unwrap();
        table.names(&map, id).unwrap();
        assert_eq!(map.reads(), before);
    }

    #[test]
    fn the_number_of_sets_is_bounded() {
        let map = MemoryMap::default();
        let mut table = VaryTable::default();
        let errors = (0..2 * MAX_SETS)
            .filter(|n| table.intern(&map, &[format!("x-{n}").as_bytes()]).is_err())
            .count();
        assert_eq!(errors, MAX_SETS);
        assert_eq!(
            table.intern(&map, &[&[b'x'; 2000][..]]),
            Err(StoreError::TooManyVarySets)
        );
    }

    #[test]
    fn a_damaged_table_starts_again() {
        let map = MemoryMap::default();
        let mut table = VaryTable::default();
        table.intern(&map, &[b"accept"]).unwrap();
        map.set(keys::VARY_SETS, b"garbage", None).unwrap();
        let mut other = VaryTable::default();
        assert!(other.names(&map, 1).is_none());
        assert_eq!(other.intern(&map, &[b"cookie"]), Ok(1));
    }
}
