//! The settings and their history: REST, ConfigMap and files end here, in propose → check → next revision.

use crate::Millis;
use crate::settings::change::{Change, ChangeError};
use crate::settings::shape::Size;
use optimizer_proto::settings::{Notice, Settings, Violation};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;

/// Revisions kept; older ones cannot be rolled back to.
pub const HISTORY: usize = 200;

/// Who changed the settings, from where and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Author {
    /// From a header, else the address.
    pub who: String,
    /// `rest`, `config_map`, `rollback`, `start`.
    pub source: String,
    /// As given with the change.
    pub reason: String,
}

/// One accepted revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// Only grows within an epoch.
    pub number: u64,
    /// When it was accepted.
    pub at_ms: Millis,
    /// By whom.
    pub author: Author,
    /// The whole checked document, every field written.
    pub document: Value,
}

/// The settings and their history. A copy shares the revisions.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingsHistory {
    epoch: String,
    history: VecDeque<Arc<Revision>>,
    present: Arc<Revision>,
}

/// Why a proposal was refused; nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The Envoys run on settings that this control plane does not have.
    #[error("{0}")]
    OthersInForce(String),
    /// Somebody else changed the settings since.
    #[error("the settings are at revision {present}, not {expected}")]
    Conflict {
        /// What the proposal was based on.
        expected: u64,
        /// What is in force.
        present: u64,
    },
    /// The change does not fit the document.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The resulting document breaks rules.
    #[error("the settings were refused")]
    Violations(Vec<Violation>),
    /// A revision that is not in the history.
    #[error("revision {0} is not in the history")]
    UnknownRevision(u64),
    /// Nothing else changes while a canary is judged.
    #[error("revision {0} is tried on a part of the fleet: promote or abort it first")]
    CanaryUnderWay(u64),
    /// There is no canary to promote or abort.
    #[error("no revision is being tried on a part of the fleet")]
    NoCanary,
    /// There is nobody to try a canary on.
    #[error("no Envoy is connected to try the revision on")]
    NoEnvoy,
    /// The replicas cannot agree on it at the moment.
    #[error("no settings can be written at the moment: {0}")]
    Unavailable(String),
}

/// A proposal that would be accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The revision; the present one when nothing changes.
    pub revision: Revision,
    /// Values that were adjusted.
    pub notices: Vec<Notice>,
    /// False when the document is the same as before: no new revision.
    pub changed: bool,
}

impl SettingsHistory {
    /// A new history that begins with these settings.
    #[must_use]
    pub fn new(epoch: String, settings: &Settings, now_ms: Millis) -> Self {
        let author = Author {
            source: "start".to_owned(),
            ..Author::default()
        };
        let present = Revision {
            number: 1,
            at_ms: now_ms,
            author,
            document: settings.to_json(),
        };
        Self {
            epoch,
            history: VecDeque::new(),
            present: Arc::new(present),
        }
    }

    /// A history read back; the last revision is in force. `None` without any, or out of order.
    #[must_use]
    pub fn restored(epoch: String, revisions: Vec<Revision>) -> Option<Self> {
        let mut history: VecDeque<Arc<Revision>> = revisions.into_iter().map(Arc::new).collect();
        let present = history.pop_back()?;
        let in_order = history
            .iter()
            .zip(history.iter().skip(1))
            .all(|(older, newer)| older.number < newer.number)
            && history.back().is_none_or(|last| last.number < present.number);
        // A journal holds more lines than the history keeps.
        history.drain(..history.len().saturating_sub(HISTORY - 1));
        in_order.then_some(Self {
            epoch,
            history,
            present,
        })
    }

    /// Name of this history.
    #[must_use]
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The revision in force.
    #[must_use]
    pub fn present(&self) -> &Revision {
        &self.present
    }

    /// All revisions kept, oldest first, the present one last.
    pub fn revisions(&self) -> impl Iterator<Item = &Revision> {
        self.history
            .iter()
            .chain(std::iter::once(&self.present))
            .map(AsRef::as_ref)
    }

    /// This history with what came after it; `None` when something is missing between.
    #[must_use]
    pub fn extended(&self, newer: Vec<Revision>) -> Option<Self> {
        let mut longer = self.clone();
        newer
            .into_iter()
            .all(|revision| {
                let next = revision.number > longer.present.number;
                longer.put(revision);
                next
            })
            .then_some(longer)
    }

    /// Nobody has changed anything yet: what is in force was in force at the start.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.revisions().all(|revision| revision.author.source == "start")
    }

    /// Checks a change and says what would come of it; changes nothing.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn propose(
        &self,
        change: &Change,
        expected: Option<u64>,
        author: Author,
        now_ms: Millis,
    ) -> Result<Accepted, Refused> {
        let present = self.present.number;
        if let Some(expected) = expected.filter(|expected| *expected != present) {
            return Err(Refused::Conflict { expected, present });
        }
        let document = change.apply(&self.present.document)?;
        let (settings, notices) = Settings::parse(&document).map_err(Refused::Violations)?;
        let document = settings.to_json();
        // With all that it did not say, it is what the next change begins with, and what an Envoy tells one day.
        Size::of(&document).check().map_err(ChangeError::TooLarge)?;
        if document == self.present.document {
            return Ok(Accepted {
                revision: Revision::clone(&self.present),
                notices,
                changed: false,
            });
        }
        let revision = Revision {
            number: present + 1,
            at_ms: now_ms,
            author,
            document,
        };
        Ok(Accepted {
            revision,
            notices,
            changed: true,
        })
    }

    /// Proposes the document of an earlier revision.
    ///
    /// # Errors
    /// When that revision is not kept any more, or its document does not pass today's checks.
    pub fn propose_rollback(
        &self,
        to: Option<u64>,
        expected: Option<u64>,
        author: Author,
        now_ms: Millis,
    ) -> Result<Accepted, Refused> {
        let wanted = to.unwrap_or_else(|| self.history.back().map_or(0, |revision| revision.number));
        let earlier = self
            .revisions()
            .find(|revision| revision.number == wanted)
            .ok_or(Refused::UnknownRevision(wanted))?;
        self.propose(&Change::Replace(earlier.document.clone()), expected, author, now_ms)
    }

    /// Puts the document in force into force once more, above `number`: some Envoy runs on a revision with that number which is not
    /// in this history (lost with a disk, or a canary given up), and takes nothing but a greater one.
    pub fn reissue(&mut self, number: u64, author: Author, now_ms: Millis) {
        let document = self.present.document.clone();
        self.renew(number, document, author, now_ms);
    }

    /// Puts a checked document of another history into force.
    pub fn adopt(&mut self, document: Value, author: Author, now_ms: Millis) {
        self.renew(0, document, author, now_ms);
    }

    /// A history may have been written by another version. Its last document takes the form that this version gives it: new
    /// fields with their defaults, unknown ones left out. One that breaks today's rules gives way to the newest that does not.
    /// Says what had to be done, as a new revision.
    pub fn bring_up_to_date(&mut self, now_ms: Millis) -> Option<String> {
        let readable = |revision: &Revision| Settings::parse_tolerant(&revision.document).ok();
        let sound = std::iter::once(&self.present)
            .chain(self.history.iter().rev())
            .find_map(|revision| readable(revision).map(|read| (revision.number, read)));
        let (from, (settings, ignored)) = sound.unwrap_or_else(|| (0, (Settings::default(), Vec::new())));
        let document = settings.to_json();
        if document == self.present.document {
            return None;
        }
        let left_out: Vec<&str> = ignored.iter().map(|unknown| unknown.path.as_str()).collect();
        let reason = if from != self.present.number {
            format!(
                "revision {} breaks this version's rules, back to {from}",
                self.present.number
            )
        } else if left_out.is_empty() {
            "new fields have their defaults".to_owned()
        } else {
            format!("left out, unknown to this version: {}", left_out.join(", "))
        };
        let author = Author {
            source: "start".to_owned(),
            reason: reason.clone(),
            ..Author::default()
        };
        self.renew(0, document, author, now_ms);
        Some(reason)
    }

    fn renew(&mut self, above: u64, document: Value, author: Author, now_ms: Millis) {
        let revision = Revision {
            number: self.present.number.max(above).saturating_add(1),
            at_ms: now_ms,
            author,
            document,
        };
        self.put(revision);
    }

    fn put(&mut self, revision: Revision) {
        let before = std::mem::replace(&mut self.present, Arc::new(revision));
        self.history.push_back(before);
        if self.history.len() >= HISTORY {
            self.history.pop_front();
        }
    }

    /// Takes an accepted revision in. False when another one came first.
    pub fn accept(&mut self, revision: Revision) -> bool {
        if revision.number != self.present.number + 1 {
            return false;
        }
        self.put(revision);
        true
    }
}

/// The fields in which two documents differ, by JSON Pointer: before and after.
#[must_use]
pub fn difference(before: &Value, after: &Value) -> Vec<(String, Value, Value)> {
    let mut found = Vec::new();
    differ(String::new(), before, after, &mut found);
    found
}

fn differ(path: String, before: &Value, after: &Value, found: &mut Vec<(String, Value, Value)>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let (old, new) = (
                    old.get(name).unwrap_or(&Value::Null),
                    new.get(name).unwrap_or(&Value::Null),
                );
                differ(format!("{path}/{name}"), old, new, found);
            }
        }
        _ if before != after => found.push((path, before.clone(), after.clone())),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
