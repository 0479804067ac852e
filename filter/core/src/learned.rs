//! What was lately seen of the responses of a route: short texts, shared by all workers, forgotten when they are not seen again.

use crate::Millis;
use crate::shared_map::{Cas, SharedMap, keys};

/// Somebody has waited for a response that could not answer him.
pub const IN_VAIN: &[u8] = b"in-vain";
/// A response was one to store.
pub const STORED: &[u8] = b"stored";
/// The authority, or the address of the endpoint, is taken from a field of the request.
pub const AUTHORITY: &[u8] = b":authority";
/// Routes remembered.
const MAX_ROUTES: usize = 64;
/// Texts per route; beyond these the rest is not looked at.
const MAX_TEXTS: usize = 16;
/// Longest text that is remembered.
const MAX_LEN: usize = 1024;
/// Bytes of the record.
const MAX_BYTES: usize = 64 << 10;
/// For so long a text counts after it was last seen.
const LIFE_MS: u64 = 600_000;
/// A text is written again when less than this is left of it.
const RENEWED_MS: u64 = 300_000;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Text {
    route: u64,
    until: Millis,
    text: Vec<u8>,
}

/// One VM's copy of what all have learned.
#[derive(Debug)]
pub struct Learned {
    record: &'static [u8],
    texts: Vec<Text>,
    seen: Option<Cas>,
}

impl Learned {
    /// What is kept in this record, one of this module's.
    #[must_use]
    pub fn new(record: &'static [u8]) -> Self {
        Self {
            record,
            texts: Vec::new(),
            seen: None,
        }
    }

    /// Creates the records.
    pub fn seed(map: &impl SharedMap) {
        for record in [keys::VARIED, keys::SHARES, keys::ADDED, keys::GIVEN, keys::SEARCHES] {
            if map.get(record).is_none() {
                // A failure leaves it to be made by the first text.
                let _ = map.set(record, b"", None);
            }
        }
    }

    /// Takes over what other workers have learned.
    pub fn refresh(&mut self, map: &impl SharedMap) {
        if let Some((bytes, cas)) = map.get(self.record)
            && self.seen != Some(cas)
        {
            self.texts = decode(&bytes);
            self.seen = Some(cas);
        }
    }

    /// True where nothing was seen of any route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// What was seen of this route lately.
    pub fn of(&self, route: u64, now_ms: Millis) -> impl Iterator<Item = &[u8]> {
        self.texts
            .iter()
            .filter(move |text| text.route == route && text.until > now_ms)
            .map(|text| text.text.as_slice())
    }

    /// These were seen of this route.
    pub fn learn(&mut self, map: &impl SharedMap, route: u64, seen: &[Vec<u8>], now_ms: Millis) {
        let renewed_ms = now_ms.saturating_add(RENEWED_MS);
        let known = |text: &[u8]| {
            let mut known = self.texts.iter();
            known.any(|known| known.route == route && known.text == text && known.until > renewed_ms)
        };
        let added: Vec<&Vec<u8>> = seen
            .iter()
            .filter(|text| text.len() <= MAX_LEN && !known(text))
            .take(MAX_TEXTS)
            .collect();
        if added.is_empty() {
            return;
        }
        let held = map.get(self.record);
        let mut texts = held.as_ref().map(|(bytes, _)| decode(bytes)).unwrap_or_default();
        // A time far ahead comes from a clock that has since jumped back.
        texts.retain(|text| text.until > now_ms && text.until <= now_ms.saturating_add(LIFE_MS));
        for new in added {
            texts.retain(|known| known.route != route || known.text != *new);
            let bytes: usize = texts.iter().map(|text| text.text.len() + HEAD).sum();
            if texts.iter().filter(|known| known.route == route).count() < MAX_TEXTS
                && texts.len() < MAX_ROUTES * MAX_TEXTS
                && bytes + new.len() + HEAD <= MAX_BYTES
            {
                let until = now_ms.saturating_add(LIFE_MS);
                let text = new.clone();
                texts.push(Text { route, until, text });
            }
        }
        // Lost to another worker's write: the next such response tells it again.
        if map.set(self.record, &encode(&texts), held.map(|(_, cas)| cas)).is_ok() {
            self.texts = texts;
            self.seen = None;
        }
    }
}

/// Bytes in front of each text.
const HEAD: usize = 18;

fn encode(texts: &[Text]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        bytes.extend_from_slice(&text.route.to_le_bytes());
        bytes.extend_from_slice(&text.until.to_le_bytes());
        bytes.extend_from_slice(&u16::try_from(text.text.len()).unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&text.text);
    }
    bytes
}

/// What does not fit its own lengths ends the list.
fn decode(mut bytes: &[u8]) -> Vec<Text> {
    let mut texts = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(HEAD) {
        let word = |at: usize| head.get(at..at + 8).and_then(|part| part.try_into().ok());
        let length = head.get(16..18).and_then(|part| part.try_into().ok());
        let (Some(route), Some(until), Some(length)) = (word(0), word(8), length) else {
            break;
        };
        let Some((text, rest)) = rest.split_at_checked(usize::from(u16::from_le_bytes(length))) else {
            break;
        };
        texts.push(Text {
            route: u64::from_le_bytes(route),
            until: u64::from_le_bytes(until),
            text: text.to_vec(),
        });
        bytes = rest;
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_map::MemoryMap;

    fn names(varied: &Learned, route: u64, now_ms: Millis) -> Vec<String> {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        varied.of(route, now_ms).map(text).collect()
    }

    #[test]
    fn what_one_worker_learns_the_others_know() {
        let map = MemoryMap::default();
        Learned::seed(&map);
        let (mut one, mut two) = (Learned::new(keys::VARIED), Learned::new(keys::VARIED));
        one.learn(&map, 1, &[b"origin".to_vec(), b"x-tenant".to_vec()], 1_000);
        one.learn(&map, 2, &[b"accept".to_vec()], 1_000);
        assert_eq!(names(&one, 1, 1_000), ["origin", "x-tenant"]);
        assert!(names(&two, 1, 1_000).is_empty());
        two.refresh(&map);
        assert_eq!(names(&two, 1, 1_000), ["origin", "x-tenant"]);
        assert_eq!(names(&two, 2, 1_000), ["accept"]);
        assert!(names(&two, 1, 1_000 + LIFE_MS).is_empty(), "not seen for long");
        two.learn(&map, 2, &[b"cookie".to_vec()], 1_000 + LIFE_MS);
        one.refresh(&map);
        assert_eq!(names(&one, 2, 1_000 + LIFE_MS), ["cookie"]);
    }

    #[test]
    fn the_record_is_bounded_and_damage_is_harmless() {
        let map = MemoryMap::default();
        let mut varied = Learned::new(keys::VARIED);
        for route in 0..200 {
            let many: Vec<Vec<u8>> = (0..40).map(|n| format!("x-{n}").into_bytes()).collect();
            varied.learn(&map, route, &many, 1_000);
        }
        varied.learn(&map, 1_000, &[vec![b'x'; 1025]], 1_000);
        assert_eq!(names(&varied, 0, 1_000).len(), MAX_TEXTS);
        assert!(varied.texts.len() <= MAX_ROUTES * MAX_TEXTS);
        map.set(keys::VARIED, b"garbage", None).unwrap();
        varied.refresh(&map);
        assert!(varied.texts.is_empty());
    }

    #[test]
    fn what_is_known_costs_no_calls() {
        let map = MemoryMap::default();
        let mut varied = Learned::new(keys::VARIED);
        varied.learn(&map, 1, &[b"accept".to_vec()], 1_000);
        let before = map.reads();
        varied.learn(&map, 1, &[b"accept".to_vec()], 2_000);
        assert_eq!(map.reads(), before);
    }
}
