//! How far a revision has come.

use super::service::SettingsService;
use control_domain::fleet::{Fleet, RolloutStatus};
use std::time::Duration;

impl SettingsService {
    /// Waits until everyone who is to run on a revision does; answers who does not when time is up, or when nobody but refusers is
    /// left to wait for.
    pub(crate) async fn wait_for_all(&self, revision: u64, timeout: Duration) -> RolloutStatus {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let progress = self.fleet.progress();
            let begin = std::time::Instant::now();
            let is_awaited =
                self.of_those_to_run(revision, |fleet, names, epoch| fleet.awaits_any(names, epoch, revision));
            let took = begin.elapsed();
            if !is_awaited {
                let status = self.status(revision);
                // One may have connected meanwhile.
                if status.late.is_empty() {
                    return status;
                }
            }
            if tokio::time::timeout_at(deadline, progress).await.is_err() {
                return self.status(revision);
            }
            // Every Envoy of the fleet wakes this up. Looking takes at most a fifth of the time, else the sum of all looks would
            // grow with the square of the fleet.
            tokio::time::sleep(took * 4).await;
        }
    }

    /// Who does not run on a revision: of the canary's Envoys if it is on trial, else of all that are connected.
    pub(crate) fn status(&self, revision: u64) -> RolloutStatus {
        self.of_those_to_run(revision, |fleet, names, epoch| {
            fleet.rollout_status(names, epoch, revision)
        })
    }

    /// Looks at the Envoys that are to run on a revision; the last argument of `look` is the history.
    fn of_those_to_run<T>(
        &self,
        revision: u64,
        look: impl FnOnce(&Fleet, &mut dyn Iterator<Item = &str>, &str) -> T,
    ) -> T {
        let published = self.published();
        let epoch = published.epoch();
        self.fleet.read(|fleet, _| match published.canary() {
            Some(canary) if canary.revision.number == revision => {
                look(fleet, &mut canary.envoys.iter().map(String::as_str), epoch)
            }
            _ => look(fleet, &mut fleet.envoys().map(|(name, _)| name), epoch),
        })
    }
}
