//! What was purged, and which Envoys have done it: the receipts, and what an Envoy that was away has missed.

pub mod tier_order;

use crate::Millis;
use optimizer_proto::purge::{PurgeTarget, Stored};
use optimizer_proto::url;
use optimizer_proto::v1::purge_command::Kind;
use optimizer_proto::v1::{PurgeCommand, PurgeCount};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Purges remembered. An Envoy that was away for longer than these go back is purged as a whole when it returns.
pub const REMEMBERED: usize = 2_000;
/// Bytes of what they name.
pub const MAX_BYTES: usize = 32 << 20;
/// Receipts of one purge.
pub const MAX_APPLIED: usize = 20_000;
/// Envoys that a purge waits for by name.
pub const MAX_AWAITED: usize = 1_000;
/// How far the clocks of an Envoy and the control plane may differ.
const SKEW_MS: u64 = 60_000;
/// Targets of one purge.
pub const MAX_TARGETS: usize = 64;
/// Longest name of a target.
pub const MAX_VALUE: usize = 8_192;

/// One thing to purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", content = "value", rename_all = "lowercase")]
pub enum Target {
    /// Everything.
    All,
    /// One host.
    Host(String),
    /// All paths on a host that begin so: `host/path`.
    Prefix(String),
    /// Everything with this tag or in this cache group.
    Tag(String),
    /// One URL.
    Url(String),
}

impl Target {
    fn parts(&self) -> (Kind, &str) {
        match self {
            Self::All => (Kind::All, ""),
            Self::Host(value) => (Kind::Host, value.as_str()),
            Self::Prefix(value) => (Kind::Prefix, value.as_str()),
            Self::Tag(value) => (Kind::Tag, value.as_str()),
            Self::Url(value) => (Kind::Url, value.as_str()),
        }
    }

    /// The command for an Envoy.
    #[must_use]
    pub fn command(&self, soft: bool) -> PurgeCommand {
        let (kind, value) = self.parts();
        PurgeCommand {
            kind: kind.into(),
            value: value.to_owned(),
            soft,
            counted: Vec::new(),
        }
    }

    /// What is meant here, where the policies of routes are not known: of a URL the path alone, as a route may leave out a part of
    /// the query. What does not read as it should means everything.
    #[must_use]
    pub fn meant(&self) -> PurgeTarget {
        let (kind, value) = self.parts();
        match PurgeTarget::read(kind, value) {
            Ok(PurgeTarget::Url { host, path }) => PurgeTarget::path(&host, &path),
            Ok(target) => target,
            Err(_) => PurgeTarget::All,
        }
    }

    /// Whether a stored response is meant.
    #[must_use]
    pub fn covers(&self, url: &str, tags: &[String]) -> bool {
        let Some((host, path)) = url::split(url.as_bytes()) else {
            return true;
        };
        let tags = tags.iter().map(String::as_bytes);
        self.meant().matches(&Stored::new(host, path), tags)
    }

    /// What is wrong with it, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let (kind, value) = self.parts();
        if value.len() > MAX_VALUE {
            return Some("at most 8 KiB");
        }
        PurgeTarget::fault(kind, value)
    }
}

/// How many stored responses of an Envoy a purge has matched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matched {
    /// A lower bound of the number.
    pub at_least: u64,
    /// All were counted: there were no more.
    pub all: bool,
}

impl Matched {
    /// The number, where it is known.
    #[must_use]
    pub fn known(self) -> Option<u64> {
        self.all.then_some(self.at_least)
    }

    /// The count of an Envoy, after what was counted before.
    #[must_use]
    pub fn plus(self, count: &PurgeCount) -> Self {
        Self {
            at_least: self.at_least.saturating_add(count.matched),
            // What is newer may have replaced what was meant.
            all: self.all && count.newer == 0,
        }
    }
}

/// One purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// Names it.
    pub id: String,
    /// When it was accepted.
    pub at: Millis,
    /// By whom.
    pub by: String,
    /// The reason that the author gave.
    pub reason: String,
    /// What.
    pub targets: Vec<Target>,
    /// True: what is stored becomes stale instead of going.
    pub soft: bool,
    /// The client's key against doing it twice.
    pub idempotency_key: Option<String>,
    /// Envoy processes that have done it, and when.
    pub applied: BTreeMap<String, Millis>,
    /// How many stored responses it has matched, of the Envoys that have counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matched: BTreeMap<String, Matched>,
    /// Envoy processes that were there when it was accepted and have not done it: after a restart of the control plane nobody else knows of
    /// them before they return. A thousand at most.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub awaited: BTreeSet<String>,
    /// The shared tier has yet to record it. An Envoy that does it meanwhile may get from the tier what was purged, so its receipt does not
    /// last: see [`PurgeLog::reopen`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unrecorded: bool,
    /// How often it was reopened. Receipts of an earlier round do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub round: u32,
}

/// For fields that are left out where they say nothing.
#[allow(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Purge {
    /// Of all Envoys that have done it: how many stored responses it has matched. An Envoy that has not counted makes the sum unknown.
    #[must_use]
    pub fn matched(&self) -> Matched {
        let of = |envoy| self.matched.get(envoy).copied().unwrap_or_default();
        let counts = self.applied.keys().map(of);
        let none = Matched {
            at_least: 0,
            all: !self.applied.is_empty(),
        };
        counts.fold(none, |sum, one| Matched {
            at_least: sum.at_least.saturating_add(one.at_least),
            all: sum.all && one.all,
        })
    }

    /// Waits for these Envoys.
    #[must_use]
    pub fn awaiting<'e>(mut self, envoys: impl Iterator<Item = &'e str>) -> Self {
        let open = envoys.filter(|envoy| !self.applied.contains_key(*envoy));
        self.awaited = open.take(MAX_AWAITED).map(ToOwned::to_owned).collect();
        self
    }

    /// Whether an Envoy that started then (0 = not known) may hold what was purged.
    #[must_use]
    pub fn concerns(&self, started_ms: Millis) -> bool {
        self.at >= started_ms.saturating_sub(SKEW_MS)
    }

    /// What it takes to remember, receipts left out.
    fn bytes(&self) -> usize {
        let named = self.targets.iter().map(|target| match target {
            Target::All => 0,
            Target::Host(value) | Target::Prefix(value) | Target::Tag(value) | Target::Url(value) => value.len(),
        });
        named.sum::<usize>() + self.by.len() + self.reason.len() + self.idempotency_key.as_ref().map_or(0, String::len)
    }

    /// Whether it asks for the same as another.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.targets == other.targets && self.soft == other.soft
    }
}

/// All purges remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeLog {
    purges: VecDeque<Purge>,
    /// When the newest purge that is not remembered any more was accepted.
    forgotten_ms: Millis,
}

impl PurgeLog {
    /// Takes a purge in.
    ///
    /// # Errors
    /// The earlier one with the same id or idempotency key, if there is one.
    pub fn accept(&mut self, purge: Purge) -> Result<(), Box<Purge>> {
        let key = purge.idempotency_key.as_deref();
        let same =
            |earlier: &&Purge| earlier.id == purge.id || (key.is_some() && earlier.idempotency_key.as_deref() == key);
        if let Some(earlier) = self.purges.iter().find(same) {
            return Err(Box::new(earlier.clone()));
        }
        let mut bytes: usize = self.purges.iter().map(Purge::bytes).sum::<usize>() + purge.bytes();
        while (self.purges.len() >= REMEMBERED || bytes > MAX_BYTES)
            && let Some(forgotten) = self.purges.pop_front()
        {
            bytes = bytes.saturating_sub(forgotten.bytes());
            self.forgotten_ms = self.forgotten_ms.max(forgotten.at);
        }
        self.purges.push_back(purge);
        Ok(())
    }

    /// An Envoy has applied it, and may have counted what it matched. A repeated receipt keeps its first time.
    pub fn applied(&mut self, id: &str, envoy: &str, now_ms: Millis, matched: Option<Matched>) {
        let Some(purge) = self.find(id) else { return };
        if purge.applied.len() < MAX_APPLIED {
            purge.applied.entry(envoy.to_owned()).or_insert(now_ms);
        }
        purge.awaited.remove(envoy);
        if let Some(matched) = matched
            && purge.applied.contains_key(envoy)
        {
            let held = purge.matched.entry(envoy.to_owned()).or_default();
            let better = (matched.all, matched.at_least) > (held.all, held.at_least);
            if better {
                *held = matched;
            }
        }
    }

    /// As [`PurgeLog::applied`], for a receipt of some round. One of an earlier round counts for nothing, as the purge was reopened since:
    /// false.
    pub fn applied_in(&mut self, round: u32, id: &str, envoy: &str, now_ms: Millis, matched: Option<Matched>) -> bool {
        if self.get(id).is_none_or(|purge| round < purge.round) {
            return false;
        }
        self.reopen_to(id, round);
        self.applied(id, envoy, now_ms, matched);
        true
    }

    /// The shared tier has recorded a purge before anybody was told of it.
    pub fn recorded(&mut self, id: &str) {
        if let Some(purge) = self.find(id) {
            purge.unrecorded = false;
        }
    }

    /// The shared tier has recorded a purge late: all Envoys have to do it once more. The number of the new round.
    pub fn reopen(&mut self, id: &str) -> u32 {
        let round = self.get(id).map_or(0, |purge| purge.round.saturating_add(1));
        self.reopen_to(id, round);
        round
    }

    /// Another replica has reopened a purge, which is now in this round. Repeating this changes nothing.
    pub fn reopen_to(&mut self, id: &str, round: u32) {
        if let Some(purge) = self.find(id).filter(|purge| purge.round < round) {
            (purge.round, purge.unrecorded) = (round, false);
            let done = std::mem::take(&mut purge.applied);
            purge.awaited.extend(done.into_keys().take(MAX_AWAITED));
        }
    }

    /// What somebody else knows of a purge that is known here.
    pub fn learn(&mut self, theirs: &Purge) {
        self.reopen_to(&theirs.id, theirs.round);
        if let Some(purge) = self.find(&theirs.id).filter(|purge| purge.round == theirs.round) {
            purge.unrecorded &= theirs.unrecorded;
        }
        for (envoy, at) in &theirs.applied {
            let matched = theirs.matched.get(envoy).copied();
            self.applied_in(theirs.round, &theirs.id, envoy, *at, matched);
        }
    }

    /// Purges that the shared tier has yet to record.
    pub fn unrecorded(&self) -> impl Iterator<Item = &Purge> {
        self.purges.iter().filter(|purge| purge.unrecorded)
    }

    fn find(&mut self, id: &str) -> Option<&mut Purge> {
        self.purges.iter_mut().find(|purge| purge.id == id)
    }

    /// The purges that an Envoy has yet to do: those accepted since it started (0 = not known) without its receipt. One that was
    /// away for longer than is remembered must forget everything: the answer is `None`.
    #[must_use]
    pub fn missing(&self, envoy: &str, started_ms: Millis) -> Option<Vec<Purge>> {
        let since = started_ms.saturating_sub(SKEW_MS);
        if self.forgotten_ms > 0 && self.forgotten_ms >= since && !self.knows(envoy) {
            return None;
        }
        let missing = self
            .purges
            .iter()
            .filter(|purge| purge.concerns(started_ms) && !purge.applied.contains_key(envoy));
        Some(missing.cloned().collect())
    }

    /// Whether an Envoy process has done one of them.
    #[must_use]
    pub fn knows(&self, envoy: &str) -> bool {
        self.purges.iter().any(|purge| purge.applied.contains_key(envoy))
    }

    /// One purge.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Purge> {
        self.purges.iter().find(|purge| purge.id == id)
    }

    /// All of them, the newest first.
    pub fn all(&self) -> impl Iterator<Item = &Purge> {
        self.purges.iter().rev()
    }

    /// Everything up to then is not remembered.
    #[must_use]
    pub fn forgotten_ms(&self) -> Millis {
        self.forgotten_ms
    }

    /// What is written down as forgotten is not remembered.
    pub fn forget_before(&mut self, at: Millis) {
        self.forgotten_ms = self.forgotten_ms.max(at);
    }

    /// All of them, the oldest first.
    pub fn oldest_first(&self) -> impl Iterator<Item = &Purge> {
        self.purges.iter()
    }

    /// Whether a response that was received at `response_ms` has been purged since, softly or not: what a soft purge made stale
    /// must not come back fresh.
    #[must_use]
    pub fn covers(&self, url: &str, tags: &[String], response_ms: Millis) -> bool {
        if response_ms <= self.forgotten_ms {
            return true;
        }
        self.purges
            .iter()
            .filter(|purge| purge.at >= response_ms)
            .any(|purge| purge.targets.iter().any(|target| target.covers(url, tags)))
    }
}

#[cfg(test)]
mod tests;
