//! How settings change: proposed, kept on disk, and only then on their way to the Envoys.

use crate::infrastructure::state_file::{Restored, StateFile};
use crate::plane::{Domain, Event, Plane, now_ms};
use control_domain::Millis;
use control_domain::book::{Accepted, Author, Book, Refused};
use control_domain::canary::Canary;
use control_domain::fleet::Standing;
use optimizer_proto::v1::{Hello, SettingsPush};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often settings that could not be kept are tried again.
const RETRY: Duration = Duration::from_secs(2);
/// An Envoy that claims to be this far ahead is mistaken.
const MOST_AHEAD: u64 = 1_000_000;

/// Who is to run on what.
#[derive(Debug)]
pub(crate) struct Pushes {
    all: SettingsPush,
    canary: Option<(Canary, SettingsPush)>,
}

impl Pushes {
    pub(crate) fn of(book: &Book, canary: Option<&Canary>) -> Self {
        let push = |number, document: &serde_json::Value| SettingsPush {
            revision: number,
            document: document.to_string().into_bytes(),
            epoch: book.epoch().to_owned(),
        };
        Self {
            all: push(book.present().number, &book.present().document),
            canary: canary.map(|canary| {
                let tried = push(canary.revision.number, &canary.revision.document);
                (canary.clone(), tried)
            }),
        }
    }

    /// What all run on that are not part of a trial.
    pub(crate) fn all(&self) -> &SettingsPush {
        &self.all
    }

    /// What an Envoy is to run on.
    pub(crate) fn to(&self, envoy: &str) -> &SettingsPush {
        match &self.canary {
            Some((canary, push)) if canary.envoys.contains(envoy) => push,
            _ => &self.all,
        }
    }
}

/// A write that was taken.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) accepted: Accepted,
    /// On trial, on part of the fleet.
    pub(crate) canary: bool,
    /// Why it would not survive a restart.
    pub(crate) not_kept: Option<String>,
}

/// The history to go on with, and the ConfigMap's keys as last seen.
pub(crate) fn begin(state: Option<&StateFile>, now_ms: Millis) -> (Book, BTreeMap<String, String>) {
    let fresh = || format!("{now_ms:x}-{:x}", std::process::id());
    let Some(Restored { book, seen, older }) = state.and_then(StateFile::load) else {
        let book = Book::new(fresh(), &optimizer_proto::settings::Settings::default(), now_ms);
        return (book, BTreeMap::new());
    };
    // Envoys may run on revisions that only the damaged copy had: under another name the numbers begin anew for them.
    let book = if older {
        let revisions = book.revisions().cloned().collect();
        Book::restored(fresh(), revisions).unwrap_or(book)
    } else {
        book
    };
    let mut book = book;
    if let Some(reason) = book.bring_up_to_date(now_ms) {
        tracing::warn!(revision = book.present().number, reason, "settings of another version");
    }
    (book, seen)
}

impl Plane {
    /// Proposes a change; accepted, it is kept and on its way to all Envoys when this returns, or with a `share` to that many
    /// percent of them.
    pub(crate) fn change(
        &self,
        expected: Option<u64>,
        author: Author,
        dry_run: bool,
        share: Option<u8>,
        propose: impl Fn(&Book, Option<u64>, Author, Millis) -> Result<Accepted, Refused>,
    ) -> Result<Written, Refused> {
        let mut domain = self.domain();
        let domain = &mut *domain;
        if let Some(canary) = domain.canary.as_ref().filter(|_| !dry_run) {
            return Err(Refused::CanaryUnderWay(canary.revision.number));
        }
        let accepted = propose(&domain.book, expected, author, now_ms())?;
        let mut canary = false;
        if accepted.changed && !dry_run {
            if let Some(share) = share {
                let picked = Canary::pick(accepted.revision.clone(), share, self.connected());
                domain.canary = Some(picked.ok_or(Refused::NoEnvoy)?);
                canary = true;
                self.publish(domain, "canary");
            } else {
                domain.book.accept(accepted.revision.clone());
                self.publish(domain, "settings");
            }
        }
        Ok(Written {
            accepted,
            canary,
            not_kept: domain.storage_fault.clone().filter(|_| !canary),
        })
    }

    /// The canary becomes the settings of all.
    pub(crate) fn promote(&self) -> Result<u64, Refused> {
        let mut domain = self.domain();
        let canary = domain.canary.take().ok_or(Refused::NoCanary)?;
        let number = canary.revision.number;
        domain.book.accept(canary.revision);
        self.publish(&mut domain, "settings");
        Ok(number)
    }

    /// The canary is given up: the settings in force are issued again, above it.
    pub(crate) fn abort(&self, who: String, reason: &str) -> Result<u64, Refused> {
        let mut domain = self.domain();
        let canary = domain.canary.take().ok_or(Refused::NoCanary)?;
        let reason = format!("canary {} given up {reason}", canary.revision.number);
        let author = Author {
            who,
            door: "canary".to_owned(),
            reason: reason.trim_end().to_owned(),
        };
        domain.book.reissue(canary.revision.number, author, now_ms());
        self.publish(&mut domain, "settings");
        Ok(domain.book.present().number)
    }

    /// An Envoy that runs on a revision above ours, of our own history, had it from before a disk was lost: it would take nothing
    /// that we number below.
    pub(crate) fn catch_up_with(&self, hello: &Hello) {
        let mut domain = self.domain();
        let canary = domain.canary.as_ref().map_or(0, |canary| canary.revision.number);
        let present = domain.book.present().number.max(canary);
        let ahead = hello.revision.saturating_sub(present);
        if hello.epoch != domain.book.epoch() || ahead == 0 {
            return;
        }
        if ahead > MOST_AHEAD {
            tracing::error!(
                node = hello.node_id,
                revision = hello.revision,
                "an Envoy claims an impossible revision"
            );
            return;
        }
        tracing::warn!(
            node = hello.node_id,
            theirs = hello.revision,
            ours = present,
            "revisions were lost, going on above them"
        );
        domain.canary = None;
        let author = Author {
            who: hello.node_id.clone(),
            door: "recovery".to_owned(),
            reason: format!("revision {} was in force and is lost", hello.revision),
        };
        domain.book.reissue(hello.revision, author, now_ms());
        self.publish(&mut domain, "settings");
    }

    /// Keeps what is new and pushes it, in this order: what an Envoy runs on survives a restart.
    fn publish(&self, domain: &mut Domain, kind: &'static str) {
        let revision = match (&domain.canary, kind) {
            (Some(canary), "canary") => &canary.revision,
            _ => domain.book.present(),
        };
        tracing::info!(
            revision = revision.number,
            who = revision.author.who,
            door = revision.author.door,
            reason = revision.author.reason,
            kind,
            "settings changed"
        );
        self.announce(Event::new(
            kind,
            json!({ "revision": revision.number, "who": revision.author.who, "door": revision.author.door }),
        ));
        self.keep(domain);
        self.pushes
            .send_replace(Arc::new(Pushes::of(&domain.book, domain.canary.as_ref())));
    }

    /// Looks at the ConfigMap's keys. While a canary is judged they wait.
    pub(crate) fn look_at_config_map(&self, keys: &BTreeMap<String, String>) {
        let intake = {
            let mut domain = self.domain();
            let domain = &mut *domain;
            domain.config_map_fault = None;
            if domain.canary.is_some() || domain.config_map.seen() == keys {
                return;
            }
            let intake = domain.config_map.look(keys, &domain.book.present().document);
            if intake.change.is_none() {
                self.keep(domain);
            }
            intake
        };
        for (key, reason) in &intake.refused {
            tracing::warn!(key, reason, "ConfigMap value refused, last good stays");
        }
        for (key, notice) in &intake.notices {
            tracing::info!(key, notice, "ConfigMap value adjusted");
        }
        let Some(change) = intake.change else { return };
        let author = Author {
            who: "ConfigMap".to_owned(),
            door: "config_map".to_owned(),
            reason: String::new(),
        };
        let propose = crate::plane::proposing(&change);
        // The keys were judged against the settings of a moment ago: only another door in between can refuse them now.
        if let Err(refused) = self.change(None, author, false, None, propose) {
            tracing::error!(%refused, "ConfigMap refused as a whole, last good stays");
        }
    }

    /// The ConfigMap cannot be read; the settings stay.
    pub(crate) fn config_map_fails(&self, fault: String) {
        let mut domain = self.domain();
        if domain.config_map_fault.as_ref() != Some(&fault) {
            tracing::warn!(fault, "ConfigMap out of reach, settings stay");
            domain.config_map_fault = Some(fault);
        }
    }

    pub(crate) fn keep(&self, domain: &mut Domain) {
        let Some(state) = &self.state else { return };
        let fault = state.save(&domain.book, domain.config_map.seen()).err().map(|error| {
            tracing::error!(%error, path = %state.path().display(), "settings cannot be kept on disk");
            format!("settings are in force but cannot be kept: {error}")
        });
        domain.storage_fault = fault;
    }

    /// Waits until everyone who is to run on a revision does; answers who does not when time is up, or when nobody but refusers is
    /// left to wait for.
    pub(crate) async fn wait_for_all(&self, revision: u64, timeout: Duration) -> Standing {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let notified = self.acknowledged.notified();
            let begin = std::time::Instant::now();
            let standing = self.standing(revision);
            let took = begin.elapsed();
            if standing.late.is_empty() || tokio::time::timeout_at(deadline, notified).await.is_err() {
                return standing;
            }
            // Every Envoy of the fleet wakes this up. Looking takes at most a fifth of the time, else the sum of all looks would
            // grow with the square of the fleet.
            tokio::time::sleep(took * 4).await;
        }
    }

    /// Who does not run on a revision: of the canary's Envoys if it is on trial, else of all that are connected.
    pub(crate) fn standing(&self, revision: u64) -> Standing {
        let domain = self.domain();
        let epoch = domain.book.epoch();
        match &domain.canary {
            Some(canary) if canary.revision.number == revision => {
                let names = canary.envoys.iter().map(String::as_str);
                domain.fleet.standing(names, epoch, revision)
            }
            _ => {
                let names = domain.fleet.envoys().map(|(name, _)| name);
                domain.fleet.standing(names, epoch, revision)
            }
        }
    }
}

/// Tries again to keep what could not be kept, until told to stop.
pub(crate) async fn keep_trying(plane: Arc<Plane>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            _ = stopped.changed() => return,
        }
        let mut domain = plane.domain();
        if domain.storage_fault.is_some() {
            plane.keep(&mut domain);
            if domain.storage_fault.is_none() {
                tracing::info!("settings are kept again");
            }
        }
    }
}
