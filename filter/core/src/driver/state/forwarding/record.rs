//! What is known of forwarding, as it is kept in shared data.

use crate::driver::shared::distrusted;
use crate::reason::Reason;
use rustc_hash::{FxHashMap, FxHashSet};

/// Replies of the filter do not leave this Envoy as they were made.
const REWRITTEN: u8 = 1;
const CHANGED: u8 = 1;
/// The number of a pair whose requests go where their clients connected to, beside those of [`distrusted`].
const BY_DESTINATION: u8 = 16;

#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub(crate) struct Record {
    pub(crate) rewritten: bool,
    /// By pair: whether its requests are changed.
    pub(super) pairs: FxHashMap<Vec<u8>, bool>,
    /// By pair: why the cache has no part in its requests.
    pub(super) unsound: FxHashMap<Vec<u8>, Reason>,
    /// Pairs whose requests go where their clients connected to.
    pub(super) by_destination: FxHashSet<Vec<u8>>,
}

/// A pair of which there is more to say stands in the record as a changed one whose name goes on, which no name of a cluster or route does:
/// modules that do not know of it pass over it.
impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![if self.rewritten { REWRITTEN } else { 0 }];
        let mut push = |name: &[u8], changed: bool| {
            if let Ok(length) = u16::try_from(name.len()) {
                bytes.push(if changed { CHANGED } else { 0 });
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(name);
            }
        };
        for (pair, changed) in &self.pairs {
            push(pair, *changed);
        }
        for (pair, reason) in &self.unsound {
            if let Some(number) = distrusted::number(*reason) {
                push(&[pair.as_slice(), &[0, number]].concat(), true);
            }
        }
        for pair in &self.by_destination {
            push(&[pair.as_slice(), &[0, BY_DESTINATION]].concat(), true);
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let Some((first, mut rest)) = bytes.split_first() else {
            return Self::default();
        };
        let mut record = Self {
            rewritten: *first == REWRITTEN,
            ..Self::default()
        };
        while let [flag, low, high, names @ ..] = rest {
            let length = usize::from(u16::from_le_bytes([*low, *high]));
            let Some((pair, after)) = names.split_at_checked(length) else {
                break;
            };
            match pair {
                [pair @ .., 0, BY_DESTINATION] => drop(record.by_destination.insert(pair.to_vec())),
                [pair @ .., 0, number] if *number < 0x20 => {
                    if let Some(reason) = distrusted::reason(*number) {
                        record.unsound.insert(pair.to_vec(), reason);
                    }
                }
                _ => drop(record.pairs.insert(pair.to_vec(), *flag == CHANGED)),
            }
            rest = after;
        }
        record
    }
}
