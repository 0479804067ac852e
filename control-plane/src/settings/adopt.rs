//! A control plane that has lost its settings. What its Envoys run on is the only copy left: nothing is pushed to them, and their
//! document is adopted.

use super::service::SettingsService;
use crate::kernel::clock::now_ms;
use control_domain::settings::doubt::Doubt;
use control_domain::settings::history::{Author, Refused};
use control_domain::settings::reported::{ReportedParts, ReportedSettings};
use optimizer_proto::settings::Settings;
use optimizer_proto::v1::Hello;
use optimizer_proto::v1::command::Body;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long an Envoy may take to tell its settings.
const ANSWER: Duration = Duration::from_secs(5);
/// How often whoever is held up looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl SettingsService {
    /// Whether an Envoy is left on the settings that it has.
    pub(crate) fn leaves_alone(&self, envoy: &str, hello: &Hello) -> bool {
        let theirs = format!("revision {} of {}", hello.revision, hello.epoch);
        let mut state = self.state();
        let foreign = !hello.epoch.is_empty() && hello.epoch != state.history.epoch();
        let doubt = state.doubt(now_ms()).filter(|_| foreign);
        doubt.is_some_and(|doubt| {
            doubt.note(envoy, theirs);
            true
        })
    }

    /// Whether nothing is pushed to Envoys that have settings.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.state().doubt(now_ms()).is_some()
    }

    /// Returns when there is no doubt any more; until then an Envoy keeps what it has by xDS.
    pub(crate) async fn decided(&self, node: &str) {
        while self.is_in_doubt() {
            if let Some(doubt) = self.state().doubt(now_ms()) {
                doubt.note(&format!("xDS {node}"), "clusters of its own".to_owned());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// An operator's write: what the Envoys run on is lost by it, which has to be meant.
    pub(crate) fn may_write(&self, confirmed: bool) -> Result<(), Refused> {
        let mut state = self.state();
        match state.doubt(now_ms()).and_then(|doubt| doubt.describe()) {
            Some(reason) if !confirmed => Err(Refused::OthersInForce(reason)),
            _ => Ok(()),
        }
    }

    /// An operator has decided for what is in force already.
    pub(crate) async fn confirm_in_force(&self, author: Author) -> Result<(), Refused> {
        let ended = self.state().end_doubt();
        if !ended.as_ref().is_some_and(Doubt::concerns_envoys) {
            return Ok(());
        }
        // Who was held up is told of a new revision only.
        self.commit("settings", |state| {
            let mut new = state.agreed();
            new.history.reissue(0, author.clone(), now_ms());
            Ok((Some(new), ()))
        })
        .await
    }

    /// Asks an Envoy for the settings that it runs on, and puts them in force here.
    pub(crate) async fn adopt_from(&self, envoy: &str) {
        match self.ask_and_adopt(envoy).await {
            // They were decided on for the document that is gone.
            Ok(Some(keys)) => self.look_at_config_map(&keys).await,
            Ok(None) => {}
            Err(why) => {
                tracing::error!(envoy, why, "the settings of an Envoy cannot be adopted");
                if let Some(doubt) = self.state().doubt_as_it_is() {
                    doubt.failed(format!("{envoy}: {why}"));
                }
            }
        }
    }

    async fn ask(&self, envoy: &str) -> Result<ReportedSettings, String> {
        let mut parts = ReportedParts::default();
        loop {
            let command = Body::Settings(parts.next());
            let asked = self.fleet.command_here(envoy, command, ANSWER).await;
            if let Some(reported) = parts.take_part(asked.ok_or("it does not answer")?)? {
                return Ok(reported);
            }
        }
    }

    /// The ConfigMap's keys that were seen before, if its document is in force now.
    async fn ask_and_adopt(&self, envoy: &str) -> Result<Option<BTreeMap<String, String>>, String> {
        let reported = tokio::time::timeout(ANSWER, self.ask(envoy)).await;
        let reported = reported.map_err(|_| "it does not answer in time")??;
        let (settings, _) = Settings::parse_tolerant(&reported.document).map_err(|violations| {
            let first = violations.first().map(ToString::to_string);
            first.unwrap_or_default()
        })?;
        let document = settings.to_json();
        let author = Author {
            who: self.fleet.node(envoy),
            source: "adopted".to_owned(),
            reason: format!(
                "revision {} of {} was in force and its history is lost",
                reported.revision, reported.epoch
            ),
        };
        let keys = self.state().config_map.seen().clone();
        let made = self.commit("settings", |state| {
            // Another Envoy, or an operator, may have been first.
            if state.any_doubt().is_none() {
                return Ok((None, false));
            }
            let mut new = state.agreed();
            new.seen.clear();
            new.history.adopt(document.clone(), author.clone(), now_ms());
            Ok((Some(new), true))
        });
        let adopted = made.await.map_err(|refused| refused.to_string())?;
        if adopted {
            tracing::warn!(
                envoy,
                revision = reported.revision,
                epoch = reported.epoch,
                "this control plane had no settings; those of an Envoy are adopted"
            );
        }
        Ok(adopted.then_some(keys))
    }
}
