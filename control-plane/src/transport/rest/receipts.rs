//! What has become of a purge.

use crate::fleet::FleetService;
use crate::kernel::clock::now_ms;
use crate::kernel::ids::Ids;
use crate::purges::{Outstanding, PurgeService};
use control_domain::fleet::{FORGOTTEN_AFTER_MS, Fleet};
use control_domain::purges::{Purge, Target};
use serde::Serialize;
use std::time::Duration;

/// State of an Envoy in a receipt.
const LATE: &str = "late";
/// For a purge that found nothing.
const NOTHING: &str = "Nothing stored on these Envoys matched. GET /cache/explain?url= tells under which key a response of a URL is \
    stored; a port other than 80 and 443 belongs to the host, and tags are compared letter by letter.";

/// What was asked for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct PurgeSummary {
    /// By which its receipt is asked for.
    id: String,
    /// When it was accepted, milliseconds since 1970.
    at: u64,
    /// Who asked for it.
    by: String,
    /// Reason that was given.
    reason: String,
    /// What is purged.
    targets: Vec<Target>,
    /// What is stored becomes stale instead of going.
    soft: bool,
}

/// A purge, and who has done it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Receipt {
    #[serde(flatten)]
    purge: PurgeSummary,
    /// Whether all Envoys have done it.
    pub(super) complete: bool,
    /// `told` when all replicas know of it, else `late`.
    replicas: &'static str,
    /// `applied` when the shared tier has recorded it, else `late`.
    shared_tier: &'static str,
    /// How many stored responses were meant, on all Envoys that have done it: 0 where there was nothing to purge. Null while that is
    /// not known: one is late, has not counted all, or does not count. The shared tier does not count.
    #[schema(required = true)]
    matched: Option<u64>,
    /// As far as they were counted.
    matched_at_least: u64,
    /// What to look at where nothing stored was meant.
    #[schema(required = true)]
    hint: Option<&'static str>,
    /// Envoys that have it in force in all workers.
    applied: Vec<Applied>,
    /// Connected Envoys that have not.
    late: Vec<Named>,
    /// Envoys that are away and will do it when they return.
    away: Vec<Named>,
    /// Envoys that were there when it was accepted and that this control plane has not heard of since it started itself: whether they
    /// have done it, or are gone, nobody knows. They do it when they return. Forgotten after an hour.
    unknown: Vec<String>,
}

/// An Envoy that has done a purge.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Applied {
    /// Its instance id.
    envoy: String,
    /// Node id of the Envoy.
    node_id: String,
    /// When, milliseconds since 1970.
    at: u64,
    /// Milliseconds after it was accepted.
    after_ms: u64,
    /// How many stored responses were meant; null while that is not known.
    #[schema(required = true)]
    matched: Option<u64>,
    /// As far as they were counted.
    matched_at_least: u64,
}

/// An Envoy.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Named {
    /// Its instance id.
    envoy: String,
    /// Node id of the Envoy.
    node_id: String,
}

/// Somebody connected, the shared tier, or another replica, has yet to do it.
fn is_late(receipt: &Receipt) -> bool {
    !receipt.late.is_empty() || receipt.shared_tier == LATE || receipt.replicas == LATE
}

pub(super) fn summary(purge: &Purge) -> PurgeSummary {
    PurgeSummary {
        id: purge.id.clone(),
        at: purge.at,
        by: purge.by.clone(),
        reason: purge.reason.clone(),
        targets: purge.targets.clone(),
        soft: purge.soft,
    }
}

/// Who knows what has become of a purge.
pub(super) struct Receipts<'s> {
    purges: &'s PurgeService,
    fleet: &'s FleetService,
    started_ms: u64,
}

impl<'s> Receipts<'s> {
    pub(super) fn new(purges: &'s PurgeService, fleet: &'s FleetService, ids: &Ids) -> Self {
        Self {
            purges,
            fleet,
            started_ms: ids.started_ms(),
        }
    }

    /// The receipt of a purge; `None` when no such purge is remembered.
    pub(super) fn of(&self, id: &str) -> Option<Receipt> {
        let connected = self.fleet.connected_envoys();
        let purge = self.purges.get(id)?;
        let outstanding = self.purges.outstanding(id);
        Some(
            self.fleet
                .read(|fleet, _| self.receipt(&purge, &connected, outstanding, fleet)),
        )
    }

    /// Waits until nobody who is there has yet to do it, or time is up.
    pub(super) async fn wait_for(&self, id: &str, timeout: Duration) {
        let deadline = tokio::time::Instant::now() + timeout;
        loop {
            let progress = self.fleet.progress();
            let begin = std::time::Instant::now();
            let open = self.of(id).is_some_and(|receipt| is_late(&receipt));
            let took = begin.elapsed();
            if !open || tokio::time::timeout_at(deadline, progress).await.is_err() {
                return;
            }
            // As where a revision is waited for: looking takes at most a fifth of the time, however large the fleet.
            tokio::time::sleep(took * 4).await;
        }
    }

    fn receipt(&self, purge: &Purge, connected: &[String], outstanding: Outstanding, fleet: &Fleet) -> Receipt {
        let named = |envoy: &String| Named {
            envoy: envoy.clone(),
            node_id: fleet.get(envoy).map(|envoy| envoy.node_id.clone()).unwrap_or_default(),
        };
        let applied = purge.applied.iter().map(|(envoy, at)| {
            let counted = purge.matched.get(envoy).copied().unwrap_or_default();
            let Named { envoy, node_id } = named(envoy);
            Applied {
                envoy,
                node_id,
                at: *at,
                after_ms: at.saturating_sub(purge.at),
                matched: counted.known(),
                matched_at_least: counted.at_least,
            }
        });
        // One that started afterwards has nothing to purge.
        let concerned = |envoy: &str| {
            let started_ms = fleet.get(envoy).map_or(0, |envoy| envoy.started_ms);
            purge.concerns(started_ms) && !purge.applied.contains_key(envoy)
        };
        let late: Vec<Named> = connected.iter().filter(|envoy| concerned(envoy)).map(named).collect();
        // Seen lately and away now: done when they return.
        let away: Vec<Named> = fleet
            .envoys()
            .filter(|(name, envoy)| envoy.connection.is_none() && concerned(name))
            .map(|(name, envoy)| Named {
                envoy: name.to_owned(),
                node_id: envoy.node_id.clone(),
            })
            .collect();
        let since_ms = now_ms().saturating_sub(self.started_ms.max(purge.at));
        let unheard = purge.awaited.iter().filter(|envoy| fleet.get(envoy).is_none());
        let unknown: Vec<String> = unheard.filter(|_| since_ms < FORGOTTEN_AFTER_MS).cloned().collect();
        let counted = purge.matched();
        let matched = counted.known().filter(|_| late.is_empty() && unknown.is_empty());
        let is_open = outstanding.tier || outstanding.replicas;
        Receipt {
            matched,
            matched_at_least: counted.at_least,
            hint: (matched == Some(0)).then_some(NOTHING),
            purge: summary(purge),
            complete: late.is_empty() && away.is_empty() && unknown.is_empty() && !is_open,
            replicas: if outstanding.replicas { LATE } else { "told" },
            shared_tier: if outstanding.tier { LATE } else { "applied" },
            applied: applied.collect(),
            late,
            away,
            unknown,
        }
    }
}
