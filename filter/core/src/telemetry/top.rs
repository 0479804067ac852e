//! The keys that matter most, in bounded memory: Space-Saving (Metwally et al., ICDT 2005). A newcomer takes the place of the
//! least one and inherits its count, so a count is too high by its `error` at most, and nothing that large is missing.

use crate::Millis;
use crate::shared_map::{SharedMap, keys};

/// Keys per measure in a VM, between two hand-overs.
const LOCAL: usize = 64;
/// Keys per measure for the Envoy.
const SHARED: usize = 128;
/// Of a longer URL the beginning is kept.
const MAX_URL: usize = 200;
/// Counts are halved so often: what was popular hours ago is of no interest in an incident.
const HALF_LIFE_MS: u64 = 600_000;
const RETRIES: usize = 8;

/// What keys are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Answers from the cache.
    Hits,
    /// Their content bytes.
    Bytes,
    /// What the origin took for the stored response, added up over the hits, milliseconds.
    SavedMs,
}

impl Measure {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Hits, "hits"),
        (Self::Bytes, "bytes"),
        (Self::SavedMs, "saved_ms"),
    ];
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranked {
    hash: u64,
    /// Its URL.
    pub url: Vec<u8>,
    /// At most this.
    pub count: u64,
    /// Too high by this at most.
    pub error: u64,
}

/// The top keys by one measure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sketch {
    keys: Vec<Ranked>,
}

impl Sketch {
    fn offer(&mut self, limit: usize, hash: u64, url: &[u8], count: u64, error: u64) {
        if count == 0 {
            return;
        }
        if let Some(known) = self.keys.iter_mut().find(|key| key.hash == hash) {
            known.count = known.count.saturating_add(count);
            known.error = known.error.saturating_add(error);
            return;
        }
        let mut new = Ranked {
            hash,
            url: url.get(..MAX_URL).unwrap_or(url).to_vec(),
            count,
            error,
        };
        if self.keys.len() < limit {
            self.keys.push(new);
            return;
        }
        if let Some(least) = self.keys.iter_mut().min_by_key(|key| key.count) {
            new.count = new.count.saturating_add(least.count);
            new.error = new.error.saturating_add(least.count);
            *least = new;
        }
    }

    fn halve(&mut self) {
        for key in &mut self.keys {
            (key.count, key.error) = (key.count / 2, key.error / 2);
        }
        self.keys.retain(|key| key.count > 0);
    }
}

/// The top keys of a VM, or of its Envoy, by every measure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopKeys {
    sketches: [Sketch; 3],
    halved_ms: Millis,
}

impl TopKeys {
    /// Counts an answer from the cache.
    pub fn hit(&mut self, hash: u64, url: &[u8], bytes: u64, saved_ms: u64) {
        for (sketch, count) in self.sketches.iter_mut().zip([1, bytes, saved_ms]) {
            sketch.offer(LOCAL, hash, url, count, 0);
        }
    }

    /// The keys by one measure, greatest first.
    #[must_use]
    pub fn ranked(&self, measure: Measure, count: usize) -> Vec<Ranked> {
        let sketch = self.sketches.get(measure as usize);
        let mut keys = sketch.map(|sketch| sketch.keys.clone()).unwrap_or_default();
        keys.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.url.cmp(&b.url)));
        keys.truncate(count);
        keys
    }

    /// Hands a VM's keys over to those of the Envoy.
    pub fn hand_over(&mut self, map: &impl SharedMap, now_ms: Millis) {
        if self.sketches.iter().all(|sketch| sketch.keys.is_empty()) {
            return;
        }
        for _ in 0..RETRIES {
            let (mut all, cas) = match map.get(keys::TOP) {
                Some((bytes, cas)) => (Self::decode(&bytes).unwrap_or_default(), Some(cas)),
                None => (Self::default(), None),
            };
            all.take(self, now_ms);
            if map.set(keys::TOP, &all.encode(), cas).is_ok() {
                *self = Self::default();
                return;
            }
        }
    }

    /// Those of the Envoy.
    #[must_use]
    pub fn of_envoy(map: &impl SharedMap) -> Self {
        map.get(keys::TOP)
            .and_then(|(bytes, _)| Self::decode(&bytes))
            .unwrap_or_default()
    }

    fn take(&mut self, more: &Self, now_ms: Millis) {
        if now_ms.abs_diff(self.halved_ms) > HALF_LIFE_MS {
            self.sketches.iter_mut().for_each(Sketch::halve);
            self.halved_ms = now_ms;
        }
        for (mine, theirs) in self.sketches.iter_mut().zip(&more.sketches) {
            for key in &theirs.keys {
                mine.offer(SHARED, key.hash, &key.url, key.count, key.error);
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.halved_ms.to_le_bytes().to_vec();
        for sketch in &self.sketches {
            bytes.push(u8::try_from(sketch.keys.len()).unwrap_or(u8::MAX));
            for key in &sketch.keys {
                for word in [key.hash, key.count, key.error] {
                    bytes.extend_from_slice(&word.to_le_bytes());
                }
                bytes.push(u8::try_from(key.url.len()).unwrap_or(u8::MAX));
                bytes.extend_from_slice(&key.url);
            }
        }
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut all = Self {
            halved_ms: word(&mut bytes)?,
            ..Self::default()
        };
        for sketch in &mut all.sketches {
            for _ in 0..part(&mut bytes, 1)?.first().copied()? {
                let (hash, count, error) = (word(&mut bytes)?, word(&mut bytes)?, word(&mut bytes)?);
                let len = usize::from(part(&mut bytes, 1)?.first().copied()?);
                let url = part(&mut bytes, len)?.to_vec();
                sketch.keys.push(Ranked {
                    hash,
                    url,
                    count,
                    error,
                });
            }
        }
        Some(all)
    }
}

fn part<'b>(bytes: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    let (head, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(head)
}

fn word(bytes: &mut &[u8]) -> Option<u64> {
    part(bytes, 8)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_map::MemoryMap;

    #[test]
    fn heavy_hitters_are_found_among_many_and_their_errors_are_bounds() {
        let (map, mut top) = (MemoryMap::default(), TopKeys::default());
        let mut exact = std::collections::HashMap::<u64, u64>::new();
        for round in 0..20_000_u64 {
            // Every second request is for one of five keys, the others are for as many different ones.
            let key = if round % 2 == 0 { round / 2 % 5 } else { 1_000 + round };
            *exact.entry(key).or_default() += 1;
            top.hit(key, format!("http://a/{key}").as_bytes(), 10 * (key % 5 + 1), 3);
            if round % 100 == 0 {
                top.hand_over(&map, 1_000);
            }
        }
        top.hand_over(&map, 1_000);
        let all = TopKeys::of_envoy(&map);
        let ranked = all.ranked(Measure::Hits, 5);
        assert_eq!(ranked.len(), 5);
        for key in &ranked {
            assert!(key.hash < 5, "{}", String::from_utf8_lossy(&key.url));
            let true_count = exact.get(&key.hash).copied().unwrap_or(0);
            assert!(
                key.count >= true_count && key.count - key.error <= true_count,
                "{key:?} of {true_count}"
            );
        }
        assert_eq!(
            all.ranked(Measure::Bytes, 1)[0].hash,
            4,
            "the largest of the popular ones"
        );
        assert!(map.get(keys::TOP).unwrap().0.len() < 3 * SHARED * (25 + MAX_URL));
    }

    #[test]
    fn old_fame_fades_and_damage_is_nothing() {
        let (map, mut top) = (MemoryMap::default(), TopKeys::default());
        (0..8).for_each(|_| top.hit(1, b"a", 1, 0));
        top.hand_over(&map, HALF_LIFE_MS + 1);
        top.hit(2, b"b", 1, 0);
        top.hand_over(&map, 3 * HALF_LIFE_MS);
        assert_eq!(TopKeys::of_envoy(&map).ranked(Measure::Hits, 9)[0].count, 4);
        map.set(keys::TOP, &[1, 2, 3], None).unwrap();
        assert_eq!(TopKeys::of_envoy(&map), TopKeys::default());
        map.fail_all(true);
        top.hit(3, b"c", 1, 0);
        top.hand_over(&map, 0);
        assert_eq!(top.ranked(Measure::Hits, 9).len(), 1, "kept until the host works");
    }
}
