//! Once a second: what both arms did, what is to be done, and whether somebody else has decided.

use super::own::{Own, stopped};
use super::service::ExperimentService;
use crate::kernel::clock::now_ms;
use crate::settings::Published;
use control_domain::Millis;
use control_domain::experiments::{Because, Figures, State, Verdict};
use control_domain::settings::history::Refused;
use control_domain::telemetry::windows::SLOT_MS;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const EVERY: Duration = Duration::from_secs(1);
/// How often other replicas are told how it stands.
const SHARED_EVERY_MS: Millis = 10_000;

impl ExperimentService {
    /// Judges what is under way here, and rolls back what nobody judges, until told to stop.
    pub(crate) async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stopped.changed() => return,
            }
            let is_own = self.judge_own().await;
            if !is_own {
                self.roll_back_unjudged().await;
            }
        }
    }

    /// Judges the one of here; false when there is none.
    async fn judge_own(&self) -> bool {
        let mut place = self.own.lock().await;
        let Some(own) = place.as_mut() else { return false };
        let known = self.store.get(&own.id);
        if known.is_none_or(|known| known.state.has_ended()) {
            *place = None;
            return true;
        }
        let published = self.settings.published();
        if self.trying() != Some(own.revision) {
            let (because, summary) = decided_otherwise(&published, own);
            self.store.ended(&own.id, because, &summary);
            *place = None;
            return true;
        }
        if own.decided.is_none() {
            own.decided = self.look(own);
        }
        if let Some(because) = own.decided
            && self.carry_out(own, because).await
        {
            *place = None;
        }
        true
    }

    fn look(&self, own: &mut Own) -> Option<Because> {
        let now_ms = now_ms();
        let (slots, rollout) = self
            .fleet
            .read(|fleet, _| (own.slots(fleet, now_ms), own.rollout(fleet)));
        let verdict = own.trial.look(&rollout, &slots, SLOT_MS, now_ms);
        let figures = Figures::of(&own.trial, own.cohort.sizes());
        let after = self
            .store
            .changes(&own.id, |one| one.goes_on(&own.trial, figures, now_ms));
        if let Some(after) = after.filter(|_| now_ms.saturating_sub(own.shared_ms) >= SHARED_EVERY_MS) {
            own.shared_ms = now_ms;
            self.store.publish_passing_state(after);
        }
        match verdict {
            Verdict::Continue => None,
            Verdict::End(because) => Some(because),
        }
    }

    /// Does what was decided; false when it has to be tried again.
    async fn carry_out(&self, own: &Own, because: Because) -> bool {
        let Some(one) = self.store.get(&own.id) else {
            return true;
        };
        let is_inconclusive = because.state() == State::Inconclusive;
        let more = is_inconclusive.then(|| own.trial.more_requests()).flatten();
        let summary = own.trial.sentence(because, more);
        let done = if because.state() == State::Promoted {
            self.settings.promote(Some(own.revision)).await
        } else {
            let reason = format!("experiment {}: {summary}", own.id);
            self.settings.abort(Some(own.revision), one.by, &reason).await
        };
        match done {
            Ok(_) => {
                self.store.changes(&own.id, |one| one.more_requests = more);
                self.store.ended(&own.id, because, &summary);
                true
            }
            // Somebody was faster: the next look finds out who.
            Err(Refused::NoCanary) => false,
            Err(refused) => {
                tracing::warn!(experiment = own.id, %refused, "what was decided has to wait");
                false
            }
        }
    }

    /// A change that an experiment tries and nobody judges any more does not stay: whoever sees it rolls it back.
    async fn roll_back_unjudged(&self) {
        // What is shared may tell of one that goes on, and of its end, in a moment.
        if !self.store.has_joined() {
            return;
        }
        let trying = self.trying();
        let (is_unjudged, over) = self.store.unjudged(trying);
        over.iter().for_each(|one| self.end_unheard(one));
        let Some(revision) = trying.filter(|_| is_unjudged) else {
            return;
        };
        let one = self.store.trying(revision);
        let who = one.as_ref().map(|one| one.by.clone()).unwrap_or_default();
        match self
            .settings
            .abort(Some(revision), who, "nobody judges it any more")
            .await
        {
            Ok(_) => tracing::warn!(revision, "a change on trial that nobody judges is rolled back"),
            Err(Refused::NoCanary) => {}
            Err(refused) => {
                tracing::warn!(revision, %refused, "a change on trial that nobody judges cannot be rolled back yet");
                return;
            }
        }
        if let Some(one) = one {
            self.end_unheard(&one);
        }
    }
}

/// What became of an experiment whose revision is no longer on trial.
fn decided_otherwise(published: &Published, own: &Own) -> (Because, String) {
    let present = published.present();
    let author = published
        .canary()
        .map_or(&present.author, |canary| &canary.revision.author);
    if present.number == own.revision {
        let summary = "Ended by an operator: the change was promoted as it is.".to_owned();
        (Because::Operator, summary)
    } else if author.reason == stopped(&own.id) {
        (Because::Stopped, format!("Stopped by {} and rolled back.", author.who))
    } else {
        let summary = format!(
            "Ended and rolled back: settings were changed meanwhile by {} ({}).",
            author.who, author.source
        );
        (Because::Operator, summary)
    }
}
