//! How settings change: proposed, kept on disk, and only then on their way to the Envoys.

use crate::kernel::clock::now_ms;
use crate::kernel::events::Event;
use crate::plane::{Domain, Plane};
use crate::settings::store::state_file::{Restored, StateFile};
use crate::settings::store::{Unput, Version, off_the_runtime};
use control_domain::Millis;
use control_domain::agreement::{Agreed, Verdict, judge};
use control_domain::book::{Accepted, Author, Book, Refused};
use control_domain::canary::Canary;
use control_domain::config_map::ConfigMap;
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
pub(crate) const MOST_AHEAD: u64 = 10_000;
/// Revisions are lost with a disk: seldom. What claims more often than this in an hour is not believed.
pub(crate) const RECOVERIES: usize = 4;
const HOUR_MS: Millis = 3_600_000;

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

/// What a control plane begins with.
pub(crate) struct Begun {
    /// The history to go on with.
    pub(crate) book: Book,
    /// The ConfigMap's keys as last seen.
    pub(crate) seen: BTreeMap<String, String>,
    /// There was no history, or only an older one: the Envoys may know more.
    pub(crate) lost: bool,
    /// What is to be told of damage to the files.
    pub(crate) damage: Option<String>,
}

/// Reads the history, or begins a new one.
pub(crate) fn begin(state: Option<&StateFile>, now_ms: Millis) -> Begun {
    let fresh = || format!("{now_ms:x}-{:x}", std::process::id());
    let Some(Restored {
        book,
        seen,
        older,
        damaged,
    }) = state.and_then(StateFile::load)
    else {
        let book = Book::new(fresh(), &optimizer_proto::settings::Settings::default(), now_ms);
        return Begun {
            book,
            seen: BTreeMap::new(),
            lost: true,
            damage: None,
        };
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
    Begun {
        book,
        seen,
        lost: older,
        damage: (older || damaged).then(|| {
            "the settings on disk were damaged at the start, and the newest revisions may be lost; the next change is kept whole".to_owned()
        }),
    }
}

/// Writers that come first are given way to so often.
const ATTEMPTS: u32 = 8;

impl Plane {
    /// Proposes a change; accepted, it is kept and on its way to all Envoys when this returns, or with a `share` to that many
    /// percent of them.
    pub(crate) async fn change(
        &self,
        expected: Option<u64>,
        author: Author,
        dry_run: bool,
        share: Option<u8>,
        propose: impl Fn(&Book, Option<u64>, Author, Millis) -> Result<Accepted, Refused> + Send + Sync,
    ) -> Result<Written, Refused> {
        let connected = self.everywhere();
        let kind = if share.is_some() { "canary" } else { "settings" };
        let made = self.commit(kind, |domain| {
            if let Some(canary) = domain.canary.as_ref().filter(|_| !dry_run) {
                return Err(Refused::CanaryUnderWay(canary.revision.number));
            }
            let accepted = propose(&domain.book, expected, author.clone(), now_ms())?;
            self.machine
                .judge(&accepted.revision.document, &domain.book.present().document)
                .map_err(Refused::Violations)?;
            if !accepted.changed || dry_run {
                return Ok((None, accepted));
            }
            let mut new = domain.agreed();
            if let Some(share) = share {
                let picked = Canary::pick(accepted.revision.clone(), share, connected.clone());
                new.canary = Some(picked.ok_or(Refused::NoEnvoy)?);
            } else {
                new.book.accept(accepted.revision.clone());
            }
            Ok((Some(new), accepted))
        });
        let accepted = made.await?;
        let canary = share.is_some() && accepted.changed && !dry_run;
        Ok(Written {
            accepted,
            canary,
            not_kept: self.domain().storage_fault.clone().filter(|_| !canary),
        })
    }

    /// The canary becomes the settings of all.
    pub(crate) async fn promote(&self) -> Result<u64, Refused> {
        let made = self.commit("settings", |domain| {
            let mut new = domain.agreed();
            let canary = new.canary.take().ok_or(Refused::NoCanary)?;
            let number = canary.revision.number;
            new.book.accept(canary.revision);
            Ok((Some(new), number))
        });
        made.await
    }

    /// The canary is given up: the settings in force are issued again, above it.
    pub(crate) async fn abort(&self, who: String, reason: &str) -> Result<u64, Refused> {
        let made = self.commit("settings", |domain| {
            let mut new = domain.agreed();
            let canary = new.canary.take().ok_or(Refused::NoCanary)?;
            let reason = format!("canary {} given up {reason}", canary.revision.number);
            let author = Author {
                who: who.clone(),
                door: "canary".to_owned(),
                reason: reason.trim_end().to_owned(),
            };
            new.book.reissue(canary.revision.number, author, now_ms());
            let number = new.book.present().number;
            Ok((Some(new), number))
        });
        made.await
    }

    /// An Envoy that runs on a revision above ours, of our own history, had it from before a disk was lost: it would take nothing
    /// that we number below.
    pub(crate) async fn catch_up_with(&self, hello: &Hello) {
        if self.is_ahead(&self.domain(), hello) == 0 || !self.believes_in_loss(hello) {
            return;
        }
        // Another replica may have made it, and this one not heard of it yet.
        if let Err(reason) = self.refresh().await {
            tracing::warn!(reason, node = hello.node_id, "an Envoy knows a later revision");
            return;
        }
        let made = self.commit("settings", |domain| {
            let ahead = self.is_ahead(domain, hello);
            if ahead == 0 || ahead > MOST_AHEAD {
                return Ok((None, ahead));
            }
            let mut new = domain.agreed();
            new.canary = None;
            let author = Author {
                who: hello.node_id.clone(),
                door: "recovery".to_owned(),
                reason: format!("revision {} was in force and is lost", hello.revision),
            };
            new.book.reissue(hello.revision, author, now_ms());
            Ok((Some(new), ahead))
        });
        match made.await {
            Ok(0) => {}
            Ok(ahead) if ahead > MOST_AHEAD => tracing::error!(
                node = hello.node_id,
                revision = hello.revision,
                "an Envoy claims an impossible revision"
            ),
            Ok(_) => tracing::warn!(
                node = hello.node_id,
                theirs = hello.revision,
                "revisions were lost, going on above them"
            ),
            Err(refused) => tracing::warn!(%refused, node = hello.node_id, "an Envoy knows a later revision"),
        }
    }

    /// Whether it may be that revisions were lost once more. While one is on trial none are issued above it: that would end the trial.
    fn believes_in_loss(&self, hello: &Hello) -> bool {
        let now_ms = now_ms();
        let mut domain = self.domain();
        let tried = domain.canary.is_some();
        domain.recoveries.retain(|at| at.saturating_add(HOUR_MS) > now_ms);
        if tried || domain.recoveries.len() >= RECOVERIES {
            drop(domain);
            tracing::error!(
                node = hello.node_id,
                revision = hello.revision,
                "an Envoy claims a later revision and is not believed"
            );
            return false;
        }
        domain.recoveries.push(now_ms);
        true
    }

    fn is_ahead(&self, domain: &Domain, hello: &Hello) -> u64 {
        let canary = domain.canary.as_ref().map_or(0, |canary| canary.revision.number);
        let present = domain.book.present().number.max(canary);
        let ours = hello.epoch == domain.book.epoch();
        hello.revision.saturating_sub(present) * u64::from(ours)
    }

    /// Puts what `make` makes of the present state in its place, in the repository and only then here. A writer that came first
    /// is heard first: `make` is asked again.
    pub(crate) async fn commit<T>(
        &self,
        kind: &'static str,
        make: impl Fn(&Domain) -> Result<(Option<Agreed>, T), Refused> + Send + Sync,
    ) -> Result<T, Refused> {
        let mut version = self.version.lock().await;
        for _ in 0..ATTEMPTS {
            let (new, out) = make(&self.domain())?;
            let Some(new) = new else { return Ok(out) };
            match self.repository.put(&version, &new).await {
                Ok(put) => {
                    *version = put.version;
                    self.adopt(new, put.not_kept, kind);
                    return Ok(out);
                }
                Err(Unput::Conflict) => self.refresh_from(&mut version).await.map_err(Refused::Unavailable)?,
                Err(Unput::Unavailable(reason)) => return Err(Refused::Unavailable(reason)),
            }
        }
        Err(Refused::Unavailable("too many write at once".to_owned()))
    }

    /// Takes in what another replica has changed. What the repository has lost is put back.
    pub(crate) async fn refresh(&self) -> Result<(), String> {
        let mut version = self.version.lock().await;
        self.refresh_from(&mut version).await
    }

    async fn refresh_from(&self, version: &mut Version) -> Result<(), String> {
        for _ in 0..ATTEMPTS {
            let present = self.repository.version().await?;
            if present == *version && !(present.is_empty() && self.replicas.is_some()) {
                return Ok(());
            }
            let ours = self.domain().agreed();
            let (base, new) = match self.repository.load(&ours.book).await? {
                Some((base, theirs)) => match judge(&ours.book, &theirs.book) {
                    Verdict::Theirs => {
                        *version = base;
                        self.adopt(theirs, None, "settings");
                        return Ok(());
                    }
                    Verdict::TheirsAnew => (base, reissued(theirs)),
                    Verdict::Ours => (base, ours),
                },
                None => (Version::new(), ours),
            };
            match self.repository.put(&base, &new).await {
                Ok(put) => {
                    tracing::warn!(
                        revision = new.book.present().number,
                        "settings put back into what is shared"
                    );
                    *version = put.version;
                    self.adopt(new, put.not_kept, "settings");
                    return Ok(());
                }
                Err(Unput::Conflict) => {}
                Err(Unput::Unavailable(reason)) => return Err(reason),
            }
        }
        Err("too many write at once".to_owned())
    }

    /// A state comes into force: it is kept on this machine and pushed.
    fn adopt(&self, new: Agreed, not_kept: Option<String>, kind: &'static str) {
        let mut domain = self.domain();
        let before = domain.agreed();
        if before == new {
            domain.storage_fault = not_kept;
            return;
        }
        if *domain.config_map.seen() != new.seen {
            domain.config_map = ConfigMap::having_seen(new.seen);
        }
        let present = new.book.present();
        let decided = present.number != domain.book.present().number
            && !matches!(present.author.door.as_str(), "config_map" | "recovery" | "start");
        // What replicas have agreed on is no guess either.
        if decided || new.book.epoch() != domain.book.epoch() {
            domain.doubt = None;
        }
        (domain.book, domain.canary) = (new.book, new.canary);
        if not_kept.is_none() && kind == "settings" {
            // What is in force now is written down whole.
            domain.damage = None;
        }
        domain.storage_fault = not_kept;
        if before.book != domain.book || before.canary != domain.canary {
            self.publish(&domain, kind);
        }
        drop(domain);
        if self.replicas.is_some() {
            // What the other replicas have as well is kept here for a start without them.
            self.keep();
        }
    }

    /// Tells of what is in force now, and pushes it.
    fn publish(&self, domain: &Domain, kind: &'static str) {
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
        self.pushes
            .send_replace(Arc::new(Pushes::of(&domain.book, domain.canary.as_ref())));
    }

    /// Keeps the settings in the files of this machine. The domain is not held meanwhile: telemetry and pushes do not wait for a disk.
    pub(crate) fn keep(&self) {
        let Some(state) = &self.state else { return };
        let newest = || {
            let domain = self.domain();
            (domain.book.clone(), domain.config_map.seen().clone())
        };
        let saved = off_the_runtime(|| state.save_newest(newest));
        self.domain().storage_fault = saved.err().map(|error| state.fault(&error));
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

/// Settings in force, under a number that no Envoy has with another document.
fn reissued(mut theirs: Agreed) -> Agreed {
    let author = Author {
        who: String::new(),
        door: "recovery".to_owned(),
        reason: "two documents had this number".to_owned(),
    };
    theirs.book.reissue(0, author, now_ms());
    theirs
}

/// Tries again to keep what could not be kept, until told to stop.
pub(crate) async fn keep_trying(plane: Arc<Plane>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            _ = stopped.changed() => return,
        }
        if plane.domain().storage_fault.is_none() {
            continue;
        }
        plane.keep();
        if plane.domain().storage_fault.is_none() {
            tracing::info!("settings are kept again");
        }
    }
}
