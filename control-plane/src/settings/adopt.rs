//! A control plane that has lost its settings. What its Envoys run on is the only copy left: nothing is pushed to them, and their
//! document is adopted.

use crate::kernel::clock::now_ms;
use crate::plane::{Domain, Plane};
use control_domain::Millis;
use control_domain::book::{Author, Refused};
use optimizer_proto::settings::Settings;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::{Hello, SettingsCommand};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long an Envoy may take to tell its settings.
const ANSWER: Duration = Duration::from_secs(5);
/// Envoys of an older history that come later than this after the start are brought up to date like any other.
const DOUBTFUL_MS: Millis = 600_000;
/// How often whoever is held up looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Envoys remembered that run on others.
pub(crate) const NOTED: usize = 1_000;
/// Envoys named to operators.
const NAMED: usize = 5;

/// These settings are not what anybody has decided on: there was no state, or only an older one.
#[derive(Debug)]
pub(crate) struct Doubt {
    since_ms: Millis,
    /// Envoys that run on others, and on which.
    others: BTreeMap<String, String>,
    /// Why their document could not be adopted.
    failures: BTreeSet<String>,
}

impl Doubt {
    pub(crate) fn since(now_ms: Millis) -> Self {
        Self {
            since_ms: now_ms,
            others: BTreeMap::new(),
            failures: BTreeSet::new(),
        }
    }

    fn is_over(&self, now_ms: Millis) -> bool {
        self.others.is_empty() && self.since_ms.saturating_add(DOUBTFUL_MS) < now_ms
    }

    /// For `/health`; `None` while no Envoy runs on anything else.
    pub(crate) fn told(&self) -> Option<String> {
        let (envoy, theirs) = self.others.first_key_value()?;
        let why = self.failures.iter().next().map_or("being asked for it", String::as_str);
        Some(format!(
            "this control plane began without settings, and {} Envoys run on others ({envoy}: {theirs}): nothing is pushed; their document is adopted as soon as one of them tells it ({why}), or put settings in force with ?confirm=true",
            self.others.len()
        ))
    }

    fn note(&mut self, envoy: &str, theirs: String) {
        if self.others.len() < NOTED {
            self.others.insert(envoy.to_owned(), theirs);
        }
    }

    fn failed(&mut self, why: String) {
        if self.failures.len() < NAMED {
            self.failures.insert(why);
        }
    }
}

/// What an Envoy tells of its settings.
#[derive(Deserialize)]
struct Told {
    epoch: String,
    revision: u64,
    document: Value,
}

impl Plane {
    /// Whether an Envoy is left on the settings that it has.
    pub(crate) fn leaves_alone(&self, envoy: &str, hello: &Hello) -> bool {
        let theirs = format!("revision {} of {}", hello.revision, hello.epoch);
        let mut domain = self.domain();
        let foreign = !hello.epoch.is_empty() && hello.epoch != domain.book.epoch();
        let doubt = domain.doubt(now_ms()).filter(|_| foreign);
        doubt.is_some_and(|doubt| {
            doubt.note(envoy, theirs);
            true
        })
    }

    /// Whether nothing is pushed to Envoys that have settings.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.domain().doubt(now_ms()).is_some()
    }

    /// Returns when there is no doubt any more; until then an Envoy keeps what it has by xDS.
    pub(crate) async fn decided(&self, node: &str) {
        while self.is_in_doubt() {
            if let Some(doubt) = self.domain().doubt(now_ms()) {
                doubt.note(&format!("xDS {node}"), "clusters of its own".to_owned());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// An operator's write: what the Envoys run on is lost by it, which has to be meant.
    pub(crate) fn may_write(&self, confirmed: bool) -> Result<(), Refused> {
        let mut domain = self.domain();
        match domain.doubt(now_ms()).and_then(|doubt| doubt.told()) {
            Some(told) if !confirmed => Err(Refused::OthersInForce(told)),
            _ => Ok(()),
        }
    }

    /// An operator has decided for what is in force already.
    pub(crate) async fn settle(&self, author: Author) -> Result<(), Refused> {
        let waited = self.domain().doubt.take().is_some_and(|doubt| !doubt.others.is_empty());
        if !waited {
            return Ok(());
        }
        // Who was held up is told of a new revision only.
        self.commit("settings", |domain| {
            let mut new = domain.agreed();
            new.book.reissue(0, author.clone(), now_ms());
            Ok((Some(new), ()))
        })
        .await
    }
}

impl Domain {
    fn doubt(&mut self, now_ms: Millis) -> Option<&mut Doubt> {
        if self.doubt.as_ref().is_some_and(|doubt| doubt.is_over(now_ms)) {
            self.doubt = None;
        }
        self.doubt.as_mut()
    }
}

/// Asks an Envoy for the settings that it runs on, and puts them in force here.
pub(crate) async fn adopt_from(plane: Arc<Plane>, envoy: String) {
    if let Err(why) = adopt(&plane, &envoy).await {
        tracing::error!(envoy, why, "the settings of an Envoy cannot be adopted");
        if let Some(doubt) = &mut plane.domain().doubt {
            doubt.failed(format!("{envoy}: {why}"));
        }
    }
}

async fn adopt(plane: &Plane, envoy: &str) -> Result<(), String> {
    let asked = plane
        .command_here(envoy, Body::Settings(SettingsCommand {}), ANSWER)
        .await;
    let answer = asked.ok_or("it does not answer")?;
    if !answer.ok {
        return Err(format!("it cannot tell: {}", answer.detail));
    }
    let told: Told = serde_json::from_str(&answer.detail).map_err(|error| error.to_string())?;
    let (settings, _) = Settings::parse_tolerant(&told.document).map_err(|violations| {
        let first = violations.first().map(ToString::to_string);
        first.unwrap_or_default()
    })?;
    let document = settings.to_json();
    let author = Author {
        who: plane.domain().fleet.node(envoy).to_owned(),
        door: "adopted".to_owned(),
        reason: format!(
            "revision {} of {} was in force and its history is lost",
            told.revision, told.epoch
        ),
    };
    let keys = plane.domain().config_map.seen().clone();
    let made = plane.commit("settings", |domain| {
        // Another Envoy, or an operator, may have been first.
        if domain.doubt.is_none() {
            return Ok((None, false));
        }
        let mut new = domain.agreed();
        new.seen.clear();
        new.book.adopt(document.clone(), author.clone(), now_ms());
        Ok((Some(new), true))
    });
    if made.await.map_err(|refused| refused.to_string())? {
        tracing::warn!(
            envoy,
            revision = told.revision,
            epoch = told.epoch,
            "this control plane had no settings; those of an Envoy are adopted"
        );
        // They were decided on for the document that is gone.
        plane.look_at_config_map(&keys).await;
    }
    Ok(())
}
