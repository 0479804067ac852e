//! What replicas are to agree on: settings and overrides of breakers.

use super::{Oracle, Who};
use control_domain::breakers::overrides::{BreakerOverride, BreakerOverrides, OverrideAction};
use control_domain::settings::history::SettingsHistory;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A change that an operator was told is in force.
#[derive(Debug)]
struct Written {
    /// Epoch and revision.
    name: (String, u64),
    /// JSON pointer.
    setting: &'static str,
    value: Value,
}

/// What was accepted.
#[derive(Debug, Default)]
pub(super) struct Agreed {
    /// By epoch and revision: the document that was in force under it.
    documents: BTreeMap<(String, u64), Value>,
    /// What was last in force at a replica.
    held: BTreeMap<Who, (String, u64)>,
    /// Changes that operators were told are in force, in the order in which they were told.
    written: Vec<Written>,
    /// Revisions that were lost with data that nobody promises to keep: a number may come again, and a change be gone.
    lost: BTreeSet<(String, u64)>,
    /// Of these a number did come again, or a replica has lost its disk: then nobody may be left who knows a change.
    forgiving: bool,
    /// Overrides, and the one that was known before.
    overrides: Vec<(BreakerOverride, Option<BreakerOverride>)>,
}

impl Agreed {
    /// Settings came into force at a replica.
    pub(super) fn published(&mut self, who: Who, epoch: &str, revision: u64, document: Value) -> Result<(), String> {
        let name = (epoch.to_owned(), revision);
        if let Some(before) = self.held.insert(who, name.clone())
            && before.0 == name.0
            && before.1 > revision
        {
            return Err(format!(
                "replica {who:?} went back from revision {} of {epoch} to {revision}",
                before.1
            ));
        }
        let lost = self.lost.contains(&name);
        match self.documents.insert(name, document.clone()) {
            Some(before) if before != document && !lost => {
                return Err(format!("two documents are revision {revision} of {epoch}"));
            }
            Some(before) if before != document => self.forgiving = true,
            _ => {}
        }
        Ok(())
    }

    pub(super) fn written(&mut self, name: (String, u64), setting: &'static str, value: Value) {
        self.written.push(Written { name, setting, value });
    }

    /// Whether a history contains what was in force under another one, up to this revision.
    pub(super) fn goes_on(&self, (epoch, revision): &(String, u64), before: &(String, u64)) -> bool {
        let of_it = (epoch.clone(), 0)..=(epoch.clone(), *revision);
        let document = self.documents.get(before);
        document.is_some_and(|before| self.documents.range(of_it).any(|(_, document)| document == before))
    }

    /// An operator has put an override, which is to hold where it was put; `last` holds there now.
    pub(super) fn overridden(
        &mut self,
        said: BreakerOverride,
        before: Option<BreakerOverride>,
        last: Option<&BreakerOverride>,
    ) -> Result<(), String> {
        if last != Some(&said) {
            return Err(format!("{said:?} was put, and {last:?} holds"));
        }
        self.overrides.push((said, before));
        Ok(())
    }

    pub(super) fn was_ever(&self, word: OverrideAction) -> bool {
        self.overrides.iter().any(|(said, _)| said.action == word)
    }

    fn loses(&mut self, is_lost: impl Fn(&(String, u64)) -> bool) {
        let lost = self.documents.keys().filter(|name| is_lost(name)).cloned();
        self.lost.extend(lost);
    }
}

impl Oracle {
    /// Changes that were accepted.
    pub(crate) fn written(&self) -> u64 {
        self.agreed.written.len() as u64
    }

    /// Overrides of breakers.
    pub(crate) fn overrides(&self) -> u64 {
        self.agreed.overrides.len() as u64
    }

    /// Redis has lost the revisions above this one.
    pub(crate) fn redis_lost(&mut self, above: u64) {
        self.agreed.loses(|(_, revision)| *revision > above);
    }

    /// A replica has lost its disk, or the newest revision on it. `alone`: nobody else knows that one.
    pub(crate) fn disk_lost(&mut self, history: &SettingsHistory, alone: bool) {
        self.agreed.forgiving = true;
        let newest = (history.epoch().to_owned(), history.present().number);
        if alone {
            self.agreed.loses(|name| *name == newest);
        }
    }

    /// Every change that an operator was told is in force is in the history. Of one that was made while data were lost it is enough
    /// that a later one has changed the same setting.
    ///
    /// # Errors
    /// One is not.
    pub(crate) fn nothing_written_is_lost(&self, history: &SettingsHistory) -> Result<(), String> {
        for (at, written) in self.agreed.written.iter().enumerate() {
            let (epoch, revision) = &written.name;
            let is_here = epoch == history.epoch();
            let was_lost = self.agreed.lost.contains(&written.name);
            let kept = |kept: &control_domain::settings::history::Revision| {
                // It may have been done again on top of what was put back.
                let later = kept.number >= *revision || !is_here;
                later && kept.document.pointer(written.setting) == Some(&written.value)
            };
            // One of the last moment may not have reached every replica.
            let late = is_here && *revision > history.present().number;
            let mut later = self.agreed.written.iter().skip(at + 1);
            let replaced = (was_lost || !is_here) && later.any(|other| other.setting == written.setting);
            let forgiven = self.agreed.forgiving && was_lost;
            if !forgiven && !late && !replaced && !history.revisions().any(kept) {
                return Err(format!(
                    "{} of revision {revision} of {epoch} was accepted and is not in the history",
                    written.setting
                ));
            }
        }
        Ok(())
    }

    /// Whether the replicas may have forgotten an override that an Envoy still holds: its copies were lost, on a disk and with Redis.
    pub(crate) fn may_have_forgotten(&self) -> bool {
        self.agreed.forgiving && !self.agreed.lost.is_empty()
    }

    /// The last override is none that somebody who knew it has replaced.
    ///
    /// # Errors
    /// An older one is back.
    pub(crate) fn no_older_override(&self, breaker_overrides: &BreakerOverrides) -> Result<(), String> {
        for (said, before) in &self.agreed.overrides {
            let known = breaker_overrides.log().any(|known| known == said);
            let replaced = before.as_ref().is_some_and(|before| {
                let last = breaker_overrides.last(&said.upstream);
                last == Some(before) && before != said
            });
            if known && replaced {
                return Err(format!("{before:?} is in force again, which was replaced by {said:?}"));
            }
        }
        Ok(())
    }
}
