//! Directory pages a worker has read lately: a lookup there asks only whether the page is still the one it knows.
//!
//! Whoever writes a page moves its version on afterwards, before the write counts as done; whoever keeps one asks for the version
//! before it reads. So a page that was changed is known for what it was only while the change is under way. Were a worker to die
//! between its two writes, the others would look again within [`TRUSTED_MS`].

use super::codec::{PAGE_VERSIONS, page_version_key};
use crate::Millis;
use crate::shared_map::{Cas, SetError, SharedMap, TRUSTED_MS, keys};
use std::rc::Rc;

/// As many as versions: pages that share a place share a version, so none of two that are kept unsettles the other.
const PLACES: usize = PAGE_VERSIONS as usize;
/// Larger ones have so many entries that something is always changing there.
const LARGEST: usize = 8 << 10;

#[derive(Debug, Default)]
struct Place {
    /// Page last asked for here. One asked for once is not kept: its version would be asked for in vain.
    number: Option<u16>,
    cached: Option<CachedPage>,
}

#[derive(Debug)]
struct CachedPage {
    version: Cas,
    read_ms: Millis,
    bytes: Rc<Vec<u8>>,
}

/// A fixed number of places, 512 KiB at most; whoever comes takes the place of whoever was there.
#[derive(Debug, Default)]
pub(super) struct KnownPages {
    places: Vec<Place>,
}

impl KnownPages {
    /// The page as all workers see it: one call that moves nothing where it is known, otherwise one that does.
    pub(super) fn read(&mut self, map: &impl SharedMap, number: u16, now_ms: Millis) -> Option<Rc<Vec<u8>>> {
        if self.places.is_empty() {
            self.places.resize_with(PLACES, Place::default);
        }
        let place = self.places.get_mut(usize::from(number) % PLACES)?;
        if place.number != Some(number) {
            *place = Place {
                number: Some(number),
                cached: None,
            };
            return read(map, number);
        }
        let version = map.version(&page_version_key(number));
        if let Some(cached) = &place.cached
            && version == Some(cached.version)
            && now_ms.abs_diff(cached.read_ms) < TRUSTED_MS
        {
            return Some(Rc::clone(&cached.bytes));
        }
        let bytes = read(map, number)?;
        place.cached = version.filter(|_| bytes.len() <= LARGEST).map(|version| CachedPage {
            version,
            read_ms: now_ms,
            bytes: Rc::clone(&bytes),
        });
        Some(bytes)
    }

    /// Forgets a page: what it said proved wrong.
    pub(super) fn forget(&mut self, number: u16) {
        if let Some(place) = self.places.get_mut(usize::from(number) % PLACES) {
            place.cached = None;
        }
    }

    pub(super) fn clear(&mut self) {
        self.places.clear();
    }
}

fn read(map: &impl SharedMap, number: u16) -> Option<Rc<Vec<u8>>> {
    map.get(&keys::page(number)).map(|(bytes, _)| Rc::new(bytes))
}

/// Writes a page that was read with version `cas`, and tells whoever knows it.
pub(super) fn write(map: &impl SharedMap, number: u16, bytes: &[u8], cas: Cas) -> Result<(), SetError> {
    map.set(&keys::page(number), bytes, Some(cas))?;
    map.bump(&page_version_key(number));
    Ok(())
}

/// Creates the versions: without one a page is read each time.
pub(super) fn seed(map: &impl SharedMap) {
    for number in 0..PAGE_VERSIONS {
        let key = page_version_key(number);
        if map.version(&key).is_none() {
            map.bump(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_map::MemoryMap;

    fn seeded() -> MemoryMap {
        let map = MemoryMap::default();
        map.set(&keys::page(7), b"first", None).unwrap();
        seed(&map);
        map
    }

    fn change(map: &MemoryMap, bytes: &[u8]) {
        let (_, cas) = map.get(&keys::page(7)).unwrap();
        write(map, 7, bytes, cas).unwrap();
    }

    #[test]
    fn a_known_page_is_not_read_again_until_it_changes() {
        let map = seeded();
        let mut pages = KnownPages::default();
        let read = |pages: &mut KnownPages, now_ms| pages.read(&map, 7, now_ms).map(|bytes| bytes.to_vec());
        assert_eq!(read(&mut pages, 0).unwrap(), b"first");
        assert_eq!(map.versions(), u64::from(PAGE_VERSIONS), "only by the seed");
        read(&mut pages, 0);
        let reads = map.reads();
        assert_eq!(read(&mut pages, 999).unwrap(), b"first");
        assert_eq!(map.reads(), reads);
        change(&map, b"second");
        assert_eq!(read(&mut pages, 999).unwrap(), b"second");
        let reads = map.reads();
        read(&mut pages, 999 + TRUSTED_MS);
        assert_eq!(map.reads(), reads + 1, "read anew after a while");
        read(&mut pages, 5);
        assert_eq!(map.reads(), reads + 2, "the clock went back");
    }

    #[test]
    fn without_versions_every_read_is_one() {
        let map = MemoryMap::default();
        map.set(&keys::page(7), b"first", None).unwrap();
        let mut pages = KnownPages::default();
        for reads in 1..5 {
            pages.read(&map, 7, 0);
            assert_eq!(map.reads(), reads);
        }
        map.fail_all(true);
        assert!(pages.read(&map, 7, 0).is_none());
    }

    #[test]
    fn a_large_page_is_not_kept() {
        let map = seeded();
        change(&map, &[1; LARGEST + 1]);
        let mut pages = KnownPages::default();
        pages.read(&map, 7, 0);
        pages.read(&map, 7, 0);
        let reads = map.reads();
        pages.read(&map, 7, 0);
        assert_eq!(map.reads(), reads + 1);
    }
}
