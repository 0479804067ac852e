//! Changes that operators make: proposed on the present settings, for all or on trial for a part of the fleet.

use super::service::SettingsService;
use crate::kernel::clock::now_ms;
use control_domain::Millis;
use control_domain::settings::canary::{Canary, EXPERIMENT};
use control_domain::settings::change::Change;
use control_domain::settings::history::{Accepted, Author, Refused, SettingsHistory};

/// A write that was taken.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) accepted: Accepted,
    /// On trial, on part of the fleet.
    pub(crate) canary: bool,
    /// Why it would not survive a restart.
    pub(crate) persist_error: Option<String>,
}

fn is_meant(canary: &Canary, only: Option<u64>) -> bool {
    only.is_none_or(|number| canary.revision.number == number)
}

/// A change by merge or patch, as a proposal.
pub(crate) fn proposing(
    change: &Change,
) -> impl Fn(&SettingsHistory, Option<u64>, Author, Millis) -> Result<Accepted, Refused> + '_ {
    move |history, expected, author, now_ms| history.propose(change, expected, author, now_ms)
}

impl SettingsService {
    /// Proposes a change; accepted, it is kept and on its way to all Envoys when this returns, or with a `share` to that many
    /// percent of them. What an experiment tries gives way to it, unless it is for an experiment itself.
    pub(crate) async fn change(
        &self,
        expected: Option<u64>,
        author: Author,
        dry_run: bool,
        share: Option<u8>,
        propose: impl Fn(&SettingsHistory, Option<u64>, Author, Millis) -> Result<Accepted, Refused> + Send + Sync,
    ) -> Result<Written, Refused> {
        let connected = self.fleet.connected_envoys();
        let kind = if share.is_some() { "canary" } else { "settings" };
        let made = self.commit(kind, |state| {
            let gives_way = |canary: &Canary| canary.is_experiment() && author.source != EXPERIMENT;
            if let Some(canary) = state.canary.as_ref().filter(|canary| !dry_run && !gives_way(canary)) {
                return Err(Refused::CanaryUnderWay(canary.revision.number));
            }
            let mut accepted = propose(&state.history, expected, author.clone(), now_ms())?;
            self.machine
                .judge(&accepted.revision.document, &state.history.present().document)
                .map_err(Refused::Violations)?;
            if !accepted.changed || dry_run {
                return Ok((None, accepted));
            }
            let mut new = state.agreed();
            accepted.revision = new.give_way_to(accepted.revision, now_ms());
            if let Some(share) = share {
                let picked = Canary::pick(accepted.revision.clone(), share, connected.clone());
                new.canary = Some(picked.ok_or(Refused::NoEnvoy)?);
            } else {
                new.history.accept(accepted.revision.clone());
            }
            Ok((Some(new), accepted))
        });
        let accepted = made.await?;
        let canary = share.is_some() && accepted.changed && !dry_run;
        Ok(Written {
            accepted,
            canary,
            persist_error: self.storage_fault().filter(|_| !canary),
        })
    }

    /// The canary becomes the settings of all; with a number only if it is this revision.
    pub(crate) async fn promote(&self, only: Option<u64>) -> Result<u64, Refused> {
        let made = self.commit("settings", |state| {
            let mut new = state.agreed();
            let canary = new.canary.take_if(|canary| is_meant(canary, only));
            let canary = canary.ok_or(Refused::NoCanary)?;
            let number = canary.revision.number;
            new.history.accept(canary.revision);
            Ok((Some(new), number))
        });
        made.await
    }

    /// The canary is given up: the settings in force are issued again, above it; with a number only if it is this revision.
    pub(crate) async fn abort(&self, only: Option<u64>, who: String, reason: &str) -> Result<u64, Refused> {
        let made = self.commit("settings", |state| {
            let mut new = state.agreed();
            let canary = new.canary.take_if(|canary| is_meant(canary, only));
            let canary = canary.ok_or(Refused::NoCanary)?;
            let (source, reason) = if canary.is_experiment() && only.is_some() {
                (EXPERIMENT, reason.to_owned())
            } else {
                ("canary", format!("canary {} given up {reason}", canary.revision.number))
            };
            let author = Author {
                who: who.clone(),
                source: source.to_owned(),
                reason: reason.trim_end().to_owned(),
            };
            new.history.reissue(canary.revision.number, author, now_ms());
            let number = new.history.present().number;
            Ok((Some(new), number))
        });
        made.await
    }
}
