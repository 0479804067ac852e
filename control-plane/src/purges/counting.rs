//! How many stored responses a purge has matched. An Envoy counts some hundreds of them just before the purge is in force, the rest
//! in steps after it.

use crate::fleet::FleetService;
use crate::kernel::sync::lock;
use control_domain::purges::{Matched, Purge};
use optimizer_proto::answers;
use optimizer_proto::v1::command::Body;
use optimizer_proto::v1::{CountCommand, PurgeCommand, PurgeCount};
use prost::Message as _;
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// An Envoy gets so long for one step, and for all of them.
const STEP: Duration = Duration::from_secs(1);
const ALL_STEPS: Duration = Duration::from_secs(5);
/// Most bytes of the targets of a purge that is counted: they go in one message.
const COUNTED_BYTES: usize = 64 << 10;
/// Between two steps: a worker of an Envoy has something else to do.
const PAUSE: Duration = Duration::from_millis(5);

/// The commands for one Envoy; the first one has what is to be counted.
pub(super) fn commands(purge: &Purge) -> Vec<PurgeCommand> {
    let mut commands: Vec<PurgeCommand> = purge.targets.iter().map(|target| target.command(purge.soft)).collect();
    let counted = commands.clone();
    let bytes: usize = counted.iter().map(PurgeCommand::encoded_len).sum();
    if let Some(first) = commands.first_mut().filter(|_| bytes <= COUNTED_BYTES) {
        first.counted = counted;
    }
    commands
}

pub(super) fn of_first_step(count: &PurgeCount) -> Matched {
    let counted = Matched::default().plus(count);
    Matched {
        all: count.done,
        ..counted
    }
}

/// The Envoys that are counting.
#[derive(Debug, Default)]
pub(super) struct Counting(Mutex<HashSet<String>>);

impl Counting {
    /// Has an Envoy count the rest; `None` when it is counting already. One that takes too long has counted a part.
    pub(super) async fn count_rest(
        &self,
        fleet: &FleetService,
        envoy: &str,
        purge: &Purge,
        first: &PurgeCount,
    ) -> Option<Matched> {
        if !lock(&self.0).insert(envoy.to_owned()) {
            return None;
        }
        let matched = steps(fleet, envoy, purge, first).await;
        lock(&self.0).remove(envoy);
        Some(matched)
    }
}

async fn steps(fleet: &FleetService, envoy: &str, purge: &Purge, first: &PurgeCount) -> Matched {
    let targets: Vec<PurgeCommand> = purge.targets.iter().map(|target| target.command(purge.soft)).collect();
    let deadline = Instant::now() + ALL_STEPS;
    let mut matched = Matched {
        all: true,
        ..of_first_step(first)
    };
    let mut cursor = first.next_cursor;
    while Instant::now() < deadline {
        let step = CountCommand {
            targets: targets.clone(),
            cursor,
            stamp: first.stamp,
        };
        let answer = fleet.command(envoy, Body::Count(step), STEP).await;
        let Some(count) = answer.and_then(answers::count) else {
            break;
        };
        matched = matched.plus(&count);
        if count.done {
            return matched;
        }
        if count.next_cursor <= cursor {
            break;
        }
        cursor = count.next_cursor;
        tokio::time::sleep(PAUSE).await;
    }
    Matched { all: false, ..matched }
}
