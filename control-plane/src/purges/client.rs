//! A purge that a client has made at an Envoy.

use control_domain::purges::{MAX_TARGETS, Matched, Purge, Target};
use optimizer_proto::v1::ClientPurge;
use std::collections::{BTreeMap, BTreeSet};

/// As it goes into the log: that Envoy has done it.
///
/// # Errors
/// What a target may be; one of these is something else.
pub(super) fn purge_of(
    made: &ClientPurge,
    envoy: &str,
    node: &str,
    id: String,
    at: u64,
) -> Result<Purge, &'static str> {
    let tags = made.tags.iter().cloned().map(Target::Tag);
    let mut targets: Vec<Target> = tags.take(MAX_TARGETS).collect();
    if targets.is_empty() {
        targets.push(Target::Url(made.url.clone()));
    }
    if let Some(allowed) = targets.iter().find_map(Target::fault) {
        return Err(allowed);
    }
    let matched = made
        .matched
        .map(|at_least| (envoy.to_owned(), Matched { at_least, all: true }));
    Ok(Purge {
        id,
        at,
        by: made.source.clone(),
        reason: format!("PURGE at {node}"),
        targets,
        soft: made.soft,
        idempotency_key: None,
        applied: BTreeMap::from([(envoy.to_owned(), made.at_ms.min(at))]),
        matched: matched.into_iter().collect(),
        awaited: BTreeSet::new(),
        unrecorded: true,
        round: 0,
    })
}
