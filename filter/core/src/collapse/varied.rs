//! By which request fields the responses of a route were lately selected (`Vary`, RFC 9110 section 12.5.5).
//!
//! Of a cold key nobody knows that. Requests that differ in a field by which other responses of the route vary do not follow one
//! another's fetch. All workers share what they have learned; a wrong guess costs a fetch, never a wrong response.

use crate::Millis;
use crate::shared_map::{Cas, SharedMap};

const KEY: &[u8] = b"ao1/varied";
/// Routes remembered.
const MAX_ROUTES: usize = 64;
/// Names per route; beyond these the rest is not looked at.
const MAX_NAMES: usize = 8;
/// Longest name that is remembered.
const MAX_NAME_LEN: usize = 64;
/// For so long a name counts after it was last seen.
const KEPT_MS: u64 = 600_000;
/// A name is written again when less than this is left of it.
const RENEWED_MS: u64 = 300_000;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    route: u64,
    until: Millis,
    name: Vec<u8>,
}

/// One VM's copy of what all have learned.
#[derive(Debug, Default)]
pub struct Varied {
    names: Vec<Name>,
    seen: Option<Cas>,
}

impl Varied {
    /// Creates the record.
    pub fn seed(map: &impl SharedMap) {
        if map.get(KEY).is_none() {
            // A failure leaves it to be made by the first response that varies.
            let _ = map.set(KEY, b"", None);
        }
    }

    /// Takes over what other workers have learned.
    pub fn refresh(&mut self, map: &impl SharedMap) {
        if let Some((bytes, cas)) = map.get(KEY)
            && self.seen != Some(cas)
        {
            self.names = decode(&bytes);
            self.seen = Some(cas);
        }
    }

    /// The names by which responses of this route were selected lately.
    pub fn of(&self, route: u64, now_ms: Millis) -> impl Iterator<Item = &[u8]> {
        self.names
            .iter()
            .filter(move |name| name.route == route && name.until > now_ms)
            .map(|name| name.name.as_slice())
    }

    /// A response of this route was selected by these fields.
    pub fn learn(&mut self, map: &impl SharedMap, route: u64, vary: &[Vec<u8>], now_ms: Millis) {
        let known = |name: &[u8]| {
            self.names.iter().any(|known| {
                known.route == route && known.name == name && known.until > now_ms.saturating_add(RENEWED_MS)
            })
        };
        let news: Vec<&Vec<u8>> = vary
            .iter()
            .filter(|name| name.len() <= MAX_NAME_LEN && !known(name))
            .take(MAX_NAMES)
            .collect();
        if news.is_empty() {
            return;
        }
        let held = map.get(KEY);
        let mut names = held.as_ref().map(|(bytes, _)| decode(bytes)).unwrap_or_default();
        // A time far ahead comes from a clock that has since jumped back.
        names.retain(|name| name.until > now_ms && name.until <= now_ms.saturating_add(KEPT_MS));
        for name in news {
            names.retain(|known| known.route != route || known.name != *name);
            if names.iter().filter(|known| known.route == route).count() < MAX_NAMES
                && names.len() < MAX_ROUTES * MAX_NAMES
            {
                let until = now_ms.saturating_add(KEPT_MS);
                let name = name.clone();
                names.push(Name { route, until, name });
            }
        }
        // Lost to another worker's write: the next such response tells it again.
        if map.set(KEY, &encode(&names), held.map(|(_, cas)| cas)).is_ok() {
            self.names = names;
            self.seen = None;
        }
    }
}

fn encode(names: &[Name]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend_from_slice(&name.route.to_le_bytes());
        bytes.extend_from_slice(&name.until.to_le_bytes());
        bytes.push(u8::try_from(name.name.len()).unwrap_or(0));
        bytes.extend_from_slice(&name.name);
    }
    bytes
}

/// What does not fit its own lengths ends the list.
fn decode(mut bytes: &[u8]) -> Vec<Name> {
    let mut names = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(17) {
        let word = |at: usize| head.get(at..at + 8).and_then(|part| part.try_into().ok());
        let (Some(route), Some(until), Some(length)) = (word(0), word(8), head.get(16)) else {
            break;
        };
        let Some((name, rest)) = rest.split_at_checked(usize::from(*length)) else {
            break;
        };
        names.push(Name {
            route: u64::from_le_bytes(route),
            until: u64::from_le_bytes(until),
            name: name.to_vec(),
        });
        bytes = rest;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_map::MemoryMap;

    fn names(varied: &Varied, route: u64, now_ms: Millis) -> Vec<String> {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        varied.of(route, now_ms).map(text).collect()
    }

    #[test]
    fn what_one_worker_learns_the_others_know() {
        let map = MemoryMap::default();
        Varied::seed(&map);
        let (mut one, mut two) = (Varied::default(), Varied::default());
        one.learn(&map, 1, &[b"origin".to_vec(), b"x-tenant".to_vec()], 1_000);
        one.learn(&map, 2, &[b"accept".to_vec()], 1_000);
        assert_eq!(names(&one, 1, 1_000), ["origin", "x-tenant"]);
        assert!(names(&two, 1, 1_000).is_empty());
        two.refresh(&map);
        assert_eq!(names(&two, 1, 1_000), ["origin", "x-tenant"]);
        assert_eq!(names(&two, 2, 1_000), ["accept"]);
        assert!(names(&two, 1, 1_000 + KEPT_MS).is_empty(), "not seen for long");
        two.learn(&map, 2, &[b"cookie".to_vec()], 1_000 + KEPT_MS);
        one.refresh(&map);
        assert_eq!(names(&one, 2, 1_000 + KEPT_MS), ["cookie"]);
    }

    #[test]
    fn the_record_is_bounded_and_damage_is_harmless() {
        let map = MemoryMap::default();
        let mut varied = Varied::default();
        for route in 0..200 {
            let many: Vec<Vec<u8>> = (0..20).map(|n| format!("x-{n}").into_bytes()).collect();
            varied.learn(&map, route, &many, 1_000);
        }
        varied.learn(&map, 1_000, &[vec![b'x'; 65]], 1_000);
        assert_eq!(names(&varied, 0, 1_000).len(), MAX_NAMES);
        assert!(varied.names.len() <= MAX_ROUTES * MAX_NAMES);
        map.set(KEY, b"garbage", None).unwrap();
        varied.refresh(&map);
        assert!(varied.names.is_empty());
    }

    #[test]
    fn what_is_known_costs_no_calls() {
        let map = MemoryMap::default();
        let mut varied = Varied::default();
        varied.learn(&map, 1, &[b"accept".to_vec()], 1_000);
        let before = map.reads();
        varied.learn(&map, 1, &[b"accept".to_vec()], 2_000);
        assert_eq!(map.reads(), before);
    }
}
