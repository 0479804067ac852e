//! Revisions that were lost with a disk: an Envoy runs on one above ours, and would take nothing that we number below.

use super::service::{SettingsService, State};
use crate::kernel::clock::now_ms;
use control_domain::settings::history::Author;
use control_domain::settings::recovery;
use optimizer_proto::v1::Hello;
use std::time::Duration;

/// How often a loss is looked into again while the shared store is out of reach.
const RETRY: Duration = Duration::from_secs(5);

impl SettingsService {
    /// An Envoy that runs on a revision above ours, of our own history, had it from before a disk was lost: the settings in force are
    /// issued again above it. False where that cannot be done at the moment.
    pub(crate) async fn catch_up_with(&self, hello: &Hello) -> bool {
        if ahead(&self.state(), hello) == 0 {
            return true;
        }
        // Another replica may have made it, and this one not heard of it yet.
        if let Err(reason) = self.refresh().await {
            tracing::warn!(reason, node = hello.node_id, "an Envoy knows a later revision");
            return false;
        }
        if !self.believes_in_loss(hello) {
            return true;
        }
        let made = self.commit("settings", |state| {
            let ahead = ahead(state, hello);
            if ahead == 0 {
                return Ok((None, ahead));
            }
            let mut new = state.agreed();
            new.canary = None;
            let author = Author {
                who: hello.node_id.clone(),
                source: "recovery".to_owned(),
                reason: format!("revision {} was in force and is lost", hello.revision),
            };
            new.history.reissue(hello.revision, author, now_ms());
            Ok((Some(new), ahead))
        });
        match made.await {
            Ok(0) => true,
            Ok(_) => {
                tracing::warn!(
                    node = hello.node_id,
                    theirs = hello.revision,
                    "revisions were lost, going on above them"
                );
                true
            }
            Err(refused) => {
                tracing::warn!(%refused, node = hello.node_id, "an Envoy knows a later revision");
                false
            }
        }
    }

    /// Tries again what [`Self::catch_up_with`] could not do, until it is done: until then the Envoy takes nothing.
    pub(crate) async fn keep_catching_up_with(&self, hello: &Hello) {
        loop {
            tokio::time::sleep(RETRY).await;
            if self.catch_up_with(hello).await {
                return;
            }
        }
    }

    /// Whether it may be that revisions were lost once more. While one is on trial none are issued above it: that would end the trial.
    fn believes_in_loss(&self, hello: &Hello) -> bool {
        let mut state = self.state();
        let ahead = ahead(&state, hello);
        if ahead == 0 {
            return false;
        }
        let tried = state.canary.is_some();
        let believed = !tried && state.recoveries.believes(&hello.node_id, ahead, now_ms());
        drop(state);
        if !believed {
            tracing::error!(
                node = hello.node_id,
                revision = hello.revision,
                "an Envoy claims a later revision and is not believed"
            );
        }
        believed
    }
}

/// By how many revisions of our history an Envoy is ahead.
fn ahead(state: &State, hello: &Hello) -> u64 {
    recovery::ahead(&state.history, state.canary.as_ref(), hello)
}
