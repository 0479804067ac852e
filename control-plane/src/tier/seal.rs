//! How a value looks at rest: versioned, checksummed, compressed where that pays, encrypted where there is a key.
//!
//! ```text
//! magic "aot1" | flags u8 | key id u32 | length of the plain bytes u32 | nonce 24, when encrypted | content | xxh3 of all before u64
//! ```

use super::keys::{KeyFile, Keys};
use chacha20poly1305::aead::{Aead, OsRng, Payload};
use chacha20poly1305::{AeadCore, XChaCha20Poly1305, XNonce};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 4] = b"aot1";
const COMPRESSED: u8 = 1;
const ENCRYPTED: u8 = 2;
const HEAD: usize = 13;
const NONCE: usize = 24;
const SUM: usize = 8;
/// Below this compression costs more than it saves.
const WORTH_COMPRESSING: usize = 1_024;
const LEVEL: i32 = 1;

/// A value that cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsound;

/// Seals and opens values.
#[derive(Debug)]
pub(super) struct Sealer {
    keys: Option<KeyFile>,
    compress: bool,
}

impl Sealer {
    pub(super) fn new(keys: Option<KeyFile>, compress: bool) -> Self {
        Self { keys, compress }
    }

    pub(super) fn encrypts(&self) -> bool {
        self.keys.is_some()
    }

    fn keys(&self) -> Option<Arc<Keys>> {
        self.keys.as_ref().map(KeyFile::keys)
    }

    /// Seals bytes for a place: they cannot be opened at another one.
    pub(super) fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, Unsound> {
        let length = u32::try_from(plain.len()).map_err(|_| Unsound)?;
        let smaller = (self.compress && plain.len() >= WORTH_COMPRESSING)
            .then(|| zstd::bulk::compress(plain, LEVEL).ok())
            .flatten()
            .filter(|packed| packed.len() < plain.len());
        let mut flags = if smaller.is_some() { COMPRESSED } else { 0 };
        let content = smaller.as_deref().unwrap_or(plain);
        let keys = self.keys();
        let key = keys.as_ref().and_then(|keys| keys.keys.first());
        let mut sealed = Vec::with_capacity(HEAD + NONCE + content.len() + 16 + SUM);
        sealed.extend_from_slice(MAGIC);
        flags |= if key.is_some() { ENCRYPTED } else { 0 };
        sealed.push(flags);
        sealed.extend_from_slice(&key.map_or(0, |(id, _)| *id).to_le_bytes());
        sealed.extend_from_slice(&length.to_le_bytes());
        match key {
            Some((_, cipher)) => {
                // 192 bits at random never repeat.
                let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
                let aad = [place.as_bytes(), &sealed].concat();
                let payload = Payload {
                    msg: content,
                    aad: &aad,
                };
                let content = cipher.encrypt(&nonce, payload).map_err(|_| Unsound)?;
                sealed.extend_from_slice(&nonce);
                sealed.extend_from_slice(&content);
            }
            None => sealed.extend_from_slice(content),
        }
        let sum = checksum(place, &sealed);
        sealed.extend_from_slice(&sum.to_le_bytes());
        Ok(sealed)
    }

    /// Opens a value of a place. With keys configured, one that is not encrypted is unsound: anyone could have written it.
    pub(super) fn open(&self, place: &str, sealed: &[u8], max: usize) -> Result<Vec<u8>, Unsound> {
        let (bytes, sum) = sealed
            .len()
            .checked_sub(SUM)
            .and_then(|at| sealed.split_at_checked(at))
            .ok_or(Unsound)?;
        let (head, content) = bytes.split_at_checked(HEAD).ok_or(Unsound)?;
        if !head.starts_with(MAGIC) || checksum(place, bytes).to_le_bytes() != sum {
            return Err(Unsound);
        }
        let word = |at: usize| -> Option<u32> { head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes) };
        let flags = head.get(4).copied().ok_or(Unsound)?;
        let id = word(5).ok_or(Unsound)?;
        let length = word(9).and_then(|length| usize::try_from(length).ok()).ok_or(Unsound)?;
        if flags & !(COMPRESSED | ENCRYPTED) != 0 || length > max {
            return Err(Unsound);
        }
        let opened = match (self.keys(), flags & ENCRYPTED != 0) {
            (Some(keys), true) => decrypt(&keys, id, place, head, content)?,
            (None, false) => content.to_vec(),
            _ => return Err(Unsound),
        };
        let plain = if flags & COMPRESSED == 0 {
            opened
        } else {
            zstd::bulk::decompress(&opened, length).map_err(|_| Unsound)?
        };
        if plain.len() == length { Ok(plain) } else { Err(Unsound) }
    }
}

fn decrypt(keys: &Keys, id: u32, place: &str, head: &[u8], content: &[u8]) -> Result<Vec<u8>, Unsound> {
    let (_, cipher) = keys.keys.iter().find(|(own, _)| *own == id).ok_or(Unsound)?;
    let (nonce, content) = content.split_at_checked(NONCE).ok_or(Unsound)?;
    let aad = [place.as_bytes(), head].concat();
    let payload = Payload {
        msg: content,
        aad: &aad,
    };
    cipher.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| Unsound)
}

/// With the place: a value copied to another key is not that key's.
fn checksum(place: &str, bytes: &[u8]) -> u64 {
    xxh3_64(bytes) ^ xxh3_64(place.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;

    const MAX: usize = 1 << 20;

    fn key(id: u32) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode([u8::try_from(id).unwrap(); 32]);
        format!("{id}:{text}\n")
    }

    fn with_keys(lines: &str) -> Sealer {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::write(&path, lines).unwrap();
        Sealer::new(Some(KeyFile::open(path).unwrap()), true)
    }

    #[test]
    fn what_is_sealed_is_opened_in_its_place_alone() {
        let long = vec![b'x'; 10_000];
        for sealer in [Sealer::new(None, false), Sealer::new(None, true), with_keys(&key(1))] {
            for plain in [&b""[..], b"short", &long] {
                let sealed = sealer.seal("a", plain).unwrap();
                assert_eq!(sealer.open("a", &sealed, MAX).unwrap(), plain);
                assert_eq!(sealer.open("b", &sealed, MAX), Err(Unsound));
            }
        }
        let packed = Sealer::new(None, true).seal("a", &long).unwrap();
        assert!(packed.len() < 200, "{}", packed.len());
        assert_eq!(
            Sealer::new(None, true).open("a", &packed, 9_999),
            Err(Unsound),
            "too large"
        );
    }

    #[test]
    fn any_damage_is_found() {
        for sealer in [Sealer::new(None, true), with_keys(&key(1))] {
            let sealed = sealer.seal("a", &vec![7; 2_000]).unwrap();
            for at in 0..sealed.len() {
                let mut bad = sealed.clone();
                bad[at] ^= 1;
                assert_eq!(sealer.open("a", &bad, MAX), Err(Unsound), "byte {at}");
                assert_eq!(sealer.open("a", &sealed[..at], MAX), Err(Unsound), "cut at {at}");
            }
        }
    }

    #[test]
    fn keys_rotate_and_without_the_key_nothing_opens() {
        let old = with_keys(&key(1));
        let both = with_keys(&(key(2) + &key(1)));
        let new = with_keys(&key(2));
        let before = old.seal("a", b"before").unwrap();
        let after = both.seal("a", b"after").unwrap();
        assert_eq!(both.open("a", &before, MAX).unwrap(), b"before");
        assert_eq!(new.open("a", &after, MAX).unwrap(), b"after");
        assert_eq!(new.open("a", &before, MAX), Err(Unsound));
        assert_eq!(Sealer::new(None, true).open("a", &before, MAX), Err(Unsound));
        let plain = Sealer::new(None, true).seal("a", b"anyone's").unwrap();
        assert_eq!(new.open("a", &plain, MAX), Err(Unsound));
        assert!(!before.windows(6).any(|part| part == b"before"));
    }

    #[test]
    fn a_bad_key_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        for text in ["", "1:short", "x:AAAA", "1"] {
            std::fs::write(&path, text).unwrap();
            assert!(KeyFile::open(path.clone()).is_err(), "{text:?}");
        }
    }
}
