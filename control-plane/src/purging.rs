//! Purges on their way to the Envoys, and to those that were away.

use crate::plane::{Event, Plane, now_ms};
use control_domain::purges::{Purge, Target};
use control_domain::tier::Subject;
use optimizer_proto::v1::command::Body;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// An Envoy gets so long to have a purge in force in all its workers.
const ANSWER: Duration = Duration::from_secs(12);

/// A tier that cannot record a purge is tried again after this.
const TIER_RETRY: Duration = Duration::from_secs(1);

/// Records an accepted purge in the shared tier and sends it to every connected Envoy. Ends when all have answered or given up.
pub(crate) async fn send_to_all(plane: Arc<Plane>, purge: Purge) {
    // First the tier: what an Envoy gets from it after its own purge is then never what was purged.
    if in_tier(&plane, &purge).await {
        plane.tier.owes_no_more(&purge.id);
        tell(&plane, &purge).await;
        return;
    }
    tell(&plane, &purge).await;
    while !in_tier(&plane, &purge).await {
        tokio::time::sleep(TIER_RETRY).await;
    }
    // Meanwhile an Envoy may have got from the tier what it had purged itself.
    plane.domain().purges.reopen(&purge.id);
    plane.tier.owes_no_more(&purge.id);
    tell(&plane, &purge).await;
}

async fn in_tier(plane: &Plane, purge: &Purge) -> bool {
    let subjects: Vec<Subject> = purge.targets.iter().map(Subject::of).collect();
    match plane.tier.purge(&subjects).await {
        Ok(_) => true,
        Err(fault) => {
            tracing::warn!(purge = purge.id, %fault, "purge not recorded in the shared tier, will be tried again");
            false
        }
    }
}

async fn tell(plane: &Arc<Plane>, purge: &Purge) {
    let mut sending = JoinSet::new();
    for envoy in plane.connected() {
        let (plane, purge) = (Arc::clone(plane), purge.clone());
        sending.spawn(async move { apply(&plane, &envoy, &purge).await });
    }
    while sending.join_next().await.is_some() {}
    plane.keep_purges();
}

/// Has one Envoy do a purge, and notes its receipt. False when it did not do all of it.
async fn apply(plane: &Plane, envoy: &str, purge: &Purge) -> bool {
    for target in &purge.targets {
        let done = plane
            .command_to(envoy, Body::Purge(target.command(purge.soft)), ANSWER)
            .await;
        if !done.is_some_and(|result| result.ok) {
            tracing::warn!(
                envoy,
                purge = purge.id,
                "purge not done, will be done when the Envoy returns"
            );
            return false;
        }
    }
    plane.domain().purges.applied(&purge.id, envoy, now_ms());
    plane.acknowledged.notify_waiters();
    true
}

/// Tells an Envoy that has just connected what was purged while it was away.
pub(crate) async fn catch_up(plane: Arc<Plane>, envoy: String, started_ms: u64) {
    let missing = plane.domain().purges.missing(&envoy, started_ms);
    let missing = match missing {
        Some(missing) if missing.is_empty() => return,
        Some(missing) => missing,
        None => {
            tracing::warn!(
                envoy,
                "away for longer than purges are remembered: its cache is purged as a whole"
            );
            let everything = Body::Purge(Target::All.command(false));
            let done = plane.command_to(&envoy, everything, ANSWER).await;
            if !done.is_some_and(|result| result.ok) {
                return;
            }
            plane.domain().purges.all().cloned().collect()
        }
    };
    tracing::info!(envoy, count = missing.len(), "purges that an Envoy has missed");
    for purge in missing.iter() {
        if !apply(&plane, &envoy, purge).await {
            return;
        }
    }
    plane.keep_purges();
}

/// Tells the live stream, and notes that the shared tier has yet to record it.
pub(crate) fn announce(plane: &Plane, purge: &Purge) {
    plane.tier.owes(&purge.id);
    tracing::warn!(
        purge = purge.id,
        who = purge.by,
        reason = purge.reason,
        soft = purge.soft,
        targets = ?purge.targets,
        "purge"
    );
    plane.announce(Event::new(
        "purge",
        json!({ "id": purge.id, "by": purge.by, "targets": purge.targets, "soft": purge.soft }),
    ));
}
