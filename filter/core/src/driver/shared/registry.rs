//! The VMs of this Envoy: who is alive, how to wake it, which settings it runs on.

use crate::Millis;
use crate::shared_map::{SharedMap, keys};

/// A VM that has not been heard of for so long is gone. Its heart beats once a second.
const GONE_AFTER_MS: u64 = 5_000;
/// After so long without a heartbeat a VM may soon be taken for gone, and others do not wait for it any more: it looks at what they did
/// before it serves again. Well below the time above: between its last look and its answer nobody may have begun to leave it out.
pub const LISTED_MS: u64 = 2_500;
/// More VMs than any machine has cores; bounds the record.
const MAX_VMS: usize = 512;
const RECORD: usize = 40;
const RETRIES: usize = 16;

/// One VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Random, made when the VM started.
    pub uid: u64,
    /// Its wake-up queue.
    pub queue: u32,
    /// Last heartbeat, by the clock that nobody sets: who stood still cannot mistake how long.
    pub seen_ms: Millis,
    /// Fingerprint of the settings epoch in force in it.
    pub epoch: u64,
    /// Settings revision in force in it.
    pub revision: u64,
    /// Purges in force in it, by number.
    pub purges: u32,
}

/// Records that `me` is alive; answers all VMs alive, `me` included. `None` when the host refused, or others kept winning the race: then
/// the others may not know of it.
pub fn heartbeat(map: &impl SharedMap, me: Member) -> Option<Vec<Member>> {
    for _ in 0..RETRIES {
        let (mut vms, cas) = read(map);
        vms.retain(|vm| vm.uid != me.uid && alive(vm, me.seen_ms));
        vms.truncate(MAX_VMS - 1);
        vms.push(me);
        if map.set(keys::WORKERS, &encode(&vms), cas).is_ok() {
            return Some(vms);
        }
    }
    None
}

/// All VMs alive.
pub fn vms(map: &impl SharedMap, steady_ms: Millis) -> Vec<Member> {
    let (mut vms, _) = read(map);
    vms.retain(|vm| alive(vm, steady_ms));
    vms
}

/// Creates the record, so that no two workers race to create it.
pub fn seed(map: &impl SharedMap) {
    if map.get(keys::WORKERS).is_none() {
        let _ = map.set(keys::WORKERS, &encode(&[]), None);
    }
}

fn alive(vm: &Member, steady_ms: Millis) -> bool {
    vm.seen_ms.abs_diff(steady_ms) < GONE_AFTER_MS
}

fn read(map: &impl SharedMap) -> (Vec<Member>, Option<u32>) {
    match map.get(keys::WORKERS) {
        Some((bytes, cas)) => (
            bytes
                .get(1..)
                .unwrap_or_default()
                .chunks_exact(RECORD)
                .filter_map(decode)
                .collect(),
            Some(cas),
        ),
        None => (Vec::new(), None),
    }
}

fn encode(vms: &[Member]) -> Vec<u8> {
    // The leading byte keeps an empty list from being an empty value, which would read as absent.
    let mut bytes = vec![1];
    for vm in vms {
        bytes.extend_from_slice(&vm.uid.to_le_bytes());
        bytes.extend_from_slice(&vm.queue.to_le_bytes());
        bytes.extend_from_slice(&vm.seen_ms.to_le_bytes());
        bytes.extend_from_slice(&vm.epoch.to_le_bytes());
        bytes.extend_from_slice(&vm.revision.to_le_bytes());
        bytes.extend_from_slice(&vm.purges.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Member> {
    let word = |at: usize| {
        bytes
            .get(at..at + 8)
            .and_then(|part| part.try_into().ok())
            .map(u64::from_le_bytes)
    };
    let half = |at: usize| {
        bytes
            .get(at..at + 4)
            .and_then(|part| part.try_into().ok())
            .map(u32::from_le_bytes)
    };
    let queue = half(8)?;
    Some(Member {
        uid: word(0)?,
        queue,
        seen_ms: word(12)?,
        epoch: word(20)?,
        revision: word(28)?,
        purges: half(36)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_map::MemoryMap;

    fn vm(uid: u64, seen_ms: Millis) -> Member {
        Member {
            uid,
            queue: 7,
            seen_ms,
            epoch: 3,
            revision: 4,
            purges: 5,
        }
    }

    #[test]
    fn the_living_are_listed_once() {
        let map = MemoryMap::default();
        seed(&map);
        assert!(vms(&map, 0).is_empty());
        heartbeat(&map, vm(1, 1000));
        heartbeat(&map, vm(1, 2000));
        assert_eq!(heartbeat(&map, vm(2, 2500)), Some(vec![vm(1, 2000), vm(2, 2500)]));
        assert_eq!(
            heartbeat(&map, vm(2, 7100)),
            Some(vec![vm(2, 7100)]),
            "the first has been silent for five seconds"
        );
    }

    #[test]
    fn a_host_in_trouble_lists_nobody() {
        let map = MemoryMap::default();
        map.fail_all(true);
        assert_eq!(heartbeat(&map, vm(1, 1000)), None);
    }

    #[test]
    fn no_heartbeat_is_lost_between_threads() {
        let map = MemoryMap::default();
        seed(&map);
        std::thread::scope(|scope| {
            for uid in 1..=4 {
                let map = &map;
                scope.spawn(move || (0..50).for_each(|_| drop(heartbeat(map, vm(uid, 1000)))));
            }
        });
        let mut uids: Vec<u64> = vms(&map, 1000).iter().map(|vm| vm.uid).collect();
        uids.sort_unstable();
        assert_eq!(uids, vec![1, 2, 3, 4]);
    }
}
