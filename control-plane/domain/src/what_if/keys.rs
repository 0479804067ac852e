//! The sampled keys: what is known of each, and its number.

use crate::Millis;
use std::collections::HashMap;

/// Number of a sampled key; used again when the key is forgotten.
pub(super) type KeyId = u16;

/// What all miniature caches share of a key.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Key {
    pub(super) hash: u64,
    /// Bytes of the stored response; 0 while none was stored.
    pub(super) bytes: u32,
    /// What it cost to fetch, as [`eviction::worth::cost`] has it.
    pub(super) cost: u8,
    /// The sampled lookup that was its last one.
    pub(super) used: u32,
    pub(super) used_ms: Millis,
    pub(super) fresh_until: Millis,
    pub(super) usable_until: Millis,
}

/// The keys that are followed.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    ids: HashMap<u64, KeyId>,
    keys: Vec<Key>,
    free: Vec<KeyId>,
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn get(&self, id: KeyId) -> Key {
        self.keys.get(usize::from(id)).copied().unwrap_or_default()
    }

    pub(super) fn get_mut(&mut self, id: KeyId) -> Option<&mut Key> {
        self.keys.get_mut(usize::from(id))
    }

    pub(super) fn find(&self, hash: u64) -> Option<KeyId> {
        self.ids.get(&hash).copied()
    }

    /// Follows one more key; `None` when there is no number left for it.
    pub(super) fn add(&mut self, hash: u64) -> Option<KeyId> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = KeyId::try_from(self.keys.len()).ok()?;
                self.keys.push(Key::default());
                id
            }
        };
        if let Some(key) = self.get_mut(id) {
            *key = Key { hash, ..Key::default() };
        }
        self.ids.insert(hash, id);
        Some(id)
    }

    /// Gives up the keys that are not to stay, and says which they were.
    pub(super) fn retain(&mut self, stays: impl Fn(&Key) -> bool) -> Vec<KeyId> {
        let mut gone = Vec::new();
        let keys = &self.keys;
        self.ids.retain(|_, id| {
            let stays = keys.get(usize::from(*id)).is_some_and(&stays);
            if !stays {
                gone.push(*id);
            }
            stays
        });
        self.free.extend(&gone);
        gone
    }

    pub(super) fn memory(&self) -> usize {
        self.ids.capacity() * (size_of::<(u64, KeyId)>() + 1)
            + self.keys.capacity() * size_of::<Key>()
            + self.free.capacity() * size_of::<KeyId>()
    }
}
