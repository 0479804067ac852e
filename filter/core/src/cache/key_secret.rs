//! The secret under which credentials enter the cache key.

use std::fmt;

/// Least size of what a secret is made from, bytes.
pub const MIN_SECRET: usize = 16;
/// Size of a digest, bytes.
const DIGEST: usize = 16;
/// Keeps digests of the cache key apart from any other use of the same material.
const CONTEXT: &str = "API Latency Optimizer, credentials in cache keys, version 1";

/// A secret that all Envoys share. Who does not have it can neither find a credential with a given digest, nor guess the credential
/// that a digest was made from. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret {
    key: [u8; 32],
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(..)")
    }
}

impl KeySecret {
    /// A secret made from bytes that nobody can guess; `None` when these are too few.
    #[must_use]
    pub fn derived(material: &[u8]) -> Option<Self> {
        (material.len() >= MIN_SECRET).then(|| Self {
            key: blake3::derive_key(CONTEXT, material),
        })
    }

    /// In place of a secret, before there is one.
    #[must_use]
    pub fn unset() -> Self {
        Self { key: [0; 32] }
    }

    /// A secret as [`KeySecret::as_bytes`] gives it.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|key| Self { key })
    }

    /// The secret itself, for the workers of one Envoy.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.key
    }

    /// 128 bits of keyed BLAKE3 over a list of values; `None` for the empty list.
    pub(crate) fn digest<'v>(&self, kind: &[u8], values: impl Iterator<Item = &'v [u8]>) -> Option<[u8; DIGEST]> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        let mut empty = true;
        // Each with its length in front: no two lists are the same bytes.
        let mut add = |value: &[u8]| {
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(value);
        };
        add(kind);
        for value in values {
            add(value);
            empty = false;
        }
        if empty {
            return None;
        }
        hasher.finalize().as_bytes().first_chunk().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_everything_and_shows_nothing() {
        let secret = KeySecret::derived(&[7; 16]).unwrap();
        let of = |kind: &[u8], values: &[&[u8]]| secret.digest(kind, values.iter().copied());
        assert_eq!(of(b"a", &[b"x"]), of(b"a", &[b"x"]));
        for other in [
            of(b"b", &[b"x"]),
            of(b"a", &[b"y"]),
            of(b"a", &[b"x", b""]),
            of(b"", &[b"ax"]),
        ] {
            assert_ne!(of(b"a", &[b"x"]), other);
        }
        assert_ne!(of(b"a", &[b"xy", b"z"]), of(b"a", &[b"x", b"yz"]));
        assert_eq!(of(b"a", &[]), None);
        let another = KeySecret::derived(&[8; 16]).unwrap();
        assert_ne!(of(b"a", &[b"x"]), another.digest(b"a", [&b"x"[..]].into_iter()));
        assert_eq!(KeySecret::from_bytes(secret.as_bytes()), Some(secret.clone()));
        assert_eq!(
            (KeySecret::derived(&[7; 15]), KeySecret::from_bytes(&[7; 31])),
            (None, None)
        );
        assert_eq!(format!("{secret:?}"), "KeySecret(..)");
    }
}
