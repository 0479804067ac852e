//! What all workers share, and what outlives this module: a concurrent map of values with versions.
//!
//! An upgrade loads another library beside this one, with statics of its own. The first one that is loaded offers its map to those that
//! come after it by two C functions in Envoy's registry; they keep what they store in it as well, so the cache survives the upgrade.
#![allow(unsafe_code)]

use crate::abi::{Api, Buffer};
use bytes::Bytes;
use filter_core::shared_map::{Cas, SetError, SharedMap};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::ffi::c_void;
use std::sync::{OnceLock, PoisonError, RwLock};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Locks by which the map is divided: many times the workers of any machine.
const SHARDS: usize = 256;

/// A key's value and its version. Of an empty value only the version is told.
#[derive(Debug)]
struct Versioned {
    key: Box<[u8]>,
    /// Readers may keep it while it is replaced.
    bytes: Bytes,
    version: Cas,
}

type Shard = RwLock<HashTable<Versioned>>;

/// The map of one library.
#[derive(Debug)]
struct OwnMap {
    shards: Box<[Shard]>,
    /// Unknown outside: no client can choose keys that fall together.
    seed: u64,
}

impl OwnMap {
    fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            seed: std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0_u8),
        }
    }

    /// The hash of a key, and its part of the map.
    fn place(&self, key: &[u8]) -> Option<(u64, &Shard)> {
        let hash = xxh3_64_with_seed(key, self.seed);
        // The table takes its own bits from both ends of the hash.
        let at = usize::try_from((hash >> 32) % SHARDS as u64).unwrap_or(0);
        Some((hash, self.shards.get(at)?))
    }

    /// Shows the value, which may be empty, and its version.
    fn read<R>(&self, key: &[u8], work: impl FnOnce(&Bytes, Cas) -> R) -> Option<R> {
        let (hash, shard) = self.place(key)?;
        // What a panic left behind is whole: nothing that replaces a value can panic half-way.
        let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
        let found = shard.find(hash, |of| *of.key == *key)?;
        Some(work(&found.bytes, found.version))
    }

    fn write(&self, key: &[u8], value: &[u8], wanted: Cas) -> bool {
        let Some((hash, shard)) = self.place(key) else {
            return false;
        };
        // Copied before the lock is taken, so that others do not wait for it.
        let bytes = Bytes::copy_from_slice(value);
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        let rehash = |of: &Versioned| xxh3_64_with_seed(&of.key, self.seed);
        let replaced = match shard.entry(hash, |of| *of.key == *key, rehash) {
            Entry::Occupied(mut present) => {
                let present = present.get_mut();
                if wanted != 0 && wanted != present.version {
                    return false;
                }
                present.version = present.version.wrapping_add(1).max(1);
                Some(std::mem::replace(&mut present.bytes, bytes))
            }
            Entry::Vacant(place) => {
                place.insert(Versioned {
                    key: Box::from(key),
                    bytes,
                    version: 1,
                });
                None
            }
        };
        drop(shard);
        // Given back outside the lock as well.
        drop(replaced);
        true
    }
}

fn own() -> &'static OwnMap {
    static OWN: OnceLock<OwnMap> = OnceLock::new();
    OWN.get_or_init(OwnMap::new)
}

/// Takes a value: its context, the bytes, their version.
type Taker = extern "C" fn(*mut c_void, *const u8, usize, Cas);
/// Shows the value of a key to a taker; false where there is none.
type Read = extern "C" fn(*const u8, usize, Taker, *mut c_void) -> bool;
/// Stores a value; false where the version has moved on. Version 0 is any.
type Write = extern "C" fn(*const u8, usize, *const u8, usize, Cas) -> bool;

/// Under these names, with this meaning, for ever: another meaning is another name.
const READ_NAME: &[u8] = b"api_optimizer.shared_map.v1.read";
const WRITE_NAME: &[u8] = b"api_optimizer.shared_map.v1.write";

/// The bytes at `data`.
///
/// # Safety
/// `data` is readable for `size` bytes until the caller has returned.
unsafe fn slice<'b>(data: *const u8, size: usize) -> &'b [u8] {
    if data.is_null() || size == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(data, size) }
}

extern "C" fn read_own(key: *const u8, key_size: usize, taker: Taker, context: *mut c_void) -> bool {
    // SAFETY: whoever calls keeps the key until this returns.
    let key = unsafe { slice(key, key_size) };
    own()
        .read(key, |bytes, version| {
            taker(context, bytes.as_ptr(), bytes.len(), version)
        })
        .is_some()
}

extern "C" fn write_own(key: *const u8, key_size: usize, value: *const u8, size: usize, version: Cas) -> bool {
    // SAFETY: whoever calls keeps key and value until this returns.
    let (key, value) = unsafe { (slice(key, key_size), slice(value, size)) };
    own().write(key, value, version)
}

/// The map of this process: our own, or that of a library that was loaded before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared {
    /// Of another library.
    foreign: Option<(Read, Write)>,
}

impl Shared {
    /// Finds the map of this process, or offers our own.
    pub(crate) fn open(api: &Api) -> Self {
        let (Some(register), Some(get)) = (api.register_function, api.get_function) else {
            return Self { foreign: None };
        };
        // SAFETY: the functions live as long as the process: the module holds itself in memory.
        let offered = unsafe {
            register(Buffer::of(READ_NAME), read_own as *mut c_void)
                && register(Buffer::of(WRITE_NAME), write_own as *mut c_void)
        };
        if offered {
            return Self { foreign: None };
        }
        let find = |name: &[u8]| {
            let mut found = std::ptr::null_mut();
            // SAFETY: Envoy writes one pointer, where it answers true.
            (unsafe { get(Buffer::of(name), &raw mut found) } && !found.is_null()).then_some(found)
        };
        let foreign = find(READ_NAME).zip(find(WRITE_NAME)).map(|(read, write)| {
            // SAFETY: functions under these names have these types, in every version of this module; both live as long as the process.
            unsafe {
                (
                    std::mem::transmute::<*mut c_void, Read>(read),
                    std::mem::transmute::<*mut c_void, Write>(write),
                )
            }
        });
        Self {
            foreign: foreign.filter(|(read, _)| *read as *const () != read_own as *const ()),
        }
    }

    /// Whether another library had stored before this one was loaded.
    pub(crate) fn is_inherited(self) -> bool {
        self.foreign.is_some()
    }

    fn read<R>(self, key: &[u8], work: impl FnOnce(&[u8], Cas) -> R) -> Option<R> {
        let Some((read, _)) = self.foreign else {
            return own().read(key, |bytes, version| work(bytes, version));
        };
        struct Taking<W, R> {
            work: Option<W>,
            result: Option<R>,
        }
        extern "C" fn take<W: FnOnce(&[u8], Cas) -> R, R>(
            context: *mut c_void,
            data: *const u8,
            size: usize,
            version: Cas,
        ) {
            // SAFETY: the context is the `Taking` below, which nobody else refers to meanwhile; the bytes are there until this returns.
            let (taking, bytes) = unsafe { (&mut *context.cast::<Taking<W, R>>(), slice(data, size)) };
            if let Some(work) = taking.work.take() {
                taking.result = Some(work(bytes, version));
            }
        }
        fn taker_of<W: FnOnce(&[u8], Cas) -> R, R>(_: &Taking<W, R>) -> Taker {
            take::<W, R>
        }
        let mut taking = Taking {
            work: Some(work),
            result: None,
        };
        let taker = taker_of(&taking);
        read(key.as_ptr(), key.len(), taker, (&raw mut taking).cast());
        taking.result
    }
}

impl SharedMap for Shared {
    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Cas)> {
        self.read(key, |bytes, version| {
            (!bytes.is_empty()).then(|| (bytes.to_vec(), version))
        })?
    }

    fn lend(&self, key: &[u8]) -> Option<(Bytes, Cas)> {
        if self.foreign.is_some() {
            return self.get(key).map(|(value, version)| (value.into(), version));
        }
        own().read(key, |bytes, version| {
            (!bytes.is_empty()).then(|| (bytes.clone(), version))
        })?
    }

    fn version(&self, key: &[u8]) -> Option<Cas> {
        self.read(key, |_, version| version)
    }

    fn set(&self, key: &[u8], value: &[u8], cas: Option<Cas>) -> Result<(), SetError> {
        let wanted = cas.unwrap_or(0);
        let written = match self.foreign {
            Some((_, write)) => write(key.as_ptr(), key.len(), value.as_ptr(), value.len(), wanted),
            None => own().write(key, value, wanted),
        };
        if written { Ok(()) } else { Err(SetError::CasMismatch) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map of its own kind for each test: the process's own, and the same by way of its C functions.
    fn maps() -> [Shared; 2] {
        [
            Shared { foreign: None },
            Shared {
                foreign: Some((read_own, write_own)),
            },
        ]
    }

    #[test]
    fn a_value_is_replaced_only_by_whoever_has_seen_it() {
        for (at, map) in maps().into_iter().enumerate() {
            let key = format!("replaced/{at}").into_bytes();
            assert_eq!((map.get(&key), map.version(&key)), (None, None));
            map.set(&key, b"a", None).unwrap();
            let (value, version) = map.get(&key).unwrap();
            assert_eq!(value, b"a");
            map.set(&key, b"b", Some(version)).unwrap();
            assert_eq!(map.set(&key, b"c", Some(version)), Err(SetError::CasMismatch));
            assert_eq!(map.get(&key).unwrap().0, b"b");
        }
    }

    #[test]
    fn an_empty_value_has_a_version_only() {
        for (at, map) in maps().into_iter().enumerate() {
            let key = format!("empty/{at}").into_bytes();
            map.bump(&key);
            let first = map.version(&key).unwrap();
            assert!(map.get(&key).is_none() && first != 0);
            map.bump(&key);
            assert_ne!(map.version(&key), Some(first));
        }
    }

    #[test]
    fn of_many_writers_each_is_counted_once() {
        let [map, foreign] = maps();
        map.set(b"count", &0_u64.to_le_bytes(), None).unwrap();
        std::thread::scope(|scope| {
            for map in [map, foreign, map, foreign] {
                scope.spawn(move || {
                    for _ in 0..1_000 {
                        loop {
                            let (value, version) = map.get(b"count").unwrap();
                            let count = u64::from_le_bytes(value.try_into().unwrap()) + 1;
                            if map.set(b"count", &count.to_le_bytes(), Some(version)).is_ok() {
                                break;
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(map.get(b"count").unwrap().0, 4_000_u64.to_le_bytes());
    }
}
