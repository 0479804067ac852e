//! A stored response on its way out, and what Envoy's rules make of it.

use crate::Millis;
use crate::driver::host::header_map;
use crate::driver::host::{Host, MapKind};
use crate::http::fields::Fields;
use crate::learned::Learned;
use crate::shared_map::{SharedMap, keys};
use std::collections::HashSet;

/// A stored response as it was handed to Envoy.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// The serialized field lines.
    pub(crate) fields: Vec<u8>,
    /// Bytes of content.
    pub(crate) body: usize,
    /// Envoy drops what it thinks wrong for a response without content; these are put back.
    pub(crate) content_length: Option<u64>,
    pub(crate) content_type: Option<Vec<u8>>,
}

impl Sent {
    /// Makes the head again what was sent. `count` is the number of lines it has now. What was added to it: a name, a NUL and a value each.
    pub(crate) fn restore(&self, host: &impl Host, count: usize) -> Vec<Vec<u8>> {
        let added = if count == self.expected() {
            Vec::new()
        } else {
            self.restore_lines(host)
        };
        if let Some(length) = self.content_length {
            let _ = host.replace_header(MapKind::Response, b"content-length", length.to_string().as_bytes());
        }
        if let Some(kind) = &self.content_type {
            let _ = host.replace_header(MapKind::Response, b"content-type", kind);
        }
        added
    }

    /// Lines of a head that nothing was added to: ours, the status, and the length of content.
    fn expected(&self) -> usize {
        let lines = self.fields.first_chunk().map_or(0, |count| u32::from_le_bytes(*count));
        // Of a reply without content Envoy takes off what describes it.
        let dropped = usize::from(self.content_length.is_some()) + usize::from(self.content_type.is_some());
        usize::try_from(lines)
            .unwrap_or(0)
            .saturating_add(1)
            .saturating_add(usize::from(self.body > 0))
            .saturating_sub(dropped)
    }

    fn restore_lines(&self, host: &impl Host) -> Vec<Vec<u8>> {
        let Ok(map) = host.header_map(MapKind::Response) else {
            return Vec::new();
        };
        let now = Fields::from(header_map::parse(&map));
        let sent = Fields::from(header_map::parse(&self.fields));
        let mut done: Vec<&[u8]> = vec![b"content-length"];
        for (name, _) in sent.iter() {
            if done.contains(&name) {
                continue;
            }
            done.push(name);
            if sent.all(name).eq(now.all(name)) {
                continue;
            }
            for (at, value) in sent.all(name).enumerate() {
                let _ = if at == 0 {
                    host.replace_header(MapKind::Response, name, value)
                } else {
                    host.add_header(MapKind::Response, name, value)
                };
            }
        }
        // Envoy gives content without a type one; browsers look for themselves where there is none.
        if !sent.has(b"content-type") && now.has(b"content-type") {
            let _ = host.remove_header(MapKind::Response, b"content-type");
        }
        added(&now, &sent)
    }
}

/// Fields that Envoy gives a reply of its own accord.
const ENVOYS_OWN: [&[u8]; 5] = [b"content-length", b"content-type", b"date", b"server", b"cache-status"];

/// The lines that a head has beside those that were sent.
fn added(now: &Fields<'_>, sent: &Fields<'_>) -> Vec<Vec<u8>> {
    let mut sent: Vec<(&[u8], &[u8])> = sent.iter().collect();
    let mut added = Vec::new();
    for (name, value) in now.iter() {
        if name.starts_with(b":") || name.starts_with(b"x-envoy-") || ENVOYS_OWN.contains(&name) {
            continue;
        }
        match sent.iter().position(|line| *line == (name, value)) {
            Some(at) => drop(sent.swap_remove(at)),
            None => added.push([name, value].join(&0)),
        }
    }
    added
}

/// A reply's lines without those that the rules of its route add: equal ones, and where a rule's value changes from one response to the
/// next, a single line of the same name.
pub(crate) fn without_added<'l>(lines: &[(&'l [u8], &'l [u8])], rules: &[Vec<u8>]) -> Vec<(&'l [u8], &'l [u8])> {
    let mut left: Vec<(&[u8], &[u8])> = lines.to_vec();
    for rule in rules {
        let Some(end) = rule.iter().position(|byte| *byte == 0) else {
            continue;
        };
        let (name, value) = (
            rule.get(..end).unwrap_or_default(),
            rule.get(end + 1..).unwrap_or_default(),
        );
        let equal = left.iter().position(|line| *line == (name, value));
        let alone = || {
            let mut same = left.iter().enumerate().filter(|(_, line)| line.0 == name);
            same.next().filter(|_| same.next().is_none()).map(|(at, _)| at)
        };
        if let Some(at) = equal.or_else(alone) {
            left.remove(at);
        }
    }
    left
}

/// Routes whose replies this VM has seen, at most.
const MAX_SHOWN: usize = 1024;

/// What the header rules of clusters and routes add to replies of ours, as far as replies were shown.
#[derive(Debug)]
pub struct AddedLines {
    learned: Learned,
    /// Of which rules this VM has seen a reply on its way out.
    shown: HashSet<u64>,
    /// The one shown last.
    last: Option<u64>,
}

impl Default for AddedLines {
    fn default() -> Self {
        Self {
            learned: Learned::new(keys::ADDED),
            shown: HashSet::new(),
            last: None,
        }
    }
}

impl AddedLines {
    /// Takes over what other workers have learned.
    pub(crate) fn refresh(&mut self, map: &impl SharedMap) {
        self.learned.refresh(map);
    }

    /// A reply under these rules was shown, with these lines added to it. `clock` is read where that is news.
    pub(crate) fn learn(
        &mut self,
        map: &impl SharedMap,
        rules: u64,
        mut added: Vec<Vec<u8>>,
        clock: impl Fn() -> Millis,
    ) {
        if self.last != Some(rules) && !self.shown.contains(&rules) {
            if self.shown.len() >= MAX_SHOWN {
                self.shown.clear();
            }
            self.shown.insert(rules);
            added.push(Vec::new());
        }
        self.last = Some(rules);
        if !added.is_empty() {
            self.learned.learn(map, rules, &added, clock());
        }
    }

    /// Whether a reply under these rules was shown, here or to another worker.
    pub(crate) fn knows(&self, rules: u64, now_ms: Millis) -> bool {
        self.shown.contains(&rules) || self.learned.of(rules, now_ms).next().is_some()
    }

    /// What they add, as far as known.
    pub(crate) fn of(&self, rules: u64, now_ms: Millis) -> Vec<Vec<u8>> {
        self.learned.of(rules, now_ms).map(<[u8]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rules_add_is_left_to_them() {
        let lines: Vec<(&[u8], &[u8])> = vec![
            (b"etag", b"\"e\""),
            (b"x-env", b"prod"),
            (b"x-env", b"of the origin"),
            (b"x-now", b"yesterday"),
        ];
        let rules = [
            b"x-env\0prod".to_vec(),
            b"x-now\0today".to_vec(),
            b"x-new\x001".to_vec(),
        ];
        assert_eq!(
            without_added(&lines, &rules),
            [(&b"etag"[..], &b"\"e\""[..]), (b"x-env", b"of the origin")]
        );
        assert_eq!(without_added(&lines, &[]), lines);
    }

    #[test]
    fn what_was_added_is_told_from_what_was_sent_and_from_envoys_own() {
        let sent = Fields::from(vec![(&b"x-env"[..], &b"prod"[..]), (b"etag", b"e")]);
        let now = Fields::from(vec![
            (&b":status"[..], &b"200"[..]),
            (b"x-env", b"prod"),
            (b"x-env", b"prod"),
            (b"x-rule", b"1"),
            (b"etag", b"e"),
            (b"server", b"envoy"),
        ]);
        assert_eq!(added(&now, &sent), [b"x-env\0prod".to_vec(), b"x-rule\x001".to_vec()]);
    }
}
