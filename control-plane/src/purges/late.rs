//! Purges that the shared tier could not record at first.

use super::recording::record_in_tier;
use super::service::PurgeService;
use crate::kernel::clock::now_ms;
use control_domain::purges::PurgeLog;
use control_domain::replication::Fact;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A tier that cannot record a purge is tried again after this.
const RETRY: Duration = Duration::from_secs(1);
/// A purge that is younger is being recorded by whoever accepted it.
const BEING_RECORDED_MS: u64 = 2_000;

impl PurgeService {
    /// Has the shared tier record what it could not record at first, also before this process began, or at another replica. Then all Envoys
    /// do it once more: meanwhile one may have got from the tier what it had purged itself. Until told to stop.
    pub(crate) async fn record_late(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                _ = stopped.changed() => return,
            }
            // One that was accepted a moment ago is being recorded.
            let before = now_ms().saturating_sub(BEING_RECORDED_MS);
            let late = |log: &PurgeLog| {
                let late = log.unrecorded().filter(|purge| purge.at < before);
                late.cloned().collect::<Vec<_>>()
            };
            for purge in self.record.read(late) {
                if record_in_tier(&self.tier, &purge).await.is_err() {
                    break;
                }
                // Another replica may have been first.
                let waits = |log: &PurgeLog| log.get(&purge.id).is_some_and(|purge| purge.unrecorded);
                if self.record.read(waits) {
                    let (round, id) = (self.record.reopen(&purge.id), purge.id.clone());
                    self.record.save_reopened(&purge.id);
                    self.replication.publish_later(Fact::PurgeReopened { id, round });
                }
                if let Some(purge) = self.get(&purge.id) {
                    let service = Arc::clone(&self);
                    tokio::spawn(async move { service.send_to_envoys(&purge).await });
                }
            }
        }
    }
}
