//! Whether what is stored may be believed after a pause. An Envoy that stood still (a stopped container, a migrated machine, a
//! swapped-out process) wakes up with its cache and without the purges that it slept through: until the control plane has told
//! it what it missed, it asks the origin.

use crate::Millis;
use crate::shared_map::{SharedMap, keys};

/// The tick comes five times a second. One that is so late was not held up by load, everything stood still.
const PAUSE_MS: u64 = 5_000;
/// Without a control plane that says what was missed the doubt ends by itself: a cache that serves is worth more than one that
/// waits for ever.
const PATIENCE_MS: u64 = 20_000;
/// While the control plane is heard, but has not said yet that nothing is missing, the doubt lasts on; so long at most.
const LONGEST_MS: u64 = 300_000;

/// One reading of both clocks, milliseconds. A pause shows on at least one of them: the wall clock may have been set back by as much as the
/// pause lasted; the steady one does not run while the machine is suspended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    wall_ms: Millis,
    steady_ms: Millis,
}

impl Clocks {
    pub(crate) fn new(wall_ms: Millis, steady_ms: Millis) -> Self {
        Self { wall_ms, steady_ms }
    }

    fn since(self, earlier: Self) -> Millis {
        let by_wall = self.wall_ms.saturating_sub(earlier.wall_ms);
        by_wall.max(self.steady_ms.saturating_sub(earlier.steady_ms))
    }
}

/// The doubts of one VM.
#[derive(Debug, Default)]
pub struct StalenessGuard {
    ticked: Option<Clocks>,
    /// By the steady clock, as all times below.
    since: Option<Millis>,
    /// On the present stream the control plane has said that nothing is missing.
    in_sync: bool,
}

impl StalenessGuard {
    /// Time begins: a VM may stand still before its first tick.
    pub(crate) fn begins(&mut self, now: Clocks) {
        self.ticked.get_or_insert(now);
    }

    /// Whether the last tick was so long ago that everything may have stood still since.
    pub(crate) fn may_have_paused(&self, now: Clocks) -> bool {
        self.ticked.is_some_and(|ticked| now.since(ticked) > PAUSE_MS)
    }

    /// Whether there is anything to doubt.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.since.is_some()
    }

    /// The control plane has sent what was missed.
    pub(crate) fn caught_up(&mut self) {
        self.in_sync = true;
    }

    /// A new stream: what was missed is not known yet.
    pub(crate) fn reconnected(&mut self) {
        self.in_sync = false;
    }

    /// The leader heard from the control plane: tells all VMs how far what is stored can be believed.
    pub(crate) fn confirm_in_sync(&self, map: &impl SharedMap, now_ms: Millis) {
        let key = if self.in_sync { keys::IN_SYNC } else { keys::CATCHING_UP };
        // A VM in doubt waits for its patience to end when this fails.
        let _ = map.set(key, &now_ms.to_le_bytes(), None);
    }

    /// Notes that time passes; true when it stood still since the last time.
    pub(crate) fn passes(&mut self, now: Clocks) -> bool {
        let paused = self.may_have_paused(now);
        self.ticked = Some(now);
        if paused {
            self.since = Some(now.steady_ms);
            self.in_sync = false;
        }
        paused
    }

    pub(crate) fn doubts(&mut self, map: &impl SharedMap, now_ms: Millis) -> bool {
        let Some(since) = self.since else { return false };
        let time = |key| {
            map.get(key)
                .and_then(|(bytes, _)| bytes.try_into().ok())
                .map_or(0, u64::from_le_bytes)
        };
        let catching_up = time(keys::CATCHING_UP).clamp(since, since.saturating_add(LONGEST_MS));
        if time(keys::IN_SYNC) > since || now_ms.abs_diff(since) > PATIENCE_MS + (catching_up - since) {
            self.since = None;
        }
        self.since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared_map::MemoryMap;

    fn both(ms: Millis) -> Clocks {
        Clocks::new(ms, ms)
    }

    #[test]
    fn a_pause_shows_on_either_clock() {
        for (wall_ms, steady_ms, paused) in [
            (PAUSE_MS, PAUSE_MS, false),
            (1, PAUSE_MS + 1, true),
            (PAUSE_MS + 1, 1, true),
            (0, PAUSE_MS + 1, true),
        ] {
            let mut staleness = StalenessGuard::default();
            staleness.begins(Clocks::new(100_000, 5));
            let now = Clocks::new(100_000 + wall_ms, 5 + steady_ms);
            assert_eq!(staleness.passes(now), paused, "{now:?}");
        }
    }

    #[test]
    fn after_a_pause_nothing_is_believed_until_the_control_plane_vouches() {
        let (map, mut leader, mut other) = (
            MemoryMap::default(),
            StalenessGuard::default(),
            StalenessGuard::default(),
        );
        leader.caught_up();
        assert!(!leader.passes(both(1_000)) && !other.passes(both(1_000)));
        leader.confirm_in_sync(&map, 1_100);
        assert!(!other.passes(both(1_000 + PAUSE_MS)), "a busy machine");
        assert!(leader.passes(both(20_000)) && other.passes(both(20_000)));
        assert!(other.doubts(&map, 20_001));
        leader.confirm_in_sync(&map, 20_100);
        assert!(other.doubts(&map, 20_101), "the leader itself has not caught up");
        leader.caught_up();
        leader.confirm_in_sync(&map, 20_200);
        assert!(!other.doubts(&map, 20_201) && !leader.doubts(&map, 20_201));
    }

    #[test]
    fn who_is_still_being_told_doubts_on_for_a_bounded_time() {
        let (map, mut leader, mut other) = (
            MemoryMap::default(),
            StalenessGuard::default(),
            StalenessGuard::default(),
        );
        assert!(!leader.passes(both(1_000)) && !other.passes(both(1_000)));
        assert!(leader.passes(both(20_000)) && other.passes(both(20_000)));
        leader.reconnected();
        leader.confirm_in_sync(&map, 30_000);
        assert!(other.doubts(&map, 30_000 + PATIENCE_MS), "the control plane was heard");
        leader.confirm_in_sync(&map, 50_000);
        assert!(other.doubts(&map, 50_000 + PATIENCE_MS));
        leader.confirm_in_sync(&map, 900_000_000);
        assert!(other.doubts(&map, 20_000 + LONGEST_MS + PATIENCE_MS));
        assert!(
            !other.doubts(&map, 20_001 + LONGEST_MS + PATIENCE_MS),
            "for ever is too long"
        );
    }

    #[test]
    fn doubts_end_by_themselves_and_a_clock_that_goes_back_raises_none() {
        let (map, mut staleness) = (MemoryMap::default(), StalenessGuard::default());
        staleness.passes(both(100_000));
        assert!(!staleness.passes(both(1_000)));
        assert!(staleness.passes(both(50_000)) && staleness.doubts(&map, 50_001));
        assert!(!staleness.doubts(&map, 50_001 + PATIENCE_MS));
    }
}
