//! The snapshots that were made, one for each `Place`: Envoys with equal places get the same one.

use super::place::{Place, Source};
use super::snapshot::Snapshot;
use std::collections::HashMap;
use std::sync::Arc;

/// Snapshots kept: one for each place of the Envoys in a step.
pub(crate) const PLACES: usize = 256;
/// Bytes of all of them.
pub(crate) const BYTES: usize = 64 << 20;

/// The number of a step, an Envoy's place, and the source of its filter.
pub(super) type Key = (u64, Place, Option<Source>);

/// Snapshots by what they were made for.
#[derive(Debug, Default)]
pub(super) struct Made {
    snapshots: HashMap<Key, Arc<Snapshot>>,
    bytes: usize,
}

impl Made {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Snapshot>> {
        self.snapshots.get(key).map(Arc::clone)
    }

    /// Keeps a snapshot, and removes those of steps that no Envoy gets any more. When they become too many or too
    /// large, all others are removed and made again on demand.
    pub(super) fn keep(&mut self, key: Key, snapshot: &Arc<Snapshot>, steps: [u64; 2]) {
        self.snapshots.retain(|(step, ..), _| steps.contains(step));
        self.bytes = self.snapshots.values().map(|snapshot| snapshot.bytes()).sum();
        let bytes = snapshot.bytes();
        if self.snapshots.len() >= PLACES || self.bytes.saturating_add(bytes) > BYTES {
            self.snapshots.clear();
            self.bytes = 0;
        }
        if bytes <= BYTES {
            self.bytes += bytes;
            self.snapshots.insert(key, Arc::clone(snapshot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::kind::Kind;
    use crate::xds::resources::Resource;
    use envoy_types::pb::google::protobuf::Any;

    const MB: usize = 1 << 20;

    fn key(step: u64, port: u16) -> Key {
        let place = Place {
            listen_port: port,
            ..Place::default()
        };
        (step, place, None)
    }

    /// A snapshot of this many bytes.
    fn of(bytes: usize) -> Arc<Snapshot> {
        let body = Any {
            type_url: String::new(),
            value: vec![0; bytes - 2],
        };
        let mut snapshot = Snapshot::default();
        let (name, version) = ("a".to_owned(), "1".to_owned());
        snapshot.set(Kind::Clusters, [Resource { name, version, body }]);
        assert_eq!(snapshot.bytes(), bytes);
        Arc::new(snapshot)
    }

    #[test]
    fn so_many_are_kept_and_no_more() {
        let mut made = Made::default();
        let snapshot = of(10);
        for port in 1..=256 {
            made.keep(key(1, port), &snapshot, [1, 0]);
        }
        assert_eq!((made.snapshots.len(), made.bytes), (256, 2_560));
        made.keep(key(1, 257), &snapshot, [1, 0]);
        assert_eq!((made.snapshots.len(), made.bytes), (1, 10));
        assert!(made.get(&key(1, 257)).is_some() && made.get(&key(1, 1)).is_none());
    }

    #[test]
    fn so_many_bytes_are_kept_and_no_more() {
        let mut made = Made::default();
        let half = of(32 * MB);
        made.keep(key(1, 1), &half, [1, 0]);
        made.keep(key(1, 2), &half, [1, 0]);
        assert_eq!((made.snapshots.len(), made.bytes), (2, 64 * MB));
        made.keep(key(1, 3), &of(3), [1, 0]);
        assert_eq!((made.snapshots.len(), made.bytes), (1, 3), "no more than 64 MB");
        made.keep(key(1, 4), &of(64 * MB + 1), [1, 0]);
        assert_eq!((made.snapshots.len(), made.bytes), (0, 0), "larger than all may be");
    }

    #[test]
    fn those_of_earlier_steps_go() {
        let mut made = Made::default();
        let snapshot = of(10);
        for step in 1..=3 {
            made.keep(key(step, 1), &snapshot, [step, 1]);
        }
        assert_eq!((made.snapshots.len(), made.bytes), (2, 20));
        assert!(made.get(&key(1, 1)).is_some() && made.get(&key(2, 1)).is_none());
    }
}
